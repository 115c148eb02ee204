"""A step that is safe for the data: one over the smoothness constant of the objective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.objective import Objective
from lrbackends.problem import Problem

_GRAM_FEATURES = 256  # above this a few passes of Lanczos are cheaper than the Gram matrix
_LANCZOS_TOLERANCE = 1e-2
_BLOCK_BYTES = 1 << 20
_RATE_BITS = 10


def augmented_gram(problem: Problem, fit_intercept: bool) -> NDArray[np.float64]:
    """Return the weighted mean of x x', with a last feature of ones where there is an intercept.

    One pass over the rows in blocks; shape (p, p) or (p + 1, p + 1), float64.
    """
    p = problem.n_features
    gram = np.zeros((p + 1, p + 1))
    rows = max(1, _BLOCK_BYTES // (8 * p))
    for start in range(0, problem.n_samples, rows):
        block = np.ones((len(problem.X[start : start + rows]), p + 1))
        block[:, :p] = problem.X[start : start + rows]
        weighted = block
        if problem.sample_weight is not None:
            weighted = block * problem.sample_weight[start : start + rows, None]
        gram += weighted.T @ block
    gram /= problem.n_samples
    return gram if fit_intercept else gram[:p, :p]


def _largest_eigenvalue(problem: Problem, fit_intercept: bool) -> float:
    """Return an upper estimate of the largest eigenvalue of the augmented Gram matrix."""
    if problem.n_features <= _GRAM_FEATURES:
        with single_threaded():
            return float(np.linalg.eigvalsh(augmented_gram(problem, fit_intercept))[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    X, n, p = problem.X, problem.n_samples, problem.n_features
    weight = np.ones(n) if problem.sample_weight is None else problem.sample_weight

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = v.ravel()
        z = weight * (X @ v[:p].astype(X.dtype) + fit_intercept * v[p])
        return np.append(z.astype(X.dtype) @ X, fit_intercept * z.sum()) / n

    operator = LinearOperator((p + 1, p + 1), matvec=product, dtype=np.float64)
    with single_threaded():
        top = eigsh(
            operator,
            k=1,
            tol=_LANCZOS_TOLERANCE,
            v0=np.ones(p + 1),
            ncv=min(p + 1, 12),
            return_eigenvectors=False,
        )
    return float(top[0]) * (1 + _LANCZOS_TOLERANCE)


def smoothness(problem: Problem, objective: Objective, batch_size: int | None = None) -> float:
    """Return L, a bound on the curvature of the objective, or of its mini-batches in expectation.

    For all rows L = lambda_max / 4 + l2, where lambda_max belongs to the weighted mean of x x'
    (with the intercept's 1) and 1/4 bounds the curvature of the log-loss. For batches of b of n
    rows it is the expected smoothness of Gower et al. (2019, "SGD: general analysis and improved
    rates", proposition 3.8), which lies between that and the largest row's constant at b = 1.
    Weights enter through their mean-one form, so doubling all of them changes nothing and a
    weight of 2 counts as a repeated row.
    """
    whole = _largest_eigenvalue(problem, objective.fit_intercept) / 4
    n, b = problem.n_samples, batch_size
    if b is None or b >= n:
        return whole + objective.l2
    squares = np.einsum("ij,ij->i", problem.X, problem.X, dtype=np.float64, casting="unsafe")
    row = float(np.max((squares + objective.fit_intercept) * problem.weight)) / 4
    return n * (b - 1) / (b * (n - 1)) * whole + (n - b) / (b * (n - 1)) * row + objective.l2


def safe_rate(curvature: float) -> float:
    """Return 1 / ``curvature`` rounded down to a few bits.

    The rounding hides the last digits of the eigenvalue, which depend on the BLAS and its threads.
    """
    mantissa, exponent = np.frexp(1.0 / curvature)
    return float(np.ldexp(np.floor(np.ldexp(mantissa, _RATE_BITS)), int(exponent) - _RATE_BITS))
