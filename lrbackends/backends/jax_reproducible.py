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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends._reproducible import (
    FEATURE_LANES,
    LOSS_LANES,
    SAMPLE_LANES,
    check_range,
)
from lrbackends.backends.jax_objective import Form, Strengths
from lrbackends.backends.jax_reproducible_losses import class_losses, losses
from lrbackends.backends.protocol import Coefficients
from lrbackends.problem import Problem

Data = tuple[jax.Array, jax.Array, jax.Array]  # X, sign or labels, weight

_UNROLLED = 64  # feature groups up to which the sum of a score is written out
_UNROLLED_BLOCKS = 4  # blocks of rows whose sums are written out


def _halve(lanes: jax.Array) -> jax.Array:
    """Add the lanes of the leading axis (a power of two) by halving."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


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
def class_scores(theta: jax.Array, X: jax.Array, one: jax.Array) -> jax.Array:
    """Return the scores of K outputs, theta (K, features), as the leading axis.

    Block after block, so that its rows are read from the cache for all but the first output.
    """
    of_block = jax.vmap(scores, in_axes=(0, None, None))
    return jnp.moveaxis(lax.map(lambda rows: of_block(theta, rows, one), X), 0, 1)


def _class_scores_forward(theta: jax.Array, X: jax.Array, one: jax.Array) -> Any:
    return class_scores(theta, X, one), (X, one)


def _class_scores_backward(kept: Any, dz: jax.Array) -> Any:
    """Return dz' X of each output, as `_scores_backward` does."""
    X, one = kept
    blocks, groups, lanes, width = X.shape

    def add(block: jax.Array, sums: jax.Array) -> jax.Array:
        for k in range(groups):
            sums = sums + (X[block, k] * dz[:, block, k][..., None]) * one
        return sums

    sums = lax.fori_loop(0, blocks, add, jnp.zeros((len(dz), lanes, width), X.dtype))
    return _halve(jnp.moveaxis(sums, 1, 0)), None, None


class_scores.defvjp(_class_scores_forward, _class_scores_backward)


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
    theta: jax.Array, X: jax.Array, labels: jax.Array, weight: jax.Array, one: jax.Array
) -> jax.Array:
    """Return the weighted sum of the losses; `jax.grad` of it is dw and db of each output."""
    rounding = one.astype(X.dtype)
    if len(theta) == 1:
        z = scores(theta[0], X, rounding)
        return _lane_sum(losses(z, labels, weight, one))
    z = class_scores(theta, X, rounding)
    return _lane_sum(class_losses(z, labels, weight, one))


def _sum_in_lanes(values: jax.Array) -> jax.Array:
    """Return the sum of a vector, in feature lanes."""
    groups = -(-len(values) // FEATURE_LANES)
    filled = jnp.zeros(groups * FEATURE_LANES, values.dtype).at[: len(values)].set(values)
    rows = filled.reshape(groups, FEATURE_LANES)
    zero = jnp.zeros(FEATURE_LANES, values.dtype)
    return _halve(lax.fori_loop(0, groups, lambda k, sums: sums + rows[k], zero))


def _by_output(theta: jax.Array, width: int, form: Form) -> jax.Array:
    """Return theta as a row for each output, the intercept behind the coefficients."""
    coef, intercept = form.split(theta)
    rows = jnp.column_stack([coef.reshape(form.n_outputs, -1), intercept])
    return jnp.pad(rows, [(0, 0), (0, width - rows.shape[1])])


def loss_gradient(
    theta: jax.Array, data: Data, n: jax.Array, strengths: Strengths, form: Form, one: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows, float64, and the gradient of its smooth part."""
    dtype, (coef, _) = theta.dtype, form.split(theta)
    p = len(coef) // form.n_outputs
    rows = _by_output(theta, data[0].shape[-1], form)
    loss, sums = jax.value_and_grad(_loss_sum)(rows, *data, one)
    rounding, l2 = one.astype(dtype), strengths.l2
    # XLA would turn a division of many by one into this anyway.
    inverse = 1.0 / n.astype(jnp.float64)
    mean = (sums[:, : p + 1] * inverse.astype(dtype)) * rounding
    slope = (l2.astype(dtype) * coef) * rounding
    db = mean[:, p] if form.fit_intercept else jnp.zeros_like(mean[:, p])
    gradient = jnp.concatenate([mean[:, :p].ravel() + slope, db])
    square = _sum_in_lanes((coef * coef) * rounding).astype(jnp.float64)
    objective = (loss * inverse) * one + ((0.5 * l2) * square) * one
    if strengths.l1 is not None:
        absolute = _sum_in_lanes(jnp.abs(coef)).astype(jnp.float64)
        objective = objective + (strengths.l1 * absolute) * one
    return objective, gradient


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


def _cut(rows: jax.Array) -> jax.Array:
    """Return rows in blocks, groups and lanes, filled up with zeros."""
    blocks = -(-len(rows) // LOSS_LANES)
    fill = [(0, blocks * LOSS_LANES - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    shape = blocks, LOSS_LANES // SAMPLE_LANES, SAMPLE_LANES, *rows.shape[1:]
    return jnp.pad(rows, fill).reshape(shape)


def laid_out(X: jax.Array, labels: jax.Array, weight: jax.Array) -> Data:
    """Return rows, of all data or of a mini-batch, cut up."""
    return _cut(X), _cut(labels), _cut(weight)


def with_ones(X: NDArray[Any]) -> NDArray[Any]:
    """Return X with a column of ones, filled up with columns of zeros to whole feature groups."""
    n, p = X.shape
    wide = np.zeros((n, -(-(p + 1) // FEATURE_LANES) * FEATURE_LANES), X.dtype)
    wide[:, :p] = X
    wide[:, p] = 1
    return wide


def layout(problem: Problem) -> Data:
    """Bring X, sign or labels, and weight to the device, X widened and cut up."""
    problem = problem.widened()
    check_range(problem)
    labels = problem.sign if problem.n_outputs == 1 else problem.y
    return laid_out(*map(jnp.asarray, (with_ones(problem.X), labels, problem.exact_weight)))


@partial(jax.jit, static_argnames="form")
def decision_function(X: jax.Array, theta: jax.Array, one: jax.Array, form: Form) -> jax.Array:
    """Return the scores of rows that `with_ones` made, cut up or not."""
    X, rounding = X.reshape(-1, X.shape[-1]), one.astype(theta.dtype)
    of_outputs = [scores(row, X, rounding) for row in _by_output(theta, X.shape[-1], form)]
    return of_outputs[0] if form.n_outputs == 1 else jnp.stack(of_outputs, axis=-1)
