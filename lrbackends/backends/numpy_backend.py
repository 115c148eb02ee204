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
from lrbackends.backends import _gram, numpy_sigmoid, numpy_softmax
from lrbackends.backends import numpy_reproducible as reproducible
from lrbackends.backends._chunks import Team, thread_count
from lrbackends.backends._compensated import shrink, two_sum
from lrbackends.backends._reproducible import SAMPLE_LANES, check_range
from lrbackends.backends.numpy_rows import rows_of
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
from lrbackends.objective import Objective, Params, absolute_penalty, as_params
from lrbackends.problem import Problem

_GRAM_BYTES = 1 << 19  # rows of one weighted Gram product, scaled, stay in the second-level cache
_GRAM_ROWS = 512  # but not fewer than these or p: each product also costs a pass over the result
_SLOT_BYTES = 1 << 25  # of the partial Gram matrices
_DENSE = 0.1  # share of non-zeros above which CSR rows are faster multiplied as dense ones

T = TypeVar("T")


def _weighted_gram(X: NDArray[Any], s: NDArray[Any], room: NDArray[Any]) -> NDArray[Any]:
    """Return B'B for the rows of X with a last column of ones, times the square root of ``s``.

    NumPy computes half of such a product and mirrors it (BLAS's syrk).
    """
    B = room[: len(s)]
    root = np.sqrt(s)
    np.multiply(X, root[:, None], out=B[:, :-1])
    B[:, -1] = root
    return np.asarray(B.T.dot(B))


def _sparse_gram(X: Any, s: NDArray[Any]) -> NDArray[Any]:
    """Return the same of CSR rows; the work is that of their non-zeros."""
    p = X.shape[1]
    gram = np.empty((p + 1, p + 1), s.dtype)
    B = X.copy()
    B.data *= np.repeat(np.sqrt(s), np.diff(X.indptr))
    gram[:-1, :-1] = (B.T @ B).toarray()
    gram[:-1, -1] = gram[-1, :-1] = X.T.dot(s)
    gram[-1, -1] = s.sum()
    return gram


class _Team(Team):
    """A team whose helpers ignore overflow as their caller does: NumPy asks each thread anew."""

    def map(self, work: Callable[[int], T], count: int) -> list[T]:
        def quietly(k: int) -> T:
            with np.errstate(all="ignore"):
                return work(k)

        return super().map(quietly, count)


