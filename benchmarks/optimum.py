"""Where the minimum is: a careful Newton method in float64, against which every answer is judged.

Written apart from the package, so that nothing is judged by what it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit

Vector = NDArray[np.float64]
_BLOCK = 1 << 23  # bytes of a block of rows in float64
_FACTORED = 3_000  # with more features Newton's equations are solved by conjugate gradients
_MAX_STEPS = 200
_FLAT = 1e-14  # largest entry of the gradient that ends it


@dataclass(frozen=True)
class Optimum:
    """The least objective.

    Attributes
    ----------
    loss : float
        F*: mean log-loss + (l2/2) |w|^2 at the best (w, b).
    decrement : float
        Half the squared Newton decrement there: about how far F* may still be above the infimum.
    theta : ndarray of shape (n_features + 1,)
        w, then b.
    """

    loss: float
    decrement: float
    theta: Vector


def _blocks(X: Any, y: NDArray[Any]) -> Iterator[tuple[Any, Vector]]:
    """Yield blocks of rows in float64 with their signs 1 - 2y; CSR data whole."""
    sign = 1.0 - 2.0 * y
    if sparse.issparse(X):
        yield X.astype(np.float64, copy=False), sign
        return
    step = max(1, _BLOCK // (8 * X.shape[1]))
    for start in range(0, len(y), step):
        yield X[start : start + step].astype(np.float64, copy=False), sign[start : start + step]


def objective(X: Any, y: NDArray[Any], w: Any, b: Any, l2: float) -> float:
    """Return mean log-loss + (l2/2) |w|^2, evaluated in float64 whatever X, w and b are."""
    w, b = np.asarray(w, np.float64).ravel(), float(np.ravel(b)[0])
    sums = [np.logaddexp(0, sign * (rows @ w + b)).sum() for rows, sign in _blocks(X, y)]
    return math.fsum(sums) / len(y) + l2 / 2 * float(w @ w)


def loss_gradient(X: Any, y: NDArray[Any], theta: Vector, l2: float) -> tuple[float, Vector]:
    """Return objective and gradient in float64, in blocks of rows."""
    w, losses, gradient = theta[:-1], [], np.zeros_like(theta)
    for rows, sign in _blocks(X, y):
        m = sign * (rows @ w + theta[-1])
        dz = sign * expit(m)
        losses.append(np.logaddexp(0, m).sum())
        gradient[:-1] += rows.T @ dz
        gradient[-1] += dz.sum()
    gradient /= len(y)
    gradient[:-1] += l2 * w
    return math.fsum(losses) / len(y) + l2 / 2 * float(w @ w), gradient


def curvature(X: Any, y: NDArray[Any], theta: Vector) -> Vector:
    """Return the Hessian weight of each row, a (1 - a)."""
    parts = []
    for rows, sign in _blocks(X, y):
        m = sign * (rows @ theta[:-1] + theta[-1])
        parts.append(expit(m) * expit(-m))
    return np.concatenate(parts)


def hessian(X: Any, y: NDArray[Any], theta: Vector, l2: float) -> NDArray[np.float64]:
    """Return the Hessian, (p + 1, p + 1), dense, for features and intercept."""
    p, s = len(theta) - 1, curvature(X, y, theta)
    H = np.zeros((p + 1, p + 1))
    start = 0
    for rows, sign in _blocks(X, y):
        weight = s[start : start + len(sign)]
        start += len(sign)
        if sparse.issparse(rows):
            H[:p, :p] += (rows.T @ (sparse.diags_array(weight) @ rows)).toarray()
        else:
            H[:p, :p] += rows.T @ (rows * weight[:, None])
        H[p, :p] += weight @ rows
        H[p, p] += weight.sum()
    H[:p, p] = H[p, :p]
    H /= len(y)
    H[np.arange(p), np.arange(p)] += l2
    return H


def hessian_product(X: Any, s: Vector, vector: Vector, l2: float) -> Vector:
    """Return the Hessian with row weights ``s`` times ``vector``."""
    r = s * (X @ vector[:-1] + vector[-1]) / len(s)
    return np.append(X.T @ r + l2 * vector[:-1], r.sum())


def _direction(X: Any, y: NDArray[Any], theta: Vector, gradient: Vector, l2: float) -> Vector:
    p = len(theta) - 1
    if p <= _FACTORED:
        return linalg.solve(hessian(X, y, theta, l2), gradient, assume_a="pos")
    s = curvature(X, y, theta)
    wide = X.astype(np.float64, copy=False)
    diagonal = np.append((wide * wide).T @ s / len(s) + l2, s.mean())
    shape = (p + 1, p + 1)
    H = LinearOperator(shape, matvec=lambda v: hessian_product(wide, s, v, l2), dtype=np.float64)
    M = LinearOperator(shape, matvec=lambda v: v / diagonal, dtype=np.float64)
    return cg(H, gradient, rtol=1e-10, maxiter=5_000, M=M)[0]


def minimum(X: Any, y: NDArray[Any], l2: float) -> Optimum:
    """Return the least objective, by Newton's method with halved steps until rounding stops it.

    Raises
    ------
    ArithmeticError
        It did not get to within 1e-12 of the minimum, relatively.
    """
    theta = np.zeros(X.shape[1] + 1)
    share = np.mean(y)
    theta[-1] = math.log(share / (1 - share))
    loss, gradient = loss_gradient(X, y, theta, l2)
    decrement = math.inf
    for _ in range(_MAX_STEPS):
        step = _direction(X, y, theta, gradient, l2)
        decrement = float(gradient @ step) / 2
        if np.abs(gradient).max() <= _FLAT:
            break
        size = 1.0
        while size > 1e-6:
            moved = theta - size * step
            new_loss, new_gradient = loss_gradient(X, y, moved, l2)
            # At the end the loss only rounds; there the gradient tells whether a step helps.
            flat = abs(new_loss - loss) <= 1e-14 * loss
            flatter = np.abs(new_gradient).max() < np.abs(gradient).max()
            if flatter if flat else new_loss < loss:
                break
            size /= 2
        else:
            break
        theta, loss, gradient = moved, new_loss, new_gradient
    if not decrement <= 1e-12 * loss:
        raise ArithmeticError(f"Newton's method stopped {decrement / loss:.1e} above the minimum")
    return Optimum(loss, decrement, theta)
