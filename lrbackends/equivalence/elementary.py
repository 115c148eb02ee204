"""Check "elementary": the loss and the sigmoid of single samples, in units in the last place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import ulps_of_exact
from lrbackends.equivalence.plan import Job, Plan, per_backend
from lrbackends.equivalence.problems import Setting
from lrbackends.objective import EXACT_DIGITS, Objective, Params, exact_sigmoid_and_loss
from lrbackends.problem import Problem

NAME = "elementary"

# exp and log1p of the three engines are within 1.5 and 1.9 ULP in float64 (2.5 and 2.4 in float32).
# A sigmoid adds a sum and a quotient, half an ULP each; log1p passes on at most the whole error of
# exp, and the sum adds half an ULP: below 4 for both, where 2.4 (3.0) is the worst that was seen.
LIMIT = 4.0
_N_SPREAD = 128
# Beyond these sigmoid(-z) leaves the normal range, or is cut off by specification.
_LARGEST = {
    "fast": {"float64": 700.0, "float32": 80.0},
    "reproducible": {"float64": 300.0, "float32": 27.0},  # smaller residuals are 0
}
_ROWS = 32  # a power of two, so that dividing by it is exact


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check."""
    return per_backend(plan, measure, "elementary functions")


def measure(plan: Plan, backend: Backend) -> Iterable[Evidence]:
    """Return the evidence on one backend, in each type that it computes in."""
    for dtype in plan.dtypes(backend):
        largest = _LARGEST[plan.arithmetic][dtype]
        z = scores(dtype, largest)
        exact_sigmoid, exact_loss = _exact(dtype, largest)
        for figure, errors in (
            ("loss, max ULP", ulps_of_exact(_losses(plan, backend, z), exact_loss)),
            ("sigmoid, max ULP", ulps_of_exact(_sigmoids(plan, backend, z), exact_sigmoid)),
        ):
            worst = int(errors.argmax())
            note = f"worst at z = {z[worst]:.6g}" if errors[worst] else "exact everywhere"
            case = f"{dtype}, |z| from 1e-20 to {largest:g}"
            yield Evidence(NAME, backend.name, case, figure, float(errors[worst]), LIMIT, note)


@cache
def scores(dtype: str, largest: float) -> NDArray[Any]:
    """Return the scores that are looked at, shape (a multiple of 32,)."""
    rng = np.random.default_rng(8)
    sizes = np.geomspace(1e-20, largest, _N_SPREAD)
    spread = np.concatenate([sizes, -sizes, rng.uniform(-40, 40, size=2 * _N_SPREAD)])
    spread[-1] = 0.0
    return np.asarray(np.clip(spread, -largest, largest), dtype)


@cache
def _exact(dtype: str, largest: float) -> tuple[list[Decimal], list[Decimal]]:
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        pairs = [exact_sigmoid_and_loss(Decimal(float(z))) for z in scores(dtype, largest)]
    return [sigmoid for sigmoid, _ in pairs], [loss for _, loss in pairs]


def _setting(y: NDArray[Any], dtype: Any) -> Setting:
    """Return a problem in which the score of row i is the weight of feature i, without rounding."""
    problem = Problem(np.eye(len(y)), y, dtype=dtype)
    return Setting("", problem, Objective(), Params(np.zeros((1, len(y))), np.zeros(1)))


def _losses(plan: Plan, backend: Backend, z: NDArray[Any]) -> NDArray[Any]:
    """Return log(1 + exp(z)) as the mean loss of two samples, one of each class, of margin z."""
    kernels = plan.compile(backend, _setting(np.array([0, 1]), z.dtype))
    b = np.zeros(1, z.dtype)
    return np.array([kernels.loss(Params(np.array([[v, -v]]), b)) for v in z]).astype(z.dtype)


def _sigmoids(plan: Plan, backend: Backend, z: NDArray[Any]) -> NDArray[Any]:
    """Return the sigmoid as it shows in dw, where feature i sees the residual of sample i alone.

    Samples of class 0 have the residual sigmoid(z), those of class 1 -sigmoid(-z).
    """
    y = np.arange(_ROWS) % 2
    sign = (1 - 2 * y).astype(z.dtype)
    kernels = plan.compile(backend, _setting(y, z.dtype))
    b = np.zeros(1, z.dtype)
    found = [
        sign * kernels.loss_gradient(Params((sign * m)[None], b))[1].coef[0] * _ROWS
        for m in z.reshape(-1, _ROWS)
    ]
    return np.concatenate(found).astype(z.dtype)
