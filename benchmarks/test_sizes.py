"""Whole fits to 1e-6 of the minimum as rows grow: where one overtakes another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from lrbackends import get_backend

from . import optimum
from .conftest import need_memory
from .peers import TARGET, Answer, Fit, contestant_named, ours
from .problems import ar1
from .turns import PAUSE, in_turn, ratios, replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

FEATURES = 30
PEER = "scikit-learn lbfgs"


@dataclass(frozen=True)
class Task:
    """A problem, its minimum, and who takes turns with all others on it."""

    X: Any
    y: Any
    least: float

    def excess(self, answer: Answer) -> float:
        """Return (F - F*) / F*."""
        loss = optimum.objective(self.X, self.y, answer.w, answer.b, 1 / len(self.y))
        return (loss - self.least) / self.least

    def reaching(self, name: str) -> tuple[Fit, float, Answer]:
        """Return a fit, the loosest tolerance that brings it to the target, and its answer."""
        entry = contestant_named(name)
        fit = entry.prepare(self.X, self.y, 0)
        for tol in entry.ladder:
            answer = fit(tol)
            if self.excess(answer) <= TARGET:
                return fit, tol, answer
        pytest.fail(f"{name} does not come within {TARGET:g} of the minimum at any tolerance")

    @cached_property
    def peer(self) -> tuple[Fit, float, Answer]:
        """The same of the peer."""
        return self.reaching(PEER)


@pytest.fixture(scope="module")
def task_of() -> Iterator[Callable[[int], Task]]:
    made: dict[int, Task] = {}

    def task(n: int) -> Task:
        if n not in made:
            made.clear()  # one at a time
            X, y = ar1(n, FEATURES)
            made[n] = Task(X, y, optimum.minimum(X, y, 1 / n).loss)
        return made[n]

    return task


def _best(backend: str) -> str:
    return ours(backend, "auto" if get_backend(backend).capabilities().hessian else "lbfgs")


@pytest.mark.beside(PEER)
def test_fit_to_gap(benchmark, note, task_of, smoke, rows, route):
    """All in this process, on all its cores, in turn with the peer."""
    need_memory(rows, FEATURES)
    benchmark.group = f"fit to {TARGET:g} of the minimum, {rows:,} x {FEATURES}"
    task = task_of(rows)
    peer, peers_tol, _ = task.peer
    fit, tol, answer = task.peer if route == PEER else task.reaching(_best(route))
    calls = {"this": lambda: fit(tol), "peer": lambda: peer(peers_tol)}
    times = in_turn(calls, smoke=smoke, pause=PAUSE)
    replay(benchmark, times["this"])
    excess = task.excess(answer)
    note(
        calls["this"],
        loss=task.least * (1 + excess),
        suboptimality=excess,
        target=TARGET,
        tol=tol,
        iterations=answer.iterations,
        over_scikit_learn=ratios(times["this"], times["peer"]),
        **answer.more | {"status": answer.status},
    )