class NumpyKernels:
    """One problem on NumPy."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        self._problem, self._objective = problem, objective
        self._rows = rows_of(problem.X, problem.dtype, problem.n_outputs)
        self._bounds = self._rows.bounds
        self._model: Any = numpy_sigmoid if problem.n_outputs == 1 else numpy_softmax
        self._labels = self._model.labels_of(problem), problem.weight
        self._split = problem.n_outputs * problem.n_features  # where theta's intercepts begin
        self._team = _Team(thread_count(n_threads, self._rows.n_bytes))
        self._l2 = problem.dtype.type(objective.l2)
        self._kept: tuple[NDArray[Any], NDArray[Any]] | None = None  # theta and its curvature

    def _chunk(self, c: int) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        """Return X, labels and weight of a chunk."""
        start, stop = self._bounds[c]
        labels, weight = self._labels
        return self._rows.read(start, stop), labels[start:stop], weight[start:stop]

    def _batch(self, rows: NDArray[np.int64]) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        labels, weight = self._labels
        return self._rows.take(rows), labels[rows], weight[rows]

    def _over_chunks(self, work: Callable[[int], T]) -> list[T]:
        return self._team.map(work, len(self._bounds))

    def _sum_over_chunks(
        self, work: Callable[[int, NDArray[Any]], float], size: int
    ) -> tuple[float, NDArray[Any]]:
        """Add up a number, and a vector that ``work`` adds to."""
        parts = np.zeros((len(self._bounds), size), self._problem.dtype)
        values = self._over_chunks(lambda c: work(c, parts[c]))
        # Row after row, so in the order of chunks.
        return sum(values), np.add.reduce(parts, axis=0)

    def _empty_curvature(self) -> NDArray[Any]:
        """Return room for what the rows' second derivatives need; rows are the last axis."""
        shape = (self._problem.n_outputs, self._problem.n_samples)
        return np.empty(shape[1:] if shape[0] == 1 else shape, self._problem.dtype)

    def _loss_gradient(
        self,
        theta: NDArray[Any],
        rows: NDArray[np.int64] | None = None,
        s: NDArray[Any] | None = None,
    ) -> tuple[float, NDArray[Any]]:
        """Return objective and gradient of all or some rows, without the L1 penalty.

        Write all rows' curvature to ``s``.
        """
        accumulate = self._model.accumulate
        if rows is None and len(self._bounds) > 1:
            n = self._problem.n_samples

            def work(c: int, gradient: NDArray[Any]) -> float:
                part = None if s is None else s[..., slice(*self._bounds[c])]
                return float(accumulate(*self._chunk(c), theta, gradient, part))

            loss, gradient = self._sum_over_chunks(work, len(theta))
        else:
            X, labels, weight = self._chunk(0) if rows is None else self._batch(rows)
            n, gradient = len(labels), np.zeros_like(theta)
            loss = accumulate(X, labels, weight, theta, gradient, s)
        return self._finish(loss, gradient, n, theta)

    def _finish(
        self, loss: float, gradient: NDArray[Any], n: int, theta: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        """Turn sums over ``n`` rows into the objective and its gradient, in place."""
        coef = theta[: self._split]
        if not self._objective.fit_intercept:
            gradient[self._split :] = 0
        gradient /= n
        loss /= n
        if self._l2:
            gradient[: self._split] += self._l2 * coef
            loss += self._penalty(coef)
        return loss, gradient

    def _penalty(self, coef: NDArray[Any]) -> float:
        return 0.5 * self._objective.l2 * float(coef.dot(coef))

    def _with_absolute(
        self, loss: float, gradient: NDArray[Any], theta: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        """Return the objective with its L1 penalty and the subgradient of least size."""
        if not self._objective.l1:
            return loss, gradient
        value, slope = absolute_penalty(
            self._objective, np.float64(loss), self._params(theta), self._params(gradient)
        )
        return float(value), pack(slope)

    def _params(self, theta: NDArray[Any]) -> Params:
        return unpack(theta, self._problem.n_features)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            losses = self._over_chunks(lambda c: self._model.loss(*self._chunk(c), theta))
            loss, _ = self._finish(
                sum(losses), np.zeros_like(theta), self._problem.n_samples, theta
            )
            return self._with_absolute(loss, np.zeros_like(theta), theta)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            loss, gradient = self._with_absolute(*self._loss_gradient(theta), theta)
        return loss, self._params(gradient)

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian, float64; see `HessianKernels`."""
        _gram.check_size(self._problem)
        theta = pack(as_params(params, self._problem))
        with single_threaded(), np.errstate(all="ignore"):
            return self._hessian(self._curvature(theta))

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return objective, gradient and Hessian."""
        _gram.check_size(self._problem)
        theta = pack(as_params(params, self._problem))
        s = self._empty_curvature()
        with single_threaded(), np.errstate(all="ignore"):
            loss, gradient = self._with_absolute(*self._loss_gradient(theta, s=s), theta)
            self._kept = theta, s
            return loss, self._params(gradient), self._hessian(s)

    def _curvature(self, theta: NDArray[Any]) -> NDArray[Any]:
        """Return s, kept from the last call if that was at the same ``theta``."""
        kept = self._kept
        if kept is not None and np.array_equal(kept[0], theta):
            return kept[1]
        s = self._empty_curvature()

        def work(c: int) -> None:
            self._model.curvature(*self._chunk(c), theta, s[..., slice(*self._bounds[c])])

        self._over_chunks(work)
        self._kept = theta, s
        return s

    def _hessian(self, s: NDArray[Any]) -> NDArray[np.float64]:
        """Return the Hessian of the objective; ``s`` has the curvature of each row."""
        rows, weight, K = self._rows, self._labels[1], self._problem.n_outputs
        n, p = rows.shape
        sparse = self._problem.sparse and self._problem.X.nnz < _DENSE * n * p
        size = min(n, max(_GRAM_BYTES // (rows.dtype.itemsize * p), min(_GRAM_ROWS, p), 1))
        bounds = rows.bounds if sparse else [(k, min(k + size, n)) for k in range(0, n, size)]
        # Groups of chunks, cut by shape alone, add up to a slot each.
        slots = min(len(bounds), max(2, min(16, _SLOT_BYTES // (8 * (K * (p + 1)) ** 2))))
        edges = [len(bounds) * k // slots for k in range(slots + 1)]
        scratch = threading.local()

        def gram(X: Any, curvature: NDArray[Any]) -> NDArray[Any]:
            if sparse:
                return _sparse_gram(X, curvature)
            if not hasattr(scratch, "room"):
                scratch.room = np.empty((size, p + 1), rows.dtype)
            return _weighted_gram(X, curvature, scratch.room)

        def work(slot: int) -> NDArray[np.float64]:
            blocks = np.zeros((K, p + 1, K, p + 1))
            for start, stop in bounds[edges[slot] : edges[slot + 1]]:
                X = rows.read(start, stop) if sparse else rows.read_dense(start, stop)
                for k, m, curvature in self._model.curvatures(
                    s[..., start:stop], weight[start:stop]
                ):
                    if k == m:
                        blocks[k, :, m] += gram(X, curvature)
                    else:  # negative throughout
                        blocks[k, :, m] -= gram(X, -curvature)
            return blocks

        first, *others = self._team.map(work, slots)
        for other in others:
            first += other
        if K > 1:
            return _gram.finish_classes(first, n, self._objective)
        return _gram.finish(first[0, :, 0], n, self._objective)

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``."""
        theta = pack(as_params(params, self._problem))
        direction = pack(as_params(vector, self._problem))
        if not self._objective.fit_intercept:
            direction[self._split :] = 0
        with single_threaded(), np.errstate(all="ignore"):
            s, weight = self._curvature(theta), self._labels[1]

            def work(c: int, product: NDArray[Any]) -> float:
                rows = slice(*self._bounds[c])
                X = self._rows.read(rows.start, rows.stop)
                self._model.accumulate_product(X, s[..., rows], weight[rows], direction, product)
                return 0.0

            _, product = self._sum_over_chunks(work, len(theta))
            product /= self._problem.n_samples
            product[: self._split] += self._l2 * direction[: self._split]
            if not self._objective.fit_intercept:
                product[self._split :] = 0
        return self._params(product)

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,), or (n_samples, K) for K > 2 classes."""
        coef, intercept = as_params(params, self._problem)
        K = self._problem.n_outputs
        rows = self._rows if X is self._problem.X else rows_of(X, self._problem.dtype, K)
        W, b = (coef[0], intercept[0]) if K == 1 else (coef.T, intercept)
        z = np.empty((rows.shape[0], *W.shape[1:]), self._problem.dtype)

        def work(c: int) -> None:
            start, stop = rows.bounds[c]
            np.add(rows.read(start, stop).dot(W), b, out=z[start:stop])

        with single_threaded(), np.errstate(all="ignore"):
            self._team.map(work, len(rows.bounds))
        return z

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        theta, residual, first, second, step = state
        update = rule.update
        coefficients = coefficients_for(rule, step, n_steps, self._objective).astype(theta.dtype)
        coef = slice(self._split)
        records = np.empty((n_steps, 2))
        with single_threaded(), np.errstate(all="ignore"):
            for t in range(n_steps):
                rows = None if batches is None else batches.indices[t, : batches.sizes[t]]
                loss, gradient = self._loss_gradient(theta, rows)
                value, slope = self._with_absolute(loss, gradient, theta)
                records[t] = value, np.abs(slope).max()
                c = Coefficients(*coefficients[t])
                delta, first, second = update(gradient, first, second, c, np.sqrt)
                theta, residual = two_sum(theta, residual + delta)
                if self._objective.l1:
                    theta[coef], residual[coef] = shrink(
                        theta[coef], residual[coef], c.threshold, np.where
                    )
        return State(theta, residual, first, second, step + n_steps), records


class ReproducibleNumpyKernels(NumpyKernels):
    """One problem on NumPy, in the reproducible arithmetic."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        wide = problem.widened()
        check_range(wide)
        super().__init__(wide, objective, n_threads)
        self._labels = self._model.labels_of(wide), wide.exact_weight
        self._team = _Team(min(self._team.size, SAMPLE_LANES))

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

    def _with_absolute(
        self, loss: float, gradient: NDArray[Any], theta: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        l1 = self._objective.l1
        if not l1:
            return loss, gradient
        _, slope = super()._with_absolute(loss, gradient, theta)
        return loss + l1 * float(reproducible.absolute_norm(theta[: self._split])), slope

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def _curvature(self, theta: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        raise _gram.no_reproducible_hessian()

    def decision_function(self, X: Any, params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,), or (n_samples, K) for K > 2 classes."""
        theta = pack(as_params(params, self._problem))
        X = X.astype(theta.dtype, copy=False)
        z = [
            reproducible.scores_of_rows(X, row) for row in reproducible.by_output(theta, X.shape[1])
        ]
        return z[0] if len(z) == 1 else np.column_stack(z)


class NumpyBackend:
    """Vectorised NumPy; CSR data by SciPy's sparse products."""

    name = "numpy"
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
    ) -> NumpyKernels:
        """Return the kernels of this problem; NumPy has nothing to compile."""
        require(self, problem, objective, arithmetic, n_threads)
        kernels = ReproducibleNumpyKernels if arithmetic == "reproducible" else NumpyKernels
        return kernels(problem, objective, n_threads)
