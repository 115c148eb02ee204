"""The problems that backends are judged on, made from fixed seeds or from bundled data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lrbackends.objective import Objective, Params, as_params
from lrbackends.problem import Problem

DTYPES = ("float64", "float32")
_N_POINTS = 20_000
_JITTER = 0.05
_LARGE_MARGIN = 500.0


@dataclass(frozen=True, eq=False)
class Setting:
    """Something to evaluate or to train: a problem, an objective and parameters.

    Attributes
    ----------
    name : str
    problem, objective : Problem, Objective
    params : Params
        Where to evaluate, or where training starts.
    curved : bool
        Whether training is pulled back from a small change of the parameters, so that rounding
        errors of the way are forgotten.
    """

    name: str
    problem: Problem
    objective: Objective
    params: Params
    curved: bool = True

    @cached_property
    def points(self) -> NDArray[Any]:
        """The rows and many more like them, shape (n_samples + 20,000, n_features)."""
        rng = np.random.default_rng(9)
        X = self.problem.X
        near = X[rng.integers(0, len(X), _N_POINTS)]
        return np.concatenate([X, near * (1 + _JITTER * rng.normal(size=near.shape))])


def _zeros(problem: Problem) -> Params:
    K = problem.n_outputs
    return Params(np.zeros((K, problem.n_features), problem.dtype), np.zeros(K, problem.dtype))


def _overlapping(
    n: int, p: int, seed: int, weighted: bool = False, dtype: str = "float64"
) -> Problem:
    """Return normal features with labels that no hyperplane separates."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    z = X @ rng.normal(size=p) + 0.3
    weight = rng.integers(1, 8, size=n) / 2 if weighted else None
    return Problem(X, (z + rng.logistic(size=n) > 0).astype(int), weight, dtype=dtype)


