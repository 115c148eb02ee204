"""Why an unpenalised problem may have no finite or no unique optimum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends.objective import Objective, Params, scores
from lrbackends.problem import Problem
from lrbackends.solvers.step_size import augmented_gram

_RANK_FEATURES = 1000  # beyond this the rank check would cost more than a short training
_SEARCH_ENTRIES = 200_000  # the same for the linear program that looks for separation
_RANK_TOLERANCE = 1e-13
_DIRECTION_TOLERANCE = 1e-6


def _names(problem: Problem, columns: NDArray[np.intp]) -> str:
    shown = [
        f"{j} ({problem.feature_names[j]!r})" if problem.feature_names else str(j)
        for j in columns[:5].tolist()
    ]
    return ", ".join(shown) + (", …" if len(columns) > 5 else "")


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
    columns = involved[involved < problem.n_features]
    tail = " and the intercept" if problem.n_features in involved else ""
    return f"column{'s' if len(columns) > 1 else ''} {_names(problem, columns)}{tail}"


def separating_columns(problem: Problem, objective: Objective, params: Params) -> str | None:
    """Return how the classes are separated, completely or quasi-completely, or None.

    Complete separation shows in the trained parameters: every sample is on its right side. Failing
    that, a linear program looks for a direction along which no loss rises and some fall (Albert &
    Anderson 1984, solved as by Konis 2007); not above 200,000 entries of X.
    """
    with np.errstate(over="ignore"):
        m = problem.sign * scores(problem.X, params)
    if (m < 0).all():
        return "completely: every sample is on its right side of the hyperplane found"
    n, p = problem.X.shape
    if n * p > _SEARCH_ENTRIES:
        return None
    from scipy.optimize import linprog

    rows = np.column_stack([problem.rows(0, n), np.full(n, float(objective.fit_intercept))])
    scale = np.abs(rows).max(axis=0)
    used = np.flatnonzero(scale > 0)
    margins = problem.sign.astype(np.float64)[:, None] * rows[:, used] / scale[used]
    found = linprog(
        margins.sum(axis=0), A_ub=margins, b_ub=np.zeros(n), bounds=(-1, 1), method="highs"
    )
    if found.x is None:
        return None
    if (margins @ found.x).sum() > -_DIRECTION_TOLERANCE:
        return None
    # The largest smallest margin is positive exactly where every sample can be on its right side.
    strict = linprog(
        np.append(np.zeros(len(used)), -1.0),
        A_ub=np.column_stack([margins, np.ones(n)]),
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * (len(used) + 1),
        method="highs",
    )
    complete = strict.x is not None and strict.x[-1] > _DIRECTION_TOLERANCE
    moved = used[np.abs(found.x) > _DIRECTION_TOLERANCE]
    columns = moved[moved < p]
    kind = "completely" if complete else "quasi-completely"
    return f"{kind}, along column{'s' if len(columns) > 1 else ''} {_names(problem, columns)}"
