r"""The mathematics: what is minimised, and the slow, obviously right reference for it.

One sample with features x, label y in {0, 1} and weights w, b gives, step by step,

    z  = x . w + b                      the linear score
    m  = (1 - 2y) z                     the margin form: positive where the sample is misclassified
    e  = exp(-|m|)                      never overflows
    a  = (1 if m >= 0 else e) / (1 + e) sigmoid(m), the probability given to the wrong class
    loss = max(m, 0) + log1p(e)         -log of the probability given to the right class
    dz = (1 - 2y) a                     = sigmoid(z) - y, with all its digits
    dw += dz x,   db += dz              the chain rule, accumulated over the samples

With K > 2 classes there are K rows of weights w_k, b_k, and z, a and dz have an entry for each:

    z_k = x . w_k + b_k
    e_k = exp(z_k - max z)              never overflows
    a_k = e_k / sum e                   softmax, the probability given to class k
    loss = (max z - z_y) + log1p(sum of the other e, without one of the largest)
    dz_k = a_k, and for k = y minus the sum of the other a       = a - onehot(y)
    dw_k += dz_k x,   db_k += dz_k

The objective is the weighted mean of the losses plus ``l1 |w|_1 + (l2/2) |w|^2``; the intercept is
not penalised. Every backend shows these steps under these names. The margin form, and its like for
dz_y, are used because ``a - 1`` loses every digit where a is close to 1.

Where ``l1 |w_j|`` has its kink, at w_j = 0, the gradient is the subgradient of least size there: 0
where the rest of the slope is within l1. So it vanishes at a minimum and nowhere else.
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
    """Return X coef' + intercept in the type of ``params``.

    Of shape (n_samples,) for one output, (n_samples, n_outputs) for more. X may be dense, narrow or
    CSR; no dense copy of it is made, and narrow X gives the bits of X widened.
    """
    one = len(params.coef) == 1
    coef, intercept = (params.coef[0], params.intercept[0]) if one else (params.coef.T, params[1])
    if not isinstance(X, np.ndarray):
        return np.asarray(X @ coef + intercept)
    z = np.empty((len(X), *coef.shape[1:]), coef.dtype)
    for rows, block in dense_blocks(X, coef.dtype):
        np.dot(block, coef, out=z[rows])
    z += intercept
    return z


def sigmoid(z: ArrayLike) -> NDArray[Any]:
    """Return 1 / (1 + exp(-z)) elementwise, in the two-sided form that never overflows."""
    z = np.asarray(z)
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, z.dtype.type(1), e) / (1 + e))


def log_sigmoid(z: ArrayLike) -> NDArray[Any]:
    """Return log(sigmoid(z)) elementwise, with all its digits."""
    z = np.asarray(z)
    return np.asarray(np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))))


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return exp(z) over its sum along the last axis, in the form that never overflows."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_sum_exp(z: NDArray[Any]) -> NDArray[Any]:
    """Return log(sum(exp(z))) - max z along the last axis, with all its digits."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    np.put_along_axis(e, e.argmax(axis=-1, keepdims=True), 0, axis=-1)
    return np.asarray(np.log1p(e.sum(axis=-1)))


def log_softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return log(softmax(z)) along the last axis."""
    return np.asarray(z - z.max(axis=-1, keepdims=True) - log_sum_exp(z)[..., None])


def log_loss(z: ArrayLike, y: ArrayLike) -> NDArray[Any]:
    """Return each sample's cross-entropy.

    For scores ``z`` of shape (n_samples,) and labels ``y`` in {0, 1}, or for scores of shape
    (n_samples, K) and labels 0..K-1.
    """
    z, y = np.asarray(z), np.asarray(y)
    if z.ndim == 2:
        own = np.take_along_axis(z, y[:, None], axis=1)[:, 0]
        return np.asarray(z.max(axis=1) - own + log_sum_exp(z))
    m = (1 - 2 * y) * z
    return np.asarray(np.maximum(m, 0) + np.log1p(np.exp(-np.abs(m))))


def residuals(z: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
    """Return dz, the derivative of each sample's loss by its scores; of the shape of ``z``."""
    if z.ndim == 1:
        sign = (1 - 2 * y).astype(z.dtype)
        return np.asarray(sign * sigmoid(sign * z))
    dz, rows = softmax(z), np.arange(len(z))
    dz[rows, y] = 0
    dz[rows, y] = -dz.sum(axis=1)
    return dz


