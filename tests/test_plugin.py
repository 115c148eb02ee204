"""A backend of somebody else's: tests/plugin_package, as if it were installed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lrbackends.cli import main

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tests" / "plugin_package"
PLAIN = PACKAGE / "src" / "lrbackends_plugin_example" / "plain.py"
GUIDE = ROOT / "docs" / "your-backend.md"
MOST_LINES = 100
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """Return an environment in which the package is installed.

    Its metadata are written here, as installing takes a build backend; .ci/run installs it by pip.
    """
    site = tmp_path_factory.mktemp("site")
    info = site / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in PROJECT["entry-points"].items()
        )
    )
    path = [str(site), str(PACKAGE / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


@pytest.fixture
def run(installed, tmp_path):
    """Run a module of Python in that environment; return exit code and output."""

    def module(*arguments: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=installed,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return module


def test_it_is_listed(run):
    code, said = run("lrbackends", "backends")
    assert code == 0, said
    assert re.search(r"^ *plain .*lrbackends", said, re.M)
    assert re.search(r"^ *torch ", said, re.M)  # or why it is not there


def test_it_verifies_beside_numpy(run):
    code, said = run(
        *("lrbackends", "verify", "--backends", "plain,numpy"),
        *("--checks", "gradient,elementary,purity"),
    )
    assert code == 0, said
    assert re.search(r"gradient +plain .*pass", said)


def test_it_can_be_compared(run):
    code, said = run(
        *("lrbackends", "compare", "--backends", "plain,numpy"),
        *("--epochs", "20", "--vary", "none", "--rounds", "1"),
    )
    assert code == 0, said
    assert "plain" in said


def test_it_refuses_what_it_does_not_claim(run):
    code, said = run("lrbackends", "train", "digits", "--backend", "plain", "--epochs", "20")
    assert code == 2
    assert "backend 'plain' does not cover 10 classes; keep two of them" in said


def test_it_passes_the_kit(run):
    # What takes long is left to .ci/run.
    code, said = run(
        *("pytest", "-p", "no:cacheprovider", "-p", "lrbackends.testing.pytest_plugin"),
        *("--pyargs", "lrbackends.testing", "--backend", "plain", "-q"),
        *("-k", "protocol or refusals or gradient or purity"),
    )
    assert code == 0, said
    assert re.search(r"\d+ passed, \d+ skipped", said)


def test_it_uses_public_modules_only():
    public = {"protocol", "objective", "problem", "errors", "testing"}
    imports = re.compile(r"^ *(?:from|import) (lrbackends\.[\w.]+)", re.M)
    used = {m for path in PACKAGE.rglob("*.py") for m in imports.findall(path.read_text())}
    assert used
    assert {module.rpartition(".")[2] for module in used} <= public


# -- the guide


def test_the_guide_shows_the_backend_that_is_tested():
    source = PLAIN.read_text()
    assert len(source.splitlines()) <= MOST_LINES
    assert f"```python\n{source}```" in GUIDE.read_text()


def test_the_guide_registers_it_as_the_package_does():
    block = re.search(r"```toml\n(.*?)```", GUIDE.read_text(), re.S)
    assert block is not None
    (points,) = tomllib.loads(block[1])["project"]["entry-points"].items()
    group, shown = points
    assert shown.items() <= PROJECT["entry-points"][group].items()


def test_the_guides_commands_are_there():
    commands = set(re.findall(r"^lrbackends (\w+)", GUIDE.read_text(), re.M))
    assert {"backends", "verify", "compare"} <= commands <= main.commands.keys()
