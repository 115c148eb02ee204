"""The reproducible arithmetic in vectorised NumPy; see docs/reproducible-arithmetic.md.

NumPy's elementwise operations round once each, and its sum over a leading axis adds row by row, so
the specified order is written as sums over leading axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._chunks import Team
from lrbackends.backends._reproducible import (
    EXP_COEFFICIENTS,
    FEATURE_LANES,
    INVERSE_LN2,
    LARGEST_EXPONENT,
    LN2_HIGH,
    LN2_LOW,
    LOG_COEFFICIENTS,
    LOSS_LANES,
    SAMPLE_LANES,
    SMALLEST_RESIDUAL_FLOAT32,
)
from lrbackends.objective import Objective

_BLOCK_BYTES = 1 << 21


def halve(lanes: NDArray[Any]) -> NDArray[Any]:
    """Add the lanes of the leading axis (a power of two) by halving."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    total: NDArray[Any] = lanes[0]
    return total


def exp_of_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(-x) for x >= 0."""
    p1, p2, p3, p4, p5 = EXP_COEFFICIENTS
    x = -np.minimum(x, LARGEST_EXPONENT)
    k = np.rint(x * INVERSE_LN2)
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (p1 + t * (p2 + t * (p3 + t * (p4 + t * p5))))
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    return y * ((k.astype(np.int64) + 1023) << 52).view(np.float64)  # times 2^k


def log_of_one_plus(e: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + e) for 0 <= e <= 1."""
    s = e / (2.0 + e)
    t = s * s
    q = np.full_like(t, LOG_COEFFICIENTS[-1])
    for c in LOG_COEFFICIENTS[-2::-1]:
        q = c + t * q
    return 2.0 * s + (s * t) * q


