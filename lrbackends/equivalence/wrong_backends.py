"""Deliberately wrong backends: a verification that does not reject each of them proves nothing.

Every one does what the NumPy backend does, except for the one thing that its docstring names. They
are made of public parts only, so they also show how `Kernels` can be wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._compensated import shrink
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.backends.protocol import (
    API_VERSION,
    Batches,
    Capabilities,
    Coefficients,
    HessianKernels,
    Rule,
    State,
    coefficients_for,
    pack,
    require,
    unpack,
)
from lrbackends.objective import Objective, Params, as_params, scores, sigmoid
from lrbackends.problem import Problem


class Right(NamedTuple):
    """A right gradient, ``theta``, where it was taken, and the rows it is of (None: all)."""

    gradient: NDArray[Any]
    theta: NDArray[Any]
    rows: NDArray[np.int64] | None


@dataclass(frozen=True)
class _BentRule:
    """An update rule that sees another gradient than the kernels computed."""

    rule: Rule
    bend: Callable[[NDArray[Any]], NDArray[Any]]

    @property
    def name(self) -> str:
        return self.rule.name

    def update(
        self, gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any
    ) -> tuple[Any, Any, Any]:
        return self.rule.update(self.bend(gradient), first, second, c, sqrt)

    @property
    def proximal(self) -> bool:
        return self.rule.proximal

    def coefficients(self, step: int, n_steps: int) -> NDArray[np.float64]:
        return self.rule.coefficients(step, n_steps)


class RightKernels:
    """The NumPy kernels, one step at a time, with a place for each mistake; none is made here."""

    multinomial = False  # what the backend claims to cover besides
    l1 = False

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        self.problem, self.objective, self.n_threads = problem, objective, n_threads
        self.right: HessianKernels = NumpyBackend().compile(*self.misread(problem, objective))

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        """Return what is compiled."""
        return problem, objective

    def gradient(self, right: Right) -> NDArray[Any]:
        """Return the gradient to use in place of the right one."""
        return right.gradient

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        """Do one step."""
        rows = None if batch is None else batch.indices[0, : batch.sizes[0]]
        bent = _BentRule(rule, lambda g: self.gradient(Right(g, state.theta, rows)))
        return self.right.run(bent, state, 1, batch)

    def loss(self, params: Any) -> float:
        """See `Kernels`."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """See `Kernels`."""
        loss, gradient = self.right.loss_gradient(params)
        theta = pack(as_params(params, self.problem))
        used = self.gradient(Right(pack(gradient), theta, None))
        return loss, unpack(used, self.problem.n_features)

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """See `HessianKernels`."""
        return self.right.hessian(params)

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """See `HessianKernels`."""
        return *self.loss_gradient(params), self.hessian(params)

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """See `HessianKernels`."""
        return self.right.hessian_product(params, vector)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """See `Kernels`."""
        return self.right.decision_function(X, params)

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """See `Kernels`."""
        records = np.empty((n_steps, 2))
        for t in range(n_steps):
            batch = None if batches is None else Batches(*(part[t : t + 1] for part in batches))
            state, records[t : t + 1] = self.step(rule, state, batch)
        return state, records


@dataclass
class WrongBackend:
    """A backend with one mistake.

    Attributes
    ----------
    name : str
    check : str
        The check that is meant to reject it.
    kernels : type
        Made from (problem, objective, n_threads).
    """

    name: str
    check: str
    kernels: type[RightKernels]
    api_version: int = API_VERSION

    @property
    def mistake(self) -> str:
        """What is wrong with it."""
        return (self.kernels.__doc__ or "").strip()

    def capabilities(self) -> Capabilities:
        """Return what this backend claims to cover."""
        kernels = self.kernels
        return Capabilities(
            threads=True, hessian=True, multinomial=kernels.multinomial, l1=kernels.l1
        )

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> RightKernels:
        """Return kernels with the mistake."""
        require(self, problem, objective, arithmetic, n_threads)
        return self.kernels(problem, objective, n_threads)


WRONG_BACKENDS: dict[str, WrongBackend] = {}

_K = TypeVar("_K", bound=type[RightKernels])


def _wrong(name: str, check: str) -> Callable[[_K], _K]:
    def register(kernels: _K) -> _K:
        WRONG_BACKENDS[name] = WrongBackend(name, check, kernels)
        return kernels

    return register


# -- the gradient is wrong


@_wrong("sign-error", "gradient")
class _SignError(RightKernels):
    """The gradient points uphill."""

    def gradient(self, right: Right) -> NDArray[Any]:
        uphill: NDArray[Any] = -right.gradient
        return uphill


@_wrong("intercept-penalised", "gradient")
class _InterceptPenalised(RightKernels):
    """The penalty pulls at the intercept, too."""

    def gradient(self, right: Right) -> NDArray[Any]:
        gradient = right.gradient.copy()
        gradient[-1] += self.objective.l2 * right.theta[-1]
        return gradient


@_wrong("sum-not-mean", "gradient")
class _SumNotMean(RightKernels):
    """The factor 1/n is missing from the gradient."""

    def gradient(self, right: Right) -> NDArray[Any]:
        n = self.problem.n_samples if right.rows is None else len(right.rows)
        total: NDArray[Any] = right.gradient * right.gradient.dtype.type(n)
        return total


@_wrong("zero-at-origin", "gradient")
class _ZeroAtOrigin(RightKernels):
    """The gradient is zero at w = 0, as automatic differentiation of max(m, 0) makes it."""

    def gradient(self, right: Right) -> NDArray[Any]:
        return right.gradient if right.theta.any() else np.zeros_like(right.gradient)


@_wrong("last-row-dropped", "gradient")
class _LastRowDropped(RightKernels):
    """The last row of the data is never read."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        return problem.take(np.arange(problem.n_samples - 1)), objective

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        if batch is not None:
            last = self.problem.n_samples - 1
            batch = batch._replace(indices=np.minimum(batch.indices, last - 1))
        return super().step(rule, state, batch)


