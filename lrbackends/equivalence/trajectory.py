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

In the reproducible arithmetic two backends have to agree in every bit: of the solver's state and of
the records of all steps. Where they do not, the evidence names the first step and the number at
which they part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrbackends import solvers
from lrbackends.backends.protocol import (
    Backend,
    Batches,
    Kernels,
    Rule,
    State,
    initial_state,
    unpack,
)
from lrbackends.equivalence import problems, reference
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import relative_norm, ulps
from lrbackends.equivalence.plan import Job, Plan, pair_name
from lrbackends.equivalence.problems import Setting
from lrbackends.objective import predicted, scores

NAME = "trajectory"
MEDIAN_ULP, MAX_ULP = "median ULP", "max ULP"
RELATIVE_NORM, LABELS = "relative norm", "labels that differ"
BITS = "differing entries"  # where bits are promised
_BATCH_SIZE = 32
_SEED = 7
_STRETCH = 64  # steps between two looks while the first that differs is searched


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
        if setting.objective.l1 > 0:
            continue  # the other rules take no proximal steps
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
def _exact(trajectory: Trajectory) -> tuple[NDArray[Any], NDArray[np.intp]]:
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
    params = unpack(theta, setting.problem.n_features)
    return theta, predicted(scores(setting.points, params))


class _Run(NamedTuple):
    state: State
    records: NDArray[np.float64]
    labels: NDArray[np.intp]


def _trained(plan: Plan, backend: Backend, trajectory: Trajectory) -> _Run:
    setting = trajectory.setting
    kernels = plan.compile(backend, setting)
    state, records = kernels.run(
        trajectory.rule, initial_state(setting.params), trajectory.n_steps, trajectory.batches
    )
    params = unpack(state.theta, setting.problem.n_features)
    labels = predicted(kernels.decision_function(setting.points, params))
    return _Run(state, records, labels)


def measure(plan: Plan, trajectory: Trajectory) -> Iterable[Evidence]:
    """Return the evidence of one trajectory on every backend and every pair of them."""
    exact = _exact(trajectory)
    backends = [b for b in plan.backends if plan.covers(b, trajectory.setting)]
    trained = {b.name: _trained(plan, b, trajectory) for b in backends}
    note = f"reference: {reference.describe()}"
    for name, run in trained.items():
        found = run.state.theta, run.labels
        yield from _compare(trajectory.name, name, found, exact, TO_REFERENCE, note)
    limits = BETWEEN_BACKENDS[plan.arithmetic]
    for pair in combinations(backends, 2):
        a, b = (trained[backend.name] for backend in pair)
        name, note = pair_name(pair), "one against the other"
        if plan.arithmetic == "reproducible":
            count = sum(int(_differing(u, v).sum()) for _, u, v in _numbers(a[:2], b[:2]))
            if count:
                note = _parting([plan.compile(b, trajectory.setting) for b in pair], trajectory)
            yield Evidence(NAME, name, trajectory.name, BITS, float(count), 0.0, note)
        found, other = ((run.state.theta, run.labels) for run in (a, b))
        yield from _compare(trajectory.name, name, found, other, limits, note)


_Stretch = tuple[State, NDArray[np.float64]]  # what `Kernels.run` returns


def _numbers(a: _Stretch, b: _Stretch) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Return all that has to be the same after some steps, in the order of interest."""
    (state, records), (other, other_records) = a, b
    return [
        ("parameter", state.theta, other.theta),
        ("second word of parameter", state.residual, other.residual),
        ("first moment of parameter", state.first, other.first),
        ("second moment of parameter", state.second, other.second),
        ("recorded objective, gradient norm: number", records.ravel(), other_records.ravel()),
    ]


def _differing(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which entries differ in any bit."""
    bits, others = (v.view(f"u{v.itemsize}") for v in (a, b))
    return np.asarray(bits != others)


def _parting(pair: Sequence[Kernels], trajectory: Trajectory) -> str:
    """Say at which step, and in which number, two backends differ first.

    They are followed side by side in stretches; the first stretch that ends, or is recorded,
    differently is done again step by step.
    """

    def advance(states: Sequence[State], begin: int, end: int) -> list[_Stretch]:
        batches = trajectory.batches
        some = None if batches is None else Batches(*(part[begin:end] for part in batches))
        return [
            kernels.run(trajectory.rule, state, end - begin, some)
            for kernels, state in zip(pair, states, strict=True)
        ]

    states = [initial_state(trajectory.setting.params)] * 2
    begin, end, where = 0, trajectory.n_steps, ""
    for stride in (_STRETCH, 1):
        for start in range(begin, end, stride):
            stop = min(start + stride, end)
            ended = advance(states, start, stop)
            where = _first_difference(*ended)
            if where:
                begin, end = start, stop
                break
            states = [state for state, _ in ended]
        else:
            return f"they part in one go, but not in steps {begin + 1} to {end} by {stride}"
    return f"they part at step {end} in {where}"


def _first_difference(a: _Stretch, b: _Stretch) -> str:
    """Name the first number that differs, with both values; nothing where none does."""
    for name, u, v in _numbers(a, b):
        differing = _differing(u, v)
        if differing.any():
            k = int(differing.argmax())
            return f"{name} {k}: {float(u[k]).hex()} and {float(v[k]).hex()}"
    return ""


def _compare(
    case: str,
    name: str,
    found: tuple[NDArray[Any], NDArray[np.intp]],
    other: tuple[NDArray[Any], NDArray[np.intp]],
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