def _several(n: int, p: int, K: int, seed: int, weighted: bool = False, **how: Any) -> Problem:
    """Return normal features with K labels that no hyperplanes separate."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = (X @ rng.normal(size=(p, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    weight = rng.integers(1, 8, size=n) / 2 if weighted else None
    return Problem(X, y, weight, classes=np.arange(K), **how)


def small(weighted: bool = False, dtype: str = "float64") -> Problem:
    """Return 64 rows of 5 features."""
    return _overlapping(64, 5, 1, weighted, dtype)


@cache
def large() -> Problem:
    """Return a problem that backends cut into several chunks of rows and share among threads."""
    return _overlapping(20_000, 32, 2, weighted=True)


@cache
def points(dtype: str) -> tuple[Setting, ...]:
    """Return where gradients are evaluated: at zero, at random and at large parameters."""
    plain, weighted = small(dtype=dtype), small(weighted=True, dtype=dtype)
    rng = np.random.default_rng(3)
    w, b = rng.normal(size=5), 0.7
    scale = _LARGE_MARGIN / np.abs(plain.X @ w + b).max()
    ridge = Objective(l2=0.125)
    free = Objective(fit_intercept=False)
    chosen: list[tuple[str, Problem, Objective, Any]] = [
        ("w = 0", plain, Objective(), (np.zeros(5), 0.0)),
        ("w = 0, weights", weighted, Objective(), (np.zeros(5), 0.0)),
        ("random w", plain, Objective(), (w, b)),
        ("random w, l2", plain, ridge, (w, b)),
        ("random w, weights, l2", weighted, ridge, (w, b)),
        ("random w, weights, no intercept", weighted, free, (w, 0.0)),
        ("large w", plain, Objective(), (scale * w, scale * b)),
        ("large w, weights, l2", weighted, ridge, (scale * w, scale * b)),
    ]
    lasso = Objective(l2=0.125, l1=0.0625)
    some = w * [1, 0, 1, 0, 0]
    chosen += [
        ("w = 0, l1, l2", plain, lasso, (np.zeros(5), 0.0)),
        ("some w = 0, weights, l1, l2", weighted, lasso, (some, b)),
        ("random w, l1, no intercept", plain, Objective(l1=0.5, fit_intercept=False), (w, 0.0)),
    ]
    K = 3
    three = _several(64, 5, K, 12, dtype=dtype)
    three_weighted = _several(64, 5, K, 12, weighted=True, dtype=dtype)
    W, B = rng.normal(size=(K, 5)), rng.normal(size=K)
    scale = _LARGE_MARGIN / np.abs(three.X @ W.T + B).max()
    chosen += [
        ("3 classes, w = 0", three, Objective(), (np.zeros((K, 5)), np.zeros(K))),
        ("3 classes, random w", three, Objective(), (W, B)),
        ("3 classes, random w, weights, l2", three_weighted, ridge, (W, B)),
        ("3 classes, random w, no intercept", three, free, (W, np.zeros(K))),
        ("3 classes, large w, weights, l2", three_weighted, ridge, (scale * W, scale * B)),
        ("3 classes, some w = 0, l1", three, lasso, (W * (np.abs(W) > 0.5), B)),
    ]
    return tuple(
        Setting(name, problem, objective, as_params(params, problem))
        for name, problem, objective, params in chosen
    )


@cache
def stored(dtype: str) -> tuple[Setting, ...]:
    """Return small whole numbers in each form that X may be stored in, at zero and at random w.

    The bytes of uint8 are those of int8, so that taking one for the other shows.
    """
    rng = np.random.default_rng(5)
    X = np.where(rng.random((64, 5)) < 0.5, 0, rng.integers(-120, 120, size=(64, 5)))
    y = (X @ rng.normal(size=5) + rng.logistic(scale=100.0, size=64) > 0).astype(int)
    weight = rng.integers(1, 8, size=64) / 2
    forms: dict[str, Any] = {"uint8": (X % 256).astype(np.uint8), "int8": X.astype(np.int8)}
    if dtype == "float64":
        forms["float32"] = X.astype(np.float32)
    forms["CSR"] = sparse.csr_array(X)
    points = {"w = 0": (np.zeros(5), 0.0), "random w": (rng.normal(size=5) / 100, 0.7)}
    found = []
    for form, given in forms.items():
        problem = Problem(given, y, weight, dtype=dtype)
        found += [
            Setting(f"X in {form}, {where}", problem, Objective(l2=0.125), as_params(at, problem))
            for where, at in points.items()
        ]
        three = Problem(given, np.abs(X[:, 0]) % 3, weight, dtype=dtype)
        at = as_params((rng.normal(size=(3, 5)) / 100, rng.normal(size=3)), three)
        found.append(Setting(f"X in {form}, 3 classes, random w", three, Objective(l2=0.125), at))
    return tuple(found)


def _breast_cancer() -> Problem:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return Problem((X - X.mean(axis=0)) / X.std(axis=0), y)


def _digits01() -> Problem:
    from sklearn.datasets import load_digits

    X, y = load_digits(n_class=2, return_X_y=True)
    return Problem(X / 16.0, y)


def _condition_1e8() -> Problem:
    """Return 1,000 x 20 features whose singular values fall evenly from 1 to 1e-8."""
    rng = np.random.default_rng(42)
    n, p = 1000, 20
    U, _ = np.linalg.qr(rng.normal(size=(n, p)))
    V, _ = np.linalg.qr(rng.normal(size=(p, p)))
    X = U * np.logspace(0, -8, p) @ V.T * np.sqrt(n)
    z = X @ (V @ rng.normal(size=p) * 3)
    return Problem(X, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int))


def _wine() -> Problem:
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return Problem((X - X.mean(axis=0)) / X.std(axis=0), y)


@cache
def training() -> tuple[Setting, ...]:
    """Return the problems that every solver is run on."""
    breast_cancer, digits01, ill = _breast_cancer(), _digits01(), _condition_1e8()
    weighted = _overlapping(80, 6, 4, weighted=True)
    start = as_params((np.random.default_rng(6).normal(size=6), 0.5), weighted)
    several = _several(120, 6, 4, 13, weighted=True)
    rng = np.random.default_rng(14)
    several_start = as_params((rng.normal(size=(4, 6)), rng.normal(size=4)), several)
    return (
        Setting("breast_cancer", breast_cancer, Objective(), _zeros(breast_cancer)),
        Setting("digits01", digits01, Objective(), _zeros(digits01)),
        Setting("condition 1e8", ill, Objective(), _zeros(ill), curved=False),
        Setting("weights, l2, random start", weighted, Objective(l2=1e-2), start),
        # A number added to all intercepts changes nothing, so nothing pulls it back.
        Setting(
            "4 classes, weights, l2, random start",
            several,
            Objective(l2=1e-2),
            several_start,
            curved=False,
        ),
        Setting("digits01, l1, l2", digits01, Objective(l2=1e-3, l1=1e-2), _zeros(digits01)),
    )


@cache
def absolute() -> tuple[Setting, ...]:
    """Return problems with an L1 penalty, of which some weights are zero at the optimum.

    Gradient descent takes long to get there where they are not ``curved``.
    """
    chosen = {
        "breast_cancer, l1 = 0.01": (_breast_cancer(), Objective(l1=1e-2)),
        "digits01, l1 = 0.005, l2 = 0.01": (_digits01(), Objective(l2=1e-2, l1=5e-3)),
        "wine, l1 = 0.01": (_wine(), Objective(l1=1e-2)),
    }
    return tuple(
        Setting(name, problem, objective, _zeros(problem), curved=name.startswith("wine"))
        for name, (problem, objective) in chosen.items()
    )


@cache
def penalised() -> tuple[Setting, ...]:
    """Return problems whose penalty makes the optimum unique and quickly reached."""
    chosen = {
        "breast_cancer": _breast_cancer(),
        "digits01": _digits01(),
        "weighted": _overlapping(80, 6, 4, weighted=True),
        "wine": _wine(),
    }
    return tuple(
        Setting(f"{name}, l2 = 0.01", problem, Objective(l2=1e-2), _zeros(problem))
        for name, problem in chosen.items()
    )