def _cast(state: State, dtype: Any) -> State:
    theta, residual, first, second = (part.astype(dtype) for part in state[:4])
    return State(theta, residual, first, second, state.step)


@_wrong("float32-inside", "gradient")
class _Float32Inside(RightKernels):
    """Everything is computed in float32, whatever type was asked for."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        y = problem.classes[problem.y]
        weight = problem.sample_weight
        return Problem(problem.X, y, weight, dtype="float32", classes=problem.classes), objective

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        loss, gradient = super().loss_gradient(params)
        return loss, Params(*(part.astype(self.problem.dtype) for part in gradient))

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        after, record = super().step(rule, _cast(state, np.float32), batch)
        return _cast(after, self.problem.dtype), record


@_wrong("penalty-missing", "gradient")
class _PenaltyMissing(RightKernels):
    """The penalty is left out."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        return problem, replace(objective, l2=0.0)


@_wrong("loss-unpenalised", "gradient")
class _LossUnpenalised(RightKernels):
    """The penalty is in the gradient but not in the loss."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        loss, gradient = super().loss_gradient(params)
        coef = as_params(params, self.problem).coef[0]
        return loss - self.objective.l2 / 2 * float(coef @ coef), gradient


@_wrong("weights-ignored", "gradient")
class _WeightsIgnored(RightKernels):
    """Every sample counts the same."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        labels = problem.classes[problem.y]
        return Problem(problem.X, labels, dtype=problem.dtype, classes=problem.classes), objective


@_wrong("intercept-moves", "gradient")
class _InterceptMoves(RightKernels):
    """The intercept is trained although there is to be none."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        return problem, replace(objective, fit_intercept=True)


@_wrong("scores-without-intercept", "gradient")
class _ScoresWithoutIntercept(RightKernels):
    """Predictions forget the intercept."""

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        coef, intercept = as_params(params, self.problem)
        return super().decision_function(X, Params(coef, 0 * intercept))


# -- second derivatives are wrong


@_wrong("hessian-unpenalised", "hessian")
class _HessianUnpenalised(RightKernels):
    """The penalty adds nothing to the Hessian."""

    def hessian(self, params: Any) -> NDArray[np.float64]:
        hessian = super().hessian(params)
        hessian[np.diag_indices(self.problem.n_features)] -= self.objective.l2
        return hessian


@_wrong("flat-at-origin", "hessian")
class _FlatAtOrigin(RightKernels):
    """Samples of margin 0 have no curvature, as automatic differentiation through |m| finds."""

    def hessian(self, params: Any) -> NDArray[np.float64]:
        hessian = super().hessian(params)
        return hessian if pack(as_params(params, self.problem)).any() else 0 * hessian


@_wrong("curvature-kept", "hessian")
class _CurvatureKept(RightKernels):
    """Products go on with the curvature of the first parameters that they were asked for."""

    first: Any = None

    def hessian_product(self, params: Any, vector: Any) -> Params:
        self.first = params if self.first is None else self.first
        return super().hessian_product(self.first, vector)


@_wrong("unscaled-product", "hessian")
class _UnscaledProduct(RightKernels):
    """Products with the Hessian are sums over the rows, not means."""

    def hessian_product(self, params: Any, vector: Any) -> Params:
        product = super().hessian_product(params, vector)
        return Params(*(part * part.dtype.type(self.problem.n_samples) for part in product))


# -- the numbers are right until one looks closely


@_wrong("cancelling-sigmoid", "elementary")
class _CancellingSigmoid(RightKernels):
    """The residual is sigmoid(z) - y, which has no digits left where y = 1 and z is large."""

    def gradient(self, right: Right) -> NDArray[Any]:
        if right.rows is not None:
            return right.gradient
        problem, theta, dtype = self.problem, right.theta, right.theta.dtype
        dz = problem.weight * (
            sigmoid(problem.X @ theta[:-1] + theta[-1]) - problem.y.astype(dtype)
        )
        dw = dz @ problem.X / dtype.type(len(dz)) + dtype.type(self.objective.l2) * theta[:-1]
        return np.append(dw, dz.mean() if self.objective.fit_intercept else 0).astype(dtype)


@_wrong("careless-loss", "elementary")
class _CarelessLoss(RightKernels):
    """The loss is log(1 + exp(m)): it overflows for large m and has no digits left for small m."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        _, gradient = super().loss_gradient(params)
        problem, l2 = self.problem, self.objective.l2
        coef, intercept = as_params(params, problem)
        m = problem.sign * (problem.X @ coef[0] + intercept[0])
        losses = np.log(1 + np.exp(m))
        return float((problem.weight * losses).mean() + l2 / 2 * (coef[0] @ coef[0])), gradient


