"""The per-sample backend: the cumulative-gradient loop of the derivation, jitted.

Each row is read once: its score, its residual and its share of dw and db follow one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lrbackends.backends import numba_reproducible as reproducible
from lrbackends.backends._chunks import Team, chunk_bounds, thread_count
from lrbackends.backends._compensated import two_sum
from lrbackends.backends._reproducible import LOSS_LANES, SAMPLE_LANES, check_range
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

# Stands for "all rows" where the jitted loops take mini-batches.
_ALL_ROWS = np.zeros((0, 0), np.int64), np.zeros(0, np.int64)
_BLOCK = 64  # rows whose gradients are added up before they join a chunk's


# Sums of products may be reordered, which lets them run in vector lanes; nothing else is relaxed.
@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _accumulate(
    X: Any,
    sign: Any,
    weight: Any,
    coef: Any,
    intercept: Any,
    rows: Any,
    start: int,
    stop: int,
    dw: Any,
) -> tuple[Any, Any]:
    """Add samples start..stop-1 to ``dw``; return their loss and db, all unscaled.

    They are rows ``rows[start:stop]`` of X where ``rows`` is not empty.
    """
    p = X.shape[1]
    zero, one = intercept * 0, intercept * 0 + 1
    loss, db = 0.0, zero
    for k in range(start, stop):
        i = rows[k] if rows.size else k
        z = intercept
        for j in range(p):
            z += X[i, j] * coef[j]
        m = sign[i] * z
        e = math.exp(-abs(m))
        a = (one if m >= 0 else e) / (one + e)
        loss += weight[i] * (max(m, zero) + math.log1p(e))
        dz = weight[i] * sign[i] * a
        for j in range(p):
            dw[j] += dz * X[i, j]
        db += dz
    return loss, db


_two_sum = njit(nogil=True)(two_sum)


@njit(nogil=True)
def _accumulate_chunk(
    data: Any, theta: Any, rows: Any, start: int, stop: int, dw: Any, block: Any
) -> tuple[float, Any]:
    """As `_accumulate`, in blocks of rows: sums of sums keep more digits than one long sum."""
    X, sign, weight = data
    p = theta.size - 1
    loss, db = 0.0, theta[p] * 0
    for first in range(start, stop, _BLOCK):
        block[:] = 0
        some_loss, some_db = _accumulate(
            X, sign, weight, theta[:p], theta[p], rows, first, min(first + _BLOCK, stop), block
        )
        loss += some_loss
        db += some_db
        for j in range(p):
            dw[j] += block[j]
    return loss, db


@njit(nogil=True)
def _finish(loss: float, db: Any, gradient: Any, theta: Any, n: int, penalty: Any) -> float:
    """Turn sums over ``n`` samples into the objective and its gradient, in place."""
    l2, fit_intercept = penalty
    p = theta.size - 1
    square = 0.0
    for j in range(p):
        gradient[j] = gradient[j] / n + l2 * theta[j]
        square += (l2 * theta[j]) * theta[j]
    gradient[p] = db / n if fit_intercept else db * 0
    objective: float = loss / n + 0.5 * square
    return objective


@njit(nogil=True)
def _loss_gradient(
    data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
) -> float:
    """Write the gradient over ``n`` samples into ``gradient``; return the objective."""
    chunk, part, block = work
    p = theta.size - 1
    loss, db = 0.0, theta[p] * 0
    gradient[:] = 0
    for start in range(0, n, chunk):
        part[:] = 0
        some_loss, some_db = _accumulate_chunk(
            data, theta, rows, start, min(start + chunk, n), part, block
        )
        loss += some_loss
        db += some_db
        for j in range(p):
            gradient[j] += part[j]
    return _finish(loss, db, gradient, theta, n, penalty)


@njit(nogil=True)
def _reproducible_loss_gradient(
    data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
) -> Any:
    """The same in the reproducible arithmetic."""
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
    rule = njit(update)

    @njit(nogil=True)
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
def _run_with(update: Callable[..., Any], loss_gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the training loop of an update rule in one of the arithmetics."""
    one_step = _step_with(update)

    @njit(nogil=True)
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
        theta, residual, first, second = vectors
        gradient = np.zeros_like(theta)
        all_rows = np.zeros(0, dtype=np.int64)
        for t in range(len(records)):
            rows, n = (indices[t], sizes[t]) if indices.size else (all_rows, len(data[0]))
            records[t, 0] = loss_gradient(data, theta, rows, n, penalty, gradient, work)
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