def curvature_along(z: NDArray[Any], u: NDArray[Any]) -> NDArray[Any]:
    """Return the second derivative of each sample's loss along changes ``u`` of its scores."""
    if z.ndim == 1:
        a = sigmoid(z)
        return np.asarray(a * sigmoid(-z) * u * u)
    a = softmax(z)
    mean = (a * u).sum(axis=1, keepdims=True)
    return np.asarray((a * (u - mean) ** 2).sum(axis=1))


def mean_log_loss(z: NDArray[Any], problem: Problem) -> float:
    """Return the weighted mean log-loss of scores ``z``, in float64."""
    losses = log_loss(z.astype(np.float64), problem.y)
    return float(np.average(losses, weights=problem.sample_weight))


def predicted(z: NDArray[Any]) -> NDArray[np.intp]:
    """Return the class that scores speak for, of 0..K-1; ties go to the first."""
    return np.asarray(z.argmax(axis=1) if z.ndim == 2 else (z > 0).astype(np.intp))


def accuracy(z: NDArray[Any], problem: Problem) -> float:
    """Return the share of samples whose label their scores speak for."""
    return float(np.mean(predicted(z) == problem.y))


def absolute_penalty(
    objective: Objective, loss: Any, params: Params, gradient: Params
) -> tuple[Any, Params]:
    """Add ``l1 |w|_1`` to an objective and its gradient, which is of least size at a kink."""
    if objective.l1 == 0:
        return loss, gradient
    coef, l1 = params.coef, params.coef.dtype.type(objective.l1)
    at_kink = np.sign(gradient.coef) * np.maximum(np.abs(gradient.coef) - l1, 0)
    dw = np.where(coef == 0, at_kink, gradient.coef + l1 * np.sign(coef))
    return loss + objective.l1 * np.abs(coef).sum(), Params(dw, gradient.intercept)


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
    n, weight = problem.n_samples, problem.exact_weight.astype(dtype)
    params = Params(params.coef.astype(dtype), params.intercept.astype(dtype))
    coef, z = params.coef, scores(problem.X, params)
    loss = (weight * log_loss(z, problem.y)).sum() / n
    dz = weight[:, None] * residuals(z, problem.y).reshape(n, -1)
    if problem.sparse:
        dw = (problem.X.T @ dz).T / n
    else:
        dw = sum(dz[rows].T @ block for rows, block in dense_blocks(problem.X, dtype)) / n
    db = dz.sum(axis=0) / n * objective.fit_intercept
    l2 = dtype(objective.l2)
    loss += l2 / 2 * (coef * coef).sum()
    return absolute_penalty(objective, loss, params, Params(dw + l2 * coef, db))


def reference_hessian(
    problem: Problem, objective: Objective, params: Params, dtype: Any = np.longdouble
) -> NDArray[Any]:
    """Return the Hessian of the objective without its L1 term, by its formula.

    Its entry for the weights j of class k and m of class l is the mean of weight a_k (1[k = l] -
    a_l) x_j x_m, plus l2 on the diagonal of the coefficients, in the order of `backends.protocol.
    pack`: all coefficients, then the intercepts, whose rows and columns are zero without one.
    Shape (n_outputs * (n_features + 1),) twice, of ``dtype``.
    """
    n, p, K = problem.n_samples, problem.n_features, problem.n_outputs
    rows = np.ones((n, p + 1), dtype)
    rows[:, :-1] = problem.rows(0, n)
    z = scores(rows[:, :-1], Params(params.coef.astype(dtype), params.intercept.astype(dtype)))
    weight = problem.exact_weight.astype(dtype) / n
    hessian = np.zeros((K, p + 1, K, p + 1), dtype)
    a = (sigmoid(z) if K == 1 else softmax(z)).reshape(n, K)
    for k in range(K):
        # 1 - a_k without cancellation: of two classes the other one's, of more the sum of the rest
        others = sigmoid(-z) if K == 1 else np.delete(a, k, axis=1).sum(axis=1)
        for m in range(K):
            curvature = a[:, k] * (others if k == m else -a[:, m])
            hessian[k, :, m] = (rows * (weight * curvature)[:, None]).T @ rows
    intercepts = np.arange(K) * (p + 1) + p
    order = np.append(np.delete(np.arange(K * (p + 1)), intercepts), intercepts)
    hessian = hessian.reshape(K * (p + 1), -1)[np.ix_(order, order)]
    hessian[np.diag_indices(K * p)] += dtype(objective.l2)
    if not objective.fit_intercept:
        hessian[K * p :] = hessian[:, K * p :] = 0
    return hessian


