"""What the objectives of JAX's two arithmetics have in common: their form and their penalties."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Form(NamedTuple):
    """What a compiled objective depends on besides the shapes of its arguments."""

    n_outputs: int
    fit_intercept: bool

    def split(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the coefficients, row after row, and the intercepts."""
        return theta[: -self.n_outputs], theta[-self.n_outputs :]


class Strengths(NamedTuple):
    """The penalties' strengths, of type float64; ``l1`` is None where there is no such penalty."""

    l2: jax.Array
    l1: jax.Array | None


def subgradient(
    gradient: jax.Array, theta: jax.Array, strengths: Strengths, form: Form
) -> jax.Array:
    """Add the slope of ``l1 |w|_1`` to a gradient; at w = 0, which is a kink, the least there is.

    Its products are exact, so that both arithmetics may use it.
    """
    if strengths.l1 is None:
        return gradient
    (coef, _), (dw, db) = form.split(theta), form.split(gradient)
    l1 = strengths.l1.astype(theta.dtype)
    least = jnp.sign(dw) * jnp.maximum(jnp.abs(dw) - l1, 0)
    return jnp.concatenate([jnp.where(coef == 0, least, dw + jnp.sign(coef) * l1), db])
