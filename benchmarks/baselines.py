"""What the backends are measured against: textbook NumPy, and reading X once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# How often one gradient reads X from memory: the vectorised forms need it for z and again for dw,
# unless a block of rows stays in the cache in between. Of other backends that is not known.
READS = {"numpy": 1, "numba": 1, "jax": 2, "textbook": 2, "read_once": 1}

# How far two ways to compute the same may be apart, relative to the largest entry.
AGREE = {"float64": 1e-11, "float32": 1e-4}


def textbook_loss_gradient(X: Array, y: Array, w: Array, b: float, l2: float):
    """Return loss, dw, db as a course writes them: two matrix products and temporaries."""
    z = X @ w + b
    a = 1 / (1 + np.exp(-z))
    loss = np.mean(np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))) + l2 / 2 * np.sum(w**2)
    dz = a - y
    dw = X.T @ dz / len(y) + l2 * w
    db = np.mean(dz)
    return loss, dw, db


def textbook_hessian(X: Array, w: Array, b: float, l2: float) -> Array:
    """Return the Hessian in (w, b) by two matrix products and temporaries."""
    n, p = X.shape
    a = 1 / (1 + np.exp(-(X @ w + b)))
    s = a * (1 - a) / n
    scaled = X * s[:, None]
    hessian = np.empty((p + 1, p + 1))
    hessian[:p, :p] = X.T @ scaled + l2 * np.eye(p)
    hessian[p, :p] = hessian[:p, p] = scaled.sum(axis=0)
    hessian[p, p] = s.sum()
    return hessian


def textbook_hessian_product(X: Array, w: Array, b: float, v: Array, l2: float) -> Array:
    """Return the Hessian in (w, b) times v, shape (p + 1,), without forming it."""
    a = 1 / (1 + np.exp(-(X @ w + b)))
    s = a * (1 - a) / len(X)
    r = s * (X @ v[:-1] + v[-1])
    return np.append(X.T @ r + l2 * v[:-1], r.sum())


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
