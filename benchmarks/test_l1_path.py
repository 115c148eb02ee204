"""A path of 20 values of C with an L1 penalty on a9a, sparse, beside other libraries, in turn.

C goes from where all weights are zero up to a thousand times that. Each value is brought to a
duality gap of `GAP`, relative to the objective, from the solution before. A peer has the loosest
tolerance that gets each of its objectives within `GAP` of ours, which are certified to a tenth of
it beforehand. Peers go on from value to value, too, where their library allows it.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import lrbackends as lrb
from lrbackends import Objective, Params, Problem, get_backend

from .problems import MissingFileError, make
from .turns import once, ratios, replay, replayed, rounds_for, take_turns

GAP = 1e-6
COUNT, SPAN = 20, 1e3
LADDER = tuple(float(f"{10 ** (-k / 2):.2g}") for k in range(4, 15))
PEERS = ("scikit-learn saga", "scikit-learn liblinear", "skglm")

Path = list[Params]


@cache
def data() -> tuple[Any, Any, Any]:
    """Return X, y and the values of l1, falling."""
    try:
        X, y = make("a9a_sparse", "float64", smoke=False)
    except MissingFileError as error:
        pytest.skip(str(error))
    share = y.mean()
    largest = np.abs(X.T @ (share - y)).max() / len(y)
    return X, y, largest / np.geomspace(1.0, SPAN, COUNT)


def by_us(backend: str, gap: float = GAP) -> Path:
    X, y, l1 = data()
    path = lrb.regularisation_path(X, y, 1 / (l1 * len(y)), l1_ratio=1.0, backend=backend, gap=gap)
    return [Params(w, b) for w, b in zip(path.coefs, path.intercepts, strict=True)]


def by_saga(tol: float) -> Path:
    from sklearn.linear_model import LogisticRegression

    X, y, l1 = data()
    model = LogisticRegression(
        l1_ratio=1.0, solver="saga", tol=tol, max_iter=10_000, warm_start=True, random_state=0
    )
    found = []
    for strength in l1:
        model.set_params(C=1 / (strength * len(y))).fit(X, y)
        found.append(Params(model.coef_.copy(), model.intercept_.copy()))
    return found


def by_liblinear(tol: float) -> Path:
    """Its intercept is penalised; a large ``intercept_scaling`` makes that small."""
    from sklearn.linear_model import LogisticRegression

    X, y, l1 = data()
    found = []
    for strength in l1:
        model = LogisticRegression(
            C=1 / (strength * len(y)),
            l1_ratio=1.0,
            solver="liblinear",
            tol=tol,
            intercept_scaling=100.0,
            max_iter=10_000,
            random_state=0,
        ).fit(X, y)
        found.append(Params(model.coef_, model.intercept_))
    return found


def by_skglm(tol: float) -> Path:
    from skglm import SparseLogisticRegression

    X, y, l1 = data()
    signs = np.where(y == 1, 1.0, -1.0)
    found, model = [], SparseLogisticRegression(tol=tol, warm_start=True, max_iter=1000)
    columns = X.tocsc()
    for strength in l1:
        model.alpha = strength
        model.fit(columns, signs)
        found.append(Params(model.coef_.copy().reshape(1, -1), np.ravel(model.intercept_)))
    return found


_BY = {"scikit-learn saga": by_saga, "scikit-learn liblinear": by_liblinear, "skglm": by_skglm}


@cache
def judges() -> list[Any]:
    """Return the kernels of each objective, of one backend for all."""
    X, y, l1 = data()
    problem = Problem(X, y)
    return [get_backend("numpy").compile(problem, Objective(l1=v)) for v in l1]


@cache
def least() -> np.ndarray:
    return losses(by_us("numpy", GAP / 10))


def losses(path: Path) -> np.ndarray:
    return np.array([kernels.loss(at) for kernels, at in zip(judges(), path, strict=True)])


def excess(path: Path) -> float:
    return float((losses(path) / least() - 1).max())


def call_of(name: str) -> tuple[Callable[[], Path], float, float]:
    """Return the call that reaches the gap everywhere, its tolerance and what it reached."""
    if name not in PEERS:
        by_us(name)  # compiles
        return partial(by_us, name), GAP, excess(by_us(name))
    nearest = np.inf
    for tol in LADDER:
        found = excess(_BY[name](tol))
        if found <= GAP:
            return partial(_BY[name], tol), tol, found
        nearest = min(nearest, found)
    return partial(_BY[name], LADDER[-1]), LADDER[-1], nearest


@pytest.mark.slow
@pytest.mark.benchmark(timer=replayed, group=f"L1 path of {COUNT} values on a9a, gap {GAP:g}")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.beside(*PEERS)
def test_l1_path(benchmark, note, smoke, route):
    if smoke:
        pytest.skip("not in smoke form")
    if route == "skglm" and find_spec("skglm") is None:
        pytest.skip("skglm is not installed")
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        call, tol, reached = call_of(route)
        reference, _, _ = call_of("numba")
        turns = {"this": once(call), "reference": once(reference)}
        seconds = turns["this"]()
        times = take_turns(turns, rounds_for(2 * seconds, smoke=smoke))
        replay(benchmark, times["this"])
        note(
            call,
            loss=losses(call())[-1],  # of the weakest penalty
            status="converged" if reached <= GAP else f"{reached:.1e} above the minimum",
            suboptimality=reached,
            target=GAP,
            largest_excess=reached,
            tol=tol,
            over_numba=ratios(times["this"], times["reference"]),
        )
