"""The check "environment": golden hashes in child processes that differ in one thing each."""

import json
import os
import platform
from types import SimpleNamespace

import numpy as np
import pytest

from lrbackends._host import usable_cores
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.backends.protocol import Capabilities
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import CHECKS, environments, golden, verify
from lrbackends.equivalence.environments import Environment
from lrbackends.equivalence.wrong_backends import RightKernels, WrongBackend
from lrbackends.report.equivalence import as_text

ALL = {e.name: e for e in environments.environments()}
HERE = [e for e in ALL.values() if not e.absent]


def verified(backends):
    return verify(backends, arithmetic="reproducible", checks=["environment"])


@pytest.fixture
def only(monkeypatch):
    """``only(name, …)``: look at these environments and at no others."""

    def keep(*names):
        some = tuple(ALL[name] for name in names if not ALL[name].absent)
        monkeypatch.setattr(environments, "environments", lambda: some)

    return keep


# -- right backends


def test_numpy_gives_the_golden_bits_in_every_environment():
    report = verified("numpy")
    assert report.passed, list(report.failed)
    assert [row.case for row in report.rows] == [e.name for e in HERE if e.engine is None]
    assert {(row.figure, row.limit) for row in report.rows} == {("hashes that differ", 0.0)}
    assert all("golden hashes of version 1" in row.note for row in report.rows)


def test_numba_and_jax_give_them_where_they_compile_for_other_processors(only):
    only("XLA for SSE4.2", "Numba for any CPU")
    report = verified(["numba", "jax"])
    assert report.passed, list(report.failed)
    assert len(report.rows) == len(environments.environments())


def test_each_solver_and_each_type_is_run_in_a_child():
    cases = [golden.CASES[name] for name, _ in Environment("").runs(get_backend("numpy"))]
    assert {case.solver for case in cases} == {case.solver for case in golden.CASES.values()}
    assert {case.dtype for case in cases} == {"float64", "float32"}
    assert any(case.batch_size for case in cases)
    assert golden.LARGE in {case.name for case in cases}


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_the_large_case_is_shared_among_the_threads_that_are_asked_for(n_threads):
    case = golden.CASES[golden.LARGE]
    kernels = get_backend("numpy").compile(case.problem, case.objective, "reproducible", n_threads)
    assert kernels._team.size == n_threads
    threads = [n for e in HERE for name, n in e.runs(get_backend("numpy")) if name == golden.LARGE]
    assert n_threads in threads


def test_backends_are_left_out_where_nothing_could_change(backend_names):
    reached = {e.name: {n for n in backend_names if e.reaches(get_backend(n))} for e in HERE}
    assert reached["as it is"] == {"numpy", "numba", "jax"}
    assert reached["1, 2 and 4 threads"] == {"numpy", "numba"}
    assert reached["Numba for any CPU"] == {"numba"}
    assert reached["XLA unoptimised"] == {"jax"}


def test_backends_of_others_are_left_out_nowhere():
    backend = WrongBackend("torch", "", RightKernels)
    assert all(e.reaches(backend) for e in HERE if e.n_threads == (None,))


# -- the environments are what they say


PROBES = {
    "one core": ("import os", "len(os.sched_getaffinity(0))", 1),
    "OpenBLAS for Nehalem": (
        "import numpy, threadpoolctl",
        "[pool['architecture'] for pool in threadpoolctl.threadpool_info()]",
        ["Nehalem"],
    ),
    "OpenBLAS for Haswell": (
        "import numpy, threadpoolctl",
        "[pool['architecture'] for pool in threadpoolctl.threadpool_info()]",
        ["Haswell"],
    ),
    "NumPy without AVX-512": (
        "import warnings; warnings.simplefilter('error'); import numpy",
        "[k for k, on in numpy._core._multiarray_umath.__cpu_features__.items()"
        " if on and k in numpy._core._multiarray_umath.__cpu_dispatch__"
        " and k.startswith(('AVX512', 'X86_V4'))]",
        [],
    ),
    "NumPy at its baseline": (
        "import warnings; warnings.simplefilter('error'); import numpy",
        "[k for k, on in numpy._core._multiarray_umath.__cpu_features__.items()"
        " if on and k in numpy._core._multiarray_umath.__cpu_dispatch__]",
        [],
    ),
    "Numba for any CPU": ("import numba", "numba.config.CPU_NAME", "generic"),
}
# What XLA otherwise contracts into one rounding it rounds twice without FMA, and unoptimised.
FMA = """
import jax, numpy
a = numpy.linspace(1, 2, 101, dtype=numpy.float32)
rounded = numpy.array(jax.jit(lambda a, c: a * a + c)(a, -a * a))
"""
PROBES["XLA for SSE4.2"] = PROBES["XLA unoptimised"] = (FMA, "int((rounded != 0).sum())", 0)


@pytest.mark.parametrize("name", PROBES)
def test_the_environment_takes_effect(monkeypatch, name):
    environment = ALL[name]
    if environment.absent:
        pytest.skip(environment.absent)
    prepare, value, expected = PROBES[name]
    assert environments._CHILD.count("from lrbackends") == 1
    begin = environments._CHILD.partition("from lrbackends")[0]
    probe = f"{begin}\n{prepare}\nimport json; print(json.dumps([{value}]))"
    monkeypatch.setattr(environments, "_CHILD", probe)
    found = environments._answer_of_child({"runs": [None]}, environment)
    assert found == [expected]


