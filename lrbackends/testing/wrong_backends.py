"""Backends with mistakes that only the kit looks for, each with the tests that reject it.

Those whose figures are wrong are in `equivalence.wrong_backends`. These do what NumPy's backend
does, except for the one thing that their docstring names, and claim two classes of dense float64
rows, except for what the mistake is about.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import (
    API_VERSION,
    Batch,
    BatchBackend,
    Batches,
    BatchKernels,
    Capabilities,
    Kernels,
    Rule,
    State,
    require,
)
from lrbackends.backends.registry import get_backend
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem


def _numpy(problem: Problem, objective: Objective, *how: Any) -> Kernels:
    return get_backend("numpy").compile(problem, objective, *how)


class Around:
    """NumPy's kernels, with a place for each mistake."""

    def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
        self.problem, self.objective = problem, objective
        self.right: Any = _numpy(problem, objective, *how)

    def loss(self, params: Any) -> float:
        """See `Kernels`."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """See `Kernels`."""
        found: tuple[float, Params] = self.right.loss_gradient(params)
        return found

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """See `Kernels`."""
        found: NDArray[Any] = self.right.decision_function(X, params)
        return found

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """See `Kernels`."""
        found: tuple[State, NDArray[np.float64]] = self.right.run(rule, state, n_steps, batches)
        return found


class Wrong:
    """A backend with a place for each mistake."""

    api_version = API_VERSION
    covers = Capabilities(dtypes=("float64",))
    kernels: type[Around] = Around

    def __init__(self) -> None:
        self.name = type(self).__name__.lstrip("_")

    def capabilities(self) -> Capabilities:
        """Return what is claimed."""
        return self.covers

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> Kernels:
        """Return kernels."""
        require(self, problem, objective, arithmetic, n_threads)
        return self.kernels(problem, objective, arithmetic, n_threads)


WRONG_BACKENDS: dict[str, tuple[type[Wrong], tuple[str, ...]]] = {}


def _rejected_by(*tests: str) -> Callable[[type[Wrong]], type[Wrong]]:
    def register(made: type[Wrong]) -> type[Wrong]:
        WRONG_BACKENDS[made.__name__.lstrip("_")] = made, tests
        return made

    return register


# -- the shape of a backend


@_rejected_by("test_protocol.test_its_name_is_the_registered_one")
class _Misnamed(Wrong):
    """It calls itself by another name than it is registered as."""

    def __init__(self) -> None:
        self.name = "something else"


@_rejected_by("test_protocol.test_capabilities_are_plain_values_that_do_not_change")
class _ChangesItsMind(Wrong):
    """Its claims are a matter of when one asks."""

    looks = 0

    def capabilities(self) -> Capabilities:
        self.looks += 1
        return replace(self.covers, devices=("cpu", f"look {self.looks}"))


@_rejected_by("test_protocol.test_evaluations_are_plain_numpy_of_the_right_shape_and_type")
class _ArraysOfItsEngine(Wrong):
    """Scores are arrays of another type than NumPy's."""

    class kernels(Around):
        def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
            return np.ma.array(super().decision_function(X, params))


@_rejected_by("test_protocol.test_training_returns_plain_numpy_of_the_right_shape_and_type")
class _CountsInItsOwnType(Wrong):
    """The number of steps is not a Python integer."""

    class kernels(Around):
        def run(
            self, rule: Rule, state: State, n_steps: int, batches: Batches | None
        ) -> tuple[State, NDArray[np.float64]]:
            after, records = super().run(rule, state, n_steps, batches)
            count: Any = np.int64(after.step)
            return after._replace(step=count), records


@_rejected_by("test_protocol.test_no_steps_compile_only")
class _StepsToCompile(Wrong):
    """Compiling does a step, which is kept."""

    class kernels(Around):
        def run(
            self, rule: Rule, state: State, n_steps: int, batches: Batches | None
        ) -> tuple[State, NDArray[np.float64]]:
            if n_steps or batches is not None:
                return super().run(rule, state, n_steps, batches)
            after, records = super().run(rule, state, 1, None)
            return after._replace(step=state.step), records[:0]


# -- claims


