"""More than two classes in vectorised NumPy: what a chunk of rows adds to loss, gradient, Hessian.

The functions are those of `numpy_sigmoid`; ``labels`` are the classes, 0..K-1, and ``s`` the
probabilities. Whatever belongs to a class and a row is of shape (K, rows), so that sums over the
classes add whole vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends import _gram
from lrbackends.problem import Problem

# OpenBLAS multiplies small matrices as they lie, large ones it copies first. With few outputs the
# copy of wide rows costs as much as the product, and twice as much in float32.
_SMALL_PRODUCT = 1_000_000
_SMALL_ROWS = 64
_WIDE = 256


def labels_of(problem: Problem) -> NDArray[Any]:
    """Return the labels in the form that the functions below take."""
    return problem.y


def curvatures(a: NDArray[Any], weight: NDArray[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield the curvatures of pairs of classes; see `_gram.class_curvatures`."""
    return _gram.class_curvatures(a.T, weight)


def _split(theta: NDArray[Any], n_features: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return views of the coefficients, shape (K, p), and of the intercepts, shape (K,)."""
    K = len(theta) // (n_features + 1)
    return theta[: K * n_features].reshape(K, n_features), theta[K * n_features :]


def _blocks(X: Any, K: int) -> Iterator[tuple[slice, Any]]:
    """Cut X into the rows that are multiplied at a time."""
    m, p = X.shape
    if isinstance(X, np.ndarray) and p >= _WIDE and _SMALL_ROWS * p * K <= _SMALL_PRODUCT:
        for start in range(0, m, _SMALL_ROWS):
            rows = slice(start, start + _SMALL_ROWS)
            yield rows, X[rows]
    else:
        yield slice(m), X


def _scores(X: Any, theta: NDArray[Any]) -> NDArray[Any]:
    """Return z."""
    coef, intercept = _split(theta, X.shape[1])
    z = np.empty((len(coef), X.shape[0]), theta.dtype)
    for rows, x in _blocks(X, len(coef)):
        z[:, rows] = coef @ x.T
    z += intercept[:, None]
    return z


def _exponentials(
    z: NDArray[Any], y: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Return e with zeros in place of e_y, e_y, max z - z_y, and where e_y was; overwrites z."""
    z -= z.max(axis=0)
    own = y * z.shape[1] + np.arange(z.shape[1])
    behind = -z.ravel()[own]
    e = np.exp(z, out=z)
    flat = e.ravel()
    e_y = flat[own]
    flat[own] = 0
    return e, e_y, behind, own


def _loss(
    rest: NDArray[Any], e_y: NDArray[Any], behind: NDArray[Any], weight: NDArray[Any]
) -> float:
    """Return the weighted sum of the losses; ``rest`` is the sum of the e without e_y.

    Where y has the largest score, e_y - 1 is 0 and every digit of ``rest`` counts; elsewhere the
    loss is at least log 2, and there is nothing to lose.
    """
    loss = np.log1p(rest + (e_y - 1))
    loss += behind
    return float(weight.dot(loss))


def _write_probabilities(
    e: NDArray[Any], e_y: NDArray[Any], total: NDArray[Any], own: NDArray[np.int64], a: NDArray[Any]
) -> None:
    e.ravel()[own] = e_y
    np.divide(e, total, out=a)


def _add_products(X: Any, dz: NDArray[Any], gradient: NDArray[Any]) -> None:
    """Add dz' X and the sums of dz."""
    dw, db = _split(gradient, X.shape[1])
    for rows, x in _blocks(X, len(dz)):
        dw += dz[:, rows] @ x
    db += dz.sum(axis=1)


def loss(X: Any, labels: NDArray[Any], weight: NDArray[Any], theta: NDArray[Any]) -> float:
    """Return the rows' loss."""
    e, e_y, behind, _ = _exponentials(_scores(X, theta), labels)
    return _loss(e.sum(axis=0), e_y, behind, weight)


def curvature(
    X: Any,
    labels: NDArray[Any],
    weight: NDArray[Any],  # noqa: ARG001
    theta: NDArray[Any],
    a: NDArray[Any],
) -> None:
    """Write the rows' probabilities to ``a``."""
    e, e_y, _, own = _exponentials(_scores(X, theta), labels)
    _write_probabilities(e, e_y, e.sum(axis=0) + e_y, own, a)


def accumulate(
    X: Any,
    labels: NDArray[Any],
    weight: NDArray[Any],
    theta: NDArray[Any],
    gradient: NDArray[Any],
    a: NDArray[Any] | None = None,
) -> float:
    """Add the rows' share to ``gradient``; return their loss.

    Where ``a`` is given, the rows' probabilities are written to it.
    """
    e, e_y, behind, own = _exponentials(_scores(X, theta), labels)
    rest = e.sum(axis=0)
    total = rest + e_y
    if a is not None:
        _write_probabilities(e, e_y, total, own, a)
    scale = weight / total
    dz = e
    dz *= scale
    dz.ravel()[own] = -rest * scale  # a_y - 1 would lose digits where a_y is close to 1
    _add_products(X, dz, gradient)
    return _loss(rest, e_y, behind, weight)


def accumulate_product(
    X: Any,
    a: NDArray[Any],
    weight: NDArray[Any],
    direction: NDArray[Any],
    product: NDArray[Any],
) -> None:
    """Add the rows' share of the Hessian's product to ``product``."""
    t = _scores(X, direction)
    # Only differences count. Those from the most probable class keep the mean's digits where its
    # probability is close to 1.
    t -= np.take_along_axis(t, a.argmax(axis=0)[None], axis=0)
    t -= (a * t).sum(axis=0)
    t *= a
    t *= weight
    _add_products(X, t, product)
