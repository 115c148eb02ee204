"""Hessians of many problems on the same rows as one product of matrices.

Each is the sum of s_i x_i x_i': the curvatures of the rows times all products x_ij x_ik, which do
not change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairs_of(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products of each two columns, j <= k, of X (n, d): shape (n, d (d + 1) / 2)."""
    left, right = np.triu_indices(X.shape[1])
    return X[:, left] * X[:, right]


def places_of(d: int) -> NDArray[np.intp]:
    """Return where in a row of `pairs_of` each entry of a Hessian is, shape (d, d)."""
    left, right = np.triu_indices(d)
    places = np.empty((d, d), np.intp)
    places[left, right] = places[right, left] = np.arange(len(left))
    return places


def block_of_problems(n_rows: int, width: int) -> int:
    """Return how many problems to take at once: ``width`` numbers a row of each fit the cache."""
    return max(1, (1 << 18) // (8 * n_rows * width))
