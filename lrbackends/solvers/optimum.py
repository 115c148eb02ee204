"""Solvers that seek the optimum, by name, with the metric and the certificate that each needs."""

from __future__ import annotations

import numpy as np

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES, HessianKernels
from lrbackends.solvers.certificate import Certificate, strong_convexity_bound
from lrbackends.solvers.class_newton import class_newton
from lrbackends.solvers.goal import Goal, Steps
from lrbackends.solvers.lbfgs import Certify, lbfgs
from lrbackends.solvers.metrics import diagonal_metric
from lrbackends.solvers.newton import newton
from lrbackends.solvers.newton_cg import newton_cg
from lrbackends.solvers.oracle import Oracle, Point, Vector
from lrbackends.solvers.proximal_newton import proximal_newton
from lrbackends.solvers.sampled_newton import sampled_newton

_HESSIAN_WORK = 2e9  # operations worth spending on a Hessian that only certifies


def minimise(
    solver: str, oracle: Oracle, theta: Vector, goal: Goal, rng: np.random.Generator
) -> Steps:
    """Return the steps of a solver from ``theta``; they end where rounding allows no further."""
    if solver == "newton":
        return newton(oracle, theta, goal)
    if solver == "proximal-newton":
        return proximal_newton(oracle, theta, goal)
    certify = _certifier(oracle)
    small_enough = oracle.problem.n_features <= MOST_HESSIAN_FEATURES  # for one output's Hessian
    if solver == "sampled-newton" and oracle.problem.n_outputs > 1 and small_enough:
        return class_newton(oracle, theta, goal, rng, certify)
    solve = diagonal_metric(oracle)
    if solver == "sampled-newton":
        return sampled_newton(
            oracle, theta, goal, rng, lambda start: lbfgs(oracle, start, Goal(), solve, certify)
        )
    if solver == "newton-cg":
        return newton_cg(oracle, theta, goal, solve, certify)
    return lbfgs(oracle, theta, goal, solve, certify)


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
