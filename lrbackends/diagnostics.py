"""Why an unpenalised problem may have no finite or no unique optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.objective import Objective, Params, scores
from lrbackends.problem import Problem
from lrbackends.solvers.step_size import augmented_gram

_RANK_FEATURES = 1000  # beyond this the rank check would cost more than a short training
_SEARCH_ENTRIES = 200_000  # the same for the linear program that looks for separation
_RANK_TOLERANCE = 1e-13
_DIRECTION_TOLERANCE = 1e-6


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _columns(problem: Problem, columns: NDArray[np.intp]) -> str:
    """Return what to call some columns; n_features stands for the intercept."""
    names = [
        f"{j} ({problem.feature_names[j]!r})" if problem.feature_names else str(j)
        for j in columns[columns < problem.n_features].tolist()
    ]
    if not names:
        return "the intercept"
    return f"column{'s' if len(names) > 1 else ''} {_listed(names)}"


def collinear_columns(problem: Problem, objective: Objective) -> str | None:
    """Return which columns depend linearly on one another (or on the intercept), or None.

    All-zero columns are left out: their weights stay where they start. Not looked for above 1,000
    features.
    """
    if problem.n_features > _RANK_FEATURES:
        return None
    gram = augmented_gram(problem, objective.fit_intercept)
    size = np.sqrt(np.diag(gram))
    used = np.flatnonzero(size > 0)
    scaled = gram[np.ix_(used, used)] / np.outer(size[used], size[used])
    values, vectors = np.linalg.eigh(scaled)
    null = vectors[:, values <= _RANK_TOLERANCE * len(used) * values[-1]]
    if null.shape[1] == 0:
        return None
    involved = used[np.abs(null).max(axis=1) > _DIRECTION_TOLERANCE]
    tail = " and the intercept" if problem.n_features in involved else ""
    return _columns(problem, involved) + tail


def separating_columns(problem: Problem, objective: Objective, params: Params) -> str | None:
    """Return how the classes are separated, completely or quasi-completely, or None.

    Complete separation shows in the trained parameters: every sample is on its right side. Failing
    that, linear programs look for the parameters along which no loss rises and as many as possible
    fall (Albert & Anderson 1984, solved as by Konis 2007). Every loss falls where the separation is
    complete; otherwise columns, and of more than two classes these too, are those that it is of.
    Not looked for above 200,000 entries of X, times (K - 1)^2 for K classes.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        z = scores(problem.X, params)
        lead = _lead(z, problem.y) if z.ndim == 2 else -problem.sign * z
    if (lead > 0).all():
        found = "s" if z.ndim == 2 else ""
        return f"completely: every sample is on its right side of the hyperplane{found} found"
    n, p, K = problem.n_samples, problem.n_features, len(problem.classes)
    if n * p * (K - 1) ** 2 > _SEARCH_ENTRIES:
        return None
    rows = np.column_stack([problem.rows(0, n), np.full(n, float(objective.fit_intercept))])
    scale = np.abs(rows).max(axis=0)
    used = np.flatnonzero(scale > 0)
    margins = _margins(rows[:, used] / scale[used], problem.y, K)
    direction, falling = _recession(margins)
    if not falling.any():
        return None
    weights = np.vstack([np.zeros(len(used)), direction.reshape(K - 1, -1)])
    columns = used[np.ptp(weights, axis=0) > _DIRECTION_TOLERANCE]
    kind = "completely" if falling.all() else "quasi-completely"
    classes = f": {_parted(problem, falling)}" if K > 2 else ""
    return f"{kind}, along {_columns(problem, columns)}{classes}"


def _lead(z: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
    """Return by how much the score of each sample's class exceeds the largest other."""
    others = z.copy()
    np.put_along_axis(others, y[:, None], -np.inf, axis=1)
    return np.asarray(np.take_along_axis(z, y[:, None], axis=1)[:, 0] - others.max(axis=1))


def _margins(rows: NDArray[Any], y: NDArray[np.int64], K: int) -> NDArray[np.float64]:
    """Return the matrix M with M w = the score of each wrong class less that of the right one.

    For w = the weights of the classes 1..K-1 behind one another; those of class 0 are zero, since
    the same change of all classes changes nothing. Shape (n (K - 1), (K - 1) n_columns).
    """
    toward = np.eye(K) - np.eye(K)[y][:, None]
    wrong = np.arange(K) != y[:, None]
    made = toward[wrong][:, 1:, None] * np.repeat(rows, K - 1, axis=0)[:, None]
    return np.asarray(made.reshape(len(made), -1))


def _recession(margins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return w with M w <= 0 where as many entries as possible are negative, and which are."""
    from scipy.optimize import linprog

    n, width = margins.shape
    direction, falling = np.zeros(width), np.zeros(n, bool)
    # The sum of two such w is one, too, so those found for the rest can be added.
    while not falling.all():
        found = linprog(
            margins[~falling].sum(axis=0),
            A_ub=margins,
            b_ub=np.zeros(n),
            bounds=(-1, 1),
            method="highs",
        )
        if found.x is None:
            break
        more = ~falling & (margins @ found.x < -_DIRECTION_TOLERANCE)
        if not more.any():
            break
        direction += found.x
        falling |= more
    return direction, falling


def _parted(problem: Problem, falling: NDArray[np.bool_]) -> str:
    """Return which classes are told from which others, for what `_recession` says is falling."""
    from scipy.sparse.csgraph import connected_components

    K, y = len(problem.classes), problem.y
    told = np.zeros((K, K), bool)
    own, other = np.nonzero(np.arange(K) != y[:, None])
    np.logical_or.at(told, (y[own], other), falling)
    n_groups, group = connected_components(~(told | told.T), directed=False)
    labels = np.array([repr(label) for label in problem.classes.tolist()])
    groups = [labels[group == g].tolist() for g in range(n_groups)]
    if n_groups == 2:
        one, rest = (f"class{'es' if len(g) > 1 else ''} {_listed(g)}" for g in groups)
        return f"{one} from {rest}"
    return f"classes {' / '.join(map(_listed, groups))} from one another"
