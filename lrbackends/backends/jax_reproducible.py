"""The reproducible arithmetic in JAX, still differentiated by `jax.grad`.

See docs/reproducible-arithmetic.md. XLA contracts ``a * b + c`` into one rounding, reorders its own
sums and folds constants, so three things are done here: sums are loops over explicit lanes; every
product that is added to something is first multiplied by ``one``, a 1.0 that XLA does not know; and
the three primitives (scores, losses, sum of losses) carry their own derivative rules, whose sums
are loops as well.

Rows come as ``X (blocks, groups, lanes, features)`` with ``groups * lanes`` = 64 rows in a block;
the features end with a column of ones for the intercept and are filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

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
    check_range,
)
from lrbackends.backends.protocol import Coefficients
from lrbackends.problem import Problem

Data = tuple[jax.Array, jax.Array, jax.Array]  # X, sign, weight

_UNROLLED = 64  # feature groups up to which the sum of a score is written out
_UNROLLED_BLOCKS = 4  # blocks of rows whose sums are written out


def _halve(lanes: jax.Array) -> jax.Array:
    """Add the lanes of the leading axis (a power of two) by halving."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def _exp_of_minus(x: jax.Array, one: jax.Array) -> jax.Array:
    """Return exp(-x) for x >= 0."""
    x = -jnp.minimum(x, LARGEST_EXPONENT)
    k = jnp.round(x * INVERSE_LN2)
    high = x - (k * LN2_HIGH) * one
    low = (k * LN2_LOW) * one
    r = high - low
    t = (r * r) * one
    q = jnp.full_like(t, EXP_COEFFICIENTS[-1])
    for p in EXP_COEFFICIENTS[-2::-1]:
        q = p + (t * q) * one
    c = r - (t * q) * one
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    power = lax.bitcast_convert_type((k.astype(jnp.int64) + 1023) << 52, jnp.float64)
    return y * power


def _log_of_one_plus(e: jax.Array, one: jax.Array) -> jax.Array:
    """Return log(1 + e) for 0 <= e <= 1."""
    s = e / (2.0 + e)
    t = (s * s) * one
    q = jnp.full_like(t, LOG_COEFFICIENTS[-1])
    for c in LOG_COEFFICIENTS[-2::-1]:
        q = c + (t * q) * one
    return (2.0 * s) * one + ((s * t) * q) * one


@jax.custom_vjp
def scores(theta: jax.Array, X: jax.Array, one: jax.Array) -> jax.Array:
    """Return X theta: features in lanes, the lanes halved."""
    groups = X.shape[-1] // FEATURE_LANES
    cut = X.reshape(*X.shape[:-1], groups, FEATURE_LANES)
    w = theta.reshape(groups, FEATURE_LANES)
    lanes = (cut[..., 0, :] * w[0]) * one
    if groups <= _UNROLLED:
        for k in range(1, groups):
            lanes = lanes + (cut[..., k, :] * w[k]) * one
    else:
        lanes = lax.fori_loop(
            1,
            groups,
            lambda k, sums: (
                sums + (lax.dynamic_index_in_dim(cut, k, cut.ndim - 2, keepdims=False) * w[k]) * one
            ),
            lanes,
        )
    # Lanes that are kept lie side by side, for vector instructions; fused into one sum they do not.
    kept = lax.optimization_barrier(lanes)  # type: ignore[no-untyped-call]
    return _halve(jnp.moveaxis(kept, -1, 0))


def _scores_forward(theta: jax.Array, X: jax.Array, one: jax.Array) -> Any:
    return scores(theta, X, one), (X, one)


def _scores_backward(kept: Any, dz: jax.Array) -> Any:
    """Return dz' X: samples in lanes, row after row, the lanes halved."""
    X, one = kept
    blocks, groups, lanes, width = X.shape

    def add(block: jax.Array, sums: jax.Array) -> jax.Array:
        for k in range(groups):
            sums = sums + (X[block, k] * dz[block, k][:, None]) * one
        return sums

    start = jnp.zeros((lanes, width), X.dtype)
    sums = lax.fori_loop(0, blocks, add, start, unroll=min(_UNROLLED_BLOCKS, blocks))
    return _halve(sums), None, None


scores.defvjp(_scores_forward, _scores_backward)


@jax.custom_vjp
def _losses(z: jax.Array, sign: jax.Array, weight: jax.Array, one: jax.Array) -> jax.Array:
    """Return each sample's weighted loss, float64."""
    m = (sign * z).astype(jnp.float64)
    e = _exp_of_minus(jnp.abs(m), one)
    return (weight * (jnp.maximum(m, 0.0) + _log_of_one_plus(e, one))) * one


def _losses_forward(z: jax.Array, sign: jax.Array, weight: jax.Array, one: jax.Array) -> Any:
    return _losses(z, sign, weight, one), (z, sign, weight, one)


def _losses_backward(kept: Any, cotangent: jax.Array) -> Any:
    z, sign, weight, one = kept
    m = (sign * z).astype(jnp.float64)
    e = _exp_of_minus(jnp.abs(m), one)
    a = jnp.where(m >= 0, 1.0, e) / (1.0 + e)
    dz = (weight * sign) * a * cotangent
    if z.dtype == jnp.float32:
        dz = jnp.where(jnp.abs(dz) < SMALLEST_RESIDUAL_FLOAT32, 0.0, dz)
    return dz.astype(z.dtype), None, None, None


