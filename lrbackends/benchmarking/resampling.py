"""The same data with fewer or more rows, to see how costs grow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def resized(X: Any, codes: NDArray[Any], n: int, seed: int) -> tuple[Any, NDArray[Any]]:
    """Return ``n`` rows of the data: drawn without replacement, or with it where there are fewer.

    Each class keeps a row at least.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Classes.
    n : int
        At least the number of classes.
    seed : int
    """
    rng = np.random.default_rng([seed, n])
    have = X.shape[0]
    rows = rng.permutation(have)[:n] if n <= have else rng.integers(have, size=n)
    of_each = np.unique(codes, return_index=True)[1]
    if len(np.unique(codes[rows])) < len(of_each):
        rows[: len(of_each)] = of_each
    return X[rows], codes[rows]
