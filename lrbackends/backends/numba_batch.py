"""Many two-class problems at once as a jitted per-sample loop, threads taking problems in turn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends._chunks import Team, thread_count
from lrbackends.backends._numba_jit import entry, jit
from lrbackends.backends._pairs import block_of_problems, pairs_of, places_of
from lrbackends.backends.numba_reproducible import exp_of_minus, log_of_one_plus
from lrbackends.backends.protocol import Batch

# Sums of products may be reordered, which lets them run in vector lanes; nothing else is relaxed.
_SUMS = {"reassoc", "contract", "nsz"}
_LARGEST_EXPONENT = 708.0  # beyond it exp(-x) is taken at 708: smaller ones are subnormal
_PIECES = 16  # of the problems, at least: the thread that is held up does fewer

Array = NDArray[np.float64]


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only, C-contiguous view: kernels are compiled for one kind of array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@jit(fastmath=_SUMS)
def _score(X: Any, rows: Any, theta: Any, z: Any) -> None:
    """Write x . theta of some rows to ``z``."""
    for s in range(len(rows)):
        x, score = X[rows[s]], 0.0
        for j in range(len(theta)):
            score += x[j] * theta[j]
        z[s] = score


@jit(fastmath={"contract"})
def _differentiate(z: Any, rows: Any, sign: Any, weight: Any, losses: Any, s: Any) -> None:
    """Write each row's loss and curvature, and its dz in the place of z, all weighted."""
    for k in range(len(rows)):
        m = sign[rows[k]] * z[k]
        e = exp_of_minus(abs(m), _LARGEST_EXPONENT)
        omega = weight[rows[k]]
        losses[k] = omega * (max(m, 0.0) + log_of_one_plus(e))
        a = (1.0 if m >= 0 else e) / (1.0 + e)
        z[k] = omega * (sign[rows[k]] * a)
        s[k] = omega * (e / ((1.0 + e) * (1.0 + e)))


@jit(fastmath=_SUMS)
def _total(values: Any, count: int) -> float:
    total = 0.0
    for k in range(count):
        total += values[k]
    return total


@jit(fastmath=_SUMS)
def _add(X: Any, rows: Any, dz: Any, gradient: Any) -> None:
    """Add the rows times their ``dz`` to ``gradient``, four at a time."""
    count = len(rows)
    whole = count // 4 * 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = X[rows[k]], X[rows[k + 1]], X[rows[k + 2]], X[rows[k + 3]]
        for j in range(len(gradient)):
            gradient[j] += (dz[k] * x0[j] + dz[k + 1] * x1[j]) + (
                dz[k + 2] * x2[j] + dz[k + 3] * x3[j]
            )
    for k in range(whole, count):
        for j in range(len(gradient)):
            gradient[j] += dz[k] * X[rows[k], j]


@jit(fastmath=_SUMS)
def _add_squares(X: Any, rows: Any, s: Any, hessian: Any) -> None:
    """Add the rows' s x x' to the lower triangle of ``hessian``, four at a time."""
    count, d = len(rows), len(hessian)
    whole = count // 4 * 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = X[rows[k]], X[rows[k + 1]], X[rows[k + 2]], X[rows[k + 3]]
        for i in range(d):
            c0, c1, c2, c3 = s[k] * x0[i], s[k + 1] * x1[i], s[k + 2] * x2[i], s[k + 3] * x3[i]
            line = hessian[i]
            for j in range(i + 1):
                line[j] += (c0 * x0[j] + c1 * x1[j]) + (c2 * x2[j] + c3 * x3[j])
    for k in range(whole, count):
        x = X[rows[k]]
        for i in range(d):
            c, line = s[k] * x[i], hessian[i]
            for j in range(i + 1):
                line[j] += c * x[j]


@entry
def _evaluate(
    data: Any,
    thetas: Any,
    members: Any,
    first: int,
    last: int,
    answers: Any,
    curvatures: Any,
    room: Any,
) -> None:
    """Evaluate problems first to last - 1; rows of weight 0 are not looked at.

    Curvatures are left in rows of ``curvatures``, or make up the Hessians if it has none.
    """
    Xs, signs, weights, kept, counts = data
    losses, gradients, hessians = answers
    z, loss, s = room
    for b in range(first, last):
        g = members[b]
        X = Xs[g if len(Xs) > 1 else 0]
        sign = signs[g if len(signs) > 1 else 0]
        rows, count = kept[g, : counts[g]], counts[g]
        _score(X, rows, thetas[b], z)
        _differentiate(z, rows, sign, weights[g], loss, s)
        losses[b] = _total(loss, count)
        gradients[b] = 0
        _add(X, rows, z, gradients[b])
        if len(curvatures):
            line = curvatures[b - first]
            line[:] = 0
            for k in range(count):
                line[rows[k]] = s[k]
        elif len(hessians):
            hessian = hessians[b]
            hessian[:] = 0
            _add_squares(X, rows, s, hessian)
            for i in range(len(hessian)):
                for j in range(i):
                    hessian[j, i] = hessian[i, j]


class NumbaBatchKernels:
    """A `Batch` on Numba."""

    def __init__(self, batch: Batch, n_threads: int | None = None) -> None:
        self._n_threads = n_threads
        counts = np.count_nonzero(batch.weight, axis=1)
        # The rows of positive weight come first, in their order.
        kept = np.argsort(batch.weight == 0, axis=1, kind="stable")
        arrays = batch.X, batch.sign, batch.weight, kept, counts
        self._data = tuple(_frozen(array) for array in arrays)
        self._pairs = pairs_of(batch.X[0]) if batch.shared else None
        self._places = places_of(batch.X.shape[2])

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
        n = self._data[2].shape[1]
        thetas, members = _frozen(thetas), _frozen(members)
        answers = np.empty(count), np.empty((count, d)), np.empty((count if curved else 0, d, d))
        team = Team(thread_count(self._n_threads, 8 * count * n * d))
        pairs = self._pairs if curved else None
        # Cut by shape alone, so that no bit depends on how many threads there are.
        size = max(1, min(block_of_problems(n, 1), -(-count // _PIECES)))
        edges = list(pairwise([*range(0, count, size), count]))

        def work(k: int) -> None:
            first, last = edges[k]
            room = np.empty(n), np.empty(n), np.empty(n)
            curvatures = np.empty((0 if pairs is None else last - first, n))
            _evaluate(self._data, thetas, members, first, last, answers, curvatures, room)
            if pairs is not None:
                answers[2][first:last] = curvatures.dot(pairs)[:, self._places]

        with single_threaded():
            team.map(work, len(edges))
        return answers


def compile_batch(batch: Batch, n_threads: int | None = None) -> NumbaBatchKernels:
    """Return the kernels of a batch."""
    return NumbaBatchKernels(batch, n_threads)