# -- more than two classes


class _Softmax(RightKernels):
    multinomial = True


@_wrong("one-against-rest", "gradient")
class _OneAgainstRest(_Softmax):
    """Each class has a sigmoid of its own."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        problem = self.problem
        if problem.n_outputs == 1:
            return super().loss_gradient(params)
        params = as_params(params, problem)
        a = sigmoid(scores(problem.X, params))
        dz = problem.weight[:, None] * (a - np.eye(problem.n_outputs)[problem.y])
        dw = dz.T @ problem.X / len(dz) + self.objective.l2 * params.coef
        db = dz.mean(axis=0) * self.objective.fit_intercept
        return self.right.loss(params), Params(dw.astype(a.dtype), db.astype(a.dtype))


@_wrong("overflowing-softmax", "gradient")
class _OverflowingSoftmax(_Softmax):
    """The largest score is not taken off before the exponentials."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        loss, gradient = super().loss_gradient(params)
        e = np.exp(scores(self.problem.X, as_params(params, self.problem)))
        overflows = self.problem.n_outputs > 1 and not np.isfinite(e).all()
        return (np.nan if overflows else loss), gradient


@_wrong("classes-uncoupled", "hessian")
class _ClassesUncoupled(_Softmax):
    """The Hessian's blocks of two different classes are taken to be zero."""

    def hessian(self, params: Any) -> NDArray[np.float64]:
        hessian, K = self.right.hessian(params), self.problem.n_outputs
        output = np.append(np.repeat(np.arange(K), self.problem.n_features), np.arange(K))
        return np.where(output[:, None] == output, hessian, 0.0)


@_wrong("penalty-of-one-class", "gradient")
class _PenaltyOfOneClass(_Softmax):
    """The penalty pulls at the first class's weights alone."""

    def gradient(self, right: Right) -> NDArray[Any]:
        gradient, p = right.gradient.copy(), self.problem.n_features
        last = p * self.problem.n_outputs
        gradient[p:last] -= self.objective.l2 * right.theta[p:last]
        return gradient


# -- an absolute penalty


class _Absolute(RightKernels):
    l1 = True

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        super().__init__(problem, objective, n_threads)
        l2, fit_intercept = objective.l2, objective.fit_intercept
        self.smooth = NumpyBackend().compile(problem, Objective(l2, 0.0, fit_intercept))

    def shrunk(
        self, rule: Rule, state: State, batch: Batches | None, by: NDArray[np.float64]
    ) -> tuple[State, Any]:
        """Do one step; then shrink the parameters by ``by``, a number for each."""
        _, record = self.right.run(rule, state, 1, batch)
        after, _ = self.smooth.run(rule, state, 1, batch)
        threshold = by.astype(state.theta.dtype)
        theta, residual = shrink(after.theta, after.residual, threshold, np.where)
        return after._replace(theta=theta, residual=residual), record

    def penalised(self) -> NDArray[np.float64]:
        """Return 1 for coefficients and 0 for intercepts."""
        return np.append(np.ones(self.problem.n_features), 0.0)


@_wrong("slope-at-the-kink", "gradient")
class _SlopeAtTheKink(_Absolute):
    """At w = 0 the gradient is that of the rest: it never vanishes."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        loss, gradient = super().loss_gradient(params)
        coef = as_params(params, self.problem).coef
        rest = self.smooth.loss_gradient(params)[1].coef
        return loss, Params(np.where(coef == 0, rest, gradient.coef), gradient.intercept)


@_wrong("threshold-without-rate", "trajectory")
class _ThresholdWithoutRate(_Absolute):
    """Weights are shrunk by the penalty, not by the learning rate times the penalty."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        if self.objective.l1 == 0:
            return super().step(rule, state, batch)
        return self.shrunk(rule, state, batch, self.objective.l1 * self.penalised())


