"""How far trained parameters are from one another, and from what exact arithmetic would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import pack, unpack
from lrbackends.equivalence.figures import relative_norm, ulps
from lrbackends.equivalence.reference import batches_of_steps, describe, extra_bits, train
from lrbackends.equivalence.trajectory import BETWEEN_BACKENDS, TO_REFERENCE, Limits
from lrbackends.objective import Objective, Params, predicted, scores
from lrbackends.problem import Problem
from lrbackends.solvers import UpdateRule
from lrbackends.trainer import Trainer

REFERENCE = "reference"
MEASURES = ("median_ulp", "max_ulp", "relative", "labels")
REFERENCE_COST = 5e8  # entries of X read; a few seconds


@dataclass(frozen=True)
class Distance:
    """How far two sets of parameters are apart.

    Attributes
    ----------
    a, b : str
        Names of backends; ``b`` may be "reference".
    median_ulp, max_ulp : float
        Over the parameters, in units in the last place of the type computed in. Parameters that are
        zero in both (those of all-zero columns) do not count, they would flatter the median.
    relative : float
        Norm of the difference over the norm of ``b``.
    labels : int
        Rows, training and test, whose predicted label differs.
    where : str
        The parameter that is farthest apart, in ULP; empty where all are equal.
    """

    a: str
    b: str
    median_ulp: float
    max_ulp: float
    relative: float
    labels: int
    where: str = ""

    def within(self, dtype: str, arithmetic: str = "fast") -> bool:
        """Whether the distance keeps the contract of the arithmetic, as `limits` gives it."""
        contract = TO_REFERENCE if self.b == REFERENCE else BETWEEN_BACKENDS[arithmetic]
        limit = limits(dtype, contract)
        near = self.median_ulp <= limit.median_ulp  # not if NaN
        if limit.max_ulp is not None:
            near = near and self.max_ulp <= limit.max_ulp
        if limit.relative is not None:
            near = near and self.relative <= limit.relative
        return bool(near and self.labels == 0)


def _coarser(dtype: str) -> float:
    """Return how much coarser ``dtype`` is than float64."""
    return float(np.finfo(dtype).eps / np.finfo(np.float64).eps)


def limits(dtype: str, contract: Limits = BETWEEN_BACKENDS["fast"]) -> Limits:
    """Return the limits of a contract, which are those of float64, as they are in ``dtype``.

    ULP are counted in ``dtype``; the relative limit grows with its eps.
    """
    relative = contract.relative
    return replace(contract, relative=None if relative is None else relative * _coarser(dtype))


def _labels(X: Any, params: Params, dtype: str) -> NDArray[np.intp]:
    with np.errstate(over="ignore", invalid="ignore"):  # NaN counts as class 0
        return predicted(scores(X, Params(*(np.asarray(part, dtype) for part in params))))


def distance(a: str, b: str, of: Mapping[str, Params], data: Sequence[Any], dtype: str) -> Distance:
    """Return how far the parameters named ``a`` and ``b`` are apart.

    Parameters
    ----------
    a, b : str
        Keys of ``of``.
    of : mapping of str to Params
    data : sequence of ndarray or csr_array of shape (n_samples, n_features)
        Rows whose predicted labels are compared.
    dtype : {"float64", "float32"}
        Type whose units in the last place are counted.
    """
    u, v = pack(of[a]), pack(of[b])
    apart = ulps(u, v) / _coarser(dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # a backend may return zeros, or infinity
        relative = relative_norm(u, v)
    return Distance(
        a,
        b,
        float(np.median(apart)) if apart.size else 0.0,
        float(apart.max(initial=0.0)),
        relative,
        sum(int(np.sum(_labels(X, of[a], dtype) != _labels(X, of[b], dtype))) for X in data),
        _where(u, v, of[a]),
    )


def _where(u: NDArray[Any], v: NDArray[Any], params: Params) -> str:
    """Return the name of the parameter that is farthest apart, in ULP."""
    with np.errstate(all="ignore"):
        unit = np.spacing(np.maximum(np.abs(u), np.abs(v)).astype(np.float64))
        apart = np.nan_to_num((np.abs(u - v) / unit).astype(np.float64), nan=np.inf)
    k = int(apart.argmax())
    if apart[k] == 0:
        return ""
    output, feature = divmod(k, params.coef.shape[1])
    if k >= params.coef.size:
        return f"intercept[{k - params.coef.size}]"
    return f"coef[{output}, {feature}]"


def distances(of: Mapping[str, Params], data: Sequence[Any], dtype: str) -> tuple[Distance, ...]:
    """Return the distance of each pair; the reference, if there is one, comes second in its pairs.

    Parameters are as in `distance`.
    """
    names = sorted(of, key=lambda name: name == REFERENCE)
    return tuple(distance(a, b, of, data, dtype) for a, b in combinations(names, 2))


@dataclass(frozen=True)
class _Rounded(UpdateRule):
    """A rule whose coefficients are those that a backend uses: rounded to the type computed in."""

    dtype: str = "float64"

    def coefficients(self, step: int, n_steps: int) -> NDArray[np.float64]:
        return super().coefficients(step, n_steps).astype(self.dtype).astype(np.float64)


def reference_params(
    problem: Problem, trainer: Trainer, learning_rate: float, most: float = REFERENCE_COST
) -> tuple[Params | None, str]:
    """Return what exact arithmetic would train, as near as long double comes, and how.

    Parameters
    ----------
    problem : Problem
    trainer : Trainer
        Its solver, epochs, batch size, penalty and seed are followed.
    learning_rate : float
        The step that the backends used.
    most : float
        Entries of X that may be read.

    Returns
    -------
    params : Params of type longdouble, or None
    how : str
        What it was computed in, or why it was not.
    """
    n, p = problem.X.shape
    cost = n * p * problem.n_outputs * trainer.epochs
    if cost > most:
        return None, (
            f"skipped, {cost:.1e} entries of X would have to be read, more than {most:.0e} (rows x "
            "features x epochs)"
        )
    if extra_bits() == 0:
        return None, f"skipped, {describe()}"
    kind = problem.dtype.type
    rule = _Rounded(
        trainer.solver,
        learning_rate,
        trainer.momentum,
        trainer.decay2,
        trainer.epsilon,
        dtype=problem.dtype.name,
    )
    objective = Objective(float(kind(trainer.l2)), trainer.l1, trainer.fit_intercept)
    steps, batches = trainer.epochs, None
    if trainer.batch_size is not None and trainer.batch_size < n:
        assert trainer.random_state is not None
        steps *= -(-n // trainer.batch_size)
        batches = batches_of_steps(n, trainer.batch_size, trainer.random_state, steps)
    start = Params(np.zeros((problem.n_outputs, p)), np.zeros(problem.n_outputs))
    theta = train(problem, objective, rule, start, steps, batches)
    return unpack(theta, p), f"the same steps in {describe()}"
