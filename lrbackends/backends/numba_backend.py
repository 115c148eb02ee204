"""The per-sample backend: the cumulative-gradient loop of the derivation, jitted.

The loop itself is in `numba_kernels`; here it is given the data and shared among threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends import _gram
from lrbackends.backends import numba_kernels as kernels
from lrbackends.backends import numba_reproducible as reproducible
from lrbackends.backends._chunks import Team, chunk_edges, thread_count
from lrbackends.backends._compensated import two_sum
from lrbackends.backends._numba_jit import entry, jit
from lrbackends.backends._reproducible import LOSS_LANES, SAMPLE_LANES, check_range
from lrbackends.backends.numba_kernels import ALL_ROWS, Storage, passes_over, room_for
from lrbackends.backends.protocol import (
    API_VERSION,
    Batches,
    Capabilities,
    Coefficients,
    Rule,
    State,
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


@entry
def _reproducible_objective(
    data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
) -> Any:
    """As `Passes.objective`, in the reproducible arithmetic."""
    X, sign, weight = data
    lanes, losses = work
    l2, fit_intercept = penalty
    lanes[:] = 0
    losses[:] = 0
    reproducible.accumulate(X, sign, weight, theta, rows, n, 0, SAMPLE_LANES, lanes, losses[0])
    return reproducible.finish(lanes, losses, theta, n, l2, fit_intercept, gradient)


@cache
def _step_with(update: Callable[..., Any]) -> Callable[..., Any]:
    """Compile one step of an update rule: every coordinate moves, in two-word arithmetic."""
    rule = jit()(update)

    @entry
    def step(
        theta: Any, residual: Any, first: Any, second: Any, gradient: Any, c: Coefficients
    ) -> float:
        largest = 0.0
        for j in range(theta.size):
            size = abs(gradient[j])
            if size > largest or size != size:  # a NaN, once met, stays
                largest = size
            # The step takes the gradient's place, which also rounds it to theta's type.
            gradient[j], first[j], second[j] = rule(gradient[j], first[j], second[j], c, math.sqrt)
            theta[j], residual[j] = _two_sum(theta[j], residual[j] + gradient[j])
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
        coefficients: Any,
        work: Any,
        records: Any,
    ) -> None:
        theta, residual, first, second, gradient = vectors
        n_samples = len(data[1])
        for t in range(len(records)):
            rows, n = (indices[t], sizes[t]) if indices.size else (ALL_ROWS, n_samples)
            records[t, 0] = objective(data, theta, rows, n, penalty, gradient, work)
            c = coefficients[t]
            records[t, 1] = one_step(
                theta,
                residual,
                first,
                second,
                gradient,
                Coefficients(c[0], c[1], c[2], c[3], c[4], c[5]),
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

    _penalty: tuple[Any, bool]
    _data: tuple[Any, ...]
    _team: Team

    def __init__(self, problem: Problem, objective: Objective) -> None:
        self._problem, self._objective = problem, objective

    def _theta(self, params: Any) -> NDArray[Any]:
        return pack(as_params(params, self._problem))

    def _unpack(self, theta: NDArray[Any]) -> Params:
        return unpack(theta, self._problem.n_features)

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """Write the gradient; return the objective."""
        raise NotImplementedError

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
        return self._evaluate(theta, gradient), self._unpack(gradient)

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        vectors = tuple(v.copy() for v in state[:4])
        coefficients = rule.coefficients(state.step, n_steps).astype(vectors[0].dtype)
        records = np.empty((n_steps, 2))
        if batches is None and self._team.size > 1:
            self._run_threaded(rule, vectors, coefficients, records)
        else:
            indices, sizes = _NO_BATCHES if batches is None else batches
            objective, work = self._native(batches is not None)
            vectors = *vectors, np.zeros_like(vectors[0])
            _run_with(rule.update, objective)(
                self._data, vectors, indices, sizes, self._penalty, coefficients, work, records
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
            one_step(*(v.copy() for v in vectors), gradient, Coefficients(*gradient[[0] * 6]))
        for t in range(len(records)):
            records[t, 0] = self._evaluate(vectors[0], gradient)
            records[t, 1] = one_step(*vectors, gradient, Coefficients(*coefficients[t]))


class NumbaKernels(_NumbaKernels):
    """One problem on Numba."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        super().__init__(problem, objective)
        self._rows, self._storage, self._edges, n_bytes = self._layout(problem.X)
        sign = np.where(problem.y == 1, np.int8(-1), np.int8(1))
        weight = _EQUAL if problem.sample_weight is None else problem.weight
        self._data = self._rows, _frozen(sign), _frozen(weight.astype(problem.dtype, copy=False))
        self._penalty = problem.dtype.type(objective.l2), bool(objective.fit_intercept)
        self._team = Team(thread_count(n_threads, n_bytes))
        self._kept: dict[str, tuple[NDArray[Any], NDArray[np.float64]]] = {}
        self._spare: dict[str, list[tuple[Any, ...]]] = {}  # scratch space to be used again
        self._curves = False  # whether somebody asked for products with the Hessian

    def _layout(self, X: Any) -> tuple[Any, Storage, NDArray[np.int64], int]:
        """Return X as the kernels take it, how they read it, its chunks and its size."""
        dtype, (n, p) = self._problem.dtype, X.shape
        slot_bytes = (p + 1) * dtype.itemsize
        if isinstance(X, np.ndarray):
            row_bytes = p * dtype.itemsize  # as computed with: chunks of narrow X are the same
            edges = chunk_edges(n, row_bytes, slot_bytes)
            return _frozen(X), kernels.DENSE, edges, n * row_bytes
        X = X if X.dtype == dtype else X.astype(dtype)
        entry_bytes = X.data.itemsize + X.indices.itemsize
        edges = chunk_edges(n, entry_bytes, slot_bytes, X.indptr)
        rows = _unsigned(X.indptr), _unsigned(X.indices), _frozen(X.data)
        return rows, kernels.SPARSE, edges, len(X.data) * entry_bytes

    def _room(self, storage: Storage | None = None) -> tuple[Any, ...]:
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
        return float(kernels.finish(slots, losses, len(losses), theta, n, self._penalty, gradient))

    def _accumulate(
        self, theta: NDArray[Any], gradient: NDArray[Any], curvature: NDArray[np.float64] | None
    ) -> float:
        slots, losses = self._slots()
        gradients = passes_over(self._storage).gradients

        def work(first: int, last: int, room: Any) -> None:
            gradients(self._data, theta, self._edges, first, last, curvature, slots, losses, room)

        self._share(work, len(losses))
        return self._finish(slots, losses, theta, gradient)

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        if self._team.size > 1:
            return self._accumulate(theta, gradient, None)
        evaluate, n = passes_over(self._storage).evaluate, self._problem.n_samples
        with self._borrowed("work", self._work) as work:
            return float(evaluate(self._data, theta, ALL_ROWS, n, self._penalty, gradient, work))

    def _native(self, batches: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        gathered = batches and self._storage is kernels.DENSE
        storage = kernels.GATHERED if gathered else self._storage
        return passes_over(storage).objective, self._work(storage)

    def _work(self, storage: Storage | None = None) -> tuple[Any, ...]:
        return self._edges, *self._slots(), self._room(storage)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``; the gradient is not computed."""
        theta = self._theta(params)
        slots, losses = self._slots()
        pass_ = passes_over(self._storage).losses

        def work(first: int, last: int, room: Any) -> None:
            pass_(self._data, theta, self._edges, first, last, losses, room)

        self._share(work, len(losses))
        slots[:] = 0
        return self._finish(slots, losses, theta, np.empty_like(theta))

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = self._theta(params)
        gradient = np.empty_like(theta)
        if not self._curves:
            return self._evaluate(theta, gradient), self._unpack(gradient)
        # Products with the Hessian are likely to be asked for here: keep the curvatures.
        curvature = self._take_curvature()[1]
        loss = self._accumulate(theta, gradient, curvature)
        self._kept["curvature"] = theta, curvature
        return loss, self._unpack(gradient)

    def _take_curvature(self) -> tuple[NDArray[Any] | None, NDArray[np.float64]]:
        """Return the parameters and curvatures last kept, which are ours alone from here on."""
        kept = self._kept.pop("curvature", None)  # other threads find none, and make their own
        return kept or (None, np.empty(self._problem.n_samples))

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``.

        The curvatures of the last ``params`` are kept, so that each product is one pass.
        """
        theta, v = self._theta(params), self._theta(vector)
        if not self._objective.fit_intercept:
            v[-1] = 0
        self._curves = True
        at, curvature = self._take_curvature()
        if at is None or at.tobytes() != theta.tobytes():
            self._accumulate(theta, np.empty_like(theta), curvature)
        slots, losses = self._slots()
        products = passes_over(self._storage).products

        def work(first: int, last: int, room: Any) -> None:
            products(self._data, v, self._edges, first, last, curvature, slots, room)

        self._share(work, len(losses))
        self._kept["curvature"] = theta, curvature
        losses[:] = 0
        product = np.empty_like(v)
        self._finish(slots, losses, v, product)  # the penalty's slope at v is l2 v
        return self._unpack(product)

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian at ``params``, shape (p + 1, p + 1)."""
        return self.loss_gradient_hessian(params)[2]

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return the objective, its gradient and its Hessian at ``params`` from the same pass."""
        p, n = self._problem.n_features, self._problem.n_samples
        _gram.check_size(p)
        theta = self._theta(params)
        chunks = min(len(self._edges) - 1, max(2, _GRAM_SLOTS // (8 * (p + 1) ** 2)))
        ends = self._edges[[(len(self._edges) - 1) * k // chunks for k in range(chunks + 1)]]
        slots = np.zeros((chunks, p + 1), theta.dtype)
        losses, grams = np.zeros(chunks), np.zeros((chunks, p + 1, p + 1))
        sparse = self._storage is kernels.SPARSE
        step = n if sparse else max(_GRAM_ROWS, p // 2, _GRAM_BYTES // (8 * (p + 1)))

        def work(k: int) -> None:
            start, stop = ends[k], ends[k + 1]
            size = min(step, stop - start)
            wide, room = np.empty((0 if sparse else size, p + 1)), self._room()
            curvature, product = np.empty(size), np.empty_like(grams[k])
            for first in range(start, stop, size):
                count = min(size, stop - first)
                rows = wide[:count]
                losses[k] += passes_over(self._storage).curved(
                    self._data,
                    theta,
                    first,
                    first + count,
                    curvature[:count],
                    slots[k],
                    grams[k],
                    rows,
                    room,
                )
                if not sparse:
                    grams[k] += np.dot(rows.T, rows, out=product)  # BLAS's syrk, then mirrored

        with single_threaded():
            self._team.map(work, chunks)
        gradient = np.empty_like(theta)
        loss = self._finish(slots, losses, theta, gradient)
        gram = grams[0]
        for other in grams[1:]:
            gram += other
        if sparse:
            gram += np.tril(gram, -1).T
        return loss, self._unpack(gradient), _gram.finish(gram, n, self._objective)

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        theta = self._theta(params)
        if X is self._problem.X:
            rows, storage, edges = self._rows, self._storage, self._edges
        else:
            rows, storage, edges, _ = self._layout(X)
        z = np.empty(X.shape[0], theta.dtype)
        data, pass_ = (rows, *self._data[1:]), passes_over(storage).scores
        if X is self._problem.X:
            self._share(
                lambda first, last, room: pass_(data, theta, edges, first, last, z, room),
                len(edges) - 1,
            )
        else:
            pass_(data, theta, edges, 0, len(edges) - 1, z, self._room(storage))
        return z


class ReproducibleNumbaKernels(_NumbaKernels):
    """One problem on Numba, in the reproducible arithmetic."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        check_range(problem)
        super().__init__(problem, objective)
        X, labels = problem.widened().X, (problem.sign, problem.exact_weight)
        self._data = tuple(_frozen(array) for array in (X, *labels))
        self._penalty = float(objective.l2), bool(objective.fit_intercept)
        self._team = Team(min(thread_count(n_threads, X.nbytes), SAMPLE_LANES))

    def _work(self) -> tuple[Any, ...]:
        p, dtype = self._problem.n_features, self._problem.dtype
        lanes = np.zeros((SAMPLE_LANES, p + 1), dtype)
        return lanes, np.zeros((1, LOSS_LANES))

    def _native(self, batches: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:  # noqa: ARG002
        return _reproducible_objective, self._work()

    def _evaluate(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """Share the sample lanes among the threads."""
        n, share = self._problem.n_samples, SAMPLE_LANES / self._team.size
        if self._team.size == 1:
            arguments = ALL_ROWS, n, self._penalty, gradient, self._work()
            return float(_reproducible_objective(self._data, theta, *arguments))

        def work(k: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
            X, sign, weight = self._data
            lanes, losses = self._work()  # of its own: threads must not share cache lines
            mine = int(share * k), int(share * (k + 1))
            reproducible.accumulate(X, sign, weight, theta, ALL_ROWS, n, *mine, lanes, losses[0])
            return lanes, losses

        # Lanes of other threads are zero, so these sums round nothing.
        lanes, losses = (
            sum(part) for part in zip(*self._team.map(work, self._team.size), strict=False)
        )
        return float(reproducible.finish(lanes, losses, theta, n, *self._penalty, gradient))

    def _no_hessian(self, *_: Any, **__: Any) -> Any:
        """Refuse: the reproducible arithmetic has no Hessian."""
        raise _gram.no_reproducible_hessian()

    hessian = loss_gradient_hessian = hessian_product = _no_hessian

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        theta = self._theta(params)
        z = np.empty(len(X), theta.dtype)
        reproducible.scores(_frozen(X.astype(theta.dtype, copy=False)), theta, z)
        return z


class NumbaBackend:
    """The derivation's per-sample loop, compiled by Numba."""

    name = "numba"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(reproducible=True, sparse=True, narrow=True, hessian=True, threads=True)

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> NumbaKernels | ReproducibleNumbaKernels:
        """Return the kernels of this problem; each is jitted when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        made = ReproducibleNumbaKernels if arithmetic == "reproducible" else NumbaKernels
        compiled: NumbaKernels | ReproducibleNumbaKernels = made(problem, objective, n_threads)
        return compiled
