"""One step along a direction: the full step where it serves, else the exact minimiser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lrbackends.objective import curvature_along, residuals
from lrbackends.problem import Problem
from lrbackends.solvers.oracle import Oracle, Point, Vector

_DECREASE = 1e-4  # share of the promised decrease that a step must bring (Armijo)
_FLAT = 0.9  # share of the slope that may be left (Wolfe)
_FLATTER = 0.5  # share of the slope that may be left where the objective is down to rounding
_STEPS = 60
_TOLERANCE = 0.1  # share of the slope that the search along the margins may leave


def step_along(
    oracle: Oracle,
    point: Point,
    direction: Vector,
    evaluate: Callable[[Vector], Point],
    *,
    exact: bool = False,
    curvature: bool = False,
) -> Point | None:
    """Return the next point, or None where rounding hides any further decrease.

    Parameters
    ----------
    oracle, point : Oracle, Point
        Where the step starts.
    direction : ndarray of shape (size,)
        A direction of descent.
    evaluate : callable
        `Oracle.at` or `Oracle.curved_at`.
    exact : bool
        Go to the minimiser along the direction at once.
    curvature : bool
        The slope at the end must have fallen too, as quasi-Newton updates need.
    """
    slope = float(point.gradient @ direction)
    if not slope < 0:
        return None
    noise = 8 * float(np.finfo(oracle.problem.dtype).eps) * abs(point.loss)
    if not exact or -slope < noise:
        trial = evaluate(point.theta + direction)
        if -slope < noise:
            return _flattened(oracle, point, direction, trial, evaluate, noise)
        lower = trial.loss <= point.loss + _DECREASE * slope
        if lower and (not curvature or float(trial.gradient @ direction) >= _FLAT * slope):
            return trial
    trial = evaluate(point.theta + minimiser_along(oracle, point, direction) * direction)
    return trial if trial.loss < point.loss else None


def _flattened(
    oracle: Oracle,
    point: Point,
    direction: Vector,
    trial: Point,
    evaluate: Callable[[Vector], Point],
    noise: float,
) -> Point | None:
    """Return a point of less slope where the objective cannot tell any more, or None.

    The slopes can, until they are rounding, too: after the full step a secant step is tried.
    """
    if (np.abs(point.gradient) <= oracle.gradient_noise(point)).all():
        return None
    slope, left = (float(at.gradient @ direction) for at in (point, trial))
    if abs(left) > _FLATTER * -slope and left > slope:
        trial = evaluate(point.theta + slope / (slope - left) * direction)
        left = float(trial.gradient @ direction)
    flatter = abs(left) <= _FLATTER * -slope
    return trial if flatter and trial.loss <= point.loss + noise else None


def minimiser_along(oracle: Oracle, point: Point, direction: Vector) -> float:
    """Return t > 0 that minimises the objective at theta + t direction.

    Two passes give the scores of both; then the search is one-dimensional.
    """
    return minimiser(
        oracle.problem,
        oracle.scores(point.theta),
        oracle.scores(direction),
        float(oracle.penalty @ (point.theta * direction)),
        float(oracle.penalty @ (direction * direction)),
    )


def minimiser(problem: Problem, z: Vector, u: Vector, slope: float, curvature: float) -> float:
    """Minimise the weighted log-loss of scores z + t u plus slope t + curvature t^2 / 2, t > 0.

    Newton's method on the derivative, which rises with t, inside a bracket.
    """
    y, weight = problem.y, problem.exact_weight / problem.n_samples

    def slope_at(t: float) -> float:
        along = residuals(z + t * u, y) * u
        rows = along if along.ndim == 1 else along.sum(axis=1)
        return float(weight @ rows) + slope + curvature * t

    low, high, t = 0.0, np.inf, 1.0
    initial = abs(slope_at(0.0))
    for _ in range(_STEPS):
        first = slope_at(t)
        second = float(weight @ curvature_along(z + t * u, u)) + curvature
        if abs(first) <= _TOLERANCE * initial:
            break
        low, high = (low, t) if first > 0 else (t, high)
        t = t - first / second if second > 0 else np.inf
        if not low < t < high:
            t = 2 * low if high == np.inf else (low + high) / 2
    return t
