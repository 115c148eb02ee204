"""Many two-class problems at once in vectorised NumPy: blocks of problems, all rows of each.

Problems that share their rows share the products x_j x_k too: with these as the columns of a
matrix, the Hessians of a block are one product of matrices.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends._chunks import Team, thread_count
from lrbackends.backends._pairs import block_of_problems, pairs_of, places_of
from lrbackends.backends.protocol import Batch

Array = NDArray[np.float64]


class NumpyBatchKernels:
    """A `Batch` on NumPy."""

    def __init__(self, batch: Batch, n_threads: int | None = None) -> None:
        self._batch, self._n_threads = batch, n_threads
        _, n, d = batch.X.shape
        self._size = block_of_problems(n, 1 if batch.shared else d)
        self._pairs = pairs_of(batch.X[0]) if batch.shared else None
        self._places = places_of(d)

    def loss_gradient(self, thetas: Array, members: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return losses and gradients; see `BatchKernels`."""
        losses, gradients, _ = self._evaluate(thetas, members, curved=False)
        return losses, gradients

    def loss_gradient_hessian(
        self, thetas: Array, members: NDArray[np.intp]
    ) -> tuple[Array, Array, Array]:
        """Return losses, gradients and Hessians; see `BatchKernels`."""
        return self._evaluate(thetas, members, curved=True)

    def _evaluate(
        self, thetas: Array, members: NDArray[np.intp], *, curved: bool
    ) -> tuple[Array, Array, Array]:
        count, d = thetas.shape
        _, n, _ = self._batch.X.shape
        losses, gradients = np.empty(count), np.empty((count, d))
        hessians = np.empty((count if curved else 0, d, d))
        edges = list(pairwise([*range(0, count, self._size), count]))

        def work(k: int) -> None:
            some = slice(*edges[k])
            arguments = thetas[some], members[some]
            losses[some], gradients[some], s, X = self._differentiate(*arguments)
            if not curved:
                return
            if self._pairs is not None:
                hessians[some] = s.dot(self._pairs)[:, self._places]
            else:
                np.matmul((X * s[..., None]).transpose(0, 2, 1), X, out=hessians[some])

        team = Team(thread_count(self._n_threads, 8 * count * n * d))
        with single_threaded(), np.errstate(all="ignore"):
            team.map(work, len(edges))
        return losses, gradients, hessians

    def _differentiate(
        self, thetas: Array, members: NDArray[np.intp]
    ) -> tuple[Array, Array, Array, Array]:
        """Return losses, gradients, the rows' curvatures and X of a block of problems."""
        batch = self._batch
        sign = batch.sign[0] if len(batch.sign) == 1 else batch.sign[members]
        weight = batch.weight[members]
        if batch.shared:
            X = batch.X[0]
            z = thetas.dot(X.T)
        else:
            X = batch.X[members]
            z = np.matmul(X, thetas[..., None])[..., 0]
        m = z
        m *= sign
        e = np.abs(m)
        np.negative(e, out=e)
        np.exp(e, out=e)
        loss = np.log1p(e)
        loss += np.maximum(m, 0)
        losses = np.einsum("bn,bn->b", weight, loss)
        denominator = e + 1
        s = weight / denominator
        a = np.where(m >= 0, s, e * s)  # weighted, like s
        s *= e
        s /= denominator
        dz = a
        dz *= sign
        gradients = dz.dot(X) if batch.shared else np.matmul(dz[:, None], X)[:, 0]
        return losses, gradients, s, X


def compile_batch(batch: Batch, n_threads: int | None = None) -> NumpyBatchKernels:
    """Return the kernels of a batch."""
    return NumpyBatchKernels(batch, n_threads)
