"""What the backends are measured against: textbook NumPy, and reading X once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def textbook_loss_gradient(X: Array, y: Array, w: Array, b: float, l2: float):
    """Return loss, dw, db as a course writes them: two matrix products and temporaries."""
    z = X @ w + b
    a = 1 / (1 + np.exp(-z))
    loss = np.mean(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))) + l2 / 2 * np.sum(w**2)
    dz = a - y
    dw = X.T @ dz / len(y) + l2 * w
    db = np.mean(dz)
    return loss, dw, db


def textbook_fit(X: Array, y: Array, learning_rate: float, l2: float, steps: Iterable[Any]):
    """Return the loss over all rows after gradient descent in a plain Python loop.

    Each of ``steps`` says which rows a step is taken on; losses are recorded on the way.
    """
    w, b, losses = np.zeros(X.shape[1]), 0.0, []
    for rows in steps:
        loss, dw, db = textbook_loss_gradient(X[rows], y[rows], w, b, l2)
        losses.append(loss)
        w = w - learning_rate * dw
        b = b - learning_rate * db
    return textbook_loss_gradient(X, y, w, b, l2)[0]


def read_once(X: Array) -> float:
    """Return the sum of squares of X, in BLAS: nothing that uses all of X can be much faster."""
    flat = X.ravel()
    return float(flat @ flat)
