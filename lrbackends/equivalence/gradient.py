"""Check "gradient": loss, gradient and scores at given parameters, against 50-digit arithmetic.

The points include w = 0, where training starts and where the derivative of
``max(m, 0) + log1p(exp(-|m|))`` found by automatic differentiation is wrong, and margins of several
hundred, where a careless sigmoid overflows or cancels; and X stored in narrow types and in CSR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import Backend, Kernels, pack, unpack
from lrbackends.equivalence import problems
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import magnitudes, rounding_units, summation_limit
from lrbackends.equivalence.plan import Job, Plan, per_backend
from lrbackends.equivalence.problems import Setting
from lrbackends.equivalence.reference import describe
from lrbackends.objective import (
    Objective,
    Params,
    exact_loss_gradient,
    reference_loss_gradient,
    scores,
)

NAME = "gradient"
_FIGURE_NOTE = "in units of eps times the sum of the absolute terms that are added up"
_STEP = float(np.cbrt(np.finfo(np.float64).eps))
# The greatest |second derivative| of a sigmoid, and of softmax along one score.
_THIRD_DERIVATIVE = 1 / (6 * np.sqrt(3.0))


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check."""
    return per_backend(plan, measure, "loss and gradient")


def measure(plan: Plan, backend: Backend) -> Iterable[Evidence]:
    """Return the evidence on one backend, in each type that it computes in."""
    for dtype in plan.dtypes(backend):
        for setting in (*problems.points(dtype), *problems.stored(dtype)):
            if plan.covers(backend, setting):
                yield from _at_point(plan, backend, setting)
    yield from _on_many_rows(plan, backend)


@cache
def _exact(setting: Setting) -> tuple[Any, list[Any]]:
    """Return loss and gradient, the intercept's last, in 50 digits."""
    loss, dw, db = exact_loss_gradient(setting.problem, setting.objective, setting.params)
    return loss, [*dw, *db]


def _at_point(plan: Plan, backend: Backend, setting: Setting) -> Iterator[Evidence]:
    problem, params = setting.problem, setting.params
    kernels = plan.compile(backend, setting)
    loss, exact = _exact(setting)
    case = f"{problem.dtype.name}, {setting.name}"

    def row(figure: str, value: float, limit: float, note: str) -> Evidence:
        return Evidence(NAME, backend.name, case, figure, value, limit, note)

    found, gradient = kernels.loss_gradient(params)
    limit = summation_limit(problem.n_samples)
    loss_error, gradient_error = errors(setting, found, pack(gradient), loss, exact)
    yield row("loss", loss_error, limit, f"error against 50 digits, {_FIGURE_NOTE}")
    yield row("gradient", gradient_error, limit, f"largest error against 50 digits, {_FIGURE_NOTE}")
    if problem.dtype == np.float64:
        yield row(
            "finite differences",
            _finite_differences(setting, kernels, pack(gradient)),
            1.0,
            "largest |central difference of its own loss - gradient|, in units of the sum of "
            "truncation and rounding error",
        )
    exact_scores = scores(problem.X, Params(*(part.astype(np.longdouble) for part in params)))
    yield row(
        "scores",
        _largest(
            kernels.decision_function(problem.X, params),
            exact_scores,
            magnitudes(problem, setting.objective, params).score,
            problem.dtype,
        ),
        summation_limit(problem.n_features + 1),
        f"largest error of X w + b against {describe()}, {_FIGURE_NOTE}",
    )


def errors(
    setting: Setting, loss: float, gradient: NDArray[Any], exact_loss: Any, exact: Any
) -> tuple[float, float]:
    """Return the errors of loss and gradient, each in eps times its magnitude."""
    problem = setting.problem
    size = magnitudes(problem, setting.objective, setting.params)
    return (
        rounding_units(loss, exact_loss, size.loss, problem.dtype),
        _largest(gradient, exact, size.gradient, problem.dtype),
    )


def _largest(values: Any, exact: Any, scale: NDArray[np.float64], dtype: Any) -> float:
    entries = zip(np.ravel(values), np.ravel(exact), np.ravel(scale), strict=True)
    return max(rounding_units(v, e, s, dtype) for v, e, s in entries)


def _finite_differences(setting: Setting, kernels: Kernels, gradient: NDArray[Any]) -> float:
    """Return the largest distance to central differences of the loss, over its error bound.

    A central difference is off by at most h^2 / 6 times the third derivative, which is bounded by
    the mean of |x|^3 times `_THIRD_DERIVATIVE`, and by the rounding of two losses over 2 h. Where
    the L1 penalty has its kink the difference is half of both slopes' sum, which is the smooth
    part's: it is left out.
    """
    problem, objective, params = setting.problem, setting.objective, setting.params
    theta, outputs = pack(params), problem.n_outputs
    cubes = np.ones((problem.n_samples, problem.n_features + 1))
    cubes[:, :-1] = np.abs(problem.rows(0, problem.n_samples)) ** 3
    mean = _THIRD_DERIVATIVE * (problem.exact_weight @ cubes) / len(cubes)
    third = np.append(np.tile(mean[:-1], outputs), np.tile(mean[-1], outputs))
    eps, limit = float(np.finfo(problem.dtype).eps), summation_limit(problem.n_samples)
    size = magnitudes(problem, objective, params)
    worst = 0.0
    for j in range(len(theta) if objective.fit_intercept else len(theta) - outputs):
        step = _STEP * max(1.0, abs(theta[j]))
        if objective.l1 > 0 and j < params.coef.size and abs(theta[j]) <= step:
            continue
        ends = np.tile(theta, (2, 1))
        ends[:, j] += np.array([1.0, -1.0]) * step
        h = (ends[0, j] - ends[1, j]) / 2
        up, down = (kernels.loss(unpack(end, problem.n_features)) for end in ends)
        noise = limit * eps * (size.loss / h + size.gradient[j])
        bound = h * h / 6 * third[j] + noise
        distance = abs((up - down) / (2 * h) - gradient[j])
        worst = float(max(worst, distance / bound)) if np.isfinite(distance) else np.inf
    return worst


@cache
def _of_many_rows() -> tuple[Setting, Any, NDArray[Any]]:
    problem = problems.large()
    coef = np.random.default_rng(7).normal(size=(1, problem.n_features))
    setting = Setting(
        f"{problem.n_samples:,} rows",
        problem,
        Objective(l2=0.125),
        Params(coef, np.array([0.3])),
    )
    loss, gradient = reference_loss_gradient(problem, setting.objective, setting.params)
    return setting, loss, pack(gradient)


def _on_many_rows(plan: Plan, backend: Backend) -> Iterator[Evidence]:
    setting, exact_loss, exact = _of_many_rows()
    found, gradient = plan.compile(backend, setting).loss_gradient(setting.params)
    values = errors(setting, found, pack(gradient), exact_loss, exact)
    for figure, value in zip(("loss", "gradient"), values, strict=True):
        limit = summation_limit(setting.problem.n_samples)
        note = f"error against {describe()}, {_FIGURE_NOTE}"
        yield Evidence(NAME, backend.name, setting.name, figure, value, limit, note)
