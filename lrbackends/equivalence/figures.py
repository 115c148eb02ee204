"""How far numbers are apart: in units in the last place, in norm, and in units of rounding."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrbackends.objective import Objective, Params, log_loss, residuals, scores, softmax
from lrbackends.problem import Problem


def ulps(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distance of each pair of entries in float64 units in the last place.

    The unit is that of the larger of the two. Entries that are zero in both are left out, so that
    weights which never move do not flatter a median; entries that are not finite are infinitely far
    apart.
    """
    a, b = np.asarray(a, np.longdouble), np.asarray(b, np.longdouble)
    used = (a != 0) | (b != 0)
    a, b = a[used], b[used]
    unit = np.spacing(np.maximum(np.abs(a), np.abs(b)).astype(np.float64))
    distance = (np.abs(a - b) / unit).astype(np.float64)
    return np.where(np.isnan(distance), np.inf, distance)


def relative_norm(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return |a - b| / |b| in the Euclidean norm; 0 where both are zero."""
    distance, size = (np.linalg.norm(v.astype(np.float64)) for v in (a - b, b))
    return 0.0 if distance == 0 else float(distance / size)


def ulps_of_exact(values: NDArray[Any], exact: list[Decimal]) -> NDArray[np.float64]:
    """Return how far ``values`` are from ``exact`` in units in the last place of their type."""
    return np.array(
        [
            _distance(v, e, float(np.spacing(values.dtype.type(abs(e)))))
            for v, e in zip(values, exact, strict=True)
        ]
    )


def rounding_units(value: Any, exact: Any, scale: float, dtype: Any) -> float:
    """Return |value - exact| in units of eps ``scale``, eps being that of ``dtype``."""
    return _distance(value, exact, float(np.finfo(dtype).eps) * scale)


def _distance(value: Any, exact: Any, unit: float) -> float:
    """Return |value - exact| / unit; anything but nothing is infinitely many units of size 0."""
    if not np.isfinite(value):
        return float(np.inf)
    kind = Decimal if isinstance(exact, Decimal) else np.longdouble
    distance = abs(kind(float(value)) - exact)
    if not distance:
        return 0.0
    return float(distance / kind(unit)) if unit else float(np.inf)


class Magnitudes(NamedTuple):
    """What rounding errors are proportional to; see `magnitudes`."""

    loss: float
    gradient: NDArray[np.float64]
    score: NDArray[np.float64]


def magnitudes(problem: Problem, objective: Objective, params: Params) -> Magnitudes:
    """Return the sums of absolute terms that the rounding errors at ``params`` scale with.

    A score z = x . w + b is rounded relative to s = |x| . |w| + |b|; its error passes into the loss
    with the factor |dz| and into the residual with a (1 - a). What is then summed over the samples
    is rounded relative to the sum of the absolute terms, however much of it cancels.

    The gradient's are in the order of `backends.protocol.pack`, those of an intercept that does not
    move being 0; the scores' have the shape of scores.
    """
    n, outputs = problem.n_samples, problem.n_outputs
    X = problem.rows(0, n).astype(np.float64)
    coef, intercept = (np.asarray(part, np.float64) for part in params)
    z = scores(X, Params(coef, intercept))
    score = np.abs(X) @ np.abs(coef).T + np.abs(intercept)
    dz = np.abs(residuals(z, problem.y)).reshape(n, outputs)
    if outputs == 1:
        spread = dz * (1 - dz) * score
    else:  # d a_k = a_k (d z_k - sum of a d z)
        a = softmax(z)
        spread = a * (1 - a) * score + a * (a * score).sum(axis=1, keepdims=True)
    weight = problem.exact_weight / n
    residual = weight[:, None] * (dz + spread)
    l1, l2 = objective.l1, objective.l2
    size = np.abs(coef)
    loss = weight @ (log_loss(z, problem.y) + (dz * score).sum(axis=1))
    dw = residual.T @ np.abs(X) + l2 * size + l1
    db = residual.sum(axis=0) * objective.fit_intercept
    return Magnitudes(
        float(loss + l2 / 2 * (coef * coef).sum() + l1 * size.sum()),
        np.concatenate([dw.ravel(), db]),
        score[:, 0] if outputs == 1 else score,
    )


def summation_limit(n_terms: int) -> float:
    """Return how many units of eps a sum of ``n_terms`` rounded terms may be off.

    4 for the terms themselves (`elementary.LIMIT`: a sigmoid or loss of one sample, and a product)
    and sqrt(n) roundings of eps / 2 for adding them up, in any order (the probabilistic bound of
    Higham & Mary 2019, "A new approach to probabilistic rounding error analysis", with factor 1).
    """
    return 4.0 + 0.5 * float(np.sqrt(n_terms))
