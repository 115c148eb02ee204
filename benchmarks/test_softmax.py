"""Softmax to a given distance from the optimum, beside scikit-learn, in turn.

Every contestant has the loosest tolerance that gets its objective within `TARGET` of the minimum,
relatively. The minimum is ours to a certified gap, the larger of the two figures being taken for
it, so that nobody is spared the last digits.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lrbackends import Objective, Params, Problem, Trainer, get_backend
from lrbackends.datasets import load_dataset

from .problems import MissingFileError, mnist_folder
from .turns import once, ratios, replay, replayed, rounds_for, take_turns

TARGET = 1e-4
CERTIFIED = 1e-6  # of the minimum that distances are measured from
LADDER = tuple(float(f"{10 ** (-k / 2):.2g}") for k in range(4, 15))
PEERS = {  # solver of scikit-learn, threads of BLAS
    "scikit-learn lbfgs, 1 thread": ("lbfgs", 1),
    "scikit-learn lbfgs": ("lbfgs", None),
    "scikit-learn newton-cg": ("newton-cg", None),
}


@dataclass(frozen=True)
class Task:
    """What is minimised, and its minimum."""

    X: Any
    y: Any
    l2: float
    least: float

    def loss(self, params: Any) -> float:
        """Return the objective, by one backend for all."""
        kernels = get_backend("numpy").compile(Problem(self.X, self.y), Objective(l2=self.l2))
        return kernels.loss(params)


@cache
def task(name: str, smoke: bool) -> Task:
    if name == "mnist":
        try:
            found = load_dataset(f"{mnist_folder()}/train-images-idx3-ubyte.gz")
        except MissingFileError as error:
            pytest.skip(str(error))
        X, y, l2 = found.X_train, found.y_train, 1e-4
    else:
        found = load_dataset(name, test_size=0.0)
        X, y = found.X_train, found.y_train
        l2 = 1 / len(y)
    if smoke:
        X, y = X[:200], y[:200]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = Trainer("numpy", "auto", l2=l2, gap=CERTIFIED, epochs=5_000, random_state=0).fit(
            X, y
        )
    assert best.status == "converged", best.reason
    return Task(X, y, l2, best.loss)


def ours(backend: str, task: Task) -> Callable[[float], Any]:
    def fit(tol: float) -> Any:
        trainer = Trainer(backend, "auto", l2=task.l2, tol=tol, epochs=5_000, random_state=0)
        return trainer.fit(task.X, task.y).params

    return fit


def peer(name: str, task: Task) -> Callable[[float], Any]:
    from sklearn.linear_model import LogisticRegression

    solver, threads = PEERS[name]

    def fit(tol: float) -> Any:
        model = LogisticRegression(
            C=1 / (task.l2 * len(task.y)), solver=solver, tol=tol, max_iter=5_000
        )
        with threadpool_limits(threads):
            model.fit(task.X, task.y)
        return Params(model.coef_, model.intercept_)

    return fit


def reaching(fit: Callable[[float], Any], task: Task) -> tuple[float, float, float]:
    """Return the loosest tolerance that reaches the target, the objective there, and seconds."""
    for tol in LADDER:
        began = time.perf_counter()
        loss = task.loss(fit(tol))
        if loss <= task.least * (1 + TARGET):
            return tol, loss, time.perf_counter() - began
    pytest.fail(f"did not come within {TARGET:g} of the minimum at any tolerance")


@cache
def reference(name: str, smoke: bool) -> tuple[Callable[[float], Any], float]:
    """Return the contestant that all others take turns with."""
    fit = ours("numba", task(name, smoke))
    fit(LADDER[0])  # compiles
    return fit, reaching(fit, task(name, smoke))[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("data", ["digits", "mnist"])  # so, names begin with it


@pytest.mark.slow
@pytest.mark.benchmark(timer=replayed)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.beside(*PEERS)
def test_softmax(benchmark, note, smoke, route, data):
    if smoke and data == "mnist":
        pytest.skip("not in smoke form")
    what = task(data, smoke)
    benchmark.group = f"softmax {data}, {len(np.unique(what.y))} classes, to {TARGET:g}"
    fit = peer(route, what) if route in PEERS else ours(route, what)
    fit(LADDER[0])  # compiles, starts threads
    tol, loss, seconds = reaching(fit, what)
    against, its_tol = reference(data, smoke)
    turns = {"this": once(lambda: fit(tol)), "reference": once(lambda: against(its_tol))}
    times = take_turns(turns, rounds_for(2 * seconds, smoke=smoke))
    replay(benchmark, times["this"])
    note(
        lambda: fit(tol),
        loss=loss,
        suboptimality=(loss - what.least) / what.least,
        target=TARGET,
        status="converged",
        tol=tol,
        over_numba=ratios(times["this"], times["reference"]),
    )
