"""Solvers that seek the optimum, by name, with the metric and the certificate that each needs."""

from __future__ import annotations

import numpy as np

from lrbackends.backends.protocol import HessianKernels
from lrbackends.solvers.certificate import Certificate, strong_convexity_bound
from lrbackends.solvers.goal import Goal, Steps
from lrbackends.solvers.lbfgs import Certify, Solve, lbfgs
from lrbackends.solvers.newton import newton
from lrbackends.solvers.newton_cg import newton_cg
from lrbackends.solvers.oracle import Oracle, Point, Vector
from lrbackends.solvers.sampled_newton import sampled_newton

_HESSIAN_WORK = 2e9  # operations worth spending on a Hessian that only certifies


def minimise(
    solver: str, oracle: Oracle, theta: Vector, goal: Goal, rng: np.random.Generator
) -> Steps:
    """Return the steps of a solver from ``theta``; they end where rounding allows no further."""
    if solver == "newton":
        return newton(oracle, theta, goal)
    solve, certify = _diagonal_metric(oracle), _certifier(oracle)
    if solver == "sampled-newton":
        return sampled_newton(
            oracle, theta, goal, rng, lambda start: lbfgs(oracle, start, Goal(), solve, certify)
        )
    if solver == "newton-cg":
        return newton_cg(oracle, theta, goal, solve, certify)
    return lbfgs(oracle, theta, goal, solve, certify)


def _diagonal_metric(oracle: Oracle) -> Solve:
    """Return division by a diagonal like the Hessian's: columns are standardised implicitly.

    Its entries are s mean(x^2) + l2, where s = q (1 - q) and q is the share of the second class.
    """
    problem = oracle.problem
    q = float(problem.exact_weight @ problem.y) / problem.n_samples
    squares = np.append(problem.rms**2, 1.0)[: oracle.size]
    diagonal = q * (1 - q) * squares + oracle.penalty
    diagonal[diagonal == 0] = 1.0
    return lambda v: v / diagonal


def _certifier(oracle: Oracle) -> Certify:
    """Return a bound on F - F*: by the penalty alone, else by a Hessian where that is not dear."""
    problem = oracle.problem
    work = float(problem.n_samples) * oracle.size**2
    affordable = not problem.sparse and work <= _HESSIAN_WORK
    affordable = affordable and isinstance(oracle.kernels, HessianKernels)

    def certify(point: Point, wanted: float) -> float:
        bound = strong_convexity_bound(oracle, point, wanted)
        if not np.isfinite(bound) and affordable:
            curved = oracle.curved_at(point.theta)
            bound = Certificate(oracle, curved).bound(curved, wanted)
        return bound

    return certify
