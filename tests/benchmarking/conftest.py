"""Comparisons without processes."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from lrbackends.backends.registry import Available, Unavailable

from .synthetic import answer


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Give answers in place of processes; return the jobs that there were.

    There are the backends a, b, c and d, and "gone", which is not available. ``answers(job, nth)``
    counts the processes of a backend from 1.
    """
    module = importlib.import_module("lrbackends.benchmarking.compare")
    known = {name: Available(name, f"{name} 1.0", "built in") for name in ("a", "b", "c", "d")}
    known["gone"] = Unavailable("gone", "gone is not installed", "built in")
    monkeypatch.setattr(module, "available_backends", lambda: known)
    monkeypatch.setattr(module, "lines_of_code", {"a": 12, "b": 34}.get)

    def use(answers: Any = lambda *_: answer()) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []

        def run_worker(job: Any, timeout: float, variables: Any = None) -> Any:
            jobs.append({**job, "timeout": timeout, "variables": variables})
            return answers(job, sum(other["backend"] == job["backend"] for other in jobs))

        monkeypatch.setattr(module, "run_worker", run_worker)
        return jobs

    return use
