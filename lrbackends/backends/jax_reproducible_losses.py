"""The rows' losses in the reproducible JAX arithmetic, with their derivatives by hand.

See docs/reproducible-arithmetic.md, and `jax_reproducible` for what has to be done so that XLA
keeps to it. Each loss is a primitive whose derivative is the residual that the page specifies.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lrbackends.backends._reproducible import (
    EXP_COEFFICIENTS,
    INVERSE_LN2,
    LARGEST_EXPONENT,
    LN2_HIGH,
    LN2_LOW,
    LOG_COEFFICIENTS,
    SMALLEST_RESIDUAL_FLOAT32,
)

_UNROLLED = 16  # classes up to which sums over them are written out


def _power_of_two(k: jax.Array) -> jax.Array:
    """Return 2^k for integers k."""
    return lax.bitcast_convert_type((k.astype(jnp.int64) + 1023) << 52, jnp.float64)


def exp_of_minus(x: jax.Array, one: jax.Array) -> jax.Array:
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
    return y * _power_of_two(k)


def log_of_one_plus(e: jax.Array, one: jax.Array) -> jax.Array:
    """Return log(1 + e) for 0 <= e <= 1."""
    s = e / (2.0 + e)
    t = (s * s) * one
    q = jnp.full_like(t, LOG_COEFFICIENTS[-1])
    for c in LOG_COEFFICIENTS[-2::-1]:
        q = c + (t * q) * one
    return (2.0 * s) * one + ((s * t) * q) * one


def _of_type(dz: jax.Array, dtype: Any) -> jax.Array:
    """Round residuals to the type of the data."""
    if dtype == jnp.float32:
        dz = jnp.where(jnp.abs(dz) < SMALLEST_RESIDUAL_FLOAT32, 0.0, dz)
    return dz.astype(dtype)


@jax.custom_vjp
def losses(z: jax.Array, sign: jax.Array, weight: jax.Array, one: jax.Array) -> jax.Array:
    """Return each sample's weighted loss of two classes, float64."""
    m = (sign * z).astype(jnp.float64)
    e = exp_of_minus(jnp.abs(m), one)
    return (weight * (jnp.maximum(m, 0.0) + log_of_one_plus(e, one))) * one


def _losses_forward(z: jax.Array, sign: jax.Array, weight: jax.Array, one: jax.Array) -> Any:
    return losses(z, sign, weight, one), (z, sign, weight, one)


def _losses_backward(kept: Any, cotangent: jax.Array) -> Any:
    z, sign, weight, one = kept
    m = (sign * z).astype(jnp.float64)
    e = exp_of_minus(jnp.abs(m), one)
    a = jnp.where(m >= 0, 1.0, e) / (1.0 + e)
    dz = (weight * sign) * a * cotangent
    return _of_type(dz, z.dtype), None, None, None


losses.defvjp(_losses_forward, _losses_backward)


def _left_to_right(terms: jax.Array) -> jax.Array:
    """Add the entries of the leading axis."""
    total: jax.Array
    if len(terms) <= _UNROLLED:
        total = reduce(add, terms)
    else:
        total = lax.fori_loop(1, len(terms), lambda k, sums: sums + terms[k], terms[0])
    return total


def _shares(e: jax.Array, total: jax.Array) -> jax.Array:
    """Return e / total, class by class: XLA multiplies many by the reciprocal of one instead."""
    if len(e) <= _UNROLLED:
        return jnp.stack([part / total for part in e])
    shares: jax.Array = lax.map(lambda part: part / total, e)
    return shares


def _is(classes: jax.Array, z: jax.Array) -> jax.Array:
    """Return where an entry of ``z``, whose leading axis are the classes, is that of the class."""
    return jnp.arange(len(z)).reshape(-1, *[1] * classes.ndim) == classes


def _exponentials(z: jax.Array, one: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return e and the sum of all but that of the first of the largest scores."""
    largest = _is(jnp.argmax(z, axis=0), z)
    distance = z.max(axis=0).astype(jnp.float64) - z.astype(jnp.float64)
    e = exp_of_minus(distance, one)
    rest = _left_to_right(jnp.where(largest, 0.0, e))
    return jnp.where(largest, 1.0, e), rest


def _log_total(rest: jax.Array, one: jax.Array) -> jax.Array:
    """Return log(1 + rest)."""
    total, beyond = 1.0 + rest, rest > 1
    q = (lax.bitcast_convert_type(total, jnp.int64) >> 52) - 1023
    log = log_of_one_plus(jnp.where(beyond, total * _power_of_two(-q) - 1.0, rest), one)
    q = q.astype(jnp.float64)
    return jnp.where(beyond, (q * LN2_HIGH) * one + (log + (q * LN2_LOW) * one), log)


@jax.custom_vjp
def class_losses(z: jax.Array, y: jax.Array, weight: jax.Array, one: jax.Array) -> jax.Array:
    """Return each sample's weighted loss of K classes, the leading axis of ``z``; float64."""
    _, rest = _exponentials(z, one)
    own = jnp.where(_is(y, z), z, 0).sum(axis=0).astype(jnp.float64)
    distance = z.max(axis=0).astype(jnp.float64) - own
    return (weight * (distance + _log_total(rest, one))) * one


def _class_losses_forward(z: jax.Array, y: jax.Array, weight: jax.Array, one: jax.Array) -> Any:
    return class_losses(z, y, weight, one), (z, y, weight, one)


def _class_losses_backward(kept: Any, cotangent: jax.Array) -> Any:
    z, y, weight, one = kept
    e, rest = _exponentials(z, one)
    a, own = _shares(e, 1.0 + rest), _is(y, z)
    others = _left_to_right(jnp.where(own, 0.0, a))
    dz = jnp.where(own, -(weight * others), weight * a) * cotangent
    return _of_type(dz, z.dtype), None, None, None


class_losses.defvjp(_class_losses_forward, _class_losses_backward)
