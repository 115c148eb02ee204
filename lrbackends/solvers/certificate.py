r"""How far the objective can be above its minimum: bounds that hold, not estimates.

The log-loss l satisfies |l'''| <= l''. Let Q be any matrix below the Hessian at theta that is made
of rows x_i of X (with a last 1 for the intercept) and of the penalty, g the gradient, and

    gamma = sqrt(g' Q^-1 g),    R = max_i sqrt(x_i' Q^-1 x_i).

Along a ray the curvature then falls no faster than exp(-R t), where t is the distance in the norm
of Q; integrating twice, for every v with |v|_Q = t,

    F(theta + v) >= F(theta) - gamma t + (exp(-R t) + R t - 1) / R^2,

whose minimum over t gives, where r = R gamma < 1,

    F(theta) - F* <= (r + (1 - r) log(1 - r)) / R^2      (gamma^2 / 2 for small r)

in the manner of Bach (2010, "Self-concordant analysis for logistic regression"). With K outputs
|l'''| <= (max u - min u) l'' along a change u of the scores, so that R has sqrt(2) times the
longest of a row's norms in the outputs' parts of Q. Rows left out of Q only lower it, so a sample
of rows certifies as well; and a Hessian taken elsewhere, where no sampled margin differs by more
than delta, does after division by exp(delta).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lrbackends.objective import sigmoid, softmax
from lrbackends.problem import Problem, dense_blocks
from lrbackends.solvers.cholesky import factored
from lrbackends.solvers.oracle import Oracle, Point, Vector

_NEAR = 0.3  # r = R gamma of the rows that stay where others are too far
_FAR = 300.0  # margins that have moved so far certify nothing anyway
_COPY_BYTES = 1 << 26  # of rows that are copied for that
_FEW = 200  # rows up to which the eigenvalues themselves are found at once
_LANCZOS_STEPS = 30
_INVARIANT = 1e-14  # relative size of a new direction that is rounding


class Certificate:
    """A bound on F - F* from the curvature of some rows at one place.

    Parameters
    ----------
    rows : Oracle
        The rows that Q is made of.
    anchor : Point
        Where their Hessian was taken.
    share : float, default 1
        Q is that Hessian times ``share`` (the penalty whole): at most the smallest ratio, over
        these rows, of a row's weight in the whole mean to its weight in the mean of ``rows``.
    """

    def __init__(self, rows: Oracle, anchor: Point, share: float = 1.0) -> None:
        assert anchor.hessian is not None
        self._rows, self._anchor, self._share = rows, anchor, share
        curvature = share * anchor.hessian
        curvature.ravel()[:: rows.size + 1] += (1.0 - share) * rows.penalty
        # Rounding can make a singular matrix look regular: what it may add is taken off.
        self._factor = factored(curvature, -rows.size * float(np.finfo(rows.problem.dtype).eps))

    @cached_property
    def _stretch(self) -> float:
        """The root of one over Q's smallest eigenvalue, where Q has a diagonal of ones."""
        assert self._factor is not None
        inverse = largest_eigenvalue_bound(self._factor.solve_scaled, self._rows.size)
        return float(np.sqrt(inverse))

    @cached_property
    def _row_norms(self) -> Vector:
        assert self._factor is not None
        scale = 1.0 / self._rows.rows_of(self._factor.scale)
        return _contrast(self._rows) * row_norms(self._rows.problem, scale.max(axis=0))

    def bound(self, point: Point, wanted: float) -> float:
        """Return an upper bound on F(theta) - F*; infinite where it would exceed ``wanted``."""
        if self._factor is None:
            return float(np.inf)
        with np.errstate(over="ignore", invalid="ignore"):  # no curvature left: no bound
            return self._bound(point, wanted)

    def _bound(self, point: Point, wanted: float) -> float:
        assert self._factor is not None
        gamma = float(np.sqrt(point.gradient @ self._factor.solve(point.gradient)))
        if gamma * gamma > 2 * wanted:
            return float(np.inf)
        moved = point.theta - self._anchor.theta
        loosened = float(np.exp(self._rows.spread(moved).max() / 2)) if moved.any() else 1.0
        bound = gap(loosened * gamma, loosened * self._stretch * float(self._row_norms.max()))
        if bound > wanted and gamma * gamma <= wanted:
            # Few far rows, as of heavy tails, may stand in the way. Q need not have them.
            near = np.flatnonzero(self._row_norms * self._stretch * gamma <= _NEAR)
            if self._rows.size <= len(near) < len(self._row_norms):
                return self._of(near, point).bound(point, wanted)
        return _within(self._rows, point, bound, wanted)

    def _of(self, rows: NDArray[np.intp], point: Point) -> Certificate:
        """Return a certificate at ``point`` of some rows, or of every so many of them."""
        whole = self._rows.problem
        rows = rows[:: 1 + 8 * len(rows) * whole.n_features // _COPY_BYTES]
        part = self._rows.sampled(rows, whole.exact_weight[rows])
        share = self._share * share_of(whole, rows, part.problem)
        return Certificate(part, part.curved_at(point.theta), share)


def share_of(whole: Problem, rows: NDArray[np.intp], part: Problem) -> float:
    """Return the least ratio of a row's weight in the whole mean to its weight in the part's."""
    ratio = whole.exact_weight[rows] / part.exact_weight
    return float(ratio.min()) * len(rows) / whole.n_samples


def gap(gamma: float, radius: float) -> float:
    """Return (r + (1 - r) log(1 - r)) / radius^2 with r = radius gamma; infinite for r >= 1."""
    r = radius * gamma
    if not r < 1.0:
        return float(np.inf)
    if r < 1e-3:  # where the closed form cancels; the next term of the series is r^2 / 12
        return gamma * gamma * (0.5 + r / 6 + r * r / 6)
    return float((r + (1 - r) * np.log1p(-r)) / radius**2)


def largest_eigenvalue_bound(product: Callable[[Vector], Vector], size: int) -> float:
    """Return an upper bound on the largest eigenvalue of a positive matrix, given its products.

    Above 200 rows it is twice the value that Lanczos' method finds: by Kuczynski & Wozniakowski
    (1992, theorem 4.2), k steps from a random start miss half of it with a probability below
    1.648 sqrt(size) exp(-(2 k - 1) / sqrt(2)), which is 1e-15 for 30 steps and 10,000 rows.
    """
    if size <= _FEW:
        return float(linalg.eigvalsh(product(np.eye(size)))[-1])
    basis = np.empty((min(_LANCZOS_STEPS, size), size))
    basis[0] = np.random.default_rng(0).normal(size=size)
    basis[0] /= np.linalg.norm(basis[0])
    diagonal, beside = np.zeros(len(basis)), np.zeros(len(basis))
    for k in range(len(basis)):
        v = product(basis[k])
        diagonal[k] = v @ basis[k]
        for _ in range(2):  # once more, against what rounding leaves
            v -= (basis[: k + 1] @ v) @ basis[: k + 1]
        beside[k] = np.linalg.norm(v)
        if k + 1 == len(basis) or beside[k] <= _INVARIANT * diagonal[: k + 1].max():
            break
        basis[k + 1] = v / beside[k]
    return 2 * float(linalg.eigvalsh_tridiagonal(diagonal[: k + 1], beside[:k])[-1])


def _contrast(oracle: Oracle) -> float:
    """Return the norm of a difference of two outputs, sqrt(2), where there are several."""
    return 1.0 if oracle.problem.n_outputs == 1 else float(np.sqrt(2.0))


def strong_convexity_bound(oracle: Oracle, point: Point, wanted: float) -> float:
    """Return an upper bound on F - F* from the penalty's curvature; infinite above ``wanted``.

    For fixed w let G(w) be the minimum over the intercepts b, at b*. G is strongly convex in the
    norm of the penalty P, so F - F* <= F(w, b) - G(w) + dG' P^-1 dG / 2. With g_b the intercepts'
    gradient, h the least curvature along them (of those that sum up to 0) and c = 1, or sqrt(2) for
    K outputs, self-concordance gives |b - b*| <= -log(1 - c |g_b| / h) / c; by convexity F - G <=
    |g_b| |b - b*|, and dG differs from dw by at most |b - b*| max|x_i| / 4, norms of x being in
    P^-1, too (/ 2 for K outputs: their probabilities change half as much as scores, at most).
    """
    p, outputs = oracle.problem.n_features, oracle.problem.n_outputs
    penalty = oracle.penalty[: outputs * p]
    if not (penalty > 0).all():
        return float(np.inf)
    slope = float(np.linalg.norm(point.gradient[: outputs * p] / np.sqrt(penalty)))
    if slope * slope > 2 * wanted:
        return float(np.inf)
    bound = slope * slope / 2
    if oracle.size > len(penalty):
        h, c = _intercept_curvature(oracle, point), _contrast(oracle)
        g_b = float(np.linalg.norm(point.gradient[outputs * p :]))
        if not c * g_b < h:
            return float(np.inf)
        distance = -float(np.log1p(-c * g_b / h)) / c
        longest = float(row_norms(oracle.problem, 1 / np.sqrt(penalty[:p])).max())
        slope += distance * longest / (4 if outputs == 1 else 2)
        bound = g_b * distance + slope * slope / 2
    return _within(oracle, point, bound, wanted)


def _intercept_curvature(oracle: Oracle, point: Point) -> float:
    """Return the least curvature along the intercepts, of several along those that sum up to 0."""
    z, weight = oracle.scores(point.theta), oracle.problem.exact_weight
    if z.ndim == 1:
        return float(weight @ (sigmoid(z) * sigmoid(-z))) / len(z)
    a = softmax(z)
    mean = np.diag(weight @ a) - (a * weight[:, None]).T @ a
    return float(linalg.eigvalsh(mean / len(z))[1])  # the first is 0, of equal changes


def _within(oracle: Oracle, point: Point, bound: float, wanted: float) -> float:
    """Return the bound, at least one rounding of the loss; infinite above ``wanted``."""
    bound = max(bound, float(np.finfo(oracle.problem.dtype).eps) * abs(point.loss))
    return bound if bound <= wanted else float(np.inf)


def row_norms(problem: Problem, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the norm of ``scale`` times each row of X, with a last 1 where that is longer."""
    p = problem.n_features
    squares = scale[:p] ** 2
    if problem.sparse:
        sums = np.asarray(problem.X.multiply(problem.X) @ squares, np.float64)
    else:
        sums = np.empty(problem.n_samples)
        for rows, block in dense_blocks(problem.X, np.float64):
            sums[rows] = (block * block) @ squares
    return np.asarray(np.sqrt(sums + (scale[p:] ** 2).sum()))
