"""L-BFGS with metrics of one output each, in place of the far larger Hessian of all outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends.problem import Problem
from lrbackends.solvers.goal import Goal, Steps
from lrbackends.solvers.lbfgs import Certify, lbfgs
from lrbackends.solvers.metrics import class_metric, start_metric
from lrbackends.solvers.oracle import Oracle, Vector

_ROWS = 10  # for each parameter of an output
_NEAR = 3e-2  # relative F - F* from where on the Hessian of each output is worth taking


def class_newton(
    oracle: Oracle, theta: Vector, goal: Goal, rng: np.random.Generator, certify: Certify
) -> Steps:
    """Minimise from ``theta``.

    The Hessian at the start, which is a product of two small ones, is the first metric; once the
    model has taken shape, a sample's Hessian of each output alone takes its place.
    """
    rows = _some_rows(oracle.problem, rng)
    for step in lbfgs(oracle, theta, goal, start_metric(oracle, rows), certify):
        yield step
        theta = step.point.theta
        if step.promised <= _NEAR * abs(step.point.loss):
            break
    yield from lbfgs(oracle, theta, goal, class_metric(oracle, theta, rows), certify)


def _some_rows(problem: Problem, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return random rows, enough for the Hessian of one output."""
    n, count = problem.n_samples, _ROWS * (problem.n_features + 1)
    if count >= n:
        return np.arange(n)
    return np.sort(rng.choice(n, count, replace=False, shuffle=False))
