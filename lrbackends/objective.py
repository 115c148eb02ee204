r"""The mathematics: what is minimised, and the slow, obviously right reference for it.

One sample with features x, label y in {0, 1} and weights w, b gives, step by step,

    z  = x . w + b                      the linear score
    m  = (1 - 2y) z                     the margin form: positive where the sample is misclassified
    e  = exp(-|m|)                      never overflows
    a  = (1 if m >= 0 else e) / (1 + e) sigmoid(m), the probability given to the wrong class
    loss = max(m, 0) + log1p(e)         -log of the probability given to the right class
    dz = (1 - 2y) a                     = sigmoid(z) - y, with all its digits
    dw += dz x,   db += dz              the chain rule, accumulated over the samples

and the objective is the weighted mean of the losses plus ``l1 |w|_1 + (l2/2) |w|^2``; the intercept
is not penalised. Every backend shows these steps under these names. The margin form is used because
``sigmoid(z) - 1`` loses every digit for y = 1 at large z.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._validation import check_number
from lrbackends.problem import Problem, dense_blocks

EXACT_DIGITS = 50


class Params(NamedTuple):
    """Model parameters: ``coef`` of shape (n_outputs, n_features), ``intercept`` (n_outputs,)."""

    coef: NDArray[Any]
    intercept: NDArray[Any]


@dataclass(frozen=True)
class Objective:
    """What is minimised: weighted mean log-loss + l1 |w|_1 + (l2/2) |w|^2, intercept unpenalised.

    Parameters
    ----------
    l2 : float, default 0
        Strength of the squared penalty, >= 0.
    l1 : float, default 0
        Strength of the absolute penalty, >= 0.
    fit_intercept : bool, default True
        Without it the intercept stays 0.
    """

    l2: float = 0.0
    l1: float = 0.0
    fit_intercept: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "l2", check_number("l2", self.l2))
        object.__setattr__(self, "l1", check_number("l1", self.l1))
        if not isinstance(self.fit_intercept, (bool, np.bool_)):
            raise TypeError(f"fit_intercept must be True or False, got {self.fit_intercept!r}")


def as_params(params: Any, problem: Problem) -> Params:
    """Return ``(coef, intercept)`` in the shapes and type of the problem.

    Parameters
    ----------
    params : pair of array-likes
        ``coef`` of shape (n_outputs, n_features) or (n_features,) and ``intercept`` of shape
        (n_outputs,) or a scalar.

    Raises
    ------
    ValueError
        The shapes do not fit the problem.
    """
    coef, intercept = params
    shape = (problem.n_outputs, problem.n_features)
    coef, intercept = np.asarray(coef, problem.dtype), np.asarray(intercept, problem.dtype)
    if coef.size != shape[0] * shape[1] or intercept.size != shape[0]:
        raise ValueError(
            f"params have shapes {coef.shape} and {intercept.shape}; "
            f"expected coef {shape} and intercept ({shape[0]},)"
        )
    return Params(coef.reshape(shape), intercept.reshape(shape[0]))


def scores(X: Any, params: Params) -> NDArray[Any]:
    """Return X coef' + intercept, shape (n_samples,), in the type of ``params``.

    X may be dense, narrow or CSR; no dense copy of it is made, and narrow X gives the bits of X
    widened.
    """
    coef, intercept = params.coef[0], params.intercept[0]
    if not isinstance(X, np.ndarray):
        return np.asarray(X @ coef + intercept)
    z = np.empty(len(X), coef.dtype)
    for rows, block in dense_blocks(X, coef.dtype):
        np.dot(block, coef, out=z[rows])
    z += intercept
    return z


def sigmoid(z: ArrayLike) -> NDArray[Any]:
    """Return 1 / (1 + exp(-z)) elementwise, in the two-sided form that never overflows."""
    z = np.asarray(z)
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, z.dtype.type(1), e) / (1 + e))


def log_loss(z: ArrayLike, y: ArrayLike) -> NDArray[Any]:
    """Return each sample's cross-entropy for scores ``z`` and labels ``y`` in {0, 1}."""
    m = (1 - 2 * np.asarray(y)) * np.asarray(z)
    return np.asarray(np.maximum(m, 0) + np.log1p(np.exp(-np.abs(m))))


def mean_log_loss(z: NDArray[Any], problem: Problem) -> float:
    """Return the weighted mean log-loss of scores ``z``, shape (n_samples,), in float64."""
    losses = log_loss(z.astype(np.float64), problem.y)
    return float(np.average(losses, weights=problem.sample_weight))


def accuracy(z: NDArray[Any], problem: Problem) -> float:
    """Return the share of samples whose score has the sign of their label (ties go to class 0)."""
    return float(np.mean((z > 0) == (problem.y == 1)))


