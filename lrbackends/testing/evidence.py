"""Parts of a verification, each of which one test of the kit is about."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lrbackends.backends.protocol import Backend
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import gradient, hessian, optimum, trajectory
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.golden import Case
from lrbackends.equivalence.plan import Plan
from lrbackends.equivalence.problems import Setting
from lrbackends.equivalence.trajectory import Trajectory

STEPS = 300  # full-batch steps of gradient descent; other runs do a tenth
MORE_STEPS = 1000  # what one float cannot hold takes a while to add up


def needs(setting: Setting) -> set[str]:
    """Return the abilities that a setting takes beyond two classes of dense float64 rows."""
    problem = setting.problem
    return {
        ability
        for ability, needed in {
            "float32": problem.dtype == np.float32,
            "multinomial": problem.n_outputs > 1,
            "l1": setting.objective.l1 > 0,
            "sparse": problem.sparse,
            "narrow": problem.X.dtype != problem.dtype,
        }.items()
        if needed
    }


@dataclass(frozen=True)
class Part(Plan):
    """A plan of those settings alone that take a certain ability, or none.

    Attributes
    ----------
    about : str
        "float64" for settings that need nothing beyond it; "float32" for those that need nothing
        beyond that; else those that need the ability, whatever they need besides.
    left_out : str
        The name of a setting that is none of this part's.
    """

    about: str = "float64"
    left_out: str = ""

    def covers(self, backend: Backend, setting: Setting) -> bool:
        """Return whether a setting is one of this part's, and a backend has what it needs."""
        needed = needs(setting)
        if self.about in ("float64", "float32"):
            mine = needed == {self.about} - {"float64"}
        else:
            mine = self.about in needed
        return mine and setting.name != self.left_out and super().covers(backend, setting)

    def dtypes(self, backend: Backend) -> tuple[str, ...]:
        """Return the types to look at."""
        known = super().dtypes(backend)
        if self.about in ("float64", "float32"):
            return tuple(dtype for dtype in known if dtype == self.about)
        return known


def part(backend: Backend, about: str = "float64", steps: int = STEPS) -> Part:
    """Return the part of a verification of one backend in the fast arithmetic."""
    return Part((backend,), "fast", steps, about)


def assert_passed(rows: Iterable[Evidence]) -> None:
    """Fail, telling of every figure that is beyond its limit, or because nothing was measured."""
    # A wrong backend may produce anything; its figures tell, warnings on the way do not.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = list(rows)
    failed = [row for row in found if not row.passed]
    assert found, "nothing was measured"
    assert not failed, "\n".join(
        [f"{len(failed)} of {len(found)} figures are beyond their limits", *map(_told, failed)]
    )


def _told(row: Evidence) -> str:
    limit = "must be finite" if row.limit is None else f"limit {row.limit:.4g}"
    return f"  {row.backend}, {row.check}, {row.case}: {row.figure} {row.value:.4g}, {limit}" + (
        f" ({row.note})" if row.note else ""
    )


def gradients(backend: Backend, about: str = "float64") -> Iterable[Evidence]:
    """Return the evidence on loss, gradient and scores."""
    return gradient.measure(part(backend, about), backend)


def hessians(backend: Backend, about: str = "float64") -> Iterable[Evidence]:
    """Return the evidence on second derivatives."""
    return hessian.measure(part(backend, about), backend)


def optima(backend: Backend, about: str = "float64") -> Iterable[Evidence]:
    """Return the evidence on where training ends."""
    # There an update rule takes thousands of steps, which are left to `verify`.
    plan = replace(part(backend, about), left_out="digits01, l2 = 0.01")
    return optimum.measure(plan, backend)


def trajectories(
    backend: Backend,
    about: str = "float64",
    *,
    arithmetic: str = "fast",
    steps: int = STEPS,
    wanted: Callable[[Trajectory], bool] = lambda _: True,
) -> Iterator[Evidence]:
    """Return the evidence on training step by step, beside NumPy's backend."""
    numpy = get_backend("numpy")
    both = (backend,) if backend.name == numpy.name else (numpy, backend)
    plan = Part(both, arithmetic, steps, about)
    for run in trajectory.trajectories(steps):
        if wanted(run) and plan.covers(backend, run.setting):
            yield from trajectory.measure(plan, run)


def needs_of_case(case: Case) -> set[str]:
    """Return the abilities that a golden case takes."""
    return needs(Setting(case.name, case.problem, case.objective, case.params))
