"""Update rules, written once: each says how one coordinate moves, in plain arithmetic.

A rule is compiled by every backend, on scalars in Numba and on arrays in NumPy and JAX, so it uses
only ``+ - * /`` and the ``sqrt`` that it is handed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._validation import check_choice
from lrbackends.backends.protocol import Coefficients

Moved = tuple[Any, Any, Any]  # the step to add, the new first and second moments
Update = Callable[[Any, Any, Any, Coefficients, Any], Moved]


def gd(gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any) -> Moved:
    """Step against the gradient."""
    return -c.rate * gradient, first, second


def momentum(gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any) -> Moved:
    """Step along a velocity, the decaying sum of the gradients (Polyak 1964)."""
    velocity = c.decay1 * first + gradient
    return -c.rate * velocity, velocity, second


def nesterov(gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any) -> Moved:
    """Momentum whose gradient is taken where the velocity leads.

    Nesterov (1983) in the form of Sutskever et al. (2013, section 3.5): the parameters kept are the
    ones looked ahead to, so one gradient a step is enough.
    """
    velocity = c.decay1 * first + gradient
    return -c.rate * (gradient + c.decay1 * velocity), velocity, second


def adam(gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any) -> Moved:
    """Adam (Kingma & Ba 2015); the bias corrections are inside ``rate`` and ``epsilon``."""
    first = c.decay1 * first + c.gain1 * gradient
    second = c.decay2 * second + c.gain2 * gradient * gradient
    return -c.rate * first / (sqrt(second) + c.epsilon), first, second


_UPDATES: dict[str, Update] = {f.__name__: f for f in (gd, momentum, nesterov, adam)}
FIRST_ORDER = tuple(_UPDATES)
SCHEDULES = ("constant", "invscaling", "optimal")
ADAM_RATE = 1e-3  # Kingma & Ba's default; Adam's steps do not scale with the gradient


def _powers(base: float, exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``base ** exponents`` by repeated squaring.

    Products alone, so that the bits are the same everywhere; those of ``pow`` are not.
    """
    powers, square, left = np.ones(len(exponents)), base, exponents
    while left.any():
        powers = np.where(left & 1, powers * square, powers)
        square, left = square * square, left >> 1
    return powers


@dataclass(frozen=True)
class UpdateRule:
    """One of the rules with its hyper-parameters; what a backend's ``run`` takes.

    Parameters
    ----------
    name : {"gd", "momentum", "nesterov", "adam"}
    rate : float
        Learning rate.
    momentum : float
        Decay of the velocity (momentum, nesterov) or of the first moment (adam), in [0, 1).
    decay2 : float
        Decay of adam's second moment, in [0, 1).
    epsilon : float
        Added to adam's denominator.
    schedule : {"constant", "invscaling", "optimal"}
        The rate of step t = 1, 2, …: ``rate``; ``rate / sqrt(t)``; or ``rate / (1 + rate curvature
        (t - 1))`` (Bottou 2012, "Stochastic gradient descent tricks", section 5.2). They are made
        of operations whose bits are the same everywhere.
    curvature : float
        What the schedule "optimal" takes for the least curvature of the objective: its ``l2``.
    """

    name: str
    rate: float
    momentum: float = 0.9
    decay2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "constant"
    curvature: float = 0.0

    def __post_init__(self) -> None:
        check_choice("solver", self.name, FIRST_ORDER)
        check_choice("schedule", self.schedule, SCHEDULES)

    @property
    def update(self) -> Update:
        """The pure function of one coordinate."""
        return _UPDATES[self.name]

    @property
    def proximal(self) -> bool:
        """Whether shrinking the coefficients after a step minimises an L1 penalty (ISTA)."""
        return self.name == "gd"

    def coefficients(self, step: int, n_steps: int) -> NDArray[np.float64]:
        """Return the first six `Coefficients` of the ``n_steps`` steps after ``step``, a row each.

        Adam's bias corrections, in the efficient form at the end of section 2 of Kingma & Ba: with
        c1 = 1 - decay1^t and c2 = 1 - decay2^t, rate becomes rate sqrt(c2) / c1 and epsilon becomes
        epsilon sqrt(c2). They are computed here so that every backend gets the same numbers.
        """
        rows = np.empty((n_steps, 6))
        decay1, decay2 = self.momentum, self.decay2
        rows[:] = self.rate, decay1, 1.0 - decay1, decay2, 1.0 - decay2, self.epsilon
        t = np.arange(step + 1, step + n_steps + 1)
        if self.schedule == "invscaling":
            rows[:, 0] /= np.sqrt(t)
        elif self.schedule == "optimal":
            rows[:, 0] /= 1.0 + self.rate * self.curvature * (t - 1)
        if self.name == "adam":
            root = np.sqrt(1.0 - _powers(self.decay2, t))
            rows[:, 0] *= root / (1.0 - _powers(self.momentum, t))
            rows[:, -1] *= root
        return rows
