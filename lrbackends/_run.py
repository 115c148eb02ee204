"""One training run: the bookkeeping around the native steps of a backend."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends import diagnostics, solvers
from lrbackends._stopping import EarlyStopping
from lrbackends._validation import outside_frame
from lrbackends.backends.protocol import (
    Kernels,
    State,
    initial_state,
    require,
    unpack,
)
from lrbackends.backends.registry import get_backend
from lrbackends.callbacks import TrainingProgress
from lrbackends.errors import (
    CollinearityWarning,
    DivergenceError,
    SeparationWarning,
    UnsupportedError,
)
from lrbackends.objective import Objective, Params, accuracy, as_params, mean_log_loss
from lrbackends.problem import Problem
from lrbackends.result import TrainingResult
from lrbackends.scaling import scaling_of

if TYPE_CHECKING:
    from lrbackends.trainer import Trainer

_EXPLODED = 1e3  # a loss that many times the initial one has diverged


def _first(flags: NDArray[np.bool_]) -> int | None:
    """Return the index of the first true flag."""
    return int(flags.argmax()) if flags.any() else None


class Run:
    """One call of `Trainer.fit`."""

    def __init__(
        self,
        trainer: Trainer,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: tuple[Any, Any] | None,
        classes: ArrayLike | None,
        state: State | None,
    ) -> None:
        self.trainer, self._given = trainer, state
        self._of_more = classes is not None  # rows of more that there are
        self.timings: dict[str, float] = {}
        self._started = time.perf_counter()
        self.seed = (
            int(np.random.SeedSequence().generate_state(1)[0])
            if trainer.random_state is None
            else int(trainer.random_state)
        )
        self.objective = Objective(trainer.l2, trainer.l1, trainer.fit_intercept)
        with self._timed("data"):
            self.problem, self.validation = self._problems(
                X, y, sample_weight, validation_data, classes
            )
            self.scaling = (
                scaling_of(self.problem, trainer.fit_intercept) if trainer.standardize else None
            )
        with self._timed("import"):
            self.backend = get_backend(trainer.backend)
        with self._timed("transfer"):
            if not self.backend.capabilities().narrow:
                self.problem = self.problem.widened()
                self.validation = self.validation and self.validation.widened()
            self.plain: Kernels  # those of X itself, where training is in other coordinates
            self.kernels = self._compiled()
            self.validator = self._validator()
        self.solver = trainer.solver
        self.learning_rate = np.nan
        self.history: dict[str, list[float]] = {"loss": []}
        if self.validation is not None:
            self.history |= {"validation_loss": [], "validation_accuracy": []}
        self.initial_loss = np.nan
        self.last_gradient_norm = np.nan
        self.rows_read = 0
        self.stopping = EarlyStopping(trainer.patience, trainer.min_delta)
        self.bound = np.nan

    # -- preparation

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start

    def _problems(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: tuple[Any, Any] | None,
        classes: ArrayLike | None,
    ) -> tuple[Problem, Problem | None]:
        n_threads = self.trainer.n_threads
        whole = Problem(
            X,
            y,
            sample_weight,
            dtype=self.trainer.dtype,
            classes=classes,
            n_threads=n_threads,
            warn_of_scale=not self.trainer.standardize,
        )
        fraction = self.trainer.validation_fraction
        if validation_data is not None:
            if fraction is not None:
                raise ValueError("give validation_data or validation_fraction, not both")
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise TypeError("validation_data must be a pair (X, y)")
            try:
                held = Problem(
                    *validation_data,
                    dtype=whole.dtype,
                    classes=whole.classes,
                    n_threads=n_threads,
                    warn_of_scale=False,
                )
            except (TypeError, ValueError) as error:
                raise type(error)(f"in validation_data: {error}") from None
            if held.n_features != whole.n_features:
                raise ValueError(
                    f"validation X has {held.n_features} features, training X has "
                    f"{whole.n_features}"
                )
            return whole, held
        if fraction is None:
            return whole, None
        from sklearn.model_selection import train_test_split

        try:
            train, test = train_test_split(
                np.arange(whole.n_samples),
                test_size=fraction,
                random_state=self.seed % 2**32,
                stratify=whole.y,
            )
        except ValueError as error:
            raise ValueError(f"validation_fraction={fraction} does not work: {error}") from None
        return whole.take(np.sort(train)), whole.take(np.sort(test))

    def _compiled(self) -> Kernels:
        """Return the kernels that training uses, in its coordinates."""
        self.plain = self._compile(self.problem, self.objective)
        return self.plain

    def _compile(self, problem: Problem, objective: Objective) -> Kernels:
        return self.backend.compile(
            problem, objective, self.trainer.arithmetic, self.trainer.n_threads
        )

    def _validator(self) -> Kernels | None:
        """Return kernels of the validation rows where the bits of their loss matter.

        The last bits of NumPy's exp and log1p depend on the processor.
        """
        if self.validation is None:
            return None
        arithmetic = self.trainer.arithmetic
        try:
            require(self.backend, self.validation, Objective(), arithmetic)
            if arithmetic != "reproducible":
                return None
            return self._compile(self.validation, Objective())
        except UnsupportedError as error:
            raise UnsupportedError(f"in the validation rows: {error}") from None

    def _start(self) -> State:
        init, problem = self.trainer.init, self.problem
        if self._given is not None:
            return self._continued(self._given)
        shape = problem.n_outputs, problem.n_features
        if isinstance(init, str):
            draw = np.zeros(shape[0] * (shape[1] + 1))
            if init == "normal":
                draw = np.random.default_rng(self.seed).normal(
                    scale=self.trainer.init_scale, size=draw.shape
                )
            init = draw[: shape[0] * shape[1]], draw[shape[0] * shape[1] :]
        params = as_params(init, problem)
        if not isinstance(self.trainer.init, str):
            params = self._given_params(params)
        if not all(np.isfinite(part).all() for part in params):
            raise ValueError("init has NaN or infinite parameters")
        if not self.objective.fit_intercept:
            params = Params(params.coef, np.zeros_like(params.intercept))
        return initial_state(params)

    def _given_params(self, params: Params) -> Params:
        """Return parameters of X in the coordinates of training."""
        return params

    def _continued(self, state: State) -> State:
        """Return a state to go on from, copied."""
        size = self.problem.n_outputs * (self.problem.n_features + 1)
        vectors = [np.array(v, self.problem.dtype) for v in state[:4]]
        if any(v.shape != (size,) or not np.isfinite(v).all() for v in vectors):
            raise ValueError(f"state must hold four finite vectors of {size} entries")
        theta, residual, first, second = vectors
        return State(theta, residual, first, second, int(state.step))

    # -- stepping

    def _params(self, state: State) -> Params:
        """Return the parameters in the coordinates of training."""
        return unpack(state.theta, self.problem.n_features)

    def _reported(self, state: State) -> Params:
        """Return the parameters that belong to X itself."""
        return self._params(state)

    def _validate(self, state: State) -> float:
        """Record loss and accuracy on the validation rows; return the loss."""
        assert self.validation is not None
        params, kernels = self._reported(state), self.validator or self.plain
        z = kernels.decision_function(self.validation.X, params)
        loss = mean_log_loss(z, self.validation) if self.validator is None else kernels.loss(params)
        self.history["validation_loss"].append(loss)
        self.history["validation_accuracy"].append(accuracy(z, self.validation))
        return loss

    def _observe(
        self, epoch: int, records: NDArray[np.float64], state: State | None = None
    ) -> tuple[int, str]:
        """Take in (objective, gradient norm) after ``epoch``, ``epoch + 1``, … epochs.

        ``state`` is the one after ``epoch`` epochs, for validation. Returns the number of the
        record to end with, and the status there ("" to go on); later records are dropped.
        """
        losses, norms = records[:, 0], records[:, 1]
        if epoch == 0:
            self.initial_loss = float(losses[0])
        limit = _EXPLODED * max(self.initial_loss, np.log(2.0))
        ends = {"diverged": _first(~(losses <= limit))}
        if self.trainer.tol > 0:
            ends["converged"] = _first(norms <= self.trainer.tol)
        met = [(i, name) for name, i in ends.items() if i is not None]
        last, status = min(met, default=(len(losses) - 1, ""), key=lambda end: end[0])
        monitored = losses[: last + (status != "diverged")]
        if self.validation is not None:
            validate = state is not None and epoch > 0 and len(monitored) > 0
            monitored = np.array([self._validate(state)] if validate and state else [])
            if epoch > 0 and not len(monitored):  # diverged: nothing to validate, but an entry
                self.history["validation_loss"].append(np.nan)
                self.history["validation_accuracy"].append(np.nan)
        patience_ended = self.stopping.observe(epoch, monitored)
        if patience_ended is not None and (patience_ended < last or not status):
            last, status = patience_ended, "early_stopped"
        self.history["loss"] += losses[(epoch == 0) : last + 1].tolist()
        self.last_gradient_norm = float(norms[last])
        return last, status

    def _notify(self, state: State, epoch: int, done: bool = False) -> bool:
        if not self.trainer.callbacks:
            return False
        progress = TrainingProgress(
            epoch, self.trainer.epochs, self.history, self._reported(state), done
        )
        answers = [callback(progress) for callback in self.trainer.callbacks]
        return any(answers)

    # -- what a kind of solver adds

    def _warm_up(self, state: State) -> None:
        """Compile what the run will use."""
        raise NotImplementedError

    def _advance(self, state: State, epoch: int) -> tuple[State, int, str]:
        """Go on from ``state``; return where that led, after how many epochs, and the status."""
        raise NotImplementedError

    def _ended(self, state: State, epoch: int) -> str:
        """Take in what is not recorded yet of the state that a callback stops at."""
        raise NotImplementedError

    def _best(self) -> State:
        """Return the state of the lowest monitored loss."""
        raise NotImplementedError

    def _n_steps(self, epoch: int) -> int:
        """Return the number of updates in so many epochs."""
        return epoch

    def _unmet(self, status: str, epoch: int) -> str:
        """Return what to warn of where the goal was not reached."""
        trainer = self.trainer
        if status != "completed" or trainer.tol == 0:
            return ""
        return (
            f"the gradient did not reach tol={trainer.tol:g} in {epoch} epochs; raise epochs or "
            "tol, or standardise the columns"
        )

    # -- the run

    def result(self) -> TrainingResult:
        """Train and return the result."""
        state = self._start()
        with self._timed("compile"):
            self._warm_up(state)
        epoch, status = 0, ""
        with self._timed("run"):
            try:
                while not status:
                    state, epoch, status = self._advance(state, epoch)
                    if not status and self._notify(state, epoch):
                        status = self._ended(state, epoch) or "callback"
            finally:
                self._notify(state, epoch, done=True)
            final, final_epoch = self._chosen(state, epoch, status)
        return self._finish(final, final_epoch, epoch, status)

    def _chosen(self, state: State, epoch: int, status: str) -> tuple[State, int]:
        """Return the state to report: the best one where that was asked for, else the last."""
        best_epoch = self.stopping.best_epoch
        wanted = self.trainer.patience is not None or status == "diverged"
        if not wanted or best_epoch == epoch:
            return state, epoch
        return self._best(), best_epoch

    def _finish(self, state: State, at: int, epoch: int, status: str) -> TrainingResult:
        trainer, params = self.trainer, self._reported(state)
        loss = self.history["loss"][at - 1] if at > 0 else self.initial_loss
        reason = self._reason(status, epoch)
        if status != "diverged" and trainer.l2 == trainer.l1 == 0 and not self._of_more:
            with self._timed("checks"):
                separated = diagnostics.separating_columns(self.problem, self.objective, params)
                collinear = diagnostics.collinear_columns(self.problem, self.objective)
            if separated is not None:
                status = "separated"
                reason = (
                    f"{reason}; the classes are separated {separated}; without a penalty the "
                    "weights grow for ever, so these are partial: set l2 > 0"
                )
                self._warn(reason, SeparationWarning)
            elif collinear is not None:
                self._warn(
                    f"{collinear} of X are linearly dependent; without a penalty other weights "
                    "fit equally well: drop one or set l2 > 0",
                    CollinearityWarning,
                )
        unmet = self._unmet(status, epoch)
        if unmet:
            from sklearn.exceptions import ConvergenceWarning

            self._warn(unmet, ConvergenceWarning)
        self.timings["total"] = time.perf_counter() - self._started
        result = TrainingResult(
            coef=params.coef,
            intercept=params.intercept,
            classes=self.problem.classes,
            loss=loss,
            gradient_norm=self.last_gradient_norm if at == epoch else np.nan,
            suboptimality=self.bound if at == epoch else np.nan,
            history={name: np.array(values) for name, values in self.history.items()},
            initial_loss=self.initial_loss,
            best_epoch=self.stopping.best_epoch,
            n_epochs=epoch,
            n_steps=self._n_steps(epoch),
            n_passes=self.rows_read / self.problem.n_samples,
            status=status,
            reason=reason,
            learning_rate=self.learning_rate,
            random_state=self.seed,
            timings=self.timings,
            backend=self.backend.name,
            solver=self.solver,
            arithmetic=trainer.arithmetic,
            dtype=self.problem.dtype.name,
            state=state,
            total_weight=self.problem.total_weight,
            feature_names=self.problem.feature_names,
        )
        if status == "diverged":
            raise DivergenceError(f"{reason}; {self._largest_safe_step()}", result)
        return result

    def _reason(self, status: str, epoch: int) -> str:
        trainer = self.trainer
        return {
            "completed": f"all {epoch} epochs done",
            "converged": f"no entry of the gradient exceeds tol={trainer.tol:g}",
            "early_stopped": (
                f"the {'training' if self.validation is None else 'validation'} loss did not fall "
                f"by more than {trainer.min_delta:g} for {trainer.patience} epochs"
            ),
            "callback": "a callback asked to stop",
            "diverged": (
                f"training diverged in epoch {epoch}: "
                f"the loss is {(self.history['loss'] or [self.initial_loss])[-1]:g}"
            ),
        }[status]

    def _smoothness(self) -> float:
        return solvers.smoothness(
            self.problem, self.objective, self.trainer.batch_size, self.scaling
        )

    def _largest_safe_step(self) -> str:
        rate = solvers.safe_rate(self._smoothness())
        return f"the largest safe learning_rate for these data is {rate:.6g} (1/L)"

    def _warn(self, message: str, category: type[Warning]) -> None:
        warnings.warn(message, category, stacklevel=outside_frame())
