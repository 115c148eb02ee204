"""The per-sample backend: the cumulative-gradient loop of the derivation, jitted.

The loop itself is in `numba_kernels`, and for more than two classes in `numba_softmax`; here it is
given the data and shared among threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends import _gram
from lrbackends.backends import numba_kernels as kernels
from lrbackends.backends import numba_reproducible as reproducible
from lrbackends.backends import numba_softmax as softmax
from lrbackends.backends._chunks import Team, chunk_edges, thread_count
from lrbackends.backends._compensated import shrink, two_sum
from lrbackends.backends._numba_jit import entry, jit
from lrbackends.backends._reproducible import LOSS_LANES, SAMPLE_LANES, check_range
from lrbackends.backends.numba_kernels import ALL_ROWS, Passes, passes_over, room_for
from lrbackends.backends.protocol import (
    API_VERSION,
    Batches,
    Capabilities,
    Coefficients,
    Rule,
    State,
    coefficients_for,
    pack,
    require,
    unpack,
)
from lrbackends.objective import Objective, Params, as_params
from lrbackends.problem import Problem

# Stands for "all rows" where the jitted loop over steps takes mini-batches.
_NO_BATCHES = np.zeros((0, 0), np.int64), np.zeros(0, np.int64)
_EQUAL = np.zeros(0)  # stands for weights that are all one
_PIECES = 4  # of a pass for each thread: the one that is held up does fewer
_GRAM_BYTES = 1 << 19  # rows of one weighted Gram product stay in the second-level cache
_GRAM_ROWS = 256  # but not fewer than these or p / 2: each product also costs a pass over the sum
_GRAM_SLOTS = 1 << 25  # bytes of the partial Gram matrices, of which there are two at least

_two_sum = jit()(two_sum)
_shrink = jit()(shrink)
register_jitable(two_sum)  # which shrink calls


@cache
def _reproducible_objective(accumulate: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what is as `Passes.objective`, in the reproducible arithmetic."""

    @entry
    def objective(
        data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
    ) -> Any:
        X, labels, weight = data
        lanes, losses = work
        n_coef, l2, fit_intercept = penalty
        lanes[:] = 0
        losses[:] = 0
        accumulate(X, labels, weight, theta, rows, n, 0, SAMPLE_LANES, lanes, losses[0])
        return reproducible.finish(lanes, losses, theta, n_coef, n, l2, fit_intercept, gradient)

    return objective


# -- the L1 penalty: ``absolute`` is (number of coefficients, l1, l1 in theta's type), or None


@jit()
def _where(condition: Any, yes: Any, no: Any) -> Any:
    return yes if condition else no


@jit()
def _slope(gradient: Any, theta: Any, l1: Any) -> Any:
    """Return the derivative by a coefficient with the penalty's: of least size at a kink."""
    if theta != 0:
        return gradient + np.sign(theta) * l1
    size = abs(gradient) - l1
    return np.sign(gradient) * (size if size > 0 else 0.0)


@jit()
def _steepest(theta: Any, gradient: Any, absolute: Any) -> float:
    """Return the largest derivative in size."""
    n_coef, _, l1 = absolute
    largest = 0.0
    for j in range(theta.size):
        size = abs(_slope(gradient[j], theta[j], l1) if j < n_coef else gradient[j])
        if size > largest or size != size:  # a NaN, once met, stays
            largest = size
    return largest


@entry
def _penalise(loss: float, theta: Any, gradient: Any, absolute: Any) -> float:
    """Turn the derivatives of the rest into those of the objective, which is returned."""
    n_coef, l1, rounded = absolute
    for j in range(n_coef):
        gradient[j] = _slope(gradient[j], theta[j], rounded)
    total: float = loss + l1 * reproducible.absolute_sum(theta[:n_coef])
    return total


# -- training runs


@cache
def _step_with(update: Callable[..., Any]) -> Callable[..., Any]:
    """Compile one step of an update rule: every coordinate moves, in two-word arithmetic."""
    rule = jit()(update)

    @entry
    def step(
        theta: Any,
        residual: Any,
        first: Any,
        second: Any,
        gradient: Any,
        c: Coefficients,
        absolute: Any,
    ) -> float:
        largest, steepest = 0.0, 0.0
        if absolute is not None:
            steepest = _steepest(theta, gradient, absolute)
        for j in range(theta.size):
            size = abs(gradient[j])
            if size > largest or size != size:  # a NaN, once met, stays
                largest = size
            # The step takes the gradient's place, which also rounds it to theta's type.
            gradient[j], first[j], second[j] = rule(gradient[j], first[j], second[j], c, math.sqrt)
            theta[j], residual[j] = _two_sum(theta[j], residual[j] + gradient[j])
        if absolute is not None:
            for j in range(absolute[0]):
                theta[j], residual[j] = _shrink(theta[j], residual[j], c.threshold, _where)
            return steepest
        return largest

    return step


