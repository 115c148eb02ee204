"""The vectorised backend: whole chunks of rows at a time, no n x p temporaries.

A chunk fits the cache, so the second use of its rows (for dw, after z) does not read memory again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends import numpy_reproducible as reproducible
from lrbackends.backends._chunks import Team, chunk_bounds, thread_count
from lrbackends.backends._compensated import two_sum
from lrbackends.backends._reproducible import SAMPLE_LANES, check_range
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


def _accumulate(
    X: NDArray[Any],
    sign: NDArray[Any],
    weight: NDArray[Any],
    coef: NDArray[Any],
    intercept: Any,
    dw: NDArray[Any],
) -> tuple[float, Any]:
    """Add the rows' share of the gradient to ``dw``; return their loss and db, all unscaled."""
    one = X.dtype.type(1)
    z = X.dot(coef)
    z += intercept
    m = z
    m *= sign
    e = np.exp(-np.abs(m))
    a = np.where(m >= 0, one, e)
    a /= one + e
    loss = float(weight.dot(np.maximum(m, 0) + np.log1p(e)))
    dz = a
    dz *= sign
    dz *= weight
    dw += dz.dot(X)
    return loss, dz.sum()


class NumpyKernels:
    """One problem on NumPy."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        self._problem, self._objective = problem, objective
        X = problem.X
        self._data = X, problem.sign, problem.weight
        self._chunks = chunk_bounds(X)
        self._team = Team(thread_count(n_threads, X.nbytes))
        self._l2 = X.dtype.type(objective.l2)

    def _loss_gradient(
        self, theta: NDArray[Any], rows: NDArray[np.int64] | None = None
    ) -> tuple[float, NDArray[Any]]:
        coef, intercept = theta[:-1], theta[-1]
        gradient = np.zeros_like(theta)
        if rows is None and len(self._chunks) > 1:
            parts = [np.zeros_like(coef) for _ in self._chunks]

            def work(c: int) -> tuple[float, Any]:
                chunk = slice(*self._chunks[c])
                X, sign, weight = self._rows(chunk)
                return _accumulate(X, sign, weight, coef, intercept, parts[c])

            sums = self._team.map(work, len(parts))
            loss, db = 0.0, theta.dtype.type(0)
            for (chunk_loss, chunk_db), part in zip(sums, parts, strict=True):
                loss += chunk_loss
                db += chunk_db
                gradient[:-1] += part
            n = self._problem.n_samples
        else:
            X, sign, weight = self._data if rows is None else self._rows(rows)
            loss, db = _accumulate(X, sign, weight, coef, intercept, gradient[:-1])
            n = len(sign)
        gradient[-1] = db if self._objective.fit_intercept else 0
        gradient /= n
        loss /= n
        if self._l2:
            gradient[:-1] += self._l2 * coef
            loss += 0.5 * self._objective.l2 * float(coef.dot(coef))
        return loss, gradient

    def _rows(self, rows: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        X, sign, weight = self._data
        return X[rows], sign[rows], weight[rows]

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            loss, gradient = self._loss_gradient(theta)
        return loss, unpack(gradient, self._problem.n_features)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        coef, intercept = as_params(params, self._problem)
        with single_threaded(), np.errstate(all="ignore"):
            return np.asarray(X.dot(coef[0]) + intercept[0])

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        theta, residual, first, second, step = state
        update = rule.update
        coefficients = rule.coefficients(step, n_steps).astype(theta.dtype)
        records = np.empty((n_steps, 2))
        with single_threaded(), np.errstate(all="ignore"):
            for t in range(n_steps):
                rows = None if batches is None else batches.indices[t, : batches.sizes[t]]
                loss, gradient = self._loss_gradient(theta, rows)
                records[t] = loss, np.abs(gradient).max()
                delta, first, second = update(
                    gradient, first, second, Coefficients(*coefficients[t]), np.sqrt
                )
                theta, residual = two_sum(theta, residual + delta)
        return State(theta, residual, first, second, step + n_steps), records


class ReproducibleNumpyKernels(NumpyKernels):
    """One problem on NumPy, in the reproducible arithmetic."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        check_range(problem)
        super().__init__(problem, objective, n_threads)
        self._data = problem.X, problem.sign, problem.exact_weight
        self._team = Team(min(self._team.size, SAMPLE_LANES))

    def _loss_gradient(
        self, theta: NDArray[Any], rows: NDArray[np.int64] | None = None
    ) -> tuple[float, NDArray[Any]]:
        if rows is None:
            return reproducible.loss_gradient(*self._data, theta, self._objective, self._team)
        return reproducible.loss_gradient(*self._rows(rows), theta, self._objective, Team(1))

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        return reproducible.scores_of_rows(X, pack(as_params(params, self._problem)))


class NumpyBackend:
    """Vectorised NumPy."""

    name = "numpy"
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
    ) -> NumpyKernels:
        """Return the kernels of this problem; NumPy has nothing to compile."""
        require(self, problem, objective, arithmetic, n_threads)
        kernels = ReproducibleNumpyKernels if arithmetic == "reproducible" else NumpyKernels
        return kernels(problem, objective, n_threads)