def reference_loss_gradient(
    problem: Problem, objective: Objective, params: Params, dtype: Any = np.longdouble
) -> tuple[Any, Params]:
    """Return loss and gradient by the textbook formulas, vectorised, in extended precision.

    Parameters
    ----------
    problem, objective : Problem, Objective
        What is evaluated.
    params : Params
        Where; of any floating type.
    dtype : dtype, default longdouble
        Type that everything is computed in.

    Returns
    -------
    loss : scalar of ``dtype``
    gradient : Params of ``dtype``
    """
    n, sign = problem.n_samples, (1 - 2 * problem.y).astype(dtype)
    weight = problem.exact_weight.astype(dtype)
    coef, intercept = params.coef[0].astype(dtype), params.intercept[0].astype(dtype)
    z = scores(problem.X, Params(coef[None], intercept[None]))
    m = sign * z
    e = np.exp(-np.abs(m))
    a = np.where(m >= 0, dtype(1), e) / (1 + e)
    loss = (weight * (np.maximum(m, 0) + np.log1p(e))).sum() / n
    dz = weight * sign * a
    if problem.sparse:
        dw = dz @ problem.X / n
    else:
        dw = sum(dz[rows] @ block for rows, block in dense_blocks(problem.X, dtype)) / n
    db = dz.sum() / n
    l1, l2 = dtype(objective.l1), dtype(objective.l2)
    loss += l1 * np.abs(coef).sum() + l2 / 2 * (coef @ coef)
    dw = dw + l1 * np.sign(coef) + l2 * coef
    if not objective.fit_intercept:
        db = dtype(0)
    return loss, Params(dw[None], np.array([db]))


def reference_hessian(
    problem: Problem, objective: Objective, params: Params, dtype: Any = np.longdouble
) -> NDArray[Any]:
    """Return the Hessian X' diag(weight a (1 - a)) X / n + l2 I by its formula.

    X has a last column of ones, whose row and column are zero without an intercept and which the
    penalty leaves out. Shape (n_features + 1, n_features + 1), of ``dtype``.
    """
    rows = np.ones((problem.n_samples, problem.n_features + 1), dtype)
    rows[:, :-1] = problem.rows(0, problem.n_samples)
    z = rows @ np.concatenate([params.coef[0], params.intercept]).astype(dtype)
    e = np.exp(-np.abs(z))
    curvature = problem.exact_weight.astype(dtype) * (e / (1 + e) ** 2)
    hessian = (rows * curvature[:, None]).T @ rows / dtype(problem.n_samples)
    hessian[np.diag_indices(problem.n_features)] += dtype(objective.l2)
    if not objective.fit_intercept:
        hessian[-1] = hessian[:, -1] = 0
    return np.asarray(hessian)


def exact_sigmoid_and_loss(m: Decimal) -> tuple[Decimal, Decimal]:
    """Return sigmoid(m) and log(1 + exp(m)) to the precision of the current decimal context."""
    e = m.exp()
    # Far below zero 1 + e rounds to 1; there three terms of the series of log(1 + e) are exact.
    loss = (1 + e).ln() if m > -60 else e - e * e / 2 + e * e * e / 3
    return e / (1 + e), loss


def exact_loss_gradient(
    problem: Problem, objective: Objective, params: Params
) -> tuple[Decimal, list[Decimal], Decimal]:
    """Return loss, dw and db in 50-digit decimal arithmetic, straight from the definition.

    Each float is taken at its exact value; the per-sample loop is the derivation itself.
    """
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        w = [Decimal(float(v)) for v in params.coef[0]]
        b = Decimal(float(params.intercept[0]))
        l1, l2 = Decimal(objective.l1), Decimal(objective.l2)
        n = Decimal(problem.n_samples)
        loss, db, dw = Decimal(0), Decimal(0), [Decimal(0)] * len(w)
        for i, (y, weight) in enumerate(zip(problem.y, problem.exact_weight, strict=True)):
            x = [Decimal(float(v)) for v in problem.rows(i, i + 1)[0]]
            z = b + sum((xj * wj for xj, wj in zip(x, w, strict=True)), Decimal(0))
            m = z if y == 0 else -z
            omega = Decimal(float(weight))
            a, sample_loss = exact_sigmoid_and_loss(m)
            loss += omega * sample_loss
            dz = omega * (a if y == 0 else -a)
            dw = [g + dz * xj for g, xj in zip(dw, x, strict=True)]
            db += dz
        penalty = sum((l1 * abs(wj) + l2 / 2 * wj * wj for wj in w), Decimal(0))
        slope = [l1 * (wj.compare(Decimal(0))) + l2 * wj for wj in w]
        dw = [g / n + s for g, s in zip(dw, slope, strict=True)]
        return loss / n + penalty, dw, (db / n if objective.fit_intercept else Decimal(0))
