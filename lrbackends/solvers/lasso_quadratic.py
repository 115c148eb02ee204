r"""Quadratic functions plus a weighted L1 norm, minimised by active sets.

What is minimised over w, from a start v, is the change

    q(w) = g . (w - v) + (w - v)' H (w - v) / 2 + sum_j l1_j (|w_j| - |v_j|).

In the orthant of given signs q is quadratic, and its minimum there costs one linear system of the
entries that are free: those that are not zero, and those that q falls along when they leave zero.
Entries that the step takes across zero stop there, many at once, and the system of the others is
solved again (block pivoting; Kim & Park 2010, "Fast active-set-type algorithms for l1-regularized
linear regression"). Where that does not lower q, the minimum along the first step is taken, kinks
included, as in the feature-sign search of Lee et al. (2007, "Efficient sparse coding algorithms").
Every step lowers q, and there are finitely many orthants, so that this ends at the minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from lrbackends.solvers.cholesky import lifted

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]

_ENOUGH = 0.1  # share of the decrease that Newton's step predicts which a projected step must bring
_MOST_STEPS = 200
_MOST_PRODUCTS = 500
_FEWEST_ADDED = 100  # entries that may leave zero at once where a system's size matters


class Curvature(Protocol):
    """A symmetric, positive semidefinite matrix H."""

    def product(self, vector: Vector) -> Vector:
        """Return H times a vector."""

    def solve(self, free: Indices, vector: Vector) -> Vector:
        """Return the inverse of the ``free`` rows and columns times a vector, at least nearly."""

    def most_added(self, support: int) -> int:
        """Return how many entries may leave zero at once, where ``support`` have left it."""


@dataclass(frozen=True)
class Matrix:
    """A matrix that is there."""

    matrix: Vector

    def product(self, vector: Vector) -> Vector:
        """Return H times a vector, by the columns that count."""
        used = np.flatnonzero(vector)
        product: Vector = vector[used] @ self.matrix[used]
        return product

    def solve(self, free: Indices, vector: Vector) -> Vector:
        """Solve by a Cholesky factor."""
        return lifted(self.matrix[np.ix_(free, free)]).solve(vector)

    def most_added(self, support: int) -> int:  # noqa: ARG002
        """Return any number."""
        return len(self.matrix)


@dataclass(frozen=True)
class Products:
    """A matrix that is known by its products.

    Attributes
    ----------
    product_with : callable
    diagonal : ndarray of shape (size,)
        Like the matrix's own, positive.
    accuracy : float
        Systems are solved to this relative residual.
    """

    product_with: Callable[[Vector], Vector]
    diagonal: Vector
    accuracy: float

    def product(self, vector: Vector) -> Vector:
        """Return H times a vector."""
        return self.product_with(vector)

    def solve(self, free: Indices, vector: Vector) -> Vector:
        """Solve by conjugate gradients; the diagonal preconditions."""
        diagonal, size = self.diagonal[free], len(free)
        whole = np.zeros(len(self.diagonal))

        def product(part: Vector) -> Vector:
            whole[free] = part.ravel()
            return self.product_with(whole)[free]

        solution, _ = cg(
            LinearOperator((size, size), matvec=product, dtype=np.float64),
            vector,
            rtol=self.accuracy,
            atol=0.0,
            maxiter=_MOST_PRODUCTS,
            M=LinearOperator((size, size), matvec=lambda v: v.ravel() / diagonal, dtype=np.float64),
        )
        return np.asarray(solution)

    def most_added(self, support: int) -> int:
        """Return as many as there are, so that the systems grow with what they have to tell."""
        return max(_FEWEST_ADDED, support)


class Minimum(NamedTuple):
    """Entries ``theta`` where q is low, its ``value`` there, and ``slope`` = g + H (theta - v)."""

    theta: Vector
    value: float
    slope: Vector


def least_subgradient(theta: Vector, slope: Vector, l1: Vector) -> Vector:
    """Return the subgradient of least size of a function of that slope plus sum l1_j |theta_j|."""
    at_kink = np.sign(slope) * np.maximum(np.abs(slope) - l1, 0.0)
    return np.where(theta == 0, at_kink, slope + l1 * np.sign(theta))


def minimised(
    curvature: Curvature, now: Minimum, l1: Vector, accuracy: float, rounding: Vector
) -> Minimum:
    """Minimise q; its value never rises.

    Parameters
    ----------
    curvature : Curvature
        The matrix H.
    now : Minimum
        Where to go on: at first v, 0 and g.
    l1 : ndarray of shape (size,)
        The weights of the L1 norm, which are not negative.
    accuracy : float
        Ends where the next step would lower q by this share of what has been gained, or less.
    rounding : ndarray of shape (size,)
        What the slopes are uncertain by: less moves nothing.
    """
    for _ in range(_MOST_STEPS):
        pull = least_subgradient(now.theta, now.slope, l1)
        felt = np.abs(pull) > rounding
        if not felt.any():
            break
        pull[(now.theta == 0) & ~felt] = 0.0
        free = _free(now.theta, pull, curvature)
        step = _newton(curvature, free, pull)
        predicted = -0.5 * float(pull @ step)
        if not predicted > -accuracy * now.value:
            break
        after = _pivoted(curvature, now, free, step, pull, l1)
        if after.value > now.value - _ENOUGH * predicted:
            searched = _searched(curvature, now, step, pull, l1)
            after = min(after, searched, key=lambda place: place.value)
        if not after.value < now.value:
            break
        now = after
    return now


def _newton(curvature: Curvature, free: Indices, pull: Vector) -> Vector:
    """Return the step to the minimum of the orthant's quadratic function over the free entries."""
    step = np.zeros_like(pull)
    if len(free):
        step[free] = -curvature.solve(free, pull[free])
    return step


