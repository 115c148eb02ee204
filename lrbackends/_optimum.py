"""One training run by a solver that seeks the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lrbackends._run import Run
from lrbackends.backends.protocol import Kernels, State, pack
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Params
from lrbackends.solvers import FIRST_ORDER, OPTIMUM, PROXIMAL, choose
from lrbackends.solvers.goal import Goal, Step
from lrbackends.solvers.optimum import minimise
from lrbackends.solvers.oracle import Oracle

if TYPE_CHECKING:
    from lrbackends.trainer import Trainer

_FIRST_DERIVATIVES = ("lbfgs", "proximal-newton")  # solvers that need no second ones
_HIDDEN = 1e3  # a decrease below so many roundings of the objective counts as none
_OF_UPDATE_RULES = {
    "learning_rate": None,
    "schedule": "constant",
    "batch_size": None,
    "arithmetic": "fast",
}


class OptimumRun(Run):
    """One call of `Trainer.fit` with such a solver; an epoch is one of its steps."""

    def __init__(
        self,
        trainer: Trainer,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: tuple[Any, Any] | None,
        classes: ArrayLike | None = None,
        state: State | None = None,
    ) -> None:
        if state is not None:
            raise ValueError(
                f"state does not go with solver={trainer.solver!r}, which keeps none; give "
                "init=(coef, intercept)"
            )
        for name, value in _OF_UPDATE_RULES.items():
            given = getattr(trainer, name)
            if given != value:
                raise ValueError(
                    f"{name}={given!r} does not go with solver={trainer.solver!r}, which finds its "
                    f"own steps on all rows; leave it at {value!r} or choose a solver from "
                    f"{', '.join(FIRST_ORDER)}"
                )
        super().__init__(trainer, X, y, sample_weight, validation_data, classes, state)
        self.goal = Goal(trainer.gap, trainer.tol)
        self.solver = self._chosen_solver()
        if self.solver not in _FIRST_DERIVATIVES and not self.backend.capabilities().hessian:
            raise UnsupportedError(
                f"backend {self.backend.name!r} has no second derivatives, which "
                f"solver={self.solver!r} needs; use solver='lbfgs' or another backend"
            )
        self.taken = 0  # steps so far; -1 before the start is evaluated
        self.best: State | None = None

    def _chosen_solver(self) -> str:
        """Return the solver, which has to suit the penalty."""
        name, l1 = self.trainer.solver, self.objective.l1
        if name == "auto":
            return choose(self.problem, l1, hessian=self.backend.capabilities().hessian)
        if (l1 > 0) != (name in PROXIMAL):
            suited = PROXIMAL if l1 > 0 else OPTIMUM
            raise ValueError(
                f"solver={name!r} does not go with l1={l1:g}; choose {' or '.join(suited)}, or auto"
            )
        return name

    def _compiled(self) -> Kernels:
        scale = None if self.scaling is None else self.scaling.scale
        self.oracle = Oracle(self.problem, self.objective, self._compile, scale=scale)
        self.plain = self.oracle.kernels
        return self.plain

    def _warm_up(self, state: State) -> None:
        """Nothing: these solvers' kernels are compiled by their first call."""
        self.steps = minimise(
            self.solver,
            self.oracle,
            pack(self._params(state))[: self.oracle.size].astype(np.float64),
            self.goal,
            np.random.default_rng(self.seed),
        )
        self.taken = -1
        self.last: Step | None = None

    def _advance(self, state: State, epoch: int) -> tuple[State, int, str]:
        if self.taken == self.trainer.epochs:
            return state, epoch, "completed"
        step = next(self.steps, None)
        while step and self.last and not self.goal.met(step) and _same(step, self.last):
            step = next(self.steps, None)  # another phase of the solver starts where one ended
        self.rows_read = self.oracle.rows_read
        if step is None:
            return state, epoch, self._at_the_end()
        self.last, self.taken = step, self.taken + 1
        self.bound = step.bound if np.isfinite(step.bound) else np.nan
        centred = self.oracle.centred(step.point.theta)
        state = self._state(self.oracle.params(centred), self.taken)
        records = np.array([[step.point.loss, np.abs(step.point.gradient).max()]])
        status = self._observe(self.taken, records, state)[1]
        if self.stopping.best_epoch == self.taken:
            self.best = state
        if self.goal.met(step) and status in ("", "early_stopped"):
            status = "converged"
        return state, self.taken, status

    def _state(self, params: Params, step: int) -> State:
        theta = pack(params).astype(self.problem.dtype)
        nothing = np.zeros_like(theta)
        return State(theta, nothing, nothing, nothing, step)

    def _at_the_end(self) -> str:
        """Return the status where the solver could not lower the objective any further."""
        assert self.last is not None
        hidden = _HIDDEN * float(np.finfo(self.problem.dtype).eps) * abs(self.last.point.loss)
        asked = self.trainer.gap is not None or self.trainer.tol > 0
        return "stalled" if asked or self.last.promised > hidden else "converged"

    def _ended(self, state: State, epoch: int) -> str:  # noqa: ARG002
        return ""  # every step is recorded when it is taken

    def _best(self) -> State:
        assert self.best is not None
        return self.best

    def _reason(self, status: str, epoch: int) -> str:
        assert self.last is not None
        named = f"{self.solver} (chosen by auto)" if self.trainer.solver == "auto" else self.solver
        trainer, loss = self.trainer, self.last.point.loss
        if status == "converged" and trainer.gap is not None and self.goal.met(self.last):
            share = self.bound / loss if loss else 0.0
            return (
                f"{named}: the objective is certified to be within {share:.1e} of its "
                f"minimum, relatively, in {self._passes():.1f} passes over the rows"
            )
        if status == "converged" and not self.goal.met(self.last):
            return f"{named}: rounding to {self.problem.dtype} allows no further decrease"
        if status == "stalled":
            return (
                f"{named}: the objective could not be lowered further in {self.problem.dtype}, "
                f"with a promised decrease of {self.last.promised:.1e}"
            )
        return f"{named}: {super()._reason(status, epoch)}"

    def _passes(self) -> float:
        return self.rows_read / self.problem.n_samples

    def _unmet(self, status: str, epoch: int) -> str:
        if status == "stalled":
            return self._reason(status, epoch) + "; standardise the columns or use float64"
        if status != "completed":
            return ""
        goals = [
            f"{name}={value:g}"
            for name, value in (("gap", self.trainer.gap), ("tol", self.trainer.tol))
            if value
        ]
        return (
            f"{self.solver} did not reach {' or '.join(goals) or 'the optimum'} in {epoch} steps; "
            "raise epochs, or standardise the columns"
        )


def _same(one: Step, other: Step) -> bool:
    return np.array_equal(one.point.theta, other.point.theta)
