"""The vectorised backend: whole chunks of rows at a time, no n x p temporaries.

A chunk fits the cache, so the second use of its rows (for dw, after z) does not read memory again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends import _gram
from lrbackends.backends import numpy_reproducible as reproducible
from lrbackends.backends._chunks import Team, thread_count
from lrbackends.backends._compensated import two_sum
from lrbackends.backends._reproducible import SAMPLE_LANES, check_range
from lrbackends.backends.numpy_rows import rows_of
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

_GRAM_BYTES = 1 << 19  # rows of one weighted Gram product, scaled, stay in the second-level cache
_GRAM_ROWS = 512  # but not fewer than these or p: each product also costs a pass over the result
_SLOT_BYTES = 1 << 25  # of the partial Gram matrices
_DENSE = 0.1  # share of non-zeros above which CSR rows are faster multiplied as dense ones

T = TypeVar("T")


def _margins(
    X: Any, sign: NDArray[Any], coef: NDArray[Any], intercept: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return m and e of the rows."""
    z = X.dot(coef)
    z += intercept
    m = z
    m *= sign
    e = np.abs(m)
    np.negative(e, out=e)
    np.exp(e, out=e)
    return m, e


def _loss(m: NDArray[Any], e: NDArray[Any], weight: NDArray[Any]) -> float:
    """Return the weighted sum of the losses."""
    loss = np.log1p(e)
    loss += np.maximum(m, 0)
    return float(weight.dot(loss))


def _residual(
    m: NDArray[Any], e: NDArray[Any], sign: NDArray[Any], weight: NDArray[Any]
) -> NDArray[Any]:
    """Return dz, times the weights; ``e`` is overwritten."""
    denominator = e + 1
    a = e
    np.copyto(a, 1, where=m >= 0)
    a /= denominator
    dz = a
    dz *= sign
    dz *= weight
    return dz


