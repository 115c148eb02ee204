"""Training in extended precision, straight from the formulas: what trajectories are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._compensated import shrink, two_sum
from lrbackends.backends.protocol import Batches, Coefficients, Rule, coefficients_for, pack
from lrbackends.objective import Objective, Params, residuals
from lrbackends.problem import Problem
from lrbackends.solvers import epoch_batches

_FLOAT64_BITS = int(np.finfo(np.float64).nmant)


def extra_bits(dtype: Any = np.longdouble) -> int:
    """Return how many more bits of precision ``dtype`` has than float64; 0 on some platforms."""
    return max(0, int(np.finfo(dtype).nmant) - _FLOAT64_BITS)


def describe(dtype: Any = np.longdouble) -> str:
    """Return what the reference computes in, and what that is worth."""
    bits = extra_bits(dtype)
    if bits:
        return f"long double, {bits} bits more than float64"
    return (
        "long double has no more bits than float64 here, so the reference is as inexact as a good "
        "backend"
    )


def batches_of_steps(n_samples: int, batch_size: int, seed: int, n_steps: int) -> Batches:
    """Return the mini-batches of the first ``n_steps`` steps, epoch after epoch."""
    per_epoch = -(-n_samples // batch_size)
    epochs = [
        epoch_batches(n_samples, batch_size, seed, epoch)
        for epoch in range(-(-n_steps // per_epoch))
    ]
    return Batches(
        np.concatenate([e.indices for e in epochs])[:n_steps],
        np.concatenate([e.sizes for e in epochs])[:n_steps],
    )


def train(
    problem: Problem,
    objective: Objective,
    rule: Rule,
    start: Params,
    n_steps: int,
    batches: Batches | None = None,
    dtype: Any = np.longdouble,
) -> NDArray[Any]:
    """Return the parameters after ``n_steps`` steps, as one vector ``[coef, intercept]``.

    Parameters
    ----------
    problem, objective : Problem, Objective
        What is learnt.
    rule : Rule
        Its float64 coefficients are taken at their exact values.
    start : Params
        Where training starts.
    n_steps : int
    batches : Batches, optional
        Rows of each step. Default: all.
    dtype : dtype, default longdouble
        Type that everything is computed in.

    Returns
    -------
    ndarray of shape (n_outputs * (n_features + 1),), of type ``dtype``

    Notes
    -----
    The running total of the steps is kept in two words, which matters only where ``dtype`` has no
    more bits than float64.
    """
    n, p, outputs = problem.n_samples, problem.n_features, problem.n_outputs
    X = np.ones((n, p + 1), dtype)
    X[:, :p] = problem.rows(0, n)
    if not objective.fit_intercept:
        X[:, p] = 0
    l2, penalised = dtype(objective.l2), slice(0, outputs * p)
    weight = problem.exact_weight.astype(dtype)
    theta = pack(start).astype(dtype)
    residual = first = second = np.zeros_like(theta)
    x, x_t, y, omega = X, np.ascontiguousarray(X.T), problem.y, weight
    coefficients = coefficients_for(rule, 0, n_steps, objective)[:, :6].astype(dtype)
    for t, c in enumerate(coefficients):
        if batches is not None:
            rows = batches.indices[t, : batches.sizes[t]]
            x, y, omega = X[rows], problem.y[rows], weight[rows]
            x_t = x.T
        w = np.column_stack([theta[penalised].reshape(outputs, p), theta[outputs * p :]])
        z = x.dot(w.T)
        dz = residuals(z[:, 0] if outputs == 1 else z, y).reshape(z.shape) * omega[:, None]
        sums = x_t.dot(dz) / len(dz)
        gradient = np.concatenate([sums[:p].T.ravel(), sums[p]])
        gradient[penalised] += l2 * theta[penalised]
        step, first, second = rule.update(gradient, first, second, Coefficients(*c), np.sqrt)
        theta, residual = two_sum(theta, residual + step)
        if objective.l1 > 0:
            threshold = c[0] * dtype(objective.l1)
            moved = shrink(theta[penalised], residual[penalised], threshold, np.where)
            theta[penalised], residual[penalised] = moved
    return theta
