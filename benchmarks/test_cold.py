"""First times, each in a fresh process: importing an engine, compiling the training steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lrbackends import get_backend

from .conftest import backends_of

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
    note(None, **answers[-1])


@pytest.mark.beside("lrbackends", "sklearn.base")
def test_import(benchmark, note, request, smoke, route):
    backend = route in backends_of(request.config)
    if backend:
        get_backend(route)  # or skip
    benchmark.group = "import, fresh process"
    phase = "import_backend" if backend else "import_module"
    _time_in_fresh_processes(benchmark, note, smoke, phase, route)


@pytest.mark.parametrize("phase", ["full_batch", "batches_of_32", "second_shape"])
def test_compile(benchmark, note, smoke, backend, phase):
    get_backend(backend)  # or skip
    benchmark.group = f"compile {phase} 360x64, fresh process"
    _time_in_fresh_processes(benchmark, note, smoke, f"compile_{phase}", backend)
