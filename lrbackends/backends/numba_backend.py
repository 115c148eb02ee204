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

from lrbackends.backends._chunks import Team, chunk_bounds, thread_count
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

_ALL_ROWS = np.zeros((0, 0), dtype=np.int64)  # stands for "no mini-batches" in the jitted loops


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


@njit(nogil=True)
def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b and its rounding error (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@njit(nogil=True)
def _finish(
    loss: float, db: Any, gradient: Any, theta: Any, n: int, l2: Any, fit_intercept: bool
) -> float:
    """Turn sums over ``n`` samples into the objective and its gradient, in place."""
    p = theta.size - 1
    square = 0.0
    for j in range(p):
        gradient[j] = gradient[j] / n + l2 * theta[j]
        square += theta[j] * theta[j]
    gradient[p] = db / n if fit_intercept else db * 0
    objective: float = loss / n + 0.5 * l2 * square
    return objective


@njit(nogil=True)
def _loss_gradient(
    X: Any,
    sign: Any,
    weight: Any,
    theta: Any,
    rows: Any,
    n: int,
    chunk: int,
    l2: Any,
    fit_intercept: bool,
    gradient: Any,
    part: Any,
) -> float:
    """Write the gradient over ``n`` samples into ``gradient``; return the objective."""
    p = theta.size - 1
    coef = theta[:p]
    loss, db = 0.0, theta[p] * 0
    gradient[:] = 0
    for start in range(0, n, chunk):
        part[:] = 0
        some_loss, some_db = _accumulate(
            X, sign, weight, coef, theta[p], rows, start, min(start + chunk, n), part
        )
        loss += some_loss
        db += some_db
        for j in range(p):
            gradient[j] += part[j]
    return _finish(loss, db, gradient, theta, n, l2, fit_intercept)


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
            # Written so that a NaN is kept: it must reach the check for divergence.
            size = abs(gradient[j])
            largest = largest if size <= largest else size
            # The step takes the gradient's place, which also rounds it to theta's type.
            gradient[j], first[j], second[j] = rule(gradient[j], first[j], second[j], c, math.sqrt)
            theta[j], residual[j] = _two_sum(theta[j], residual[j] + gradient[j])
        return largest

    return step


@cache
def _run_with(update: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the training loop of an update rule."""
    one_step = _step_with(update)

    @njit(nogil=True)
    def run(
        X: Any,
        sign: Any,
        weight: Any,
        theta: Any,
        residual: Any,
        first: Any,
        second: Any,
        indices: Any,
        sizes: Any,
        chunk: int,
        l2: Any,
        fit_intercept: bool,
        coefficients: Any,
        records: Any,
    ) -> None:
        gradient, part = np.zeros_like(theta), np.zeros_like(theta[1:])
        all_rows = np.zeros(0, dtype=np.int64)
        for t in range(len(records)):
            batch, n = (indices[t], sizes[t]) if indices.size else (all_rows, len(sign))
            records[t, 0] = _loss_gradient(
                X, sign, weight, theta, batch, n, chunk, l2, fit_intercept, gradient, part
            )
            c = coefficients[t]
            records[t, 1] = one_step(
                theta, residual, first, second, gradient, Coefficients(c[0], c[1], c[2], c[3])
            )

    return run


class NumbaKernels:
    """One problem on Numba."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        self._problem = problem
        X = problem.X
        self._data = X, problem.sign, problem.weight
        self._bounds = chunk_bounds(X)
        self._chunk = self._bounds[0][1]
        self._team = Team(thread_count(n_threads, X.nbytes))
        self._penalty = X.dtype.type(objective.l2), objective.fit_intercept

    def _threaded_loss_gradient(self, theta: NDArray[Any], gradient: NDArray[Any]) -> float:
        """As `_loss_gradient`, the chunks shared among threads; the same sums in the same order."""
        coef, intercept = theta[:-1], theta[-1]
        parts = np.zeros((len(self._bounds), len(coef)), theta.dtype)
        rows = _ALL_ROWS.ravel()

        def work(c: int) -> tuple[float, Any]:
            return _accumulate(*self._data, coef, intercept, rows, *self._bounds[c], parts[c])

        loss, db = 0.0, theta.dtype.type(0)
        for chunk_loss, chunk_db in self._team.map(work, range(len(parts))):
            loss += chunk_loss
            db += theta.dtype.type(chunk_db)
        gradient[:] = 0
        for part in parts:
            gradient[:-1] += part
        return float(_finish(loss, db, gradient, theta, len(self._data[1]), *self._penalty))

    def _evaluate(self, theta: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        gradient = np.zeros_like(theta)
        if self._team.size > 1:
            return self._threaded_loss_gradient(theta, gradient), gradient
        loss = _loss_gradient(
            *self._data,
            theta,
            _ALL_ROWS.ravel(),
            self._problem.n_samples,
            self._chunk,
            *self._penalty,
            gradient,
            np.zeros_like(theta[1:]),
        )
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
        coef, intercept = as_params(params, self._problem)
        z = np.empty(len(X), X.dtype)
        _scores(X, coef[0], intercept[0], z)
        return z

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        theta, residual, first, second = (v.copy() for v in state[:4])
        coefficients = rule.coefficients(state.step, n_steps).astype(theta.dtype)
        records = np.empty((n_steps, 2))
        if batches is None and self._team.size > 1:
            one_step, gradient = _step_with(rule.update), np.empty_like(theta)
            if n_steps == 0:
                self._evaluate(theta)
                one_step(*(v.copy() for v in state[:4]), gradient, Coefficients(*theta[[0] * 4]))
            for t in range(n_steps):
                records[t, 0] = self._threaded_loss_gradient(theta, gradient)
                records[t, 1] = one_step(
                    theta, residual, first, second, gradient, Coefficients(*coefficients[t])
                )
        else:
            indices, sizes = (_ALL_ROWS, _ALL_ROWS.ravel()) if batches is None else batches
            _run_with(rule.update)(
                *self._data,
                theta,
                residual,
                first,
                second,
                indices,
                sizes,
                self._chunk,
                *self._penalty,
                coefficients,
                records,
            )
        return State(theta, residual, first, second, state.step + n_steps), records


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _scores(X: Any, coef: Any, intercept: Any, z: Any) -> None:
    for i in range(X.shape[0]):
        score = intercept
        for j in range(X.shape[1]):
            score += X[i, j] * coef[j]
        z[i] = score


class NumbaBackend:
    """The derivation's per-sample loop, compiled by Numba."""

    name = "numba"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(threads=True)

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> NumbaKernels:
        """Return the kernels of this problem; each is jitted when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        return NumbaKernels(problem, objective, n_threads)
