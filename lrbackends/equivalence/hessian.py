"""Check "hessian": second derivatives at given parameters, against their formula.

The points include w = 0, where the curvature of each loss is 1/4 and automatic differentiation
through ``|m|`` finds 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._gram import finish_classes
from lrbackends.backends.protocol import Backend, HessianKernels, pack, unpack
from lrbackends.equivalence import problems
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import rounding_units, summation_limit
from lrbackends.equivalence.plan import Job, Plan, per_backend
from lrbackends.equivalence.problems import Setting
from lrbackends.equivalence.reference import describe
from lrbackends.objective import Params, reference_hessian, scores, sigmoid, softmax

NAME = "hessian"


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check; the reproducible arithmetic has no second derivatives."""
    if plan.arithmetic == "fast":
        yield from per_backend(plan, measure, "second derivatives")


def measure(plan: Plan, backend: Backend) -> Iterable[Evidence]:
    """Return the evidence on one backend, in each type that it computes in."""
    if not backend.capabilities().hessian:
        return
    for dtype in plan.dtypes(backend):
        before = None
        for setting in (*problems.points(dtype), *problems.stored(dtype)):
            if plan.covers(backend, setting):
                yield from _at_point(plan, backend, setting)
                before = setting
        if before is not None:
            yield _after_another_point(plan, backend, before)


@cache
def _exact(setting: Setting) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the Hessian and, entry by entry, the sum of the absolute terms in it."""
    problem, objective, params = setting.problem, setting.objective, setting.params
    exact = reference_hessian(problem, objective, params)
    n, outputs = problem.n_samples, problem.n_outputs
    rows = np.column_stack([np.abs(problem.rows(0, n)).astype(np.float64), np.ones(n)])
    z = scores(problem.X, Params(*(part.astype(np.float64) for part in params)))
    # An error in z moves the curvature by at most as much, relatively (softmax: twice as much).
    weights = np.abs(np.column_stack(params)).astype(np.float64)
    share = problem.exact_weight * (1.0 + min(outputs, 2) * (rows @ weights.T).max(axis=1))
    size = np.empty((outputs, len(rows[0]), outputs, len(rows[0])))
    a = sigmoid(-np.abs(z))[:, None] if outputs == 1 else softmax(z)
    for k in range(outputs):
        for m in range(outputs):
            curvature = share * a[:, k] * ((1 - a[:, k]) if k == m else a[:, m])
            size[k, :, m] = (rows * curvature[:, None]).T @ rows
    return exact, finish_classes(size, n, objective) + objective.l2


def _largest(values: Any, exact: Any, size: Any, dtype: Any) -> float:
    return max(
        rounding_units(v, e, s, dtype)
        for v, e, s in zip(np.ravel(values), np.ravel(exact), np.ravel(size), strict=True)
    )


def _vector(setting: Setting) -> NDArray[Any]:
    size = setting.problem.n_outputs * (setting.problem.n_features + 1)
    return np.random.default_rng(11).normal(size=size).astype(setting.problem.dtype)


def _at_point(plan: Plan, backend: Backend, setting: Setting) -> Iterator[Evidence]:
    problem, params = setting.problem, setting.params
    kernels = cast(HessianKernels, plan.compile(backend, setting))
    exact, size = _exact(setting)
    limit = summation_limit(problem.n_samples)
    case, dtype = f"{problem.dtype.name}, {setting.name}", problem.dtype

    def row(figure: str, value: float, limit: float, note: str) -> Evidence:
        return Evidence(NAME, backend.name, case, figure, value, limit, note)

    units = f"against {describe()}, in units of eps times the sum of the absolute terms"
    hessian = kernels.hessian(params)
    yield row("hessian", _largest(hessian, exact, size, dtype), limit, f"largest error {units}")
    yield row(
        "asymmetry",
        float(np.abs(hessian - hessian.T).max()),
        0.0,
        "largest difference of two entries that mirror one another",
    )
    loss, gradient, same = kernels.loss_gradient_hessian(params)
    alone = kernels.loss_gradient(params)
    differing = sum(
        int(np.count_nonzero(np.asarray(one) != np.asarray(other)))
        for one, other in ((loss, alone[0]), (pack(gradient), pack(alone[1])), (same, hessian))
    )
    yield row(
        "in one pass",
        float(differing),
        0.0,
        "numbers that differ between loss_gradient_hessian and the kernels of each alone",
    )
    vector = _vector(setting)
    product = pack(kernels.hessian_product(params, unpack(vector, problem.n_features)))
    yield row(
        "product",
        _largest(product, exact @ vector, size @ np.abs(vector), dtype),
        limit,
        f"largest error of the Hessian times a vector {units}",
    )


def _after_another_point(plan: Plan, backend: Backend, setting: Setting) -> Evidence:
    """Ask for products at one point, then at another: what is kept must be let go."""
    kernels = cast(HessianKernels, plan.compile(backend, setting))
    p, vector = setting.problem.n_features, _vector(setting)
    elsewhere = unpack(pack(setting.params) + setting.problem.dtype.type(1), p)
    fresh = pack(kernels.hessian_product(setting.params, unpack(vector, p)))
    kernels.hessian_product(elsewhere, unpack(vector, p))
    again = pack(kernels.hessian_product(setting.params, unpack(vector, p)))
    moved = pack(kernels.hessian_product(elsewhere, unpack(vector, p)))
    wrong = int((again != fresh).sum()) + int(np.array_equal(moved, fresh))
    return Evidence(
        NAME,
        backend.name,
        f"{setting.problem.dtype.name}, two points in turn",
        "product",
        float(wrong),
        0.0,
        "entries that change when another point was asked for in between",
    )
