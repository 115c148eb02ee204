"""However a measuring process ends, its parent gets an answer."""

import os
import sys

import numpy as np
import pytest

from lrbackends.benchmarking.processes import environment, run_worker

MODULES = {
    "echo": "import json, sys; print(json.dumps({'job': json.load(sys.stdin)}))",
    "chatty": "print('hello'); print('{\"status\": \"completed\"}')",
    "silent": "",
    "other": "print('no JSON')",
    "listing": "print('[1, 2]')",
    "exits": "import sys; sys.exit('the disk is full')",
    "variables": "import json, os; print(json.dumps(dict(os.environ)))",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "sleeps": "import time; time.sleep(60)",
    "peaks": (
        "import json\n"
        "from lrbackends.benchmarking.worker import peak_memory\n"
        "before = peak_memory()\n"
        "held = bytearray(b'1') * 100_000_000\n"
        "print(json.dumps({'before': before, 'after': peak_memory()}))"
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run one of MODULES as a worker; it is found because the child has its parent's path."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def start(name, job=None, timeout=60.0, variables=None):
        (tmp_path / f"worker_{name}.py").write_text(MODULES[name], encoding="utf-8")
        return run_worker(job or {}, timeout, module=f"worker_{name}", variables=variables)

    return start


def test_the_job_arrives_and_the_answer_comes_back(run):
    job = {"backend": "numpy", "options": {"l2": 0.1}}
    assert run("echo", job) == {"job": job}


def test_only_the_last_line_counts(run):
    assert run("chatty") == {"status": "completed"}


def test_the_environment_is_this_processes_own_but_for_what_is_given(run, monkeypatch):
    monkeypatch.setenv("KEPT", "a")
    monkeypatch.setenv("CHANGED", "b")
    seen = run("variables", variables={"CHANGED": "d", "NEW": "e"})
    assert (seen["KEPT"], seen["CHANGED"], seen["NEW"]) == ("a", "d", "e")
    assert os.environ["CHANGED"] == "b"
    assert "NEW" not in os.environ


def test_as_usual_nothing_of_the_environment_is_changed():
    assert environment(None, "usual", "/nowhere") == {}


@pytest.mark.parametrize("engine", ["OMP", "OPENBLAS", "MKL", "NUMBA"])
def test_threads_are_limited_before_any_engine_is_imported(engine, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")  # the user's limit does not stand
    assert environment(1, "usual", "/nowhere")[f"{engine}_NUM_THREADS"] == "1"
    assert f"{engine}_NUM_THREADS" not in environment(None, "empty", "/nowhere")


@pytest.mark.parametrize("cache", ["empty", "filled"])
def test_every_engine_keeps_its_code_where_it_is_told_however_short_it_compiles(cache):
    variables = environment(None, cache, "/kept")
    assert variables["NUMBA_CACHE_DIR"] == variables["JAX_COMPILATION_CACHE_DIR"] == "/kept"
    assert variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("silent", "the process ended without an answer"),
        ("other", "the process ended without an answer"),
        ("listing", "the process ended without an answer"),
        ("exits", "the process ended with exit code 1, saying 'the disk is full'"),
    ],
)
def test_a_process_that_gives_no_answer_is_a_failure_with_a_reason(run, name, reason):
    assert run(name) == {"status": "failed", "reason": reason}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_is_a_failure_with_a_reason(run):
    assert run("killed") == {
        "status": "failed",
        "reason": "the process was killed by SIGKILL (out of memory?)",
    }


def test_a_process_that_takes_too_long_is_killed(run):
    assert run("sleeps", timeout=0.2) == {"status": "failed", "reason": "no answer within 0.2 s"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak")
def test_peak_memory_is_the_childs_own_not_inherited_from_a_large_parent(run):
    large = np.ones(50_000_000)
    answer = run("peaks")
    assert large.nbytes == 400_000_000
    assert 1_000_000 < answer["before"] < 200_000_000
    assert 95_000_000 < answer["after"] - answer["before"] < 150_000_000
