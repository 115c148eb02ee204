"""Standardised coordinates: columns of mean 0 and deviation 1, without a copy of X.

With u_j = (x_j - centre_j) / scale_j the score is

    u . w' + b'  =  x . w + b     where  w_j = w'_j / scale_j,  b = b' - sum of w_j centre_j,

so kernels of X itself are evaluated at (w, b), and by the chain rule the gradient by w'_j is
(dw_j - db centre_j) / scale_j. Sparse X stays sparse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._csr import column_sums
from lrbackends.objective import Params
from lrbackends.problem import Problem, dense_blocks


@dataclass(frozen=True)
class Scaling:
    """A change of coordinates.

    Attributes
    ----------
    centre, scale : ndarray of shape (n_features,), float64
    moving : ndarray of shape (n_features,), bool
        False for columns that are 0 in the new coordinates: their weights stay where they are.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    moving: NDArray[np.bool_]

    def rows(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows of X standardised, shape (n_rows, n_features)."""
        return np.asarray((rows - self.centre) / self.scale)

    def to_columns(self, params: Params) -> Params:
        """Return the parameters that belong to X itself.

        The intercept's sum is rounded once, so that its bits depend on nothing else.
        """
        dtype = params.coef.dtype
        coef = params.coef / self.scale
        shift = [math.fsum(row) for row in coef * self.centre]
        return Params(coef.astype(dtype), (params.intercept - np.array(shift)).astype(dtype))

    def from_columns(self, params: Params) -> Params:
        """Return the parameters in standardised coordinates."""
        dtype, shift = params.coef.dtype, params.coef.astype(np.float64) @ self.centre
        return Params(
            (params.coef * self.scale).astype(dtype), (params.intercept + shift).astype(dtype)
        )

    def gradient(self, gradient: Params) -> Params:
        """Return a gradient by the standardised parameters, given the one by those of X."""
        dw, db = gradient
        along = (dw - db[:, None] * self.centre) / self.scale
        return Params(np.where(self.moving, along, 0).astype(dw.dtype), db)


def scaling_of(problem: Problem, fit_intercept: bool) -> Scaling:
    """Return the weighted means and (population) deviations of the columns.

    Without an intercept nothing can take up the means, so that columns are scaled only. The scale
    of a column that is constant up to rounding is 1.
    """
    n, weight = problem.n_samples, problem.exact_weight
    mean = _column_means(problem, weight, np.zeros(problem.n_features))
    variance = _column_means(problem, weight, mean, squared=True)
    eps = float(np.finfo(np.float64).eps)
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance))
    centre = mean if fit_intercept else np.zeros_like(mean)
    return Scaling(centre, scale, ~constant | (not fit_intercept))


def _column_means(
    problem: Problem, weight: NDArray[Any], centre: NDArray[Any], squared: bool = False
) -> NDArray[np.float64]:
    """Return the weighted mean of (x - centre), or of its square, in float64."""
    n, X = problem.n_samples, problem.X
    power = 2 if squared else 1
    if problem.sparse:
        row = np.repeat(weight, np.diff(X.indptr))
        off = (X.data.astype(np.float64) - centre[X.indices]) ** power
        stored = np.bincount(X.indices, minlength=problem.n_features)
        rest = np.where(stored < n, n - column_sums(X, row), 0)  # the weight of all other entries
        return np.asarray((column_sums(X, row * off) + rest * (-centre) ** power) / n)
    total = np.zeros(problem.n_features)
    for rows, block in dense_blocks(X, np.float64):
        off = (block - centre) ** power
        off *= weight[rows, None]
        total += np.add.reduce(off, axis=0)  # row after row: no BLAS decides on the bits
    return total / n