def _free(theta: Vector, pull: Vector, curvature: Curvature) -> Indices:
    """Return the entries that may move: the support and those that are pulled off zero most."""
    support = theta != 0
    added = np.flatnonzero(~support & (pull != 0))
    most = curvature.most_added(int(support.sum()))
    if len(added) > most:
        added = added[np.argpartition(np.abs(pull[added]), -most)[-most:]]
    support[added] = True
    return np.flatnonzero(support)


def _moved(curvature: Curvature, now: Minimum, theta: Vector, l1: Vector) -> Minimum:
    change = theta - now.theta
    product = curvature.product(change)
    value = float((now.slope + 0.5 * product) @ change + l1 @ (np.abs(theta) - np.abs(now.theta)))
    return Minimum(theta, now.value + value, now.slope + product)


def _pivoted(
    curvature: Curvature, now: Minimum, free: Indices, step: Vector, pull: Vector, l1: Vector
) -> Minimum:
    """Go to the minimum of an orthant's face: entries that would leave the orthant are at zero."""
    sign = np.where(now.theta != 0, np.sign(now.theta), -np.sign(pull))
    stopped = np.zeros_like(step)
    while True:
        theta = now.theta + step
        inside = theta[free] * sign[free] > 0
        inside |= l1[free] == 0
        if inside.all():
            break
        stopped[free[~inside]] = -now.theta[free[~inside]]
        free = free[inside]
        step = stopped + _newton(curvature, free, pull + curvature.product(stopped))
    return _moved(curvature, now, theta, l1)


def _searched(
    curvature: Curvature, now: Minimum, step: Vector, pull: Vector, l1: Vector
) -> Minimum:
    """Go to the minimum along a step whose entries all leave zero the right way."""
    while True:
        wrong = (now.theta == 0) & (step * pull > 0) & (l1 > 0)
        if not wrong.any():
            break
        # Those with the right sign, of which there is one, still promise a decrease.
        step = _newton(curvature, np.flatnonzero((step != 0) & ~wrong), pull)
    crossed = np.flatnonzero(now.theta * step < 0)
    crossed = crossed[l1[crossed] > 0]
    at = -now.theta[crossed] / step[crossed]
    rise = 2 * l1[crossed] * np.abs(step[crossed])
    length = _least_along(float(pull @ step), float(step @ curvature.product(step)), at, rise)
    theta = now.theta + length * step
    theta[crossed[at == length]] = 0.0
    return _moved(curvature, now, theta, l1)


def _least_along(slope: float, curvature: float, at: Vector, rise: Vector) -> float:
    """Return t of (0, 1] where a convex function is least.

    Its derivative is ``slope`` + ``curvature`` t, raised by ``rise`` at each kink ``at``.
    """
    order = np.argsort(at)
    at, raised = at[order], slope + np.append(0.0, np.cumsum(rise[order]))
    beyond = np.flatnonzero(raised[1:] + curvature * at >= 0)
    k = int(beyond[0]) if len(beyond) else len(at)
    last = float(at[k]) if k < len(at) else 1.0
    stationary = -float(raised[k]) / curvature if curvature > 0 else np.inf
    return min(stationary, last, 1.0)