@cache
def _run_with(update: Callable[..., Any], objective: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the training loop of an update rule over one kind of data."""
    one_step = _step_with(update)

    @entry
    def run(
        data: Any,
        vectors: Any,
        indices: Any,
        sizes: Any,
        penalty: Any,
        absolute: Any,
        coefficients: Any,
        work: Any,
        records: Any,
    ) -> None:
        theta, residual, first, second, gradient = vectors
        n_samples = len(data[1])
        for t in range(len(records)):
            rows, n = (indices[t], sizes[t]) if indices.size else (ALL_ROWS, n_samples)
            records[t, 0] = objective(data, theta, rows, n, penalty, gradient, work)
            if absolute is not None:
                records[t, 0] += absolute[1] * reproducible.absolute_sum(theta[: absolute[0]])
            c = coefficients[t]
            records[t, 1] = one_step(
                theta,
                residual,
                first,
                second,
                gradient,
                Coefficients(c[0], c[1], c[2], c[3], c[4], c[5], c[6]),
                absolute,
            )

    return run


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that kernels cannot write to: to Numba all data have this one type."""
    view = array.view()
    view.flags.writeable = False
    return view


def _unsigned(indices: NDArray[Any]) -> NDArray[Any]:
    """Return indices as the unsigned numbers that they are: none counts from the end."""
    return _frozen(indices.view(f"u{indices.itemsize}"))


class _NumbaKernels:
    """What the two arithmetics share: training runs, and answers as the protocol has them."""

    _penalty: tuple[Any, ...]
    _data: tuple[Any, ...]
    _team: Team

    def __init__(self, problem: Problem, objective: Objective) -> None:
        self._problem, self._objective = problem, objective
        self._n_coef = problem.n_outputs * problem.n_features
        self._absolute = None
        if objective.l1 > 0:
            self._absolute = self._n_coef, float(objective.l1), problem.dtype.type(objective.l1)

    def _theta(self, params: Any) -> NDArray[Any]:
        return pack(as_params(params, self._problem))

    def _unpack(self, theta: NDArray[Any]) -> Params:
        return unpack(theta, self._problem.n_features)

    def _scores(self, X: Any) -> NDArray[Any]:
        """Return room for the scores of the rows of X."""
        n_outputs = self._problem.n_outputs
        return np.empty(
            (X.shape[0],) if n_outputs == 1 else (X.shape[0], n_outputs), self._problem.dtype
        )

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """Write the gradient; return the objective; both without the L1 penalty."""
        raise NotImplementedError

    def _with_absolute(
        self, loss: float, theta: NDArray[Any], gradient: NDArray[Any]
    ) -> tuple[float, Params]:
        """Return objective and gradient with the L1 penalty."""
        if self._absolute is not None:
            loss = float(_penalise(loss, theta, gradient, self._absolute))
        return loss, self._unpack(gradient)

    def _native(self, batches: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return the jitted objective for a run, and its scratch space."""
        raise NotImplementedError

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = self._theta(params)
        gradient = np.empty_like(theta)
        return self._with_absolute(self._evaluate(theta, gradient), theta, gradient)

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        vectors = tuple(v.copy() for v in state[:4])
        coefficients = coefficients_for(rule, state.step, n_steps, self._objective)
        coefficients = coefficients.astype(vectors[0].dtype)
        records = np.empty((n_steps, 2))
        if batches is None and self._team.size > 1:
            self._run_threaded(rule, vectors, coefficients, records)
        else:
            indices, sizes = _NO_BATCHES if batches is None else batches
            objective, work = self._native(batches is not None)
            vectors = *vectors, np.zeros_like(vectors[0])
            _run_with(rule.update, objective)(
                self._data,
                vectors,
                indices,
                sizes,
                self._penalty,
                self._absolute,
                coefficients,
                work,
                records,
            )
        theta, residual, first, second = vectors[:4]
        return State(theta, residual, first, second, state.step + n_steps), records

    def _run_threaded(
        self,
        rule: Rule,
        vectors: tuple[NDArray[Any], ...],
        coefficients: NDArray[Any],
        records: NDArray[np.float64],
    ) -> None:
        """Do the steps one by one; each takes long enough that the loop in Python costs nothing."""
        one_step = _step_with(rule.update)
        gradient = np.zeros_like(vectors[0])
        if not len(records):  # asked to compile only
            self._evaluate(vectors[0], gradient)
            zeros = Coefficients(*gradient[[0] * 7])
            one_step(*(v.copy() for v in vectors), gradient, zeros, self._absolute)
        for t in range(len(records)):
            records[t, 0] = self._evaluate(vectors[0], gradient)
            if self._absolute is not None:
                n_coef, l1, _ = self._absolute
                records[t, 0] += l1 * reproducible.absolute_sum(vectors[0][:n_coef])
            c = Coefficients(*coefficients[t])
            records[t, 1] = one_step(*vectors, gradient, c, self._absolute)


class NumbaKernels(_NumbaKernels):
    """One problem on Numba."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        super().__init__(problem, objective)
        self._rows, self._storage, self._edges, n_bytes = self._layout(problem.X)
        weight = _EQUAL if problem.sample_weight is None else problem.weight
        weight = weight.astype(problem.dtype, copy=False)
        self._data = self._rows, _frozen(self._labels()), _frozen(weight)
        self._penalty = problem.dtype.type(objective.l2), bool(objective.fit_intercept)
        self._team = Team(thread_count(n_threads, n_bytes))
        self._sparse = problem.sparse
        self._kept: dict[str, tuple[NDArray[Any], NDArray[np.float64]]] = {}
        self._spare: dict[str, list[tuple[Any, ...]]] = {}  # scratch space to be used again
        self._curves = False  # whether somebody asked for products with the Hessian

    def _labels(self) -> NDArray[Any]:
        """Return the labels as the kernels take them: signs."""
        return np.where(self._problem.y == 1, np.int8(-1), np.int8(1))

    def _layout(self, X: Any) -> tuple[Any, Any, NDArray[np.int64], int]:
        """Return X as the kernels take it, how they read it, its chunks and its size."""
        dtype, (n, p) = self._problem.dtype, X.shape
        slot_bytes = self._problem.n_outputs * (p + 1) * dtype.itemsize
        if isinstance(X, np.ndarray):
            row_bytes = p * dtype.itemsize  # as computed with: chunks of narrow X are the same
            edges = chunk_edges(n, row_bytes, slot_bytes)
            return _frozen(X), kernels.DENSE, edges, n * row_bytes
        X = X if X.dtype == dtype else X.astype(dtype)
        entry_bytes = X.data.itemsize + X.indices.itemsize
        edges = chunk_edges(n, entry_bytes, slot_bytes, X.indptr)
        rows = _unsigned(X.indptr), _unsigned(X.indices), _frozen(X.data)
        return rows, kernels.SPARSE, edges, len(X.data) * entry_bytes

    def _passes(self, storage: Any) -> Passes:
        return passes_over(storage)

    def _room(self, storage: Any = None) -> tuple[Any, ...]:
        problem, weighted = self._problem, self._problem.sample_weight is not None
        return room_for(storage or self._storage, problem.n_features, problem.dtype, weighted)

    def _share(self, work: Callable[[int, int, tuple[Any, ...]], Any], n_chunks: int) -> None:
        """Let the team do ``work(first, last, scratch space)`` for all chunks, in pieces."""
        pieces = min(n_chunks, _PIECES * self._team.size) if self._team.size > 1 else 1
        ends = [n_chunks * k // pieces for k in range(pieces + 1)]

        def piece(k: int) -> None:
            with self._borrowed("room", self._room) as room:
                work(ends[k], ends[k + 1], room)

        self._team.map(piece, pieces)

    @contextmanager
    def _borrowed(self, kind: str, make: Callable[[], Any]) -> Iterator[tuple[Any, ...]]:
        """Lend scratch space that nobody else has, made before or made now."""
        spare = self._spare.setdefault(kind, [])
        try:
            room = spare.pop()  # atomic: two threads never get the same one
        except IndexError:
            room = make()
        yield room
        spare.append(room)

    def _slots(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return room for the chunks' sums."""
        n_chunks = len(self._edges) - 1
        return (
            np.empty((n_chunks, self._problem.n_features + 1), self._problem.dtype),
            np.empty(n_chunks),
        )

    def _finish(
        self,
        slots: NDArray[Any],
        losses: NDArray[np.float64],
        theta: NDArray[Any],
        gradient: NDArray[Any],
    ) -> float:
        n = self._problem.n_samples
        finish = self._passes(self._storage).finish
        return float(finish(slots, losses, len(losses), theta, n, self._penalty, gradient))

    def _accumulate(
        self, theta: NDArray[Any], gradient: NDArray[Any], curvature: NDArray[np.float64] | None
    ) -> float:
        slots, losses = self._slots()
        gradients = self._passes(self._storage).gradients

        def work(first: int, last: int, room: Any) -> None:
            gradients(self._data, theta, self._edges, first, last, curvature, slots, losses, room)

        self._share(work, len(losses))
        return self._finish(slots, losses, theta, gradient)

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        if self._team.size > 1:
            return self._accumulate(theta, gradient, None)
        evaluate, n = self._passes(self._storage).evaluate, self._problem.n_samples
        with self._borrowed("work", self._work) as work:
            return float(evaluate(self._data, theta, ALL_ROWS, n, self._penalty, gradient, work))

    def _native(self, batches: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        storage = self._gathered() if batches else self._storage
        return self._passes(storage).objective, self._work(storage)

    def _gathered(self) -> Any:
        """Return how rows of mini-batches are read."""
        return kernels.GATHERED if self._storage is kernels.DENSE else self._storage

    def _work(self, storage: Any = None) -> tuple[Any, ...]:
        return self._edges, *self._slots(), self._room(storage)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``; the gradient is not computed."""
        theta = self._theta(params)
        slots, losses = self._slots()
        pass_ = self._passes(self._storage).losses

        def work(first: int, last: int, room: Any) -> None:
            pass_(self._data, theta, self._edges, first, last, losses, room)

        self._share(work, len(losses))
        slots[:] = 0
        gradient = np.empty_like(theta)
        return self._with_absolute(self._finish(slots, losses, theta, gradient), theta, gradient)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = self._theta(params)
        gradient = np.empty_like(theta)
        if not self._curves:
            return self._with_absolute(self._evaluate(theta, gradient), theta, gradient)
        # Products with the Hessian are likely to be asked for here: keep the curvatures.
        curvature = self._take_curvature()[1]
        loss = self._accumulate(theta, gradient, curvature)
        self._kept["curvature"] = theta, curvature
        return self._with_absolute(loss, theta, gradient)

    def _curvatures(self, n_rows: int) -> NDArray[np.float64]:
        """Return room for the curvatures of some rows."""
        return np.empty(n_rows)

    def _take_curvature(self) -> tuple[NDArray[Any] | None, NDArray[np.float64]]:
        """Return the parameters and curvatures last kept, which are ours alone from here on."""
        kept = self._kept.pop("curvature", None)  # other threads find none, and make their own
        return kept or (None, self._curvatures(self._problem.n_samples))

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``.

        The curvatures of the last ``params`` are kept, so that each product is one pass.
        """
        theta, v = self._theta(params), self._theta(vector)
        if not self._objective.fit_intercept:
            v[self._n_coef :] = 0
        self._curves = True
        at, curvature = self._take_curvature()
        if at is None or at.tobytes() != theta.tobytes():
            self._accumulate(theta, np.empty_like(theta), curvature)
        slots, losses = self._slots()
        products = self._passes(self._storage).products

        def work(first: int, last: int, room: Any) -> None:
            products(self._data, v, self._edges, first, last, curvature, slots, room)

        self._share(work, len(losses))
        self._kept["curvature"] = theta, curvature
        losses[:] = 0
        product = np.empty_like(v)
        self._finish(slots, losses, v, product)  # the penalty's slope at v is l2 v
        return self._unpack(product)

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian at ``params``; see `HessianKernels`."""
        return self.loss_gradient_hessian(params)[2]

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return the objective, its gradient and its Hessian at ``params`` from the same pass."""
        _gram.check_size(self._problem)
        theta, n = self._theta(params), self._problem.n_samples
        chunks = min(len(self._edges) - 1, max(2, _GRAM_SLOTS // (8 * theta.size**2)))
        ends = self._edges[[(len(self._edges) - 1) * k // chunks for k in range(chunks + 1)]]
        slots, losses = (sums[:chunks] for sums in self._slots())
        slots[:] = losses[:] = 0
        grams = [self._grams() for _ in range(chunks)]
        rows = max(_GRAM_ROWS, (theta.size - 1) // 2, _GRAM_BYTES // (8 * theta.size))
        step = n if self._sparse else rows
        curved = self._passes(self._storage).curved

        def work(k: int) -> None:
            start, stop = ends[k], ends[k + 1]
            size = min(step, stop - start)
            scaled, room = self._scaled(size), self._room()
            products = [np.empty_like(gram) for gram in grams[k]]
            for first in range(start, stop, size):
                count = min(size, stop - first)
                part = tuple(array[:count] for array in scaled)
                curvature = self._curvatures(count)
                arguments = curvature, slots[k], grams[k][0], part, room
                losses[k] += curved(self._data, theta, first, first + count, *arguments)
                self._multiply(grams[k], part, products)

        with single_threaded():
            self._team.map(work, chunks)
        gradient = np.empty_like(theta)
        loss = self._finish(slots, losses, theta, gradient)
        total = grams[0]
        for other in grams[1:]:
            for gram, more in zip(total, other, strict=True):
                gram += more
        return *self._with_absolute(loss, theta, gradient), self._finish_hessian(*total)

    def _grams(self) -> list[NDArray[np.float64]]:
        """Return a chunk's sums of second derivatives, zero."""
        return [np.zeros((self._problem.n_features + 1,) * 2)]

    def _scaled(self, n_rows: int) -> tuple[NDArray[np.float64], ...]:
        """Return room for rows whose products add up to the sums; sparse rows need less."""
        return (np.empty((0 if self._sparse else n_rows, self._problem.n_features + 1)),)

    def _multiply(self, grams: list[Any], scaled: tuple[Any, ...], products: list[Any]) -> None:
        """Add the products of scaled rows to the sums."""
        if not self._sparse:  # BLAS's syrk, then mirrored
            grams[0] += np.dot(scaled[0].T, scaled[0], out=products[0])

    def _finish_hessian(self, gram: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the sums into the Hessian."""
        if self._sparse:
            gram += np.tril(gram, -1).T
        return _gram.finish(gram, self._problem.n_samples, self._objective)

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,) or (n_samples, n_outputs)."""
        theta = self._theta(params)
        if X is self._problem.X:
            rows, storage, edges = self._rows, self._storage, self._edges
        else:
            rows, storage, edges, _ = self._layout(X)
        z = self._scores(X)
        data, pass_ = (rows, *self._data[1:]), self._passes(storage).scores
        if X is self._problem.X:
            self._share(
                lambda first, last, room: pass_(data, theta, edges, first, last, z, room),
                len(edges) - 1,
            )
        else:
            pass_(data, theta, edges, 0, len(edges) - 1, z, self._room(storage))
        return z


class SoftmaxNumbaKernels(NumbaKernels):
    """One problem of more than two classes on Numba."""

    def _labels(self) -> NDArray[Any]:
        return self._problem.y

    def _layout(self, X: Any) -> tuple[Any, Any, NDArray[np.int64], int]:
        rows, storage, edges, n_bytes = super()._layout(X)
        if storage is kernels.SPARSE:
            return rows, softmax.SPARSE, edges, n_bytes
        narrow = X.dtype != self._problem.dtype
        return rows, softmax.COPIED if narrow else softmax.DENSE, edges, n_bytes

    def _gathered(self) -> Any:
        return softmax.COPIED if self._storage is softmax.DENSE else self._storage

    def _passes(self, storage: Any) -> Passes:
        return softmax.passes_over(storage)

    def _room(self, storage: Any = None) -> tuple[Any, ...]:
        problem, weighted = self._problem, self._problem.sample_weight is not None
        shape = problem.n_features, problem.n_outputs
        return softmax.room_for(storage or self._storage, *shape, problem.dtype, weighted)

    def _slots(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        K, p, n_chunks = self._problem.n_outputs, self._problem.n_features, len(self._edges) - 1
        shape = (p + 1, K) if self._sparse else (K, p + 1)
        return np.empty((n_chunks, *shape), self._problem.dtype), np.empty(n_chunks)

    def _curvatures(self, n_rows: int) -> NDArray[np.float64]:
        return np.empty((self._problem.n_outputs, n_rows))

    def _grams(self) -> list[NDArray[np.float64]]:
        """Return sums for pairs of classes; of dense rows those of one class are apart."""
        K, p = self._problem.n_outputs, self._problem.n_features
        if self._sparse:
            return [np.zeros((p + 1, p + 1, K * (K + 1) // 2))]
        return [np.zeros((K * (p + 1),) * 2), np.zeros((K, p + 1, p + 1))]

    def _scaled(self, n_rows: int) -> tuple[NDArray[np.float64], ...]:
        K, p = self._problem.n_outputs, self._problem.n_features
        if self._sparse:  # of one row at a time, the curvatures of the pairs
            return (np.empty((1, K * (K + 1) // 2)),)
        return np.empty((n_rows, K * (p + 1))), np.empty((n_rows, K * (p + 1)))

    def _multiply(self, grams: list[Any], scaled: tuple[Any, ...], products: list[Any]) -> None:
        if self._sparse:
            return
        mixed, alone = scaled
        grams[0] -= np.dot(mixed.T, mixed, out=products[0])
        for k, (gram, product) in enumerate(zip(grams[1], products[1], strict=True)):
            rows = alone[:, k * len(gram) : (k + 1) * len(gram)]
            gram += np.dot(rows.T, rows, out=product)

    def _finish_hessian(self, *grams: NDArray[np.float64]) -> NDArray[np.float64]:
        K, p = self._problem.n_outputs, self._problem.n_features
        if self._sparse:
            pairs = np.moveaxis(grams[0], 2, 0)
            blocks = np.empty((K, p + 1, K, p + 1))
            for k in range(K):
                for other in range(k + 1):
                    lower = pairs[k * (k + 1) // 2 + other]
                    blocks[k, :, other] = lower + np.tril(lower, -1).T
        else:
            blocks = grams[0].reshape(K, p + 1, K, p + 1)
            for k in range(K):
                blocks[k, :, k] = grams[1][k]
        return _gram.finish_classes(blocks, self._problem.n_samples, self._objective)


class ReproducibleNumbaKernels(_NumbaKernels):
    """One problem on Numba, in the reproducible arithmetic."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        check_range(problem)
        super().__init__(problem, objective)
        X, binary = problem.widened().X, problem.n_outputs == 1
        labels = problem.sign if binary else problem.y
        sums = reproducible.accumulate if binary else reproducible.accumulate_classes
        self._sums: Callable[..., Any] = sums
        self._data = tuple(_frozen(array) for array in (X, labels, problem.exact_weight))
        self._penalty = self._n_coef, float(objective.l2), bool(objective.fit_intercept)
        self._team = Team(min(thread_count(n_threads, X.nbytes), SAMPLE_LANES))

    def _work(self) -> tuple[Any, ...]:
        size = self._n_coef + self._problem.n_outputs
        return np.zeros((SAMPLE_LANES, size), self._problem.dtype), np.zeros((1, LOSS_LANES))

    def _native(self, batches: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:  # noqa: ARG002
        return _reproducible_objective(self._sums), self._work()

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """Share the sample lanes among the threads."""
        n, share = self._problem.n_samples, SAMPLE_LANES / self._team.size
        if self._team.size == 1:
            arguments = ALL_ROWS, n, self._penalty, gradient, self._work()
            return float(_reproducible_objective(self._sums)(self._data, theta, *arguments))

        def work(k: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
            lanes, losses = self._work()  # of its own: threads must not share cache lines
            mine = int(share * k), int(share * (k + 1))
            self._sums(*self._data, theta, ALL_ROWS, n, *mine, lanes, losses[0])
            return lanes, losses

        # Lanes of other threads are zero, so these sums round nothing.
        lanes, losses = (
            sum(part) for part in zip(*self._team.map(work, self._team.size), strict=False)
        )
        n_coef, l2, fit_intercept = self._penalty
        return float(
            reproducible.finish(lanes, losses, theta, n_coef, n, l2, fit_intercept, gradient)
        )

    def _no_hessian(self, *_: Any, **__: Any) -> Any:
        """Refuse: the reproducible arithmetic has no Hessian."""
        raise _gram.no_reproducible_hessian()

    hessian = loss_gradient_hessian = hessian_product = _no_hessian

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,) or (n_samples, n_outputs)."""
        theta, z = self._theta(params), self._scores(X)
        rows = _frozen(X.astype(theta.dtype, copy=False))
        reproducible.scores(rows, theta, z.reshape(len(X), -1))
        return z


class NumbaBackend:
    """The derivation's per-sample loop, compiled by Numba."""

    name = "numba"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(
            reproducible=True,
            sparse=True,
            multinomial=True,
            l1=True,
            narrow=True,
            hessian=True,
            threads=True,
        )

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> NumbaKernels | ReproducibleNumbaKernels:
        """Return the kernels of this problem; each is jitted when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        if arithmetic == "reproducible":
            return ReproducibleNumbaKernels(problem, objective, n_threads)
        made = NumbaKernels if problem.n_outputs == 1 else SoftmaxNumbaKernels
        return made(problem, objective, n_threads)