_losses.defvjp(_losses_forward, _losses_backward)


@jax.custom_vjp
def _lane_sum(losses: jax.Array) -> jax.Array:
    """Return the sum of all losses: in 64 lanes, row after row, the lanes halved."""
    rows = losses.reshape(-1, LOSS_LANES)
    sums = lax.fori_loop(0, len(rows), lambda i, s: s + rows[i], jnp.zeros(LOSS_LANES))
    return _halve(sums)


_lane_sum.defvjp(
    lambda losses: (_lane_sum(losses), losses.shape),
    lambda shape, cotangent: (jnp.broadcast_to(cotangent, shape),),
)


def _loss_sum(
    theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array, one: jax.Array
) -> jax.Array:
    """Return the weighted sum of the losses; `jax.grad` of it is dw and db in one vector."""
    z = scores(theta, X, one.astype(X.dtype))
    return _lane_sum(_losses(z, sign, weight, one))


def _square_norm(coef: jax.Array, one: jax.Array) -> jax.Array:
    """Return the sum of squares, in feature lanes."""
    groups = -(-len(coef) // FEATURE_LANES)
    filled = jnp.zeros(groups * FEATURE_LANES, coef.dtype).at[: len(coef)].set(coef)
    squares = ((filled * filled) * one).reshape(groups, FEATURE_LANES)
    zero = jnp.zeros(FEATURE_LANES, coef.dtype)
    return _halve(lax.fori_loop(0, groups, lambda k, sums: sums + squares[k], zero))


def loss_gradient(
    theta: jax.Array, data: Data, n: jax.Array, l2: jax.Array, fit_intercept: bool, one: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows, float64, and its gradient."""
    dtype, size = theta.dtype, len(theta)
    filled = jnp.zeros(data[0].shape[-1], dtype).at[:size].set(theta)
    loss, sums = jax.value_and_grad(_loss_sum)(filled, *data, one)
    # XLA would turn a division of many by one into this anyway.
    inverse = 1.0 / n.astype(jnp.float64)
    mean = (sums[:size] * inverse.astype(dtype)) * one.astype(dtype)
    slope = (l2.astype(dtype) * theta[:-1]) * one.astype(dtype)
    db = mean[-1:] if fit_intercept else jnp.zeros_like(mean[-1:])
    gradient = jnp.concatenate([mean[:-1] + slope, db])
    square = _square_norm(theta[:-1], one.astype(dtype)).astype(jnp.float64)
    return (loss * inverse) * one + ((0.5 * l2) * square) * one, gradient


class _Rounded:
    """A number whose products are rounded before they are added to anything."""

    def __init__(self, value: Any, one: jax.Array) -> None:
        self.value, self.one = value, one

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> _Rounded:
        value = other.value if isinstance(other, _Rounded) else other
        return _Rounded(operation(self.value, value), self.one)

    def __neg__(self) -> _Rounded:
        return _Rounded(-self.value, self.one)

    def __add__(self, other: Any) -> _Rounded:
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: Any) -> _Rounded:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> _Rounded:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> _Rounded:
        return self._with(other, lambda a, b: (a * b) * self.one)

    def __truediv__(self, other: Any) -> _Rounded:
        return self._with(other, lambda a, b: a / b)


def move(
    update: Callable[..., Any],
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    c: Coefficients,
    one: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return (step, first, second) of an update rule, every product rounded."""
    one = one.astype(gradient.dtype)

    def rounded(value: jax.Array) -> _Rounded:
        return _Rounded(value, one)

    moved = update(
        rounded(gradient),
        rounded(first),
        rounded(second),
        Coefficients(*map(rounded, c)),
        lambda x: rounded(jnp.sqrt(x.value)),
    )
    step, first, second = (part.value for part in moved)
    return step, first, second


def cut(rows: jax.Array) -> jax.Array:
    """Return rows in blocks, groups and lanes, filled up with zeros."""
    blocks = -(-len(rows) // LOSS_LANES)
    fill = [(0, blocks * LOSS_LANES - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    shape = blocks, LOSS_LANES // SAMPLE_LANES, SAMPLE_LANES, *rows.shape[1:]
    return jnp.pad(rows, fill).reshape(shape)


def with_ones(X: NDArray[Any]) -> NDArray[Any]:
    """Return X with a column of ones, filled up with columns of zeros to whole feature groups."""
    n, p = X.shape
    wide = np.zeros((n, -(-(p + 1) // FEATURE_LANES) * FEATURE_LANES), X.dtype)
    wide[:, :p] = X
    wide[:, p] = 1
    return wide


def layout(problem: Problem) -> Data:
    """Bring X, sign and weight to the device, X widened and cut up."""
    problem = problem.widened()
    check_range(problem)
    parts = with_ones(problem.X), problem.sign, problem.exact_weight
    X, sign, weight = (cut(jnp.asarray(part)) for part in parts)
    return X, sign, weight


@jax.jit
def decision_function(X: jax.Array, theta: jax.Array, one: jax.Array) -> jax.Array:
    """Return the scores of rows that `with_ones` made, cut up or not."""
    X = X.reshape(-1, X.shape[-1])
    filled = jnp.zeros(X.shape[-1], theta.dtype).at[: len(theta)].set(theta)
    return scores(filled, X, one.astype(theta.dtype))
