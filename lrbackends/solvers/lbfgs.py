"""L-BFGS with a metric: Nocedal & Wright (2006, "Numerical Optimization", algorithm 7.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from lrbackends.solvers.goal import Goal, Step, Steps
from lrbackends.solvers.line_search import step_along
from lrbackends.solvers.oracle import Oracle, Point, Vector

_MEMORY = 12  # pairs of (step, change of the gradient)

Solve = Callable[[Vector], Vector]  # multiplies by an approximate inverse Hessian
Certify = Callable[[Point, float], float]  # bounds F - F* at a point, where below a wanted value


def lbfgs(
    oracle: Oracle,
    theta: Vector,
    goal: Goal,
    solve: Solve,
    certify: Certify,
    *,
    trusted: bool = False,
) -> Steps:
    """Minimise from ``theta``; one pass a step, three more where a full step does not serve.

    Parameters
    ----------
    solve : callable
        The first metric: multiplies by an approximate inverse Hessian.
    trusted : bool
        Whether that is right in size too, not in shape only.
    """
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=_MEMORY)
    point = oracle.at(theta)
    while True:
        size = 1.0
        if pairs and not trusted:
            _, y, product = pairs[-1]
            size = product / float(y @ solve(y))
        direction = -_inverse_product(point.gradient, pairs, solve, size)
        promised = -0.5 * float(point.gradient @ direction)
        wanted = goal.wanted(point)
        yield Step(point, promised, certify(point, wanted) if promised <= wanted else np.inf)
        after = step_along(
            oracle,
            point,
            direction,
            oracle.at,
            exact=not pairs and not trusted,
            curvature=True,
        )
        if after is None:
            return
        s, y = after.theta - point.theta, after.gradient - point.gradient
        product = float(s @ y)
        if product > 0:
            pairs.append((s, y, product))
        point = after


def _inverse_product(
    gradient: Vector, pairs: deque[tuple[Vector, Vector, float]], solve: Solve, size: float
) -> Vector:
    """Multiply by the inverse Hessian that the pairs and ``size`` times the metric make up."""
    q = gradient.copy()
    weights = []
    for s, y, product in reversed(pairs):
        weights.append(float(s @ q) / product)
        q -= weights[-1] * y
    r = size * solve(q)
    for (s, y, product), weight in zip(pairs, reversed(weights), strict=True):
        r = r + (weight - float(y @ r) / product) * s
    return r
