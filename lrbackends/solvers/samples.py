"""Samples of rows whose Hessian stands for that of all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrbackends.objective import sigmoid, softmax
from lrbackends.problem import Problem
from lrbackends.solvers.certificate import Certificate, share_of
from lrbackends.solvers.cholesky import lifted
from lrbackends.solvers.lbfgs import Solve
from lrbackends.solvers.metrics import SHRINKAGE
from lrbackends.solvers.oracle import Oracle, Point, Vector

_MOST = 0.7  # of all curvature
_RARE = 0.2  # a class of a smaller share is rare

Rows = tuple[NDArray[np.intp], NDArray[np.float64]]


@dataclass(frozen=True)
class Sample:
    """Some rows, evaluated at one place.

    Attributes
    ----------
    rows : Oracle
    anchor : Point
        Where their Hessian was taken.
    share : float
        What `Certificate` asks for: their mean curvature times ``share`` is below that of all rows.
    scale : float
        Their mean curvature times ``scale`` estimates that of all rows.
    """

    rows: Oracle
    anchor: Point
    share: float
    scale: float = 1.0

    @property
    def certificate(self) -> Certificate:
        """A bound on F - F* for all rows."""
        return Certificate(self.rows, self.anchor, self.share)

    @property
    def metric(self) -> Solve:
        """Multiplication by the inverse of the estimated Hessian.

        Few rows per parameter know nothing of some directions: the diagonal is raised.
        """
        assert self.anchor.hessian is not None
        hessian = self.scale * self.anchor.hessian
        hessian.ravel()[:: len(hessian) + 1] += (1.0 - self.scale) * self.rows.penalty
        return lifted(hessian, SHRINKAGE * self.rows.size / self.rows.problem.n_samples).solve


def draw(problem: Problem, count: int, rng: np.random.Generator) -> Rows:
    """Draw about ``count`` rows: random ones, where a class is rare as many of it as there are.

    Returns sorted row numbers and the weights that make their mean an unbiased estimate of the
    whole.
    """
    n = problem.n_samples
    members = np.bincount(problem.y, minlength=len(problem.classes))
    scarce = int(members.min())
    if scarce >= _RARE * 2 * n / len(members):
        rows = np.sort(rng.integers(n, size=count))
        rows = rows[np.diff(rows, prepend=-1) > 0]  # rows drawn twice are few, and dropped
        return rows, problem.exact_weight[rows]
    parts, weights = [], []
    for k in range(len(members)):
        member = np.flatnonzero(problem.y == k)
        taken = min(len(member), max(count // len(members), count - (n - len(member))))
        parts.append(member[rng.choice(len(member), taken, replace=False, shuffle=False)])
        weights.append(np.full(taken, len(member) / taken))
    order = np.argsort(rows := np.concatenate(parts))
    rows = rows[order]
    return rows, np.concatenate(weights)[order] * problem.exact_weight[rows]


def sampled_at(oracle: Oracle, theta: Vector, count: int, rng: np.random.Generator) -> Sample:
    """Take the Hessian of about ``count`` rows at ``theta``.

    The rows of most curvature, weight a (1 - a), where these hold most of it, as they do where the
    model is sure of the others; else random ones. One pass finds out.
    """
    weight = oracle.problem.exact_weight
    z = oracle.scores(theta)
    a = sigmoid(z)[:, None] if z.ndim == 1 else softmax(z)
    curvature = weight * (a * (1 - a)).sum(axis=1)
    rows = np.sort(np.argpartition(curvature, -count)[-count:])
    held = float(curvature[rows].sum() / curvature.sum())
    if held >= _MOST:
        part = oracle.sampled(rows, weight[rows])
        share = float(weight[rows].sum()) / oracle.problem.n_samples
        return Sample(part, part.curved_at(theta), share, share / held)
    rows, weights = draw(oracle.problem, count, rng)
    part = oracle.sampled(rows, weights)
    return Sample(part, part.curved_at(theta), share_of(oracle.problem, rows, part.problem))