def test_every_environment_that_changes_anything_is_probed():
    assert PROBES.keys() == {e.name for e in ALL.values() if e.variables or e.one_core}


def test_this_process_keeps_its_own_environment(only):
    only("OpenBLAS for Nehalem", "one core")
    before = dict(os.environ), usable_cores()
    verified("numpy")
    assert before == (dict(os.environ), usable_cores())


def test_flags_for_xla_are_added_to_those_that_are_set(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=somewhere")
    flags = {e.variables.get("XLA_FLAGS", "") for e in environments.environments()}
    assert "--xla_dump_to=somewhere --xla_cpu_max_isa=SSE4_2" in flags


def test_environments_that_are_not_here_are_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    core = SimpleNamespace(__cpu_features__={"NEON": True, "SVE": False}, __cpu_dispatch__=["SVE"])
    monkeypatch.setattr(np._core, "_multiarray_umath", core)
    monkeypatch.delattr(os, "sched_setaffinity")
    facts = environments.facts()
    assert facts["absent"]["XLA for SSE4.2"] == "the processor is arm64, not x86-64"
    assert facts["absent"]["NumPy without AVX-512"] == "NumPy uses no AVX-512 here"
    assert facts["absent"]["NumPy at its baseline"] == "NumPy uses no more than its baseline here"
    assert facts["absent"]["one core"] == "the system has no CPU masks"
    assert set(facts["here"]) >= {"as it is", "XLA unoptimised", "Numba for any CPU"}
    assert not set(facts["here"]) & set(facts["absent"])


# -- wrong backends and children that fail


class Mine(WrongBackend):
    """A backend object of somebody's own that claims to be reproducible."""

    def capabilities(self):
        return Capabilities(reproducible=True)


def test_other_bits_are_noticed_and_their_cases_named():
    report = verified(Mine("mine", "", RightKernels))  # NumPy's fast kernels
    (row,) = report.failed
    assert row.value == len(Environment("").runs(get_backend("numpy")))
    assert "wrong: 129 x 16, gd, columns from 1 to 2^-27; wrong: " in row.note


def test_other_bits_in_a_child_are_noticed(only, monkeypatch):
    only("as it is")
    wrong = dict.fromkeys(golden.CASES, "") | {golden.LARGE: golden.stored()[golden.LARGE]}
    monkeypatch.setattr(golden, "stored", lambda: wrong)
    (row,) = verified("numpy").failed
    assert row.value == len(Environment("").runs(get_backend("numpy"))) - 1


@pytest.mark.parametrize("name", ["mine", "numpy"])
def test_an_object_that_is_not_registered_is_looked_at_in_this_process_only(name):
    backend = NumpyBackend()
    backend.name = name
    report = verified(backend)
    (row,) = report.rows
    assert report.passed
    assert row.case == "this process"
    assert "not registered by name" in row.note


def test_types_that_a_backend_does_not_cover_are_left_out(monkeypatch):
    can = Capabilities(dtypes=("float64",), reproducible=True)
    monkeypatch.setattr(NumpyBackend, "capabilities", lambda _: can)
    (row,) = verified(NumpyBackend()).rows
    assert row.passed
    assert row.note.startswith("5 golden hashes")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise ValueError('no such thing')", "exit code 1, saying 'ValueError: no such thing'"),
        ("import os; os.abort()", "exit code -6"),
        ("print('hello')", "ended without an answer"),
        ("print('[]')", "ended without an answer"),
        ("", "ended without an answer"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
    ids=["raises", "aborts", "talks", "too few", "silent", "hangs"],
)
def test_a_child_that_fails_is_a_figure_that_fails(only, monkeypatch, program, reason):
    only("as it is", "one core")
    monkeypatch.setattr(environments, "_CHILD", program)
    monkeypatch.setattr(environments, "_SECONDS", 1.0 if "sleep" in program else 60.0)
    report = verified("numpy")
    assert [row.case for row in report.failed] == ["as it is", "one core"]
    assert all(reason in row.note for row in report.failed)
    assert json.loads(report.to_json())["rows"][0]["value"] == "inf"


# -- in a verification


def test_only_the_reproducible_arithmetic_is_checked_so():
    assert "environment" not in CHECKS
    with pytest.raises(ValueError, match="'environment' needs arithmetic='reproducible'"):
        verify("numpy", checks=["environment"])
    assert verify("numpy", checks=["elementary"]).metadata["environments"] == {}


def test_the_report_names_what_was_not_here(only, monkeypatch):
    lacking = Environment("one core", one_core=True, absent="the system has no CPU masks")
    monkeypatch.setattr(environments, "environments", lambda: (Environment("as it is"), lacking))
    report = verified("numpy")
    assert [row.case for row in report.rows] == ["as it is"]
    assert report.metadata["environments"] == {
        "here": ["as it is"],
        "absent": {"one core": "the system has no CPU masks"},
    }
    text = " ".join(as_text(report).split())
    assert "An environment that is not here: one core (the system has no CPU masks)." in text
