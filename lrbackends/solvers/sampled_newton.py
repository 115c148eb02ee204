"""Few passes: solve on growing samples of the rows, then correct with gradients of all rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lrbackends.solvers.certificate import share_of
from lrbackends.solvers.goal import Goal, Steps
from lrbackends.solvers.lbfgs import lbfgs
from lrbackends.solvers.newton import newton
from lrbackends.solvers.oracle import Oracle, Point, Vector
from lrbackends.solvers.samples import Sample, draw, sampled_at

_GROWTH = 8  # each sample is at most that many times the one before
_SMALLEST = 20  # rows per parameter in the first
_ROWS = 40  # rows per parameter in the last, at least
_BELOW_ERROR = 0.1  # the sampling error of F - F* is about size / (2 rows)
# Where so many passes leave more than this share of F - F* each, the metric is wrong.
_PATIENCE = 3
_SLOW = 0.5

_METRIC_ROWS = 4  # rows per parameter in a sample that gives a metric but no solution
_NEAR = 1e-2  # relative F - F* from where on its Hessian is worth taking
_METRICS = 4  # that are tried before the whole Hessian


def sample_size(n_samples: int, size: int) -> int:
    """Return how many rows the last sample should have.

    A sixteenth of all rows, so that its Hessians cost about as much as one gradient of all rows,
    but at least 40 rows per parameter. Where that is more than half of all rows, four rows per
    parameter.
    """
    count = int(max(_ROWS * size, n_samples / 16))
    return count if 2 * count <= n_samples else min(_METRIC_ROWS * size, n_samples)


def sampled_newton(
    oracle: Oracle,
    theta: Vector,
    goal: Goal,
    rng: np.random.Generator,
    begin: Callable[[Vector], Steps],
) -> Steps:
    """Minimise from ``theta`` in a few passes where there are many more rows than parameters.

    Newton's method on samples of rows brings the parameters to where sampling error is; from there
    L-BFGS goes on with gradients of all rows and the last sample's Hessian as its metric. Where
    rows are too few for samples to be solved, ``begin`` (a solver that needs no Hessian) goes
    first. Where the metric turns out wrong for the whole, another sample is taken at the point
    reached; the whole Hessian is the last resort.
    """
    count = min(sample_size(oracle.problem.n_samples, oracle.size), oracle.problem.n_samples)
    if count >= _SMALLEST * oracle.size:
        sample = _grown(oracle, theta, count, rng)
    else:
        for step in begin(theta):
            yield step
            theta = step.point.theta
            if step.promised <= _NEAR * abs(step.point.loss):
                break
        sample = sampled_at(oracle, theta, count, rng)
    for _ in range(_METRICS):
        promised = [np.inf]
        for step in lbfgs(
            oracle,
            sample.anchor.theta,
            goal,
            sample.metric,
            sample.certificate.bound,
            trusted=True,
        ):
            yield step
            promised.append(step.promised)
            if _slow(promised):
                break
        else:
            return
        sample = sampled_at(oracle, step.point.theta, count, rng)
    yield from newton(oracle, step.point.theta, goal)


def _slow(promised: list[float]) -> bool:
    """Whether the last passes reduced the promised decrease too little."""
    enough = _SLOW**_PATIENCE
    return len(promised) > _PATIENCE and promised[-1] > enough * promised[-1 - _PATIENCE]


def _grown(oracle: Oracle, theta: Vector, count: int, rng: np.random.Generator) -> Sample:
    """Solve growing random samples, and return the last one where it was solved."""
    for some in _sizes(_SMALLEST * oracle.size, count):
        rows, weights = draw(oracle.problem, some, rng)
        part = oracle.sampled(rows, weights)
        anchor = _minimised(part, theta)
        theta = anchor.theta
    return Sample(part, anchor, share_of(oracle.problem, rows, part.problem))


def _sizes(first: int, last: int) -> list[int]:
    """Return sizes that grow from one to the other by equal factors, none above `_GROWTH`."""
    steps = int(np.ceil(np.log(max(last / first, 1.0)) / np.log(_GROWTH)))
    return [*np.geomspace(first, last, steps + 1).astype(int)[:-1].tolist(), last]


def _minimised(part: Oracle, theta: Vector) -> Point:
    """Minimise over a sample until what is left is well below its sampling error."""
    enough = _BELOW_ERROR * part.size / part.problem.n_samples
    for step in newton(part, theta, Goal()):
        if step.promised <= enough:
            break
    return step.point
