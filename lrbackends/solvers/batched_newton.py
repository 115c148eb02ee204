r"""Newton's method for many small problems with an L2 penalty at once.

Every problem takes the steps that it would take alone; those that are done leave the batch.

A bound on F - F* comes with each evaluation, by `certificate.gap`, without a pass over the rows.
It needs gamma, the norm of the gradient in Q^-1, with Q the Hessian, and R, which bounds the norm
of every row (x_i, 1) there. Let h and c be the mean of the rows' curvatures s_i, and that of x_i
under them: the intercept's entries of the Hessian. By Jensen's inequality

    v' Q v = mean s_i (x_i . w + b)^2 + l2 |w|^2 >= h (c . w + b)^2 + l2 |w|^2,   v = (w, b),

and from x . w + b = (c . w + b) + (x - c) . w follows, by that of Cauchy and Schwarz,

    |(x, 1)|^2 in Q^-1 <= 1 / h + |x - c|^2 / l2.

The same for the unit vectors bounds 1 over Q's smallest eigenvalue by 1 / h + (1 + |c|^2) / l2,
which says how much the residual of a solved system can matter. Without an intercept the terms with
h and c are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends.backends.protocol import Batch, BatchKernels
from lrbackends.solvers.certificate import gap as certified_gap

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_DECREASE = 1e-4  # share of the promised decrease that a step must bring (Armijo)
_FLATTER = 0.5  # share of gamma that may be left where the objective is down to rounding
_SHORTEST = 2.0**-40  # of a step's share
_FIRST_INTERVALS = 6  # of a grid's first level, at least
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Problems:
    """What is minimised: problem k is about a data set of a batch, under its own penalty.

    Parameters
    ----------
    batch : Batch
    members : ndarray of shape (B,)
        Data set of each problem.
    l2 : ndarray of shape (B,)
        Penalties, > 0.
    fit_intercept : bool
        Whether the last column of X is that of an intercept, which is not penalised.
    """

    batch: Batch
    members: Index
    l2: Array
    fit_intercept: bool = True

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Minima:
    """Where the problems got to.

    Attributes
    ----------
    thetas : ndarray of shape (B, d)
    losses : ndarray of shape (B,)
        Objectives there.
    bounds : ndarray of shape (B,)
        Certified bounds on objective less minimum; infinite where there is none.
    gradient_norms : ndarray of shape (B,)
        Largest absolute entries of the gradients.
    n_steps : ndarray of shape (B,)
    statuses : ndarray of str, shape (B,)
        "converged", "stalled" (rounding does not allow what was asked for) or "completed" (all
        steps done), as in `TrainingResult`.
    """

    thetas: Array
    losses: Array
    bounds: Array
    gradient_norms: Array
    n_steps: NDArray[np.int64]
    statuses: NDArray[np.str_]


def minimise_many(
    kernels: BatchKernels,
    problems: Problems,
    thetas: Array,
    gap: float | None = None,
    max_steps: int = 1000,
) -> Minima:
    """Minimise every problem from its row of ``thetas``.

    Parameters
    ----------
    kernels : BatchKernels
        Of ``problems.batch``.
    problems : Problems
    thetas : ndarray of shape (B, d)
    gap : float, optional
        Stop a problem when (F - F*) / F* is certified to be at most that. Default: go on until
        rounding hides any further decrease.
    max_steps : int, default 1000
        Most steps of a problem.
    """
    evaluate = _Evaluation(kernels, problems)
    places = evaluate(np.arange(len(problems)), thetas)
    n_steps = np.zeros(len(problems), np.int64)
    statuses = np.full(len(problems), "completed", dtype="<U9")
    active = np.arange(len(problems))
    shares = np.ones(len(problems))  # of the full step
    while len(active):
        here = places.some(active)
        wanted = 0.0 if gap is None else gap * np.abs(here.losses) / (1.0 + gap)
        met = here.bounds <= wanted
        ended = met | evaluate.only_rounding(active, here) | ~(here.gammas > 0)
        statuses[active[ended]] = "stalled" if gap is not None else "converged"
        statuses[active[met]] = "converged"
        ended |= n_steps[active] >= max_steps
        active, here = active[~ended], here.some(~ended)
        if not len(active):
            break
        share = shares[active]
        trial = evaluate(active, here.thetas + share[:, None] * here.directions)
        slope = share * here.slopes
        noise = 8 * _EPS * np.abs(here.losses)
        flat = -slope < noise
        lower = trial.losses <= here.losses + _DECREASE * slope
        flatter = (trial.gammas <= _FLATTER * here.gammas) & (trial.losses <= here.losses + noise)
        better = np.where(flat, flatter, lower)
        places.put(active[better], trial.some(better))
        n_steps[active] += better
        shares[active] = np.where(better, 1.0, share / 2)
        # Where a step of rounding's size does not help nothing will.
        hopeless = ~better & (flat | (share < _SHORTEST))
        statuses[active[hopeless]] = "stalled" if gap is not None else "converged"
        active = active[~hopeless]
    norms = np.abs(places.gradients).max(axis=1)
    return Minima(places.thetas, places.losses, places.bounds, norms, n_steps, statuses)


def minimise_grid(
    kernels: BatchKernels,
    batch: Batch,
    l2: Array,
    fit_intercept: bool = True,
    gap: float | None = None,
    max_steps: int = 1000,
) -> Minima:
    """Minimise every data set of a batch under several penalties.

    A few penalties come first, from zero; then those half-way between them, from where a spline
    through the minima found so far puts them; and so on. The last and most need a step or two.

    Parameters
    ----------
    l2 : ndarray of shape (n_sets, n_values)
        Rising, the same in all rows up to a factor for each.

    Returns
    -------
    Minima
        Of n_sets * n_values problems, row after row of ``l2``.
    """
    n_sets, n_values = l2.shape
    d = batch.X.shape[2]
    along = np.log(l2[0])
    found = _empty(n_sets * n_values, d)
    places = np.arange(n_sets * n_values).reshape(n_sets, n_values)
    known = np.zeros(n_values, bool)
    for level in _levels(n_values):
        starts = np.zeros((n_sets, len(level), d))
        if known.any():
            from scipy.interpolate import CubicSpline

            nodes = found.thetas[places[:, known]]
            starts = CubicSpline(along[known], nodes, axis=1)(along[level])
        problems = Problems(
            batch, np.repeat(np.arange(n_sets), len(level)), l2[:, level].ravel(), fit_intercept
        )
        minima = minimise_many(kernels, problems, starts.reshape(-1, d), gap, max_steps)
        for mine, theirs in zip(vars(found).values(), vars(minima).values(), strict=True):
            mine[places[:, level].ravel()] = theirs
        known[level] = True
    return found


def _levels(count: int) -> list[Index]:
    """Cut 0, ..., count - 1 into the ends and a few between, then those half-way, and so on."""
    stride = 1
    while (count - 1) // (2 * stride) >= _FIRST_INTERVALS:
        stride *= 2
    first = np.unique(np.append(np.arange(0, count, stride), count - 1))
    levels, known = [first], set(first.tolist())
    while stride > 1:
        stride //= 2
        level = [k for k in range(0, count, stride) if k not in known]
        known.update(level)
        levels.append(np.array(level, np.intp))
    return [level for level in levels if len(level)]


def _empty(count: int, d: int) -> Minima:
    losses, bounds, norms = np.empty((3, count))
    steps, statuses = np.empty(count, np.int64), np.empty(count, "<U9")
    return Minima(np.empty((count, d)), losses, bounds, norms, steps, statuses)


@dataclass(frozen=True)
class _Places:
    """Places of some problems that have been evaluated, penalties included."""

    thetas: Array
    losses: Array
    gradients: Array
    directions: Array  # of Newton's steps
    slopes: Array  # along them
    gammas: Array
    bounds: Array

    def some(self, which: Any) -> _Places:
        return _Places(*(part[which] for part in vars(self).values()))

    def put(self, which: Index, others: _Places) -> None:
        for mine, theirs in zip(vars(self).values(), vars(others).values(), strict=True):
            mine[which] = theirs


class _Evaluation:
    """Objective, step and bound of problems at given places."""

    def __init__(self, kernels: BatchKernels, problems: Problems) -> None:
        self._kernels, self._problems = kernels, problems
        batch, self._free = problems.batch, problems.batch.X.shape[2] - problems.fit_intercept
        X = batch.X[..., : self._free]
        self._rms = np.sqrt(np.einsum("gn,gnj->gj", batch.weight, batch.X**2, optimize=True))
        self._center = X.mean(axis=1) if problems.fit_intercept else np.zeros((len(X), self._free))
        apart = X - self._center[:, None]
        self._radius = np.sqrt(np.einsum("gnj,gnj->gn", apart, apart).max(axis=1))

    def __call__(self, which: Index, thetas: Array) -> _Places:
        free, problems = self._free, self._problems
        members, l2 = problems.members[which], problems.l2[which]
        losses, gradients, hessians = self._kernels.loss_gradient_hessian(thetas, members)
        l2, w = l2[:, None], thetas[:, :free]
        losses = losses + 0.5 * (l2 * w * w).sum(axis=1)
        gradients = gradients.copy()
        gradients[:, :free] += l2 * w
        h, center = np.full(len(which), np.inf), np.zeros((1, free))
        if problems.fit_intercept:
            h = np.maximum(hessians[:, -1, -1].copy(), np.finfo(np.float64).tiny)
            center = hessians[:, -1, :free] / h[:, None]
        diagonal = np.einsum("bjj->bj", hessians)
        diagonal[:, :free] += l2
        directions = -_solve(hessians, gradients)
        slopes = np.einsum("bj,bj->b", gradients, directions)
        back = np.matmul(hessians, directions[..., None])[..., 0]
        rest = np.linalg.norm(back + gradients, axis=1)
        length = np.sqrt(np.maximum(np.einsum("bj,bj->b", back, directions), 0))
        l2 = l2[:, 0]
        gammas = length + rest * np.sqrt(1 / h + (1 + (center**2).sum(axis=1)) / l2)
        own = members if len(self._radius) > 1 else np.zeros_like(members)
        radius = self._radius[own] + np.linalg.norm(center - self._center[own], axis=1)
        bounds = np.vectorize(certified_gap, otypes=[float])(
            gammas, np.sqrt(1 / h + radius**2 / l2)
        )
        bounds = np.maximum(bounds, _EPS * np.abs(losses))
        return _Places(thetas, losses, gradients, directions, slopes, gammas, bounds)

    def only_rounding(self, which: Index, places: _Places) -> NDArray[np.bool_]:
        """Return whether gradients are what rounding may make of 0; see `Oracle.gradient_noise`."""
        noise = _EPS * np.abs(places.losses)[:, None] * self._rms[self._problems.members[which]]
        small: NDArray[np.bool_] = (np.abs(places.gradients) <= noise).all(axis=1)
        return small


def _solve(hessians: Array, gradients: Array) -> Array:
    """Solve all systems, scaled to a diagonal of ones."""
    scale = np.sqrt(np.maximum(np.einsum("bjj->bj", hessians), np.finfo(np.float64).tiny))
    scaled = hessians / scale[:, :, None]
    scaled /= scale[:, None, :]
    right = (gradients / scale)[..., None]
    with single_threaded():
        try:
            solved = np.linalg.solve(scaled, right)
        except np.linalg.LinAlgError:  # collinear columns and next to no penalty
            np.einsum("bjj->bj", scaled)[:] += hessians.shape[1] * _EPS
            solved = np.linalg.solve(scaled, right)
    solution: Array = solved[..., 0] / scale
    return solution
