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
_MANTISSA, _ONE = (1 << 52) - 1, 1023 << 52  # in the bits of a float64
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


@jit(inline="always")
def log_of_total(rest: float) -> Any:
    """Return log(1 + rest) for rest >= 0, by halving 1 + rest into 1..2 where rest > 1."""
    total = 1.0 + rest
    bits = np.float64(total).view(np.int64)
    q = np.float64((bits >> 52) - 1023) if rest > 1.0 else 0.0
    mantissa = np.int64((bits & _MANTISSA) | _ONE).view(np.float64)  # total / 2^q
    part = log_of_one_plus(mantissa - 1.0 if rest > 1.0 else rest)
    return q * LN2_HIGH + (part + q * LN2_LOW)


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
def _scores(X: Any, coef: Any, intercept: Any, rows: Any, count: int, lanes: Any) -> None:
    """Leave the scores of X[rows[:count]] in lane 0: features in lanes, the lanes halved."""
    p = X.shape[1]
    whole = p // FEATURE_LANES * FEATURE_LANES
    for s in range(count):
        i = rows[s]
        for lane in range(FEATURE_LANES):
            lanes[s, lane] = 0
        for j in range(0, whole, FEATURE_LANES):
            for lane in range(FEATURE_LANES):
                lanes[s, lane] += X[i, j + lane] * coef[j + lane]
        for j in range(whole, p):
            lanes[s, j - whole] += X[i, j] * coef[j]
        lanes[s, p - whole] += intercept
    _halve(lanes, count)


@partial(entry, allocates=True)
def scores(X: Any, theta: Any, z: Any) -> None:
    """Write the scores of all rows of X to ``z``, a column for each output."""
    lanes, rows = np.empty((_BLOCK, FEATURE_LANES), X.dtype), np.empty(_BLOCK, np.int64)
    n_outputs, p = z.shape[1], X.shape[1]
    for start in range(0, len(X), _BLOCK):
        count = min(_BLOCK, len(X) - start)
        for s in range(count):
            rows[s] = start + s
        for k in range(n_outputs):
            coef, intercept = theta[k * p : (k + 1) * p], theta[n_outputs * p + k]
            _scores(X, coef, intercept, rows, count, lanes)
            for s in range(count):
                z[start + s, k] = lanes[s, 0]


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
        _scores(X, theta[:p], theta[p], rows, count, lanes)
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
def accumulate_classes(
    X: Any,
    y: Any,
    weight: Any,
    theta: Any,
    batch: Any,
    n: int,
    first_lane: int,
    last_lane: int,
    gradient: Any,
    loss: Any,
) -> None:
    """Do `accumulate` for more than two classes."""
    p, width = X.shape[1], last_lane - first_lane
    K = len(theta) // (p + 1)
    lanes = np.empty((_BLOCK, FEATURE_LANES), X.dtype)
    z, dz = np.empty((K, _BLOCK), X.dtype), np.empty((K, _BLOCK), X.dtype)
    e, rows, best = np.empty((K, _BLOCK)), np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    losses, largest, rest, others = np.empty((4, _BLOCK))
    smallest = SMALLEST_RESIDUAL_FLOAT32 if X.itemsize == 4 else 0.0
    for start in range(0, n, _BLOCK):
        count = 0  # rows of this block in our lanes, which follow one another cyclically
        for i in range(start, min(start + _BLOCK, n)):
            if first_lane <= i % SAMPLE_LANES < last_lane:
                rows[count] = batch[i] if batch.size else i
                count += 1
        for k in range(K):
            _scores(X, theta[k * p : (k + 1) * p], theta[K * p + k], rows, count, lanes)
            for s in range(count):
                z[k, s] = lanes[s, 0]
        for s in range(count):
            largest[s], best[s], rest[s], others[s] = z[0, s], 0, 0.0, 0.0
        for k in range(1, K):
            for s in range(count):
                higher = z[k, s] > largest[s]
                largest[s] = z[k, s] if higher else largest[s]
                best[s] = k if higher else best[s]
        for k in range(K):
            for s in range(count):
                e[k, s] = exp_of_minus(largest[s] - np.float64(z[k, s]), LARGEST_EXPONENT)
                rest[s] += e[k, s] if best[s] != k else 0.0
        for s in range(count):
            i = rows[s]
            losses[s] = weight[i] * ((largest[s] - z[y[i], s]) + log_of_total(rest[s]))
        for k in range(K):
            for s in range(count):
                a = e[k, s] / (1.0 + rest[s])
                others[s] += a if y[rows[s]] != k else 0.0
                residual = weight[rows[s]] * a
                dz[k, s] = residual if residual >= smallest else 0.0
        for s in range(count):
            residual = -(weight[rows[s]] * others[s])
            dz[y[rows[s]], s] = residual if -residual >= smallest else 0.0
        for lane in range(width):
            sums = gradient[first_lane + lane]
            for s in range(lane, count, width):
                row = X[rows[s]]
                for k in range(K):
                    d, dw = dz[k, s], sums[k * p : (k + 1) * p]
                    for j in range(p):
                        dw[j] += d * row[j]
                    sums[K * p + k] += d
                loss[s // width * SAMPLE_LANES + first_lane + lane] += losses[s]


@partial(entry, allocates=True)
def finish(
    lanes: Any,
    loss: Any,
    theta: Any,
    n_coef: int,
    n: int,
    l2: float,
    fit_intercept: bool,
    gradient: Any,
) -> Any:
    """Add up the lanes; return the objective over ``n`` samples, its gradient in ``gradient``."""
    half = SAMPLE_LANES // 2
    while half > 0:
        for lane in range(half):
            for j in range(theta.size):
                lanes[lane, j] += lanes[lane + half, j]
        half //= 2
    squares = np.zeros((1, FEATURE_LANES), theta.dtype)
    # Held in arrays of theta's type, so that each operation rounds to it.
    scalars = np.array([1.0 / n, l2, 0.0]).astype(theta.dtype)
    for j in range(n_coef):
        scalars[2] = lanes[0, j] * scalars[0]
        gradient[j] = scalars[2] + scalars[1] * theta[j]
        squares[0, j % FEATURE_LANES] += theta[j] * theta[j]
    for j in range(n_coef, theta.size):
        gradient[j] = lanes[0, j] * scalars[0] if fit_intercept else 0
    _halve(squares, 1)
    _halve(loss, 1)
    return loss[0, 0] * (1.0 / n) + 0.5 * l2 * np.float64(squares[0, 0])


@partial(entry, allocates=True)
def absolute_sum(coef: Any) -> Any:
    """Return the sum of the coefficients' sizes, in feature lanes."""
    lanes = np.zeros((1, FEATURE_LANES), coef.dtype)
    for j in range(coef.size):
        lanes[0, j % FEATURE_LANES] += abs(coef[j])
    _halve(lanes, 1)
    return np.float64(lanes[0, 0])
