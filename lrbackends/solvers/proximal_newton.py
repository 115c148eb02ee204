"""The proximal Newton method for L1 and elastic-net penalties: quadratic models, kinks kept whole.

Lee, Sun & Saunders (2014, "Proximal Newton-type methods for minimizing composite functions"). Each
model replaces the smooth part of the objective and keeps the L1 term, so that coefficients become
exactly zero; `lasso_quadratic` minimises it. A Hessian costs many passes, so one serves as long as
the steps that it gives go on shrinking what they promise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrbackends.backends.protocol import HessianKernels
from lrbackends.solvers.duality import Dual, Duality, residual_change
from lrbackends.solvers.goal import Goal, Step, Steps
from lrbackends.solvers.lasso_quadratic import (
    Curvature,
    Matrix,
    Minimum,
    Products,
    least_subgradient,
    minimised,
)
from lrbackends.solvers.line_search import minimiser
from lrbackends.solvers.oracle import Oracle, Point, Vector

_ROUNDINGS = 8  # of the gradient that pull no coefficient off zero
_DECREASE = 1e-4  # share of the slope that a full step must bring (Armijo)
_SLOW = 0.3  # share of the promise that a step may leave before another Hessian is taken
_LIFT = 1e-10  # of a typical diagonal: far out, and along collinear columns, curvature vanishes
_MOST_CURVED = 2000  # coefficients up to which the Hessian itself is taken
_MOST_WORK = 1e11  # operations that a Hessian may take
_EXACT = 1e-12  # share of a model's decrease that may be left where its Hessian is there
_ROUGH = 1e-2  # and where only products are
_FINE = 1e-8  # and there, where a bound is to be had
_ROUGH_SYSTEM = 0.1  # relative residuals of their systems
_FINE_SYSTEM = 1e-2
_FLATTER = 0.5  # share of the steepness that may be left where the objective is down to rounding


def proximal_newton(
    oracle: Oracle, theta: Vector, goal: Goal, memory: Memory | None = None
) -> Steps:
    """Minimise the oracle's objective plus sum l1_j |theta_j| from ``theta``.

    One pass a step, three more where a full step does not serve or a bound is asked for; and
    Hessians, or products, as few as may be. The points have the whole objective, and as gradient
    its subgradient of least size.

    Parameters
    ----------
    memory : Memory, optional
        What an earlier run on the same rows left, as along a path of penalties; it is brought up
        to date.
    """
    duality = Duality(oracle)
    model = _Model(oracle, memory or Memory())
    point = model.begun(theta)
    promised = np.inf
    while True:
        minimum = model.minimised(point)
        if model.anchor is not point and -minimum.value > _SLOW * promised:
            point, promised = model.renewed(point.theta), np.inf
            continue
        promised = -minimum.value
        whole = _whole(oracle, point)
        wanted, bound = goal.wanted(whole), np.inf
        if promised <= wanted:
            minimum = model.refined(minimum, point)
            dual = model.dual(duality, point, minimum)
            bound = duality.bound(whole, dual, wanted)
        yield Step(whole, promised, bound)
        after = _step_to(oracle, point, minimum.theta)
        if after is not None:
            point = model.reached(after)
        elif model.anchor is not point:
            promised = -np.inf  # so that another Hessian is taken
        else:
            return


def _whole(oracle: Oracle, point: Point) -> Point:
    """Return a point of the smooth part with the L1 term."""
    loss = point.loss + float(oracle.l1 @ np.abs(point.theta))
    return Point(point.theta, loss, least_subgradient(point.theta, point.gradient, oracle.l1))


@dataclass
class Memory:
    """The last Hessian that was taken.

    Attributes
    ----------
    anchor : Point or None
        Where, and what it is.
    added : ndarray of shape (size,) or None
        What has been added to the diagonal of the log-loss's own.
    scores : ndarray or None
        X w + b at the anchor, once they have been asked for.
    """

    anchor: Point | None = None
    added: Vector | None = None
    scores: Vector | None = None


class _Model:
    """The curvature of the smooth part at one point, the anchor of the memory."""

    def __init__(self, oracle: Oracle, memory: Memory) -> None:
        self.oracle, self._memory = oracle, memory
        self._second = isinstance(oracle.kernels, HessianKernels)
        self._whole = self._second and _affordable(oracle)
        self._diagonal = _diagonal(oracle)
        self._lift = _LIFT * self._diagonal

    @property
    def anchor(self) -> Point:
        """Where the curvature is taken."""
        assert self._memory.anchor is not None
        return self._memory.anchor

    def begun(self, theta: Vector) -> Point:
        """Return the first point; what is remembered serves on."""
        memory, added = self._memory, self.oracle.penalty + self._lift
        if not self._whole or memory.anchor is None or memory.anchor.hessian is None:
            return self.renewed(theta)
        assert memory.added is not None
        memory.anchor.hessian[np.diag_indices(len(added))] += added - memory.added
        memory.added = added
        return self.oracle.at(theta)

    def renewed(self, theta: Vector) -> Point:
        """Return the point at ``theta``, which becomes the anchor."""
        if not self._whole:
            return self._anchored(self.oracle.at(theta))
        point = self.oracle.curved_at(theta)
        assert point.hessian is not None
        point.hessian[np.diag_indices(len(theta))] += self._lift
        return self._anchored(point)

    def reached(self, point: Point) -> Point:
        """Return the next point; products are those at it from now on."""
        return point if self._whole else self._anchored(point)

    def _anchored(self, point: Point) -> Point:
        memory = self._memory
        memory.anchor, memory.scores = point, None
        memory.added = self.oracle.penalty + self._lift
        return point

    def minimised(self, point: Point) -> Minimum:
        """Return the minimum of the model of the objective around a point."""
        start = Minimum(point.theta, 0.0, point.gradient)
        return self._minimised(start, _ROUGH_SYSTEM, _EXACT if self._whole else _ROUGH, point)

    def refined(self, minimum: Minimum, point: Point) -> Minimum:
        """Return the minimum to the accuracy that a bound needs."""
        if self._whole:
            return minimum
        return self._minimised(minimum, _FINE_SYSTEM, _FINE, point)

    def _minimised(self, now: Minimum, of_systems: float, accuracy: float, point: Point) -> Minimum:
        rounding = _ROUNDINGS * self.oracle.gradient_noise(point)
        return minimised(self._curvature(of_systems), now, self.oracle.l1, accuracy, rounding)

    def dual(self, duality: Duality, point: Point, minimum: Minimum) -> Dual:
        """Return the residuals that the model's minimum predicts, where they can be told."""
        oracle, memory = self.oracle, self._memory
        step = minimum.theta - point.theta
        assert memory.added is not None
        if memory.scores is None:
            memory.scores = oracle.scores(self.anchor.theta)
        z = memory.scores if self.anchor is point else oracle.scores(point.theta)
        dual = duality.dual_at(point, z)
        if not self._second or not step.any():
            return dual
        change = residual_change(memory.scores, oracle.scores(step))
        slope = minimum.slope - point.gradient - memory.added * step
        return dual.moved(oracle.problem, Dual(change, slope))

    def _curvature(self, accuracy: float) -> Curvature:
        if self._whole:
            assert self.anchor.hessian is not None
            return Matrix(self.anchor.hessian)
        return Products(self._product, self._diagonal, accuracy)

    def _product(self, vector: Vector) -> Vector:
        oracle, anchor = self.oracle, self.anchor
        length = float(np.linalg.norm(vector))
        if length == 0:
            return np.zeros_like(vector)
        if self._second:
            return oracle.product(anchor.theta, vector) + self._lift * vector
        near = float(np.sqrt(np.finfo(oracle.problem.dtype).eps))
        near *= (1.0 + float(np.linalg.norm(anchor.theta))) / length
        ahead = oracle.at(anchor.theta + near * vector)
        return (ahead.gradient - anchor.gradient) / near + self._lift * vector


