"""What a verification consists of: a check plans jobs, and each job measures some evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lrbackends.backends.protocol import Backend, Kernels
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.problems import DTYPES, Setting


@dataclass(frozen=True)
class Plan:
    """What is verified.

    Attributes
    ----------
    backends : tuple of Backend
    arithmetic : {"fast", "reproducible"}
    steps : int
        Full-batch steps of gradient descent; see `trajectory.trajectories` for the others.
    """

    backends: tuple[Backend, ...]
    arithmetic: str
    steps: int

    def compile(self, backend: Backend, setting: Setting) -> Kernels:
        """Return the backend's kernels of a setting."""
        return backend.compile(setting.problem, setting.objective, self.arithmetic)

    def covers(self, backend: Backend, setting: Setting) -> bool:
        """Return whether a backend has what a setting needs.

        That is the form that X is stored in, the number of classes and the penalty.
        """
        can, problem = backend.capabilities(), setting.problem
        if problem.n_outputs > 1 and not can.multinomial:
            return False
        if setting.objective.l1 > 0 and not can.l1:
            return False
        if problem.sparse:
            return can.sparse and self.arithmetic == "fast"
        return can.narrow or problem.X.dtype == problem.dtype

    def dtypes(self, backend: Backend) -> tuple[str, ...]:
        """Return the types that a backend is verified in."""
        return tuple(dtype for dtype in DTYPES if dtype in backend.capabilities().dtypes)


class Job(NamedTuple):
    """A part of a check; the label is for people who wait."""

    label: str
    measure: Callable[[], Iterable[Evidence]]


Check = Callable[[Plan], Iterator[Job]]


def per_backend(
    plan: Plan, measure: Callable[[Plan, Backend], Iterable[Evidence]], label: str
) -> Iterator[Job]:
    """Plan a job for each backend."""
    for backend in plan.backends:

        def run(backend: Backend = backend) -> Iterable[Evidence]:
            return measure(plan, backend)

        yield Job(f"{label}, {backend.name}", run)


def pair_name(pair: Sequence[Backend]) -> str:
    """Return the name that evidence on two backends carries."""
    return "-".join(backend.name for backend in pair)
