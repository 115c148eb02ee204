"""Many two-class problems at once in JAX: the loss of one, differentiated and mapped over all."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._pairs import pairs_of, places_of
from lrbackends.backends.jax_losses import log_loss
from lrbackends.backends.protocol import Batch

_SMALLEST = 8  # problems in a call; others are filled up to the next power of two

Array = NDArray[np.float64]


def _loss(theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the weighted mean log-loss of one problem."""
    loss: jax.Array = weight @ log_loss(sign * (X @ theta))
    return loss


def _curvature(theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the second derivative of each row's loss by its score, weighted."""
    curvature: jax.Array = jax.vmap(jax.grad(jax.grad(log_loss)))(sign * (X @ theta))
    return weight * curvature


@partial(jax.jit, static_argnames="curved")
def _evaluate(
    thetas: jax.Array,
    members: jax.Array,
    data: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    curved: bool,
) -> tuple[jax.Array, ...]:
    X, sign, weight, pairs = data
    one_x, one_sign = len(X) == 1, len(sign) == 1
    some = (
        X[0] if one_x else X[members],
        sign[0] if one_sign else sign[members],
        weight[members],
    )
    axes = (0, None if one_x else 0, None if one_sign else 0, 0)
    losses: jax.Array
    losses, gradients = jax.vmap(jax.value_and_grad(_loss), axes)(thetas, *some)
    if not curved:
        return losses, gradients
    s = jax.vmap(_curvature, axes)(thetas, *some)
    if one_x:  # one product of matrices for all Hessians
        return losses, gradients, (s @ pairs)[:, places_of(X.shape[2])]
    hessians = jax.vmap(lambda x, s: (x * s[:, None]).T @ x)(some[0], s)
    return losses, gradients, hessians


class JaxBatchKernels:
    """A `Batch` on JAX; XLA's own threads cannot be limited."""

    def __init__(self, batch: Batch) -> None:
        pairs = pairs_of(batch.X[0]) if batch.shared else np.zeros((0, 0))
        with jax.enable_x64(True):
            data = batch.X, batch.sign, batch.weight, pairs
            self._data = tuple(jnp.asarray(part) for part in data)

    def loss_gradient(self, thetas: Array, members: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return losses and gradients; see `BatchKernels`."""
        losses, gradients = self._evaluate(thetas, members, curved=False)
        return losses, gradients

    def loss_gradient_hessian(
        self, thetas: Array, members: NDArray[np.intp]
    ) -> tuple[Array, Array, Array]:
        """Return losses, gradients and Hessians; see `BatchKernels`."""
        losses, gradients, hessians = self._evaluate(thetas, members, curved=True)
        return losses, gradients, hessians

    def _evaluate(
        self, thetas: Array, members: NDArray[np.intp], *, curved: bool
    ) -> tuple[Array, ...]:
        count = len(thetas)
        size = max(_SMALLEST, 1 << (count - 1).bit_length())  # few sizes, so few compilations
        full = np.zeros((size, thetas.shape[1])), np.zeros(size, members.dtype)
        full[0][:count], full[1][:count] = thetas, members
        with jax.enable_x64(True):
            answers = _evaluate(*full, self._data, curved)
            return tuple(np.array(part[:count]) for part in map(np.asarray, answers))


def compile_batch(batch: Batch, n_threads: int | None = None) -> JaxBatchKernels:  # noqa: ARG001
    """Return the kernels of a batch; XLA's threads cannot be limited, so ``n_threads`` is None."""
    return JaxBatchKernels(batch)