def _affordable(oracle: Oracle) -> bool:
    """Whether the Hessian itself is to be taken."""
    problem = oracle.problem
    few = problem.n_outputs * problem.n_features <= _MOST_CURVED
    return few and float(problem.n_samples) * oracle.size**2 <= _MOST_WORK


def _diagonal(oracle: Oracle) -> Vector:
    """Return about the diagonal of the Hessian: q (1 - q) mean(x^2) + l2 for classes' shares q.

    The mean over the outputs of q (1 - q), so that what is added to all outputs of a feature and
    changes no probability stays apart from the rest.
    """
    problem, outputs = oracle.problem, oracle.problem.n_outputs
    share = np.bincount(problem.y, problem.exact_weight) / problem.n_samples
    variance = float((share * (1 - share))[-outputs:].mean())
    squares = np.append(np.tile(problem.rms**2, outputs), np.ones(outputs))[: oracle.size]
    diagonal = variance * squares + oracle.penalty
    diagonal[diagonal == 0] = 1.0
    return diagonal


def _step_to(oracle: Oracle, point: Point, target: Vector) -> Point | None:
    """Return the target, the best place before it, or None where rounding hides any decrease."""
    step, l1 = target - point.theta, oracle.l1
    kinks = float(l1 @ (np.abs(target) - np.abs(point.theta)))
    slope = float(point.gradient @ step) + kinks
    if not slope < 0:
        return None
    loss = _whole(oracle, point).loss
    noise = 8 * float(np.finfo(oracle.problem.dtype).eps) * abs(loss)
    trial = oracle.at(target)
    if -slope < noise:
        flatter = _steepness(oracle, trial) <= _FLATTER * _steepness(oracle, point)
        return trial if flatter and _whole(oracle, trial).loss <= loss + noise else None
    if _whole(oracle, trial).loss <= loss + _DECREASE * slope:
        return trial
    t = minimiser(
        oracle.problem,
        oracle.scores(point.theta),
        oracle.scores(step),
        float(oracle.penalty @ (point.theta * step)) + kinks,  # no less than the kinks' own share
        float(oracle.penalty @ (step * step)),
    )
    trial = oracle.at(point.theta + min(t, 1.0) * step)
    return trial if _whole(oracle, trial).loss < loss else None


def _steepness(oracle: Oracle, point: Point) -> float:
    """Return the largest entry of the gradient, each in units of its rounding; below 1 it is 0."""
    gradient, noise = _whole(oracle, point).gradient, oracle.gradient_noise(point)
    ratio = np.divide(np.abs(gradient), noise, out=np.zeros_like(noise), where=noise > 0)
    return float(ratio.max())