def exact_sigmoid_and_loss(m: Decimal) -> tuple[Decimal, Decimal]:
    """Return sigmoid(m) and log(1 + exp(m)) to the precision of the current decimal context."""
    e = m.exp()
    # Far below zero 1 + e rounds to 1; there three terms of the series of log(1 + e) are exact.
    loss = (1 + e).ln() if m > -60 else e - e * e / 2 + e * e * e / 3
    return e / (1 + e), loss


def exact_softmax_and_loss(z: list[Decimal], y: int) -> tuple[list[Decimal], Decimal]:
    """Return softmax(z) less onehot(y), and the loss, to the precision of the decimal context."""
    e = [zk.exp() for zk in z]
    total = sum(e, Decimal(0))
    residual = [ek / total for ek in e]
    residual[y] = -sum((r for k, r in enumerate(residual) if k != y), Decimal(0))
    return residual, total.ln() - z[y]


def exact_loss_gradient(
    problem: Problem, objective: Objective, params: Params
) -> tuple[Decimal, list[Decimal], list[Decimal]]:
    """Return loss, dw (row after row) and db in 50-digit arithmetic, straight from the definition.

    Each float is taken at its exact value; the per-sample loop is the derivation itself.
    """
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        w = [[Decimal(float(v)) for v in row] for row in params.coef]
        b = [Decimal(float(v)) for v in params.intercept]
        l1, l2 = Decimal(objective.l1), Decimal(objective.l2)
        n = Decimal(problem.n_samples)
        loss, db, dw = Decimal(0), [Decimal(0)] * len(b), [[Decimal(0)] * len(row) for row in w]
        for i, (y, weight) in enumerate(zip(problem.y, problem.exact_weight, strict=True)):
            x = [Decimal(float(v)) for v in problem.rows(i, i + 1)[0]]
            z = [
                bk + sum((xj * wj for xj, wj in zip(x, row, strict=True)), Decimal(0))
                for row, bk in zip(w, b, strict=True)
            ]
            omega = Decimal(float(weight))
            if len(z) == 1:
                m = z[0] if y == 0 else -z[0]
                a, sample_loss = exact_sigmoid_and_loss(m)
                dz = [a if y == 0 else -a]
            else:
                dz, sample_loss = exact_softmax_and_loss(z, int(y))
            loss += omega * sample_loss
            for k, dzk in enumerate(dz):
                dw[k] = [g + omega * dzk * xj for g, xj in zip(dw[k], x, strict=True)]
                db[k] += omega * dzk
        weights = [wj for row in w for wj in row]
        penalty = sum((l1 * abs(wj) + l2 / 2 * wj * wj for wj in weights), Decimal(0))
        sums = [g for row in dw for g in row]
        slopes = [g / n + l2 * wj for g, wj in zip(sums, weights, strict=True)]
        for j, (slope, wj) in enumerate(zip(slopes, weights, strict=True)):
            if wj != 0:
                slopes[j] = slope + l1.copy_sign(wj)
            else:
                slopes[j] = max(abs(slope) - l1, Decimal(0)).copy_sign(slope)
        intercepts = [g / n if objective.fit_intercept else Decimal(0) for g in db]
        return loss / n + penalty, slopes, intercepts
