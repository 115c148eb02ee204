import os
import platform

import numpy as np

from lrbackends.benchmarking.machine import machine_facts, usable_cores


def test_the_facts_are_those_of_this_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = machine_facts()
    assert facts.python == platform.python_version()
    assert facts.versions["numpy"] == np.__version__
    assert {"lrbackends", "scipy", "numba", "jax"} <= set(facts.versions)
    assert facts.environment["OMP_NUM_THREADS"] == "3"
    assert facts.cpu
    assert all("thread" in library for library in facts.blas)


def test_cores_are_at_least_one_and_at_most_those_of_the_machine():
    assert 1 <= usable_cores() <= os.cpu_count()


def test_the_line_holds_what_matters():
    line = machine_facts().line()
    assert f"numpy {np.__version__}" in line
    assert f"Python {platform.python_version()}" in line
    assert "\n" not in line
