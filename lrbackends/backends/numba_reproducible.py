"""The reproducible arithmetic as a jitted per-sample loop; see docs/reproducible-arithmetic.md.

Without fast-math flags Numba neither reorders nor contracts: each operation rounds once, in the
order written. Rows come in blocks so that exponentials run in vector lanes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lrbackends.backends._numba_jit import entry, jit
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

_BLOCK = LOSS_LANES  # rows
_P1, _P2, _P3, _P4, _P5 = EXP_COEFFICIENTS


@jit(inline="always")
def exp_of_minus(x: float, largest: float) -> Any:
    """Return exp(-x) for x >= 0, and exp(-largest) beyond ``largest``, which is 708 at most."""
    x = -min(x, largest)
    k = np.rint(x * INVERSE_LN2)
    high = x - k * LN2_HIGH
    low = k * LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (_P1 + t * (_P2 + t * (_P3 + t * (_P4 + t * _P5))))
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    return y * np.int64((np.int64(k) + 1023) << 52).view(np.float64)  # times 2^k


@jit(inline="always")
def log_of_one_plus(e: float) -> Any:
    """Return log(1 + e) for 0 <= e <= 1."""
    s = e / (2.0 + e)
    t = s * s
    q = LOG_COEFFICIENTS[9]
    for c in range(8, -1, -1):
        q = LOG_COEFFICIENTS[c] + t * q
    return 2.0 * s + (s * t) * q


@jit()
def _halve(lanes: Any, count: int) -> None:
    """Add the last axis's lanes (a power of two) by halving, in place; the sum is in lane 0."""
    half = lanes.shape[1] // 2
    while half > 0:
        for s in range(count):
            for lane in range(half):
                lanes[s, lane] += lanes[s, lane + half]
        half //= 2


@jit()
def _scores(X: Any, theta: Any, rows: Any, count: int, lanes: Any) -> None:
    """Leave the scores of X[rows[:count]] in lane 0: features in lanes, the lanes halved."""
    p = X.shape[1]
    whole = p // FEATURE_LANES * FEATURE_LANES
    for s in range(count):
        i = rows[s]
        for lane in range(FEATURE_LANES):
            lanes[s, lane] = 0
        for j in range(0, whole, FEATURE_LANES):
            for lane in range(FEATURE_LANES):
                lanes[s, lane] += X[i, j + lane] * theta[j + lane]
        for j in range(whole, p):
            lanes[s, j - whole] += X[i, j] * theta[j]
        lanes[s, p - whole] += theta[p]
    _halve(lanes, count)


@partial(entry, allocates=True)
def scores(X: Any, theta: Any, z: Any) -> None:
    """Write the scores of all rows of X to ``z``."""
    lanes, rows = np.empty((_BLOCK, FEATURE_LANES), X.dtype), np.empty(_BLOCK, np.int64)
    for start in range(0, len(X), _BLOCK):
        count = min(_BLOCK, len(X) - start)
        for s in range(count):
            rows[s] = start + s
        _scores(X, theta, rows, count, lanes)
        for s in range(count):
            z[start + s] = lanes[s, 0]


@partial(entry, allocates=True)
def accumulate(
    X: Any,
    sign: Any,
    weight: Any,
    theta: Any,
    batch: Any,
    n: int,
    first_lane: int,
    last_lane: int,
    gradient: Any,
    loss: Any,
) -> None:
    """Add ``n`` samples to sample lanes first..last-1 of the gradient, and their losses to theirs.

    They are rows ``batch[:n]`` of X where ``batch`` is not empty, else the first ``n``.
    """
    p, width = X.shape[1], last_lane - first_lane
    lanes, dz = np.empty((_BLOCK, FEATURE_LANES), X.dtype), np.empty(_BLOCK, X.dtype)
    rows, losses = np.empty(_BLOCK, np.int64), np.empty(_BLOCK)
    smallest = SMALLEST_RESIDUAL_FLOAT32 if X.itemsize == 4 else 0.0
    for start in range(0, n, _BLOCK):
        count = 0  # rows of this block in our lanes, which follow one another cyclically
        for k in range(start, min(start + _BLOCK, n)):
            if first_lane <= k % SAMPLE_LANES < last_lane:
                rows[count] = batch[k] if batch.size else k
                count += 1
        _scores(X, theta, rows, count, lanes)
        for s in range(count):
            i = rows[s]
            m = np.float64(sign[i] * lanes[s, 0])
            e = exp_of_minus(abs(m), LARGEST_EXPONENT)
            a = (1.0 if m >= 0 else e) / (1.0 + e)
            losses[s] = weight[i] * (max(m, 0.0) + log_of_one_plus(e))
            residual = (weight[i] * sign[i]) * a
            dz[s] = residual if abs(residual) >= smallest else 0.0
        for lane in range(width):
            for s in range(lane, count, width):
                i, d = rows[s], dz[s]
                for j in range(p):
                    gradient[first_lane + lane, j] += d * X[i, j]
                gradient[first_lane + lane, p] += d
                loss[s // width * SAMPLE_LANES + first_lane + lane] += losses[s]


@partial(entry, allocates=True)
def finish(
    lanes: Any, loss: Any, theta: Any, n: int, l2: float, fit_intercept: bool, gradient: Any
) -> Any:
    """Add up the lanes; return the objective over ``n`` samples, its gradient in ``gradient``."""
    p = theta.size - 1
    half = SAMPLE_LANES // 2
    while half > 0:
        for lane in range(half):
            for j in range(p + 1):
                lanes[lane, j] += lanes[lane + half, j]
        half //= 2
    squares = np.zeros((1, FEATURE_LANES), theta.dtype)
    # Held in arrays of theta's type, so that each operation rounds to it.
    scalars = np.array([1.0 / n, l2, 0.0]).astype(theta.dtype)
    for j in range(p):
        scalars[2] = lanes[0, j] * scalars[0]
        gradient[j] = scalars[2] + scalars[1] * theta[j]
        squares[0, j % FEATURE_LANES] += theta[j] * theta[j]
    gradient[p] = lanes[0, p] * scalars[0] if fit_intercept else 0
    _halve(squares, 1)
    _halve(loss, 1)
    return loss[0, 0] * (1.0 / n) + 0.5 * l2 * np.float64(squares[0, 0])
