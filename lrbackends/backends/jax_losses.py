"""The losses of the fast JAX arithmetic, each with its derivatives by hand.

Automatic differentiation of the formulas themselves would be wrong where ``|.|`` and ``max`` have
their kinks, which is where training starts, and would lose digits elsewhere. The rules here can be
differentiated twice.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_jvp
def sigmoid(m: jax.Array) -> jax.Array:
    """Return 1 / (1 + exp(-m))."""
    e = jnp.exp(-jnp.abs(m))
    return jnp.where(m >= 0, 1, e) / (1 + e)


@sigmoid.defjvp
def _sigmoid_rule(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (m,), (dm,) = primals, tangents
    e = jnp.exp(-jnp.abs(m))
    denominator = 1 + e
    return sigmoid(m), e / (denominator * denominator) * dm


@jax.custom_jvp
def log_loss(m: jax.Array) -> jax.Array:
    """Return log(1 + exp(m)), the loss of a sample of margin m."""
    e = jnp.exp(-jnp.abs(m))
    return jnp.maximum(m, 0) + jnp.log1p(e)


@log_loss.defjvp
def _log_loss_rule(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (m,), (dm,) = primals, tangents
    a = sigmoid(m)
    return log_loss(m), a * dm


def _exponentials(z: jax.Array) -> jax.Array:
    """Return e = exp(z - max z); the classes are the leading axis."""
    return jnp.exp(z - z.max(axis=0))


def softmax(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a, the probabilities of scores ``z`` of shape (K, n), and 1 - a in full precision."""
    e = _exponentials(z)
    rest = jnp.where(e < 1, e, 0).sum(axis=0) + (jnp.where(e < 1, 0, e).sum(axis=0) - 1)
    return e / (1 + rest), jnp.where(e < 1, 1 + rest - e, rest) / (1 + rest)


def _split(values: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return which entry is of the sample's own class, that, and the sum of the others."""
    own = jnp.arange(len(values), dtype=y.dtype)[:, None] == y
    return own, jnp.where(own, values, 0).sum(axis=0), jnp.where(own, 0, values).sum(axis=0)


@jax.custom_jvp
def residual(z: jax.Array, y: jax.Array) -> jax.Array:
    """Return dz = softmax(z) - onehot(y), the derivative of `softmax_loss`; shape (K, n)."""
    e = _exponentials(z)
    own, e_y, others = _split(e, y)
    return jnp.where(own, -others, e) / (others + e_y)


@residual.defjvp
def _residual_rule(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (z, y), (change, _) = primals, tangents
    e = _exponentials(z)
    a = e / e.sum(axis=0)
    # Only differences between the classes' changes count. A mean that was taken off beforehand
    # leaves their digits to the differences, where one probability is close to 1.
    change = change - (a * change).sum(axis=0)
    return residual(z, y), a * (change - (a * change).sum(axis=0))


@jax.custom_jvp
def softmax_loss(z: jax.Array, y: jax.Array) -> jax.Array:
    """Return -log of the probability of each sample's own class.

    Parameters
    ----------
    z : jax.Array of shape (K, n)
        Scores.
    y : jax.Array of shape (n,)
        Labels 0..K-1, integers.
    """
    _, z_y, _ = _split(z, y)
    _, e_y, others = _split(_exponentials(z), y)
    # The sum of e less 1: where y has the largest score, e_y - 1 is 0 and every digit of the others
    # counts; elsewhere the logarithm is at least log 2.
    return (z.max(axis=0) - z_y) + jnp.log1p(others + (e_y - 1))


@softmax_loss.defjvp
def _softmax_loss_rule(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (z, y), (change, _) = primals, tangents
    dz = residual(z, y)
    return softmax_loss(z, y), (dz * change).sum(axis=0)
