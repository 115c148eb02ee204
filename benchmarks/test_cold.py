"""First times, each in a fresh process: importing an engine, compiling the training steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import BACKENDS

SCRIPT = Path(__file__).with_name("cold.py")
ROUNDS = 3


def _time_in_fresh_processes(benchmark, note, smoke, phase, name):
    answers = []

    def get_ready():
        child = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), phase, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout.readline() == "ready\n"
        return (child,), {}

    def go(child):
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"

    def end(child):
        with child:
            answers.append(json.loads(child.stdout.read()))
        assert child.returncode == 0

    rounds = 1 if smoke else ROUNDS
    benchmark.pedantic(go, setup=get_ready, teardown=end, rounds=rounds, iterations=1)
    note(lambda: None, **answers[-1])


@pytest.mark.parametrize("name", ["lrbackends", "sklearn.base", *BACKENDS])
def test_import(benchmark, note, available, smoke, name):
    if name in BACKENDS:
        available(name)
    benchmark.group = "import, fresh process"
    _time_in_fresh_processes(benchmark, note, smoke, "import", name)


@pytest.mark.parametrize("phase", ["full_batch", "batches_of_32", "second_shape"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_compile(benchmark, note, available, smoke, backend, phase):
    available(backend)
    benchmark.group = f"compile {phase} 360x64, fresh process"
    _time_in_fresh_processes(benchmark, note, smoke, f"compile_{phase}", backend)