@_wrong("intercept-shrunk", "trajectory")
class _InterceptShrunk(_Absolute):
    """The proximal step moves the intercept, too."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        if self.objective.l1 == 0:
            return super().step(rule, state, batch)
        threshold = coefficients_for(rule, state.step, 1, self.objective)[0, -1]
        return self.shrunk(rule, state, batch, np.full(len(state.theta), threshold))


# -- evaluations are right, training is not


@_wrong("returns-its-input", "trajectory")
class _ReturnsItsInput(RightKernels):
    """No step is done, though they are counted."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        after, record = super().step(rule, state, batch)
        return state._replace(step=after.step), record


@_wrong("stale-batch", "trajectory")
class _StaleBatch(RightKernels):
    """Each step sees the mini-batch of the step before."""

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        if batches is not None and n_steps:
            before = np.maximum(np.arange(n_steps) - 1, 0)
            batches = Batches(*(part[before] for part in batches))
        return super().run(rule, state, n_steps, batches)


@_wrong("padding-counted", "trajectory")
class _PaddingCounted(RightKernels):
    """The padding of a short mini-batch is taken for rows."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        if batch is not None:
            batch = Batches(batch.indices, np.full_like(batch.sizes, batch.indices.shape[1]))
        return super().step(rule, state, batch)


@_wrong("memory-forgotten", "trajectory")
class _MemoryForgotten(RightKernels):
    """Velocity and moments start from zero in every step."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        zeros = np.zeros_like(state.theta)
        return super().step(rule, state._replace(first=zeros, second=zeros), batch)


@_wrong("uncompensated-update", "trajectory")
class _UncompensatedUpdate(RightKernels):
    """The part of the parameters that one float cannot hold is thrown away."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        return super().step(rule, state._replace(residual=np.zeros_like(state.theta)), batch)


# -- calls are not functions of their arguments, or misreport


@_wrong("memory-lost-between-calls", "purity")
class _MemoryLostBetweenCalls(RightKernels):
    """Velocity and moments start from zero in every call."""

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        zeros = np.zeros_like(state.theta)
        state = state._replace(first=zeros, second=zeros)
        return super().run(rule, state, n_steps, batches)


@_wrong("steps-uncounted", "purity")
class _StepsUncounted(RightKernels):
    """The state does not say how many steps were done, so a resumed run starts counting again."""

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        after, records = super().run(rule, state, n_steps, batches)
        return after._replace(step=state.step), records


@_wrong("claims-convergence", "optimum")
class _ClaimsConvergence(RightKernels):
    """The gradient is recorded as zero, so training stops at once."""

    def step(self, rule: Rule, state: State, batch: Batches | None) -> tuple[State, Any]:
        after, record = super().step(rule, state, batch)
        return after, record * np.array([1.0, 0.0])


@_wrong("late-records", "purity")
class _LateRecords(RightKernels):
    """Loss and gradient are recorded after the step instead of before."""

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        after, records = super().run(rule, state, n_steps, batches)
        if n_steps:
            last = None if batches is None else Batches(*(part[-1:] for part in batches))
            records = np.concatenate([records[1:], self.step(rule, after, last)[1]])
        return after, records


@_wrong("writes-to-its-input", "purity")
class _WritesToItsInput(RightKernels):
    """The state that was handed in is updated in place."""

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        after, records = super().run(rule, state, n_steps, batches)
        state.theta[:] = after.theta
        return after, records


@_wrong("not-deterministic", "purity")
class _NotDeterministic(RightKernels):
    """Each call rounds differently, as sums do whose terms arrive in no fixed order."""

    def __init__(self, problem: Problem, objective: Objective, n_threads: int | None) -> None:
        super().__init__(problem, objective, n_threads)
        self.luck = np.random.default_rng(0)

    def gradient(self, right: Right) -> NDArray[Any]:
        gradient = right.gradient.copy()
        gradient[self.luck.integers(2, size=len(gradient)) == 1] *= 1 + np.finfo(gradient.dtype).eps
        return gradient


@_wrong("reuses-its-buffer", "purity")
class _ReusesItsBuffer(RightKernels):
    """A gradient that was returned is overwritten by the next one."""

    buffer: Params | None = None

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        loss, gradient = super().loss_gradient(params)
        if self.buffer is None:
            self.buffer = gradient
        for kept, new in zip(self.buffer, gradient, strict=True):
            kept[:] = new
        return loss, self.buffer


@_wrong("thread-dependent", "purity")
class _ThreadDependent(RightKernels):
    """The order of summation depends on the number of threads."""

    def misread(self, problem: Problem, objective: Objective) -> tuple[Problem, Objective]:
        rows = np.arange(problem.n_samples)
        return problem.take(rows[::-1] if self.n_threads == 1 else rows), objective
