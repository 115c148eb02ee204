"""However a measuring process ends, its parent gets an answer."""

import sys

import numpy as np
import pytest

from lrbackends.benchmarking.processes import run_worker

MODULES = {
    "echo": "import json, sys; print(json.dumps({'job': json.load(sys.stdin)}))",
    "chatty": "print('hello'); print('{\"status\": \"completed\"}')",
    "silent": "",
    "other": "print('no JSON')",
    "listing": "print('[1, 2]')",
    "exits": "import sys; sys.exit('the disk is full')",
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

    def start(name, job=None, timeout=60.0):
        (tmp_path / f"worker_{name}.py").write_text(MODULES[name], encoding="utf-8")
        return run_worker(job or {}, timeout, module=f"worker_{name}")

    return start


def test_the_job_arrives_and_the_answer_comes_back(run):
    job = {"backend": "numpy", "options": {"l2": 0.1}}
    assert run("echo", job) == {"job": job}


def test_only_the_last_line_counts(run):
    assert run("chatty") == {"status": "completed"}


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
