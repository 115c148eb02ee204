"""Newton's method: the whole Hessian, factored; at the end, refined in extended precision."""

from __future__ import annotations

import numpy as np

from lrbackends.solvers.certificate import Certificate
from lrbackends.solvers.cholesky import Factor, lifted
from lrbackends.solvers.goal import Goal, Step, Steps
from lrbackends.solvers.line_search import step_along
from lrbackends.solvers.oracle import Oracle, Point, Vector

# Below this many rows a search along the margins costs less than the Hessians that it saves.
_SEARCHED_ROWS = 5_000
# Where neither a gap nor a tolerance is asked for, problems of so many terms are refined.
_REFINED_TERMS = 200_000
_REFINEMENTS = 2
_FAR = 1e-3  # a promised decrease, relative to the objective, that is worth a search


def newton(oracle: Oracle, theta: Vector, goal: Goal) -> Steps:
    """Minimise from ``theta``; two passes a step, of which one forms the Hessian."""
    point = oracle.curved_at(theta)
    while True:
        assert point.hessian is not None
        factor = lifted(point.hessian)
        direction = -factor.solve(point.gradient)
        promised = -0.5 * float(point.gradient @ direction)
        wanted = goal.wanted(point)
        bound = np.inf
        if promised <= wanted:
            bound = Certificate(oracle, point).bound(point, wanted)
        yield Step(point, promised, bound)
        few = oracle.problem.n_samples <= _SEARCHED_ROWS
        after = step_along(
            oracle,
            point,
            direction,
            oracle.curved_at,
            exact=few and promised > _FAR * abs(point.loss),
        )
        if after is None:
            break
        point = after
    problem = oracle.problem
    terms = problem.n_samples * oracle.size
    if goal == Goal() and problem.dtype == np.float64 and terms <= _REFINED_TERMS:
        yield Step(_refined(oracle, point, factor), promised)


def _refined(oracle: Oracle, point: Point, factor: Factor) -> Point:
    """Return the point after steps whose gradients are rounded in extended precision only.

    Rounding errors of the gradient reach the parameters magnified by the Hessian's condition. As in
    the refinement of linear systems (Higham 2002, "Accuracy and Stability", chapter 12) a gradient
    of more digits takes that away, and the factor at hand is good enough.
    """
    theta = point.theta
    for _ in range(_REFINEMENTS):
        gradient = oracle.exact_gradient(theta)
        theta = theta - factor.solve(gradient)
    refined = oracle.at(theta)
    size, noise = np.abs(refined.loss), 8 * np.finfo(np.float64).eps
    return refined if refined.loss <= point.loss + noise * size else point