def sigmoid_and_loss(m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sigmoid(m) and log(1 + exp(m))."""
    e = exp_of_minus(np.abs(m))
    a = np.where(m >= 0, 1.0, e) / (1.0 + e)
    return a, np.maximum(m, 0.0) + log_of_one_plus(e)


def log_of_sum(rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + rest) for rest >= 0."""
    fraction, exponent = np.frexp(1.0 + rest)
    q = np.where(rest > 1, exponent - 1.0, 0.0)
    scaled = log_of_one_plus(np.where(rest > 1, 2.0 * fraction - 1.0, rest))
    return q * LN2_HIGH + (scaled + q * LN2_LOW)


def one_output(
    z: NDArray[Any], sign: NDArray[Any], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weighted residuals and losses for scores (1, ...), signs 1 - 2y and weights (...)."""
    a, loss = sigmoid_and_loss((sign * z[0]).astype(np.float64))
    loss *= weight
    dz = (weight * sign) * a
    return dz[None], loss


def _left_to_right(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add along the first axis; NumPy's sum adds in another order where the rest is one number."""
    total: NDArray[np.float64] = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def classes(
    z: NDArray[Any], y: NDArray[np.int64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same for scores of shape (K, ...) and classes y, in place of signs.

    Terms that a sum leaves out are zeros in it, which change nothing.
    """
    z = z.astype(np.float64)
    first = z.argmax(axis=0)[None]
    e = exp_of_minus(z.max(axis=0) - z)
    np.put_along_axis(e, first, 0.0, axis=0)
    rest = _left_to_right(e)
    np.put_along_axis(e, first, 1.0, axis=0)
    a = e / (1.0 + rest)
    np.put_along_axis(a, y[None], 0.0, axis=0)
    others = _left_to_right(a)
    behind = z.max(axis=0) - np.take_along_axis(z, y[None], axis=0)[0]
    dz = weight * a
    np.put_along_axis(dz, y[None], -(weight * others)[None], axis=0)
    return dz, weight * (behind + log_of_sum(rest))


def _room(shape: tuple[int, ...], n_features: int, dtype: Any) -> NDArray[Any]:
    """Return zeros of that shape and a last axis of whole feature groups, for products."""
    return np.zeros((*shape, -(-(n_features + 1) // FEATURE_LANES) * FEATURE_LANES), dtype)


def scores(X: NDArray[Any], theta: NDArray[Any], room: NDArray[Any]) -> NDArray[Any]:
    """Return X coef + intercept: features in lanes, the lanes halved; shape of X less its last.

    ``room`` is of the shape that `_room` gives; what lies behind feature p + 1 stays zero.
    """
    p = X.shape[-1]
    np.multiply(X, theta[:-1], out=room[..., :p])
    room[..., p] = theta[-1]
    lanes = np.add.reduce(room.reshape(*X.shape[:-1], -1, FEATURE_LANES), axis=-2)
    return halve(np.ascontiguousarray(np.moveaxis(lanes, -1, 0)))


def scores_of_rows(X: NDArray[Any], theta: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of all rows of X, a block at a time."""
    z = np.empty(len(X), X.dtype)
    rows = max(1, _BLOCK_BYTES // (X.itemsize * len(theta)))
    room = _room((min(rows, len(X)),), X.shape[1], X.dtype)
    for start in range(0, len(X), rows):
        block = X[start : start + rows]
        z[start : start + rows] = scores(block, theta, room[: len(block)])
    return z


def _in_lanes(terms: NDArray[Any]) -> Any:
    """Return the sum of the terms, in feature lanes."""
    groups = -(-len(terms) // FEATURE_LANES)
    filled = np.zeros(groups * FEATURE_LANES, terms.dtype)
    filled[: len(terms)] = terms
    return halve(np.add.reduce(filled.reshape(groups, FEATURE_LANES), axis=0))


def square_norm(coef: NDArray[Any]) -> Any:
    """Return the sum of squares."""
    return _in_lanes(coef * coef)


def absolute_norm(coef: NDArray[Any]) -> Any:
    """Return the sum of absolute values."""
    return _in_lanes(np.abs(coef))


def by_output(theta: NDArray[Any], n_features: int) -> NDArray[Any]:
    """Return theta's coefficients and intercept of each output, shape (K, p + 1)."""
    K = len(theta) // (n_features + 1)
    split = K * n_features
    return np.column_stack([theta[:split].reshape(K, n_features), theta[split:]])


def accumulate(
    X: NDArray[Any],
    labels: NDArray[Any],
    weight: NDArray[np.float64],
    thetas: NDArray[Any],
    lanes: slice,
    losses: NDArray[np.float64],
) -> NDArray[Any]:
    """Return some sample lanes of the gradient, shape (L, K, p + 1); write their rows' losses."""
    n, p = X.shape
    whole = n - n % SAMPLE_LANES
    size = lanes.stop - lanes.start
    gradient = np.zeros((len(thetas), size, p + 1), X.dtype)
    groups = max(1, _BLOCK_BYTES // (X.itemsize * (p + 1) * size))
    room = _room((min(groups, -(-n // SAMPLE_LANES)), size), p, X.dtype)
    rows = groups * SAMPLE_LANES
    for start in range(0, whole, rows):
        block = slice(start, min(start + rows, whole))
        x, label, omega, out = (_grouped(v[block])[:, lanes] for v in (X, labels, weight, losses))
        _accumulate_groups(x, label, omega, thetas, gradient, out, room[: len(x)])
    # The rows left over are the beginning of one more group.
    block = slice(whole + lanes.start, min(n, whole + lanes.stop))
    if block.stop > block.start:
        x, label, omega, out = (v[None, block] for v in (X, labels, weight, losses))
        size = block.stop - block.start
        _accumulate_groups(x, label, omega, thetas, gradient[:, :size], out, room[:1, :size])
    return gradient.swapaxes(0, 1)


def _grouped(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows as groups of one row for each sample lane."""
    return rows.reshape(-1, SAMPLE_LANES, *rows.shape[1:])


def _accumulate_groups(
    X: NDArray[Any],
    labels: NDArray[Any],
    weight: NDArray[np.float64],
    thetas: NDArray[Any],
    gradient: NDArray[Any],
    losses: NDArray[np.float64],
    room: NDArray[Any],
) -> None:
    """Add groups of rows, X (groups, lanes, p), to the gradient's lanes; write their losses."""
    z = np.stack([scores(X, theta, room) for theta in thetas])
    residual, losses[:] = (one_output if len(thetas) == 1 else classes)(z, labels, weight)
    if X.dtype == np.float32:
        residual[np.abs(residual) < SMALLEST_RESIDUAL_FLOAT32] = 0
    products = room[..., : thetas.shape[1]]
    for dz, lanes in zip(residual.astype(X.dtype), gradient, strict=True):
        np.multiply(X, dz[..., None], out=products[..., :-1])
        products[..., -1] = dz
        products[0] += lanes  # the sum so far comes first, then row after row
        np.add.reduce(products, axis=0, out=lanes)


def loss_gradient(
    X: NDArray[Any],
    labels: NDArray[Any],
    weight: NDArray[np.float64],
    theta: NDArray[Any],
    objective: Objective,
    team: Team,
) -> tuple[float, NDArray[Any]]:
    """Return objective and gradient over these rows, without the L1 penalty.

    ``labels`` are signs or classes, as `one_output` and `classes` take them. Threads share the
    sample lanes.
    """
    n, p = X.shape
    thetas = by_output(theta, p)
    losses = np.zeros(-(-n // LOSS_LANES) * LOSS_LANES)
    bounds = [SAMPLE_LANES * k // team.size for k in range(team.size + 1)]

    def work(k: int) -> NDArray[Any]:
        return accumulate(X, labels, weight, thetas, slice(bounds[k], bounds[k + 1]), losses)

    sums = halve(np.concatenate(team.map(work, team.size)))
    gradient = np.concatenate([sums[:, :p].ravel(), sums[:, p]])
    split = len(theta) - len(thetas)
    coef = theta[:split]
    gradient *= X.dtype.type(1.0 / n)
    gradient[:split] += X.dtype.type(objective.l2) * coef
    if not objective.fit_intercept:
        gradient[split:] = 0
    loss = halve(np.add.reduce(losses.reshape(-1, LOSS_LANES), axis=0)) * (1.0 / n)
    return float(loss + 0.5 * objective.l2 * float(square_norm(coef))), gradient
