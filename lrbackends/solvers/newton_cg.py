"""Newton's method with directions by conjugate gradients: needs products, never the Hessian."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from lrbackends.solvers.goal import Goal, Step, Steps
from lrbackends.solvers.lbfgs import Certify, Solve
from lrbackends.solvers.line_search import step_along
from lrbackends.solvers.oracle import Oracle, Vector

_FORCING = 0.1  # each direction solves its system to this relative residual, later ones further
_MOST_PRODUCTS = 500


def newton_cg(oracle: Oracle, theta: Vector, goal: Goal, solve: Solve, certify: Certify) -> Steps:
    """Minimise from ``theta``; one pass for the gradient and one for each Hessian product.

    ``solve`` preconditions: it multiplies by an approximate inverse Hessian. The residuals shrink
    with the gradient, so that convergence is faster than linear (Nocedal & Wright 2006, section
    7.1).
    """
    size = oracle.size
    preconditioner = LinearOperator((size, size), matvec=solve, dtype=np.float64)
    point = oracle.at(theta)
    initial = float(np.linalg.norm(point.gradient))
    while True:
        hessian = LinearOperator(
            (size, size), matvec=partial(oracle.product, point.theta), dtype=np.float64
        )
        left = float(np.linalg.norm(point.gradient)) / initial if initial > 0 else 0.0
        # What the preconditioner promises comes before a direction is paid for.
        wanted, promised = goal.wanted(point), 0.5 * float(point.gradient @ solve(point.gradient))
        yield Step(point, promised, certify(point, wanted) if promised <= wanted else np.inf)
        direction, _ = cg(
            hessian,
            -point.gradient,
            rtol=min(_FORCING, np.sqrt(left)),
            atol=0.0,
            maxiter=_MOST_PRODUCTS,
            M=preconditioner,
        )
        after = step_along(oracle, point, direction, oracle.at)
        if after is None:
            return
        point = after
