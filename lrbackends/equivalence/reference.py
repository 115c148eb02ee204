"""Training in extended precision, straight from the formulas: what trajectories are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._compensated import two_sum
from lrbackends.backends.protocol import Batches, Coefficients, Rule, pack
from lrbackends.objective import Objective, Params
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
        What is learnt, without an L1 penalty.
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
    ndarray of shape (n_features + 1,), of type ``dtype``

    Notes
    -----
    The running total of the steps is kept in two words, which matters only where ``dtype`` has no
    more bits than float64.
    """
    n, p = problem.X.shape
    X = np.ones((n, p + 1), dtype)
    X[:, :p] = problem.rows(0, n)
    if not objective.fit_intercept:
        X[:, p] = 0
    sign = (1 - 2 * problem.y).astype(dtype)
    weighted_sign = sign if problem.sample_weight is None else sign * problem.sample_weight
    l2 = np.full(p + 1, objective.l2, dtype)
    l2[p] = 0
    all_rows = X, np.ascontiguousarray(X.T), sign, weighted_sign.astype(dtype)
    theta = pack(start).astype(dtype)
    residual = first = second = np.zeros_like(theta)
    for t, c in enumerate(rule.coefficients(0, n_steps).astype(dtype)):
        x, x_t, s, omega = all_rows
        if batches is not None:
            rows = batches.indices[t, : batches.sizes[t]]
            x, s, omega = x[rows], s[rows], omega[rows]
            x_t = x.T
        m = s * x.dot(theta)
        e = np.exp(-np.abs(m))
        a = np.where(m >= 0, dtype(1), e) / (1 + e)
        dz = omega * a
        gradient = x_t.dot(dz) / len(dz) + l2 * theta
        step, first, second = rule.update(gradient, first, second, Coefficients(*c), np.sqrt)
        theta, residual = two_sum(theta, residual + step)
    return theta
