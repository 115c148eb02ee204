"""Where compiled code is kept between processes, and when it is not used."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from lrbackends.backends import _numba_jit
from lrbackends.backends._numba_jit import entry
from lrbackends.solvers import rules

FIT = """
import sys
from numba.core import event
import numpy as np
import lrbackends as lrb

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3))
with event.install_recorder("numba:compile") as seen:
    result = lrb.Trainer("numba", "gd", epochs=20).fit(X, X[:, 0] > rng.normal(size=50))
print(len(seen.buffer), result.coef.tobytes().hex(), result.loss)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory for compiled code."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "lrbackends"


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", FIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
    )


def answer(process: subprocess.Popen) -> tuple[int, str]:
    """Return how much the process compiled, and its result."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""
    compiled, result = out.split(maxsplit=1)
    return int(compiled), result


def doubled(x):
    return 2.0 * x


def make(function=doubled):
    """The function jitted anew, as another process would do it."""
    return entry(function)


def hits(dispatcher) -> int:
    return sum(dispatcher.stats.cache_hits.values())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


# -- between processes


def test_later_processes_compile_nothing_even_after_two_that_wrote_at_once(folder):
    both = [start(folder), start(folder)]
    first = [answer(process) for process in both]
    assert all(compiled > 0 for compiled, _ in first)
    later = answer(start(folder))
    assert later[0] == 0
    assert {result for _, result in (*first, later)} == {later[1]}
    kept = files(folder / "lrbackends")
    assert {path.suffix for path in kept} == {".nbc"}  # nothing half-written is left
    # A process that finds its files damaged compiles, and mends them.
    for path in kept:
        path.write_bytes(path.read_bytes()[:-100])
    mended = answer(start(folder))
    assert mended[0] > 0
    assert mended[1] == later[1]
    assert answer(start(folder)) == later


# -- what is kept, within one process


def test_compiled_code_is_kept_and_found(folder):
    assert make()(1.5) == 3.0
    assert len(files(folder)) == 1
    again = make()
    assert again(1.5) == 3.0
    assert hits(again) == 1
    assert again(1.5 + 0j) == 3.0 + 0j  # another signature is another file
    assert len(files(folder)) == 2


DAMAGE = {
    "empty": lambda _: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "only a digest": lambda content: content[:32],
    "a flipped bit": lambda content: content[:-7] + bytes([content[-7] ^ 1]) + content[-6:],
    "something else": lambda _: b"not compiled code",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_compiled_again_and_mended(folder, damage):
    make()(1.5)
    (path,) = files(folder)
    right = path.read_bytes()
    path.write_bytes(DAMAGE[damage](right))
    again = make()
    assert again(1.5) == 3.0
    assert hits(again) == 0
    assert files(folder) == [path]
    third = make()
    assert third(1.5) == 3.0
    assert hits(third) == 1


def test_a_file_that_numba_cannot_read_is_compiled_again(folder):
    """Its hash is right, but what is in it is not what this version of Numba keeps."""
    make()(1.5)
    (path,) = files(folder)
    data = pickle.dumps(("of", "another", "version"))
    path.write_bytes(hashlib.sha256(data).digest() + data)
    again = make()
    assert again(1.5) == 3.0
    assert hits(again) == 0


@pytest.mark.parametrize("where", ["a file", "below a file", "not writable"])
def test_where_nothing_can_be_written_code_is_compiled(folder, tmp_path, monkeypatch, where):
    place = tmp_path / "place"
    if where == "not writable":
        (place / "lrbackends").mkdir(parents=True)
        (place / "lrbackends").chmod(0o500)
        if os.access(place / "lrbackends", os.W_OK):
            pytest.skip("this user may write everywhere")
    else:
        place.write_text("in the way")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place if where != "below a file" else place / "x"))
    function = make()
    assert function(1.5) == 3.0
    assert hits(make()) == 0


def test_the_directory_is_numbas_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    assert _numba_jit.directory() == tmp_path / "chosen" / "lrbackends"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.delenv("LRBACKENDS_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _numba_jit.directory() == tmp_path / "xdg" / "lrbackends" / "numba"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _numba_jit.directory() == Path.home() / ".cache" / "lrbackends" / "numba"


# -- what code depends on


def test_a_change_of_any_source_or_setting_is_another_file(folder, tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "backends").mkdir(parents=True)
    (package / "backends" / "kernels.py").write_text("LANES = 8\n")
    (package / "rules.py").write_text("")
    found = {_numba_jit._fingerprint(package)}
    assert _numba_jit._fingerprint(package) in found
    (package / "backends" / "kernels.py").write_text("LANES = 4\n")
    found.add(_numba_jit._fingerprint(package))
    (package / "rules.py").rename(package / "update_rules.py")
    found.add(_numba_jit._fingerprint(package))
    monkeypatch.setenv("NUMBA_OPT", "1")
    found.add(_numba_jit._fingerprint(package))
    monkeypatch.setattr(_numba_jit, "version", lambda _: "0")
    found.add(_numba_jit._fingerprint(package))
    assert len(found) == 5
    (package / "report").mkdir()
    (package / "report" / "tables.py").write_text("WIDTH = 80\n")  # which no backend may import
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")  # where it is kept changes nothing
    assert _numba_jit._fingerprint(package) in found


def test_code_of_other_sources_is_not_used(folder, monkeypatch):
    make()(1.5)
    monkeypatch.setattr(_numba_jit, "_current", lambda: b"other sources")
    again = make()
    assert again(1.5) == 3.0
    assert hits(again) == 0
    assert len(files(folder)) == 2


def closure(inner, factor):
    def outer(x):
        return inner(x) * factor

    return outer


def test_code_over_other_functions_depends_on_them(folder):
    """Two closures over rules of one name: each gets its own code."""

    def one():
        def rule(x):
            return x + 1.0

        return rule

    def two():
        def rule(x):
            return x + 2.0

        return rule

    def over(rule):
        jitted = _numba_jit.jit()(rule)

        @entry
        def step(x):
            return jitted(x)

        return step

    assert over(one())(1.0) == 2.0
    assert over(two())(1.0) == 3.0
    again = over(one())
    assert again(1.0) == 2.0
    assert hits(again) == 1
    assert len(files(folder)) == 2


GLOBAL = 5.0


def uses_a_global(x):
    return x * GLOBAL


def has_a_default(x, factor=2.0):
    return x * factor


@pytest.mark.parametrize(
    "function", [uses_a_global, has_a_default, closure(doubled, 3.0), closure(doubled, GLOBAL)]
)
def test_code_that_depends_on_what_cannot_be_seen_is_not_kept(folder, function):
    assert _numba_jit._identity(function) is None
    if function is uses_a_global:
        assert make(function)(1.0) == 5.0
        assert files(folder) == []


def test_every_update_rule_of_ours_can_be_kept():
    found = {_numba_jit._identity(getattr(rules, name)) for name in rules.FIRST_ORDER}
    assert None not in found
    assert len(found) == len(rules.FIRST_ORDER)
