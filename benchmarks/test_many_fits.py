"""Many small fits at once: cross-validation over 100 values of C, and a thousand data sets.

Those that are compared are timed in turn; `over_scikit_learn` is our time over scikit-learn's.
"""

import time
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from threadpoolctl import threadpool_limits

import lrbackends as lrb
from lrbackends.backends.batched import batch_compiler

from .turns import in_turn, ratios, replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

SOLVERS = ("lbfgs", "newton-cholesky", "newton-cg")  # liblinear penalises the intercept
FOLDS = 5
TARGET = 1e-8  # (F - F*) / F* of every fit


@cache
def standardised() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def theirs_of(solver: str, count: int) -> LogisticRegressionCV:
    return LogisticRegressionCV(
        Cs=count,
        cv=FOLDS,
        solver=solver,
        scoring="accuracy",
        l1_ratios=(0,),
        use_legacy_attributes=False,
        max_iter=10_000,
    )


def fitted(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


@cache
def best_of_theirs(count: int) -> tuple[str, int | None, Callable[[], object]]:
    """Return solver, BLAS threads and call of the fastest at scikit-learn's own tolerance."""
    X, y = standardised()
    calls = {}
    for solver in SOLVERS:
        for threads in (1, None):

            def call(solver=solver, threads=threads):
                with threadpool_limits(threads):
                    return fitted(theirs_of(solver, count), X, y)

            calls[solver, threads] = call
    solver, threads = fastest(calls)
    return solver, threads, calls[solver, threads]


def fastest(calls: dict) -> object:
    """Return the key of the fastest of two calls each."""
    seconds = {}
    for key, call in [*calls.items(), *calls.items()]:
        began = time.perf_counter()
        call()
        seconds[key] = min(seconds.get(key, np.inf), time.perf_counter() - began)
    return min(seconds, key=seconds.__getitem__)


def reached(model, X, y, folds) -> tuple[float, float]:
    """Return mean objective and largest (F - F*) / F* of all fits, F* from fits to rounding."""
    weights = np.zeros((len(folds), len(y)))
    for weight, (train, _) in zip(weights, folds, strict=True):
        weight[train] = 1
    least = lrb.fit_many((X, y), C=model.Cs_, sample_weights=weights, backend="numpy", gap=None)
    least = least.loss.reshape(len(folds), -1)
    found, worst = [], 0.0
    for weight, coefs, losses in zip(weights, model.coefs_paths_[:, 0], least, strict=True):
        problem = lrb.Problem(X, y, weight)
        for C, coef, loss in zip(model.Cs_, coefs[:, 0], losses, strict=True):
            objective = lrb.Objective(l2=1 / (C * weight.sum()))
            kernels = lrb.get_backend("numpy").compile(problem, objective)
            found.append(kernels.loss((coef[:-1], coef[-1])))
            worst = max(worst, (found[-1] - loss) / loss)
    return float(np.mean(found)), worst


def test_cross_validation(benchmark, note, smoke, backend):
    from sklearn.model_selection import StratifiedKFold

    X, y = standardised()
    count = 10 if smoke else 100
    benchmark.group = f"cross-validation of {count} C x {FOLDS} folds, breast_cancer"
    ours = lrb.LogisticRegressionCV(Cs=count, cv=FOLDS, backend=backend)
    solver, threads, theirs = best_of_theirs(count)
    assert ours.fit(X, y).C_ == theirs().C_
    loss, gap = reached(ours, X, y, list(StratifiedKFold(FOLDS).split(X, y)))
    assert gap <= TARGET
    times = in_turn({"ours": lambda: ours.fit(X, y), "theirs": theirs}, smoke=smoke)
    note(
        lambda: ours.fit(X, y),
        loss=loss,
        status=ours.status_,
        target=TARGET,
        over_scikit_learn=ratios(times["ours"], times["theirs"]),
        reference=f"scikit-learn {solver}, BLAS threads: {threads or 'all'}",
        suboptimality=gap,
    )
    replay(benchmark, times["ours"])


def test_many_data_sets(benchmark, note, smoke, backend):
    rng, problems = np.random.default_rng(0), []
    for _ in range(20 if smoke else 1000):
        X = rng.normal(size=(100, 10))
        z = X @ rng.normal(size=10)
        problems.append((X, (z + rng.logistic(size=100) > 0).astype(int)))
    benchmark.group = f"{len(problems):,} fits of 100 x 10"

    def ours():
        return lrb.fit_many(problems, backend=backend)

    def theirs(solver):
        with threadpool_limits(1):
            return [LogisticRegression(solver=solver).fit(X, y) for X, y in problems]

    solver = fastest({name: lambda name=name: theirs(name) for name in SOLVERS[:2]})
    fits = ours()
    assert fits.converged
    at_once = batch_compiler(lrb.get_backend(backend)) is not None
    assert fits.batched == (len(problems) if at_once else 0)
    for fit, other in zip(fits, theirs(solver), strict=True):
        assert fit.coef == pytest.approx(other.coef_, abs=1e-2)
    times = in_turn({"ours": ours, "theirs": lambda: theirs(solver)}, smoke=smoke)
    note(
        ours,
        loss=np.mean(fits.loss),
        status="converged",
        over_scikit_learn=ratios(times["ours"], times["theirs"]),
        reference=f"scikit-learn {solver}, one after the other",
        suboptimality=float(max(fit.suboptimality / fit.loss for fit in fits)),
    )
    replay(benchmark, times["ours"])
