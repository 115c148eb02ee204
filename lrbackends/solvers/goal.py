"""When an optimum-seeking solver is done, and what it tells of each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lrbackends.solvers.oracle import Point


class Step(NamedTuple):
    """Where a solver got.

    Attributes
    ----------
    point : Point
    promised : float
        The decrease that the solver's quadratic model promises from there: an estimate of F - F*.
    bound : float
        A certified bound on F - F*; infinite where none is known, or not worth its passes.
    """

    point: Point
    promised: float = np.inf
    bound: float = np.inf


Steps = Iterator[Step]


@dataclass(frozen=True)
class Goal:
    """What is to be reached: one of the two suffices.

    Attributes
    ----------
    gap : float or None
        Largest certified (F - F*) / F*.
    tol : float
        Largest absolute entry of the gradient; 0 is no goal.
    """

    gap: float | None = None
    tol: float = 0.0

    def wanted(self, point: Point) -> float:
        """Return the largest bound on F - F* that reaches the gap; 0 without one.

        F* is at least F less the bound.
        """
        return 0.0 if self.gap is None else self.gap * abs(point.loss) / (1.0 + self.gap)

    def met(self, step: Step) -> bool:
        """Whether this step is good enough."""
        by_gap = self.gap is not None and step.bound <= self.wanted(step.point)
        by_gradient = self.tol > 0 and float(np.abs(step.point.gradient).max()) <= self.tol
        return by_gap or by_gradient