@_rejected_by(
    "test_refusals.test_float32_is_refused",
    "test_refusals.test_more_than_two_classes_are_refused",
    "test_refusals.test_an_absolute_penalty_is_refused",
    "test_refusals.test_sparse_rows_are_refused",
    "test_refusals.test_the_reproducible_arithmetic_is_refused",
    "test_refusals.test_a_number_of_threads_is_refused",
)
class _RefusesNothing(Wrong):
    """What it does not claim it does all the same, some way or other."""

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> Kernels:
        return self.kernels(problem, objective, arithmetic, n_threads)


@_rejected_by("test_refusals.test_an_absolute_penalty_is_refused")
class _RefusesInItsOwnWords(Wrong):
    """A refusal does not say what would work."""

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> Kernels:
        if objective.l1:
            raise UnsupportedError("not implemented")
        return super().compile(problem, objective, arithmetic, n_threads)


@_rejected_by(
    "test_sparse.test_loss_and_gradient_of_sparse_rows_are_those_of_50_digits",
    "test_sparse.test_training_on_sparse_rows_is_numpys",
)
class _SparseInName(Wrong):
    """The last entry of sparse X is lost."""

    covers = Capabilities(dtypes=("float64",), sparse=True)

    class kernels(Around):
        def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
            if problem.sparse:
                X = problem.X.copy()
                X.data[np.flatnonzero(X.data)[-1]] = 0.0
                y = problem.classes[problem.y]
                problem = Problem(X, y, problem.sample_weight, classes=problem.classes)
            super().__init__(problem, objective, *how)


@_rejected_by(
    "test_narrow.test_loss_and_gradient_of_narrow_rows_are_those_of_50_digits",
    "test_narrow.test_training_on_narrow_rows_is_numpys",
)
class _TakesBytesToBeSigned(Wrong):
    """Whole numbers from 128 on are read as negative ones."""

    covers = Capabilities(dtypes=("float64",), narrow=True)

    class kernels(Around):
        def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
            if problem.X.dtype == np.uint8:
                X, y = problem.X.view(np.int8), problem.classes[problem.y]
                problem = Problem(X, y, problem.sample_weight, classes=problem.classes)
            super().__init__(problem, objective, *how)


@_rejected_by(
    "test_reproducible.test_hashes_are_the_golden_ones",
    "test_reproducible.test_training_gives_numpys_bits",
    "test_reproducible.test_hashes_are_the_golden_ones_in_other_environments",
)
class _ReproducibleInName(Wrong):
    """The reproducible arithmetic is the fast one."""

    covers = Capabilities(dtypes=("float64",), reproducible=True)

    class kernels(Around):
        def __init__(self, problem: Problem, objective: Objective, *_: Any) -> None:
            super().__init__(problem, objective)


@_rejected_by("test_hessian.test_a_hessian_that_would_not_fit_beside_the_data_is_refused")
class _MakesAnyHessian(Wrong):
    """Nothing is too large for it."""

    covers = Capabilities(dtypes=("float64",), hessian=True)

    class kernels(Around):
        def hessian(self, params: Any) -> NDArray[np.float64]:
            try:
                found: NDArray[np.float64] = self.right.hessian(params)
            except UnsupportedError:
                size = self.problem.n_features + 1
                found = np.broadcast_to(0.0, (size, size))
            return found

        def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
            return *self.loss_gradient(params), self.hessian(params)

        def hessian_product(self, params: Any, vector: Any) -> Params:
            found: Params = self.right.hessian_product(params, vector)
            return found


@_rejected_by("test_many_problems.test_losses_and_gradients_are_those_of_each_problem")
class _OneProblemForAll(Wrong):
    """Of many problems the first one's rows are taken for all."""

    def compile_batch(self, batch: Batch, n_threads: int | None = None) -> BatchKernels:
        numpy = get_backend("numpy")
        assert isinstance(numpy, BatchBackend)
        n = len(batch.weight)
        X, sign, weight = (np.repeat(part[:1], n, axis=0) for part in vars(batch).values())
        return numpy.compile_batch(Batch(X, sign, weight), n_threads)


# -- the same bits


@_rejected_by(
    "test_purity.test_read_only_arrays_are_enough",
    "test_input.test_what_is_handed_in_is_not_written_to",
)
class _NeedsWritableRows(Wrong):
    """It insists on arrays that it could write to."""

    class kernels(Around):
        def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
            if not problem.X.flags.writeable:
                raise ValueError("buffer source array is read-only")
            super().__init__(problem, objective, *how)


