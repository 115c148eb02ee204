"""A step that is safe for the data: one over the smoothness constant of the objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem, dense_blocks
from lrbackends.scaling import Scaling

_GRAM_FEATURES = 256  # above this a few passes of Lanczos are cheaper than the Gram matrix
_LANCZOS_TOLERANCE = 1e-2
_RATE_BITS = 10


def augmented_gram(
    problem: Problem, fit_intercept: bool, scaling: Scaling | None = None
) -> NDArray[np.float64]:
    """Return the weighted mean of x x', with a last feature of ones where there is an intercept.

    Of standardised x where ``scaling`` is given. One pass over the rows in blocks; shape (p, p) or
    (p + 1, p + 1), float64.
    """
    p = problem.n_features
    gram = np.zeros((p + 1, p + 1))
    weight = problem.sample_weight
    for rows, dense in dense_blocks(problem.X, np.float64):
        block = np.ones((len(dense), p + 1))
        block[:, :p] = dense if scaling is None else scaling.rows(dense)
        if weight is not None:
            block *= np.sqrt(weight[rows, None])
        gram += block.T @ block
    gram /= problem.n_samples
    return gram if fit_intercept else gram[:p, :p]


def _largest_eigenvalue(problem: Problem, fit_intercept: bool, scaling: Scaling | None) -> float:
    """Return an upper estimate of the largest eigenvalue of the augmented Gram matrix."""
    if problem.n_features <= _GRAM_FEATURES:
        with single_threaded():
            return float(np.linalg.eigvalsh(augmented_gram(problem, fit_intercept, scaling))[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    n, p = problem.n_samples, problem.n_features

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = v.ravel()
        if scaling is not None:
            v = _packed(scaling.to_columns(Params(v[None, :p], v[p:])))
        found = np.zeros(p + 1)
        for rows, block in _blocks(problem):
            z = block @ v[:p].astype(problem.dtype) + fit_intercept * v[p]
            z *= problem.exact_weight[rows]
            found[:p] += z.astype(problem.dtype) @ block
            found[p] += fit_intercept * z.sum()
        if scaling is not None:
            found = _packed(scaling.gradient(Params(found[None, :p], found[p:])))
        return found / n

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


def _packed(params: Params) -> NDArray[np.float64]:
    return np.append(params.coef[0], params.intercept)


def _blocks(problem: Problem) -> Iterator[tuple[slice, Any]]:
    """Yield X in blocks of rows that can be multiplied with; CSR in one."""
    return (
        iter([(slice(None), problem.X)])
        if problem.sparse
        else dense_blocks(problem.X, problem.dtype)
    )


def _row_squares(problem: Problem, scaling: Scaling | None) -> NDArray[np.float64]:
    """Return the squared Euclidean norm of each row, standardised or not, shape (n_samples,)."""
    X = problem.X
    if scaling is not None:
        rows = (scaling.rows(block) for _, block in dense_blocks(X, np.float64))
        return np.concatenate([np.einsum("ij,ij->i", block, block) for block in rows])
    if problem.sparse:
        entries = X.data.astype(np.float64)
        row = np.repeat(np.arange(problem.n_samples), np.diff(X.indptr))
        squares = np.bincount(row, entries * entries, minlength=problem.n_samples)
        return squares.astype(np.float64)
    return np.concatenate(
        [np.einsum("ij,ij->i", block, block) for _, block in dense_blocks(X, np.float64)]
    )


def smoothness(
    problem: Problem,
    objective: Objective,
    batch_size: int | None = None,
    scaling: Scaling | None = None,
) -> float:
    """Return L, a bound on the curvature of the objective, or of its mini-batches in expectation.

    For all rows L = lambda_max / 4 + l2, where lambda_max belongs to the weighted mean of x x'
    (with the intercept's 1) and 1/4 bounds the curvature of the log-loss; it is 1/2 with more than
    two classes (Böhning 1992). In standardised coordinates where ``scaling`` is given. For batches
    of b of n
    rows it is the expected smoothness of Gower et al. (2019, "SGD: general analysis and improved
    rates", proposition 3.8), which lies between that and the largest row's constant at b = 1.
    Weights enter through their mean-one form, so doubling all of them changes nothing and a
    weight of 2 counts as a repeated row.
    """
    steepest = 4 if problem.n_outputs == 1 else 2
    whole = _largest_eigenvalue(problem, objective.fit_intercept, scaling) / steepest
    n, b = problem.n_samples, batch_size
    if b is None or b >= n:
        return whole + objective.l2
    squares = _row_squares(problem, scaling) + objective.fit_intercept
    row = float(np.max(squares * problem.exact_weight)) / steepest
    return n * (b - 1) / (b * (n - 1)) * whole + (n - b) / (b * (n - 1)) * row + objective.l2


def safe_rate(curvature: float) -> float:
    """Return 1 / ``curvature`` rounded down to a few bits.

    The rounding hides the last digits of the eigenvalue, which depend on the BLAS and its threads.
    """
    mantissa, exponent = np.frexp(1.0 / curvature)
    return float(np.ldexp(np.floor(np.ldexp(mantissa, _RATE_BITS)), int(exponent) - _RATE_BITS))
