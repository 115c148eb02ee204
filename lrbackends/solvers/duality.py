r"""How far an objective with absolute penalties can be above its minimum: the duality gap.

For each row let u be residuals a - onehot(y), for any probabilities a. The loss of scores z is at
least u . z + H(a), where H(a) = -sum a_k log a_k is the entropy (Fenchel's inequality), so that

    F(w, b) >= mean H(a) + sum_j (v_j w_j + l1_j |w_j| + l2_j w_j^2 / 2) + v_b . b

for all w and b, where the slopes v_j = mean u x_j and v_b = mean u are those of the log-loss where
u are the residuals of a point. Where v_b = 0, and |v_j| <= l1_j if l2_j = 0, the least of the right
hand side is a bound from below for the minimum F* (means are weighted):

    F* >= mean H(a) - sum over l2_j > 0 of max(|v_j| - l1_j, 0)^2 / (2 l2_j).

From the residuals of a point, such u are reached in three ways, none of which reads X:

* Along a step d of the coefficients the residuals change by A X d, where A is the curvature of the
  rows' losses at some point of Hessian H, and their slopes by H d. The step that solves the model
  of a proximal Newton method makes the slopes obey the conditions, and the gap is as small as what
  the model still promises.
* v_b = r is brought to 0 by a' = (1 - t) (a - r) + t q, where q are the classes' shares, and t =
  max r_k / (q_k + r_k) the least number that leaves no probability negative. With m the means of
  the columns and v0 the slopes of q itself, v' = (1 - t) (v - r m) + t v0.
* u s with 0 <= s < 1, which mixes a with onehot(y), has the slopes v s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import entr, xlog1py

from lrbackends.objective import residuals, sigmoid, softmax
from lrbackends.problem import Problem
from lrbackends.solvers.oracle import Oracle, Point, Vector

_ROUNDINGS = 8  # that slopes and the objective itself are uncertain by


@dataclass(frozen=True)
class Dual:
    """Residuals a - onehot(y) of some probabilities.

    Attributes
    ----------
    residual : ndarray of shape (n_samples,) or (n_samples, K)
        As `objective.residuals` returns them.
    slope : ndarray of shape (size,)
        Their weighted means times the columns of X, and their own, in an oracle's order.
    """

    residual: Vector
    slope: Vector

    def scaled(self, s: float) -> Dual:
        """Return the residuals times ``s``, of [0, 1]."""
        return Dual(s * self.residual, s * self.slope)

    def moved(self, problem: Problem, change: Dual) -> Dual:
        """Add as much of ``change``, all at most, as leaves probabilities in [0, 1]."""
        wrong, by = wrong_classes(problem, self.residual), wrong_classes(problem, change.residual)
        t = min(_most(wrong, by), _most(1.0 - wrong.sum(axis=1), -by.sum(axis=1)))
        return Dual(self.residual + t * change.residual, self.slope + t * change.slope)


def _most(left: Vector, by: Vector) -> float:
    """Return the largest t <= 1 with left + t by >= 0."""
    falling = by < -left  # others cannot get there before t = 1
    return float((left[falling] / -by[falling]).min(initial=1.0)) if falling.any() else 1.0


def wrong_classes(problem: Problem, residual: Vector) -> Vector:
    """Return the residuals of the classes that are not the row's own: their probabilities.

    Shape (n_samples, 1) for two classes; for more (n_samples, K), 0 for the row's own.
    """
    if residual.ndim == 1:
        return np.asarray((1 - 2 * problem.y) * residual)[:, None]
    wrong = residual.copy()
    wrong[np.arange(len(wrong)), problem.y] = 0.0
    return wrong


def residual_change(z: Vector, along: Vector) -> Vector:
    """Return the derivative of the residuals at scores ``z`` along a change of the scores."""
    if z.ndim == 1:
        return np.asarray(sigmoid(z) * sigmoid(-z) * along)
    a = softmax(z)
    return np.asarray(a * (along - (a * along).sum(axis=1, keepdims=True)))


class Duality:
    """Bounds on F - F* for one problem; F* is bounded by the best of all that has been asked.

    Parameters
    ----------
    oracle : Oracle
        Of the smooth part of the objective, with an L1 weight for each coefficient.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._n_coef = oracle.problem.n_outputs * oracle.problem.n_features
        self._lower = 0.0  # the loss is not negative

    def dual_at(self, point: Point, z: Vector) -> Dual:
        """Return the residuals of a point of the smooth objective, given its scores."""
        slope = point.gradient - self._oracle.penalty * point.theta
        return Dual(residuals(z, self._oracle.problem.y), slope)

    def bound(self, point: Point, dual: Dual, wanted: float) -> float:
        """Return an upper bound on F - F*; infinite where it would exceed ``wanted``.

        Parameters
        ----------
        point : Point
            With F, all penalties included.
        dual : Dual
            Probabilities in [0, 1], of any slopes.
        wanted : float
        """
        rounding = _ROUNDINGS * self._oracle.gradient_noise(point)
        free = (self._oracle.l1 == 0) & (self._oracle.penalty == 0)
        unknown = _ROUNDINGS * float(np.finfo(self._oracle.problem.dtype).eps) * abs(point.loss)
        unknown += float(rounding[free] @ (1.0 + np.abs(point.theta[free])))  # v_b . b
        dual = self._balanced(dual, rounding)
        strict, lenient = self._scales(dual.slope, rounding)
        for s in (lenient, strict) if strict < lenient else (lenient,):
            self._lower = max(self._lower, self._value(dual.scaled(s)))
            bound = max(point.loss - self._lower, 0.0) + unknown
            if bound <= wanted:
                return bound
        return float(np.inf)

    def _value(self, dual: Dual) -> float:
        """Return the lower bound on F* of probabilities whose slopes obey the conditions."""
        problem, penalty, l1 = self._oracle.problem, self._oracle.penalty, self._oracle.l1
        wrong = wrong_classes(problem, dual.residual)
        rest = wrong.sum(axis=1)
        entropy = entr(wrong).sum(axis=1) - xlog1py(1.0 - rest, -np.minimum(rest, 1.0))
        curved = penalty > 0
        excess = np.maximum(np.abs(dual.slope[curved]) - l1[curved], 0.0)
        mean = float(problem.exact_weight @ entropy) / problem.n_samples
        return mean - 0.5 * float((excess**2 / penalty[curved]).sum())

    def _scales(self, slope: Vector, rounding: Vector) -> tuple[float, float]:
        """Return s that brings all slopes within l1, and only those that have to be."""
        coef = slice(self._n_coef)
        l1, size = self._oracle.l1[coef], np.abs(slope[coef])
        # Slopes that have to vanish do so up to rounding, or the bound says nothing: s = 0.
        size = np.where((l1 == 0) & (size <= rounding[coef]), 0.0, size + rounding[coef])
        s = np.divide(l1, size, out=np.ones(len(size)), where=size > l1)
        forced = self._oracle.penalty[coef] == 0
        s[~forced & (l1 == 0)] = 1.0
        return float(s.min()), float(s[forced].min(initial=1.0))

    def _balanced(self, dual: Dual, rounding: Vector) -> Dual:
        """Return probabilities whose means are the classes' shares, as intercepts ask for."""
        r = dual.slope[self._n_coef :]
        if (np.abs(r) <= rounding[self._n_coef :]).all():
            return dual
        of_classes = r if len(r) > 1 else np.array([-r[0], r[0]])
        up = of_classes > 0
        t = float((of_classes[up] / (self._shares[up] + of_classes[up])).max())
        null, means = self._null
        spread = np.append(np.outer(r, means), r)
        return Dual(
            (1 - t) * (dual.residual - (r if len(r) > 1 else r[0])) + t * null.residual,
            (1 - t) * (dual.slope - spread) + t * null.slope,
        )

    @cached_property
    def _shares(self) -> Vector:
        problem = self._oracle.problem
        weight = np.bincount(problem.y, problem.exact_weight, minlength=len(problem.classes))
        return weight / problem.n_samples

    @cached_property
    def _null(self) -> tuple[Dual, Vector]:
        """The dual of the classes' shares, and the means of the columns: two passes."""
        oracle, problem = self._oracle, self._oracle.problem
        log_share = np.log(np.maximum(self._shares, np.finfo(problem.dtype).tiny))
        theta = np.zeros(oracle.size)
        theta[self._n_coef :] = log_share if len(log_share) > 2 else log_share[1] - log_share[0]
        shares = oracle.at(theta)
        # Another intercept changes the first output's residual by the same number in every row.
        theta[self._n_coef] += 2.0 if self._shares[-problem.n_outputs] < 0.5 else -2.0
        slopes = [oracle.rows_of(point.gradient)[0] for point in (oracle.at(theta), shares)]
        change = slopes[0] - slopes[1]
        z = np.broadcast_to(shares.theta[self._n_coef :], (problem.n_samples, problem.n_outputs))
        residual = residuals(z[:, 0] if problem.n_outputs == 1 else z, problem.y)
        return Dual(residual, shares.gradient), change[:-1] / change[-1]
