"""Newton's method: the whole Hessian, factored."""

from __future__ import annotations

import numpy as np

from lrbackends.solvers.certificate import Certificate
from lrbackends.solvers.cholesky import lifted
from lrbackends.solvers.goal import Goal, Step, Steps
from lrbackends.solvers.line_search import step_along
from lrbackends.solvers.oracle import Oracle, Vector

# Below this many rows a search along the margins costs less than the Hessians that it saves.
_SEARCHED_ROWS = 5_000
_FAR = 1e-3  # a promised decrease, relative to the objective, that is worth a search


def newton(oracle: Oracle, theta: Vector, goal: Goal) -> Steps:
    """Minimise from ``theta``; two passes a step, of which one forms the Hessian."""
    point = oracle.curved_at(theta)
    while True:
        assert point.hessian is not None
        direction = -lifted(point.hessian).solve(point.gradient)
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
            return
        point = after