class NumbaKernels:
    """One problem on Numba."""

    _kernel = staticmethod(_loss_gradient)

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        X = problem.X
        self._problem, self._objective = problem, objective
        self._data: tuple[NDArray[Any], ...] = X, problem.sign, problem.weight
        self._penalty: tuple[Any, bool] = X.dtype.type(objective.l2), bool(objective.fit_intercept)
        self._bounds = chunk_bounds(X)
        self._team = Team(thread_count(n_threads, X.nbytes))

    def _work(self) -> tuple[Any, ...]:
        """Return the scratch space of the kernel."""
        part = np.empty(self._problem.n_features, self._problem.dtype)
        return self._bounds[0][1], part, np.empty_like(part)

    def _threaded(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """As the kernel on all rows, the chunks shared among threads; the same sums in order."""
        parts = np.zeros((len(self._bounds), len(theta) - 1), theta.dtype)

        def work(c: int) -> tuple[float, Any]:
            block = np.empty_like(parts[c])
            sums: tuple[float, Any] = _accumulate_chunk(
                self._data, theta, _ALL_ROWS[1], *self._bounds[c], parts[c], block
            )
            return sums

        loss, db = 0.0, theta.dtype.type(0)
        for chunk_loss, chunk_db in self._team.map(work, len(parts)):
            loss += chunk_loss
            db += theta.dtype.type(chunk_db)
        gradient[:] = 0
        for part in parts:
            gradient[:-1] += part
        return float(_finish(loss, db, gradient, theta, self._problem.n_samples, self._penalty))

    def _evaluate(self, theta: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        gradient = np.zeros_like(theta)
        if self._team.size > 1:
            return self._threaded(theta, gradient), gradient
        n, work = self._problem.n_samples, self._work()
        loss = self._kernel(self._data, theta, _ALL_ROWS[1], n, self._penalty, gradient, work)
        return float(loss), gradient

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        loss, gradient = self._evaluate(pack(as_params(params, self._problem)))
        return loss, unpack(gradient, self._problem.n_features)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        z = np.empty(len(X), X.dtype)
        _scores(X, pack(as_params(params, self._problem)), z)
        return z

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
            indices, sizes = _ALL_ROWS if batches is None else batches
            _run_with(rule.update, self._kernel)(
                self._data,
                vectors,
                indices,
                sizes,
                self._penalty,
                coefficients,
                self._work(),
                records,
            )
        theta, residual, first, second = vectors
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
            self._threaded(vectors[0], gradient)
            one_step(*(v.copy() for v in vectors), gradient, Coefficients(*gradient[[0] * 6]))
        for t in range(len(records)):
            records[t, 0] = self._threaded(vectors[0], gradient)
            records[t, 1] = one_step(*vectors, gradient, Coefficients(*coefficients[t]))


class ReproducibleNumbaKernels(NumbaKernels):
    """One problem on Numba, in the reproducible arithmetic."""

    _kernel = staticmethod(_reproducible_loss_gradient)

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        check_range(problem)
        super().__init__(problem, objective, n_threads)
        self._data = problem.X, problem.sign, problem.exact_weight
        self._penalty = float(objective.l2), bool(objective.fit_intercept)
        self._team = Team(min(self._team.size, SAMPLE_LANES))

    def _work(self) -> tuple[Any, ...]:
        p, dtype = self._problem.n_features, self._problem.dtype
        lanes = np.zeros((SAMPLE_LANES, p + 1), dtype)
        return lanes, np.zeros((1, LOSS_LANES))

    def _threaded(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """As the kernel on all rows, the sample lanes shared among threads."""
        n, share = self._problem.n_samples, SAMPLE_LANES / self._team.size

        def work(k: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
            X, sign, weight = self._data
            lanes, losses = self._work()  # of its own: threads must not share cache lines
            mine = int(share * k), int(share * (k + 1))
            reproducible.accumulate(
                X, sign, weight, theta, _ALL_ROWS[1], n, *mine, lanes, losses[0]
            )
            return lanes, losses

        # Lanes of other threads are zero, so these sums round nothing.
        lanes, losses = (
            sum(part) for part in zip(*self._team.map(work, self._team.size), strict=False)
        )
        return float(reproducible.finish(lanes, losses, theta, n, *self._penalty, gradient))

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        z = np.empty(len(X), X.dtype)
        reproducible.scores(X, pack(as_params(params, self._problem)), z)
        return z


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _scores(X: Any, theta: Any, z: Any) -> None:
    p = X.shape[1]
    for i in range(X.shape[0]):
        score = theta[p]
        for j in range(p):
            score += X[i, j] * theta[j]
        z[i] = score


class NumbaBackend:
    """The derivation's per-sample loop, compiled by Numba."""

    name = "numba"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(reproducible=True, threads=True)

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> NumbaKernels:
        """Return the kernels of this problem; each is jitted when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        kernels = ReproducibleNumbaKernels if arithmetic == "reproducible" else NumbaKernels
        return kernels(problem, objective, n_threads)
