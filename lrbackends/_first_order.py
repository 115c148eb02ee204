"""One training run by an update rule: native steps in chunks, on all rows or on mini-batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends import solvers
from lrbackends._run import Run
from lrbackends._standardised import StandardisedKernels
from lrbackends._stopping import Pace
from lrbackends.backends.protocol import Batches, Kernels, State
from lrbackends.errors import DivergenceWarning
from lrbackends.objective import Objective, Params
from lrbackends.result import TrainingResult

if TYPE_CHECKING:
    from lrbackends.trainer import Trainer


class FirstOrderRun(Run):
    """One call of `Trainer.fit` with an update rule."""

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
        super().__init__(trainer, X, y, sample_weight, validation_data, classes, state)
        with self._timed("data"):
            self.learning_rate = self._rate()
        self.rule = solvers.UpdateRule(
            trainer.solver,
            self.learning_rate,
            trainer.momentum,
            trainer.decay2,
            trainer.epsilon,
            trainer.schedule,
            trainer.l2,
        )
        n, b = self.problem.n_samples, trainer.batch_size
        self.batch_size = b if b is not None and b < n else None
        self.pace = Pace(
            (self.batch_size or n) * (self.problem.n_features + 1) * self.problem.n_outputs
        )
        self.best: tuple[State, int] | None = None  # replaying so many steps from there is best

    def _compiled(self) -> Kernels:
        if self.scaling is None:
            return super()._compiled()
        unpenalised = Objective(fit_intercept=self.objective.fit_intercept)
        self.plain = self._compile(self.problem, unpenalised)
        return StandardisedKernels(self.plain, self.problem, self.objective, self.scaling)

    def _given_params(self, params: Params) -> Params:
        return params if self.scaling is None else self.scaling.from_columns(params)

    def _reported(self, state: State) -> Params:
        params = self._params(state)
        return params if self.scaling is None else self.scaling.to_columns(params)

    def _rate(self) -> float:
        if self.trainer.learning_rate is not None:
            return float(self.trainer.learning_rate)
        if self.trainer.solver == "adam":
            return solvers.ADAM_RATE
        curvature = self._smoothness()
        if self.trainer.solver != "gd" and self.trainer.batch_size is not None:
            # Each gradient's noise is followed for 1 / (1 - momentum) steps.
            curvature /= 1.0 - self.trainer.momentum
        return solvers.safe_rate(curvature)

    def _warm_up(self, state: State) -> None:
        empty = None
        if self.batch_size is not None:
            empty = Batches(np.zeros((0, self.batch_size), np.int64), np.zeros(0, dtype=np.int64))
        self.kernels.run(self.rule, state, 0, empty)
        if self.batch_size is not None or self.trainer.callbacks:
            self.kernels.loss_gradient(self._params(state))
        if self.validation is not None:
            self.plain.decision_function(self.validation.X, self._reported(state))

    def _advance(self, state: State, epoch: int) -> tuple[State, int, str]:
        if self.batch_size is None:
            return self._advance_all_rows(state, epoch)
        return self._advance_batches(state, epoch)

    def _steps(self, state: State, n_steps: int, batches: Batches | None) -> tuple[State, Any]:
        """Run native steps, counting the rows that they read."""
        self.rows_read += (
            n_steps * self.problem.n_samples if batches is None else int(batches.sizes.sum())
        )
        return self.kernels.run(self.rule, state, n_steps, batches)

    def _batches_of(self, epoch: int) -> Batches:
        assert self.batch_size is not None
        return solvers.epoch_batches(
            self.problem.n_samples, self.batch_size, self.seed, epoch, self.trainer.replacement
        )

    def _advance_all_rows(self, state: State, epoch: int) -> tuple[State, int, str]:
        """Do a chunk of full-batch steps; return the state where it ended or was stopped.

        A chunk records the objective *before* each step, so it tells about the epochs ``epoch`` to
        ``epoch + n - 1``; at the very end one more step is done for its record alone.
        """
        left = self.trainer.epochs - epoch
        watched = self.validation is not None or any(
            getattr(callback, "every_epoch", False) for callback in self.trainer.callbacks
        )
        n = 1 if watched else max(1, min(self.pace.steps(), left))
        began = time.perf_counter()
        after, records = self._steps(state, n, None)
        self.pace.took(time.perf_counter() - began, n)
        last, status = self._observe(epoch, records, state)
        if self.stopping.best_epoch >= epoch:
            self.best = state, self.stopping.best_epoch - epoch
        if status:
            stopped = self._steps(state, last, None)[0] if last else state
            return stopped, epoch + last, status
        return (state, epoch, "completed") if left == 0 else (after, epoch + n, "")

    def _advance_batches(self, state: State, epoch: int) -> tuple[State, int, str]:
        """Look at the objective on all rows, then do one epoch of mini-batch steps."""
        records = self._look(state, with_gradient=self.trainer.tol > 0)
        _, status = self._observe(epoch, records, state)
        if self.stopping.best_epoch == epoch:
            self.best = state, 0
        if status or epoch == self.trainer.epochs:
            return state, epoch, status or "completed"
        batches = self._batches_of(epoch)
        start = 0
        while start < len(batches.sizes):
            stop = start + self.pace.steps()
            some = Batches(batches.indices[start:stop], batches.sizes[start:stop])
            began = time.perf_counter()
            state, _ = self._steps(state, len(some.sizes), some)
            self.pace.took(time.perf_counter() - began, len(some.sizes))
            start = stop
        return state, epoch + 1, ""

    def _look(self, state: State, with_gradient: bool) -> NDArray[np.float64]:
        """Return objective and gradient norm (NaN unless asked for) on all rows, shape (1, 2)."""
        self.rows_read += self.problem.n_samples
        params = self._params(state)
        if not with_gradient:
            return np.array([[self.kernels.loss(params), np.nan]])
        loss, gradient = self.kernels.loss_gradient(params)
        return np.array([[loss, max(np.abs(part).max() for part in gradient)]])

    def _ended(self, state: State, epoch: int) -> str:
        return self._observe(epoch, self._look(state, with_gradient=True), state)[1]

    def _best(self) -> State:
        assert self.best is not None
        start, n_steps = self.best
        return self._steps(start, n_steps, None)[0] if n_steps else start

    def _n_steps(self, epoch: int) -> int:
        return epoch * (
            1 if self.batch_size is None else -(-self.problem.n_samples // self.batch_size)
        )

    def _finish(self, state: State, at: int, epoch: int, status: str) -> TrainingResult:
        result = super()._finish(state, at, epoch, status)
        if self.trainer.learning_rate is not None and self._rose():
            self._warn(
                f"the loss rose with learning_rate={self.trainer.learning_rate:g}; "
                + self._largest_safe_step(),
                DivergenceWarning,
            )
        return result

    def _rose(self) -> bool:
        losses: NDArray[np.float64] = np.array([self.initial_loss, *self.history["loss"]])
        ended_higher = bool(losses[-1] > losses[0])
        # Only plain full-batch descent must never rise; a few rises may be rounding.
        falling = self.trainer.solver == "gd" and self.batch_size is None
        rises = np.diff(losses) > 1e-12 * np.abs(losses[:-1])
        return ended_higher or (falling and int(rises.sum()) > 5)
