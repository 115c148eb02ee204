"""Check "trajectory": every solver, step by step the same as in extended precision and elsewhere.

The limits are the contract of the two arithmetics. It binds runs whose steps are at most 1/L, L
being the smoothness of the objective, or its expected smoothness on mini-batches: there rounding
errors grow no faster than the steps themselves. Two things follow for the other solvers.

* A velocity adds up 1 / (1 - decay) gradients, so that momentum and nesterov, at a rate of 1/L,
  take steps of 10/L in effect. They are run at 0.1/L and, where the curvature makes rounding errors
  fade all the same (all rows, no extreme condition), also at 1/L, which is what `Trainer` picks.
* Adam divides by the root of a second moment that remembers 1 / (1 - decay2) = 1,000 gradients. Its
  recursion adds up as many rounding errors, which nothing pulls back in. Solvers other than gd, and
  mini-batches, therefore do a tenth of the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends import solvers
from lrbackends.backends.protocol import Backend, Batches, Rule, initial_state, unpack
from lrbackends.equivalence import problems, reference
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import relative_norm, ulps
from lrbackends.equivalence.plan import Job, Plan, pair_name
from lrbackends.equivalence.problems import Setting

NAME = "trajectory"
MEDIAN_ULP, MAX_ULP, RELATIVE_NORM, LABELS = FIGURES = (
    "median ULP",
    "max ULP",
    "relative norm",
    "labels that differ",
)
_BATCH_SIZE = 32
_SEED = 7


@dataclass(frozen=True)
class Limits:
    """How far trajectories may be apart; None where nothing is promised."""

    median_ulp: float
    max_ulp: float | None
    relative: float | None


TO_REFERENCE = Limits(median_ulp=4.0, max_ulp=None, relative=None)
BETWEEN_BACKENDS = {
    "fast": Limits(median_ulp=4.0, max_ulp=None, relative=2e-15),
    "reproducible": Limits(median_ulp=0.0, max_ulp=0.0, relative=0.0),
}


@dataclass(frozen=True)
class Trajectory:
    """A solver on a problem, for so many steps, on all rows or on mini-batches.

    Its learning rate is ``rate`` in units of 1/L; adam has one of its own.
    """

    setting: Setting
    solver: str
    rate: float
    batch_size: int | None
    n_steps: int

    @property
    def name(self) -> str:
        """What evidence calls it."""
        rate = "" if self.rate == 1.0 else f" at {self.rate:g}/L"
        rows = "full batch" if self.batch_size is None else f"batches of {self.batch_size}"
        return f"{self.setting.name}: {self.solver}{rate}, {rows}, {self.n_steps:,} steps"

    @property
    def rule(self) -> Rule:
        """The update rule."""
        if self.solver == "adam":
            return solvers.UpdateRule(self.solver, solvers.ADAM_RATE)
        setting = self.setting
        curvature = solvers.smoothness(setting.problem, setting.objective, self.batch_size)
        return solvers.UpdateRule(self.solver, self.rate * solvers.safe_rate(curvature))

    @property
    def batches(self) -> Batches | None:
        """The rows of each step."""
        if self.batch_size is None:
            return None
        n = self.setting.problem.n_samples
        return reference.batches_of_steps(n, self.batch_size, _SEED, self.n_steps)


def trajectories(steps: int) -> Iterator[Trajectory]:
    """Yield every problem with every solver, full batch and mini-batch.

    Full-batch gd does ``steps`` steps, everything else a tenth of them.
    """
    fewer = max(1, steps // 10)
    for setting in problems.training():
        yield Trajectory(setting, "gd", 1.0, None, steps)
        yield Trajectory(setting, "gd", 1.0, _BATCH_SIZE, fewer)
        for solver in ("momentum", "nesterov"):
            if setting.curved:
                yield Trajectory(setting, solver, 1.0, None, fewer)
            yield Trajectory(setting, solver, 0.1, None, fewer)
            yield Trajectory(setting, solver, 0.1, _BATCH_SIZE, fewer)
        yield Trajectory(setting, "adam", 1.0, None, fewer)
        yield Trajectory(setting, "adam", 1.0, _BATCH_SIZE, fewer)


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check."""
    for trajectory in trajectories(plan.steps):
        yield Job(trajectory.name, partial(measure, plan, trajectory))


@lru_cache(maxsize=256)
def _exact(trajectory: Trajectory) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the reference's parameters and the labels that it predicts."""
    setting = trajectory.setting
    theta = reference.train(
        setting.problem,
        setting.objective,
        trajectory.rule,
        setting.params,
        trajectory.n_steps,
        trajectory.batches,
    )
    return theta, setting.points @ theta[:-1] + theta[-1] > 0


def _trained(
    plan: Plan, backend: Backend, trajectory: Trajectory
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    setting = trajectory.setting
    kernels = plan.compile(backend, setting)
    state, _ = kernels.run(
        trajectory.rule, initial_state(setting.params), trajectory.n_steps, trajectory.batches
    )
    params = unpack(state.theta, setting.problem.n_features)
    return state.theta, kernels.decision_function(setting.points, params) > 0


def measure(plan: Plan, trajectory: Trajectory) -> Iterable[Evidence]:
    """Return the evidence of one trajectory on every backend and every pair of them."""
    exact = _exact(trajectory)
    trained = {b.name: _trained(plan, b, trajectory) for b in plan.backends}
    note = f"reference: {reference.describe()}"
    for name, found in trained.items():
        yield from _compare(trajectory.name, name, found, exact, TO_REFERENCE, note)
    limits = BETWEEN_BACKENDS[plan.arithmetic]
    for pair in combinations(plan.backends, 2):
        a, b = (trained[backend.name] for backend in pair)
        yield from _compare(trajectory.name, pair_name(pair), a, b, limits, "one against the other")


def _compare(
    case: str,
    name: str,
    found: tuple[NDArray[Any], NDArray[np.bool_]],
    other: tuple[NDArray[Any], NDArray[np.bool_]],
    limits: Limits,
    note: str,
) -> Iterator[Evidence]:
    (theta, labels), (other_theta, other_labels) = found, other
    distance = ulps(theta, other_theta)
    for figure, value, limit in (
        (MEDIAN_ULP, float(np.median(distance)) if len(distance) else 0.0, limits.median_ulp),
        (MAX_ULP, float(distance.max(initial=0.0)), limits.max_ulp),
        (RELATIVE_NORM, relative_norm(theta, other_theta), limits.relative),
        (LABELS, float(np.sum(labels != other_labels)), 0.0),
    ):
        yield Evidence(NAME, name, case, figure, value, limit, note)
