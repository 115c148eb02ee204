"""Two classes in vectorised NumPy: what a chunk of rows adds to loss, gradient and Hessian.

`numpy_softmax` has the same functions for more classes. ``labels`` are the signs 1 - 2y, ``theta``
and ``gradient`` hold the coefficients and then the intercept, ``s`` the rows' curvature; sums are
unscaled, and nothing is said of penalties.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.problem import Problem


def labels_of(problem: Problem) -> NDArray[Any]:
    """Return the labels in the form that the functions below take."""
    return problem.sign


def curvatures(s: NDArray[Any], weight: NDArray[Any]) -> Iterator[tuple[int, int, Any]]:  # noqa: ARG001
    """Yield (0, 0, weighted curvature of each row); see `_gram.class_curvatures`."""
    yield 0, 0, s


def _margins(X: Any, sign: NDArray[Any], theta: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return m and e of the rows."""
    z = X.dot(theta[:-1])
    z += theta[-1]
    m = z
    m *= sign
    e = np.abs(m)
    np.negative(e, out=e)
    np.exp(e, out=e)
    return m, e


def _loss(m: NDArray[Any], e: NDArray[Any], weight: NDArray[Any]) -> float:
    """Return the weighted sum of the losses."""
    loss = np.log1p(e)
    loss += np.maximum(m, 0)
    return float(weight.dot(loss))


def _residual(
    m: NDArray[Any], e: NDArray[Any], sign: NDArray[Any], weight: NDArray[Any]
) -> NDArray[Any]:
    """Return dz, times the weights; ``e`` is overwritten."""
    denominator = e + 1
    a = e
    np.copyto(a, 1, where=m >= 0)
    a /= denominator
    dz = a
    dz *= sign
    dz *= weight
    return dz


def _curvature(e: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return weight a (1 - a) = weight e / (1 + e)^2."""
    root = e + 1
    s: NDArray[Any] = e / (root * root)
    s *= weight
    return s


def loss(X: Any, labels: NDArray[Any], weight: NDArray[Any], theta: NDArray[Any]) -> float:
    """Return the rows' loss."""
    return _loss(*_margins(X, labels, theta), weight)


def curvature(
    X: Any, labels: NDArray[Any], weight: NDArray[Any], theta: NDArray[Any], s: NDArray[Any]
) -> None:
    """Write the rows' curvature, times the weights, to ``s``."""
    _, e = _margins(X, labels, theta)
    s[:] = _curvature(e, weight)


def accumulate(
    X: Any,
    labels: NDArray[Any],
    weight: NDArray[Any],
    theta: NDArray[Any],
    gradient: NDArray[Any],
    s: NDArray[Any] | None = None,
) -> float:
    """Add the rows' share to ``gradient``, which starts at zero; return their loss.

    Where ``s`` is given, the rows' curvature is written to it.
    """
    m, e = _margins(X, labels, theta)
    if s is not None:
        s[:] = _curvature(e, weight)
    loss = _loss(m, e, weight)
    dz = _residual(m, e, labels, weight)
    gradient[:-1] += X.T.dot(dz)
    gradient[-1] = dz.sum()
    return loss


def accumulate_product(
    X: Any,
    s: NDArray[Any],
    weight: NDArray[Any],  # noqa: ARG001
    direction: NDArray[Any],
    product: NDArray[Any],
) -> None:
    """Add the rows' share of the Hessian's product to ``product``, which starts at zero."""
    t = X.dot(direction[:-1])
    t += direction[-1]
    t *= s
    product[:-1] += X.T.dot(t)
    product[-1] = t.sum()