def _curvature(e: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return weight a (1 - a) = weight e / (1 + e)^2."""
    root = e + 1
    s: NDArray[Any] = e / (root * root)
    s *= weight
    return s


def _accumulate(
    X: Any,
    sign: NDArray[Any],
    weight: NDArray[Any],
    coef: NDArray[Any],
    intercept: Any,
    dw: NDArray[Any],
    s: NDArray[Any] | None = None,
) -> tuple[float, Any]:
    """Add the rows' share of the gradient to ``dw``; return their loss and db, all unscaled.

    Where ``s`` is given, the rows' curvature is written to it.
    """
    m, e = _margins(X, sign, coef, intercept)
    if s is not None:
        s[:] = _curvature(e, weight)
    loss = _loss(m, e, weight)
    dz = _residual(m, e, sign, weight)
    dw += X.T.dot(dz)
    return loss, dz.sum()


def _accumulate_product(
    X: Any, s: NDArray[Any], direction: NDArray[Any], shift: Any, product: NDArray[Any]
) -> Any:
    """Add the rows' share of the Hessian's product to ``product``; return its intercept's part."""
    t = X.dot(direction)
    t += shift
    t *= s
    product += X.T.dot(t)
    return t.sum()


def _weighted_gram(X: NDArray[Any], s: NDArray[Any], room: NDArray[Any]) -> NDArray[Any]:
    """Return B'B for the rows of X with a last column of ones, times the square root of ``s``.

    NumPy computes half of such a product and mirrors it (BLAS's syrk).
    """
    B = room[: len(s)]
    root = np.sqrt(s)
    np.multiply(X, root[:, None], out=B[:, :-1])
    B[:, -1] = root
    return np.asarray(B.T.dot(B))


def _add_sparse_gram(X: Any, s: NDArray[Any], total: NDArray[np.float64]) -> None:
    """Add the same of CSR rows to ``total``; the work is that of their non-zeros."""
    B = X.copy()
    B.data *= np.repeat(np.sqrt(s), np.diff(X.indptr))
    total[:-1, :-1] += (B.T @ B).toarray()
    sums = X.T.dot(s)
    total[-1, :-1] += sums
    total[:-1, -1] += sums
    total[-1, -1] += s.sum()


class NumpyKernels:
    """One problem on NumPy."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        self._problem, self._objective = problem, objective
        self._rows = rows_of(problem.X, problem.dtype)
        self._bounds = self._rows.bounds
        self._labels = problem.sign, problem.weight
        self._team = Team(thread_count(n_threads, self._rows.n_bytes))
        self._l2 = problem.dtype.type(objective.l2)
        self._kept: tuple[NDArray[Any], NDArray[Any]] | None = None  # theta and its curvature

    def _chunk(self, c: int) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        """Return X, sign and weight of a chunk."""
        start, stop = self._bounds[c]
        sign, weight = self._labels
        return self._rows.read(start, stop), sign[start:stop], weight[start:stop]

    def _batch(self, rows: NDArray[np.int64]) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        sign, weight = self._labels
        return self._rows.take(rows), sign[rows], weight[rows]

    def _over_chunks(self, work: Callable[[int], T]) -> list[T]:
        return self._team.map(work, len(self._bounds))

    def _sum_over_chunks(
        self, work: Callable[[int, NDArray[Any]], tuple[float, Any]], size: int
    ) -> tuple[float, NDArray[Any]]:
        """Add up a number, a vector that ``work`` adds to, and the vector's last entry."""
        parts = np.zeros((len(self._bounds), size), self._problem.dtype)
        values = self._over_chunks(lambda c: work(c, parts[c, :-1]))
        parts[:, -1] = [last for _, last in values]
        # Row after row, so in the order of chunks.
        return sum(value for value, _ in values), np.add.reduce(parts, axis=0)

    def _loss_gradient(
        self,
        theta: NDArray[Any],
        rows: NDArray[np.int64] | None = None,
        s: NDArray[Any] | None = None,
    ) -> tuple[float, NDArray[Any]]:
        """Return objective and gradient of all or some rows; write all rows' curvature to ``s``."""
        coef, intercept = theta[:-1], theta[-1]
        if rows is None and len(self._bounds) > 1:
            n = self._problem.n_samples

            def work(c: int, dw: NDArray[Any]) -> tuple[float, Any]:
                part = None if s is None else s[slice(*self._bounds[c])]
                return _accumulate(*self._chunk(c), coef, intercept, dw, part)

            loss, gradient = self._sum_over_chunks(work, len(theta))
        else:
            X, sign, weight = self._chunk(0) if rows is None else self._batch(rows)
            n, gradient = len(sign), np.zeros_like(theta)
            loss, gradient[-1] = _accumulate(X, sign, weight, coef, intercept, gradient[:-1], s)
        return self._finish(loss, gradient, n, coef)

    def _finish(
        self, loss: float, gradient: NDArray[Any], n: int, coef: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        """Turn sums over ``n`` rows into the objective and its gradient, in place."""
        if not self._objective.fit_intercept:
            gradient[-1] = 0
        gradient /= n
        loss /= n
        if self._l2:
            gradient[:-1] += self._l2 * coef
            loss += self._penalty(coef)
        return loss, gradient

    def _penalty(self, coef: NDArray[Any]) -> float:
        return 0.5 * self._objective.l2 * float(coef.dot(coef))

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        coef, intercept = as_params(params, self._problem)

        def work(c: int) -> float:
            X, sign, weight = self._chunk(c)
            return _loss(*_margins(X, sign, coef[0], intercept[0]), weight)

        with single_threaded(), np.errstate(all="ignore"):
            loss = sum(self._over_chunks(work)) / self._problem.n_samples
            return loss + self._penalty(coef[0]) if self._l2 else loss

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            loss, gradient = self._loss_gradient(theta)
        return loss, unpack(gradient, self._problem.n_features)

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian, shape (p + 1, p + 1), float64; see `HessianKernels`."""
        _gram.check_size(self._problem.n_features)
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            return self._hessian(self._curvature(theta))

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return objective, gradient and Hessian."""
        _gram.check_size(self._problem.n_features)
        theta = pack(as_params(params, self._problem))
        s = np.empty(self._problem.n_samples, theta.dtype)
        with single_threaded(), np.errstate(all="ignore"):
            loss, gradient = self._loss_gradient(theta, s=s)
            self._kept = theta, s
            return loss, unpack(gradient, self._problem.n_features), self._hessian(s)

    def _curvature(self, theta: NDArray[Any]) -> NDArray[Any]:
        """Return s, kept from the last call if that was at the same ``theta``."""
        kept = self._kept
        if kept is not None and np.array_equal(kept[0], theta):
            return kept[1]
        s = np.empty(self._problem.n_samples, theta.dtype)

        def work(c: int) -> None:
            X, sign, weight = self._chunk(c)
            _, e = _margins(X, sign, theta[:-1], theta[-1])
            s[slice(*self._bounds[c])] = _curvature(e, weight)

        self._over_chunks(work)
        self._kept = theta, s
        return s

    def _hessian(self, s: NDArray[Any]) -> NDArray[np.float64]:
        """Return X' diag(s) X / n and the penalty's part; ``s`` has an entry for each row."""
        rows = self._rows
        n, p = rows.shape
        sparse = self._problem.sparse and self._problem.X.nnz < _DENSE * n * p
        size = min(n, max(_GRAM_BYTES // (rows.dtype.itemsize * p), min(_GRAM_ROWS, p), 1))
        bounds = rows.bounds if sparse else [(k, min(k + size, n)) for k in range(0, n, size)]
        # Groups of chunks, cut by shape alone, add up to a slot each.
        slots = min(len(bounds), max(2, min(16, _SLOT_BYTES // (8 * (p + 1) ** 2))))
        edges = [len(bounds) * k // slots for k in range(slots + 1)]
        scratch = threading.local()

        def work(k: int) -> NDArray[np.float64]:
            total = np.zeros((p + 1, p + 1))
            for start, stop in bounds[edges[k] : edges[k + 1]]:
                if sparse:
                    _add_sparse_gram(rows.read(start, stop), s[start:stop], total)
                    continue
                if not hasattr(scratch, "room"):
                    scratch.room = np.empty((size, p + 1), rows.dtype)
                total += _weighted_gram(rows.read_dense(start, stop), s[start:stop], scratch.room)
            return total

        first, *others = self._team.map(work, slots)
        for other in others:
            first += other
        return _gram.finish(first, n, self._objective)

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``."""
        theta = pack(as_params(params, self._problem))
        direction = pack(as_params(vector, self._problem))
        along = direction[:-1]
        shift = direction[-1] if self._objective.fit_intercept else direction.dtype.type(0)
        with single_threaded(), np.errstate(all="ignore"):
            s = self._curvature(theta)

            def work(c: int, product: NDArray[Any]) -> tuple[float, Any]:
                start, stop = self._bounds[c]
                X = self._rows.read(start, stop)
                return 0.0, _accumulate_product(X, s[start:stop], along, shift, product)

            _, product = self._sum_over_chunks(work, len(theta))
            product /= self._problem.n_samples
            product[:-1] += self._l2 * along
            if not self._objective.fit_intercept:
                product[-1] = 0
        return unpack(product, self._problem.n_features)

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        coef, intercept = as_params(params, self._problem)
        rows = self._rows if X is self._problem.X else rows_of(X, self._problem.dtype)
        z = np.empty(rows.shape[0], self._problem.dtype)

        def work(c: int) -> None:
            start, stop = rows.bounds[c]
            np.add(rows.read(start, stop).dot(coef[0]), intercept[0], out=z[start:stop])

        with single_threaded(), np.errstate(all="ignore"):
            self._team.map(work, len(rows.bounds))
        return z

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
        wide = problem.widened()
        check_range(wide)
        super().__init__(wide, objective, n_threads)
        self._labels = wide.sign, wide.exact_weight
        self._team = Team(min(self._team.size, SAMPLE_LANES))

    def _loss_gradient(
        self,
        theta: NDArray[Any],
        rows: NDArray[np.int64] | None = None,
        s: NDArray[Any] | None = None,
    ) -> tuple[float, NDArray[Any]]:
        if s is not None:
            raise _gram.no_reproducible_hessian()
        if rows is None:
            X = self._problem.X
            return reproducible.loss_gradient(X, *self._labels, theta, self._objective, self._team)
        return reproducible.loss_gradient(*self._batch(rows), theta, self._objective, Team(1))

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def _curvature(self, theta: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        raise _gram.no_reproducible_hessian()

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        theta = pack(as_params(params, self._problem))
        return reproducible.scores_of_rows(X.astype(theta.dtype, copy=False), theta)


class NumpyBackend:
    """Vectorised NumPy; CSR data by SciPy's sparse products."""

    name = "numpy"
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
    ) -> NumpyKernels:
        """Return the kernels of this problem; NumPy has nothing to compile."""
        require(self, problem, objective, arithmetic, n_threads)
        kernels = ReproducibleNumpyKernels if arithmetic == "reproducible" else NumpyKernels
        return kernels(problem, objective, n_threads)