class _Rounding(Around):
    """Kernels whose gradients may be rounded otherwise."""

    def otherwise(self) -> bool:
        """Return whether they are."""
        raise NotImplementedError

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """See `Kernels`."""
        after, records = super().run(rule, state, n_steps, batches)
        if n_steps and self.otherwise():
            after = after._replace(theta=np.nextafter(after.theta, np.inf))
        return after, records


@_rejected_by("test_determinism.test_a_fit_done_again_gives_the_same_bits")
class _RemembersFits(Wrong):
    """Every other problem is rounded otherwise."""

    compiled = 0

    class kernels(_Rounding):
        def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
            super().__init__(problem, objective, *how)
            _RemembersFits.compiled += 1
            self.number = _RemembersFits.compiled

        def otherwise(self) -> bool:
            return self.number % 2 == 0


@_rejected_by("test_determinism.test_another_process_gives_the_same_bits")
class _RoundsByProcess(Wrong):
    """Its rounding depends on the process."""

    class kernels(_Rounding):
        def otherwise(self) -> bool:
            return os.getpid() != _HERE


_HERE = int(os.environ.setdefault("LRBACKENDS_TESTING_PROCESS", str(os.getpid())))


@_rejected_by("test_determinism.test_where_the_data_lie_in_memory_does_not_matter")
class _RoundsByAddress(Wrong):
    """Its rounding depends on where X lies, as where loops begin with what is not aligned."""

    class kernels(_Rounding):
        def otherwise(self) -> bool:
            return bool(self.problem.X.ctypes.data % 64)


@_rejected_by("test_determinism.test_fits_in_several_threads_at_once_give_the_bits_of_one")
class _SharesItsScratch(Wrong):
    """All fits keep their state in one place while they work."""

    scratch: Any = None

    class kernels(Around):
        def run(
            self, rule: Rule, state: State, n_steps: int, batches: Batches | None
        ) -> tuple[State, NDArray[np.float64]]:
            after = super().run(rule, state, n_steps, batches)
            if n_steps == 0:
                return after
            _SharesItsScratch.scratch = after
            time.sleep(5e-3)  # a kernel that takes its time
            found: tuple[State, NDArray[np.float64]] = _SharesItsScratch.scratch
            return found


@_rejected_by("test_determinism.test_any_number_of_threads_gives_the_same_bits")
class _RoundsByThreads(Wrong):
    """With more than two threads it rounds otherwise."""

    covers = Capabilities(dtypes=("float64",), threads=True)

    class kernels(_Rounding):
        def __init__(
            self,
            problem: Problem,
            objective: Objective,
            arithmetic: str = "fast",
            n_threads: int | None = None,
        ) -> None:
            super().__init__(problem, objective, arithmetic, n_threads)
            self.n_threads = n_threads

        def otherwise(self) -> bool:
            return (self.n_threads or 1) > 2


# -- through the trainer


@_rejected_by("test_statuses.test_an_explosion_is_an_error_with_the_best_parameters")
class _HidesExplosions(Wrong):
    """The objective is recorded as ten at most."""

    class kernels(Around):
        def run(
            self, rule: Rule, state: State, n_steps: int, batches: Batches | None
        ) -> tuple[State, NDArray[np.float64]]:
            after, records = super().run(rule, state, n_steps, batches)
            return after, np.column_stack([np.fmin(records[:, 0], 10.0), records[:, 1]])


@_rejected_by("test_input.test_odd_data_are_trained_on_as_by_numpy")
class _DislikesManyColumns(Wrong):
    """More columns than rows are an error."""

    class kernels(Around):
        def __init__(self, problem: Problem, objective: Objective, *how: Any) -> None:
            if problem.n_features > problem.n_samples:
                raise ValueError("there are more columns than rows")
            super().__init__(problem, objective, *how)


@_rejected_by("test_input.test_parameters_of_another_shape_get_numpys_message")
class _TakesAnyParameters(Wrong):
    """Parameters are cut or filled up to fit."""

    class kernels(Around):
        def loss_gradient(self, params: Any) -> tuple[float, Params]:
            coef, intercept = params
            shape = 1, self.problem.n_features
            return super().loss_gradient(Params(np.resize(coef, shape), np.resize(intercept, 1)))
