"""What is not claimed is refused, and nothing is done silently in another way.

It is refused in the words of `backends.protocol.require`, which say what would work.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from lrbackends.backends.protocol import Backend, require
from lrbackends.equivalence import problems
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective
from lrbackends.problem import Problem
from lrbackends.testing.kit import claimed, unclaimed
from lrbackends.testing.outcomes import error_of, outcome


@unclaimed("float32")
def test_float32_is_refused(backend: Backend) -> None:
    """A backend that does not claim float32 names the type that works."""
    _assert_refused(backend, problems.small(dtype="float32"))


@unclaimed("multinomial")
def test_more_than_two_classes_are_refused(backend: Backend) -> None:
    """A backend of two classes does not fit some of three."""
    X, y = problems.small().X, np.arange(64) % 3
    _assert_refused(backend, Problem(X, y))


@unclaimed("l1")
def test_an_absolute_penalty_is_refused(backend: Backend) -> None:
    """A backend that has no L1 penalty does not leave it out."""
    _assert_refused(backend, problems.small(), Objective(l1=0.5))


@unclaimed("sparse")
def test_sparse_rows_are_refused(backend: Backend) -> None:
    """A backend that does not claim sparse data does not make them dense behind one's back."""
    _assert_refused(backend, _sparse())


@unclaimed("reproducible")
def test_the_reproducible_arithmetic_is_refused(backend: Backend) -> None:
    """A backend that does not promise the same bits does not give others."""
    _assert_refused(backend, problems.small(), arithmetic="reproducible")


@claimed("sparse", "reproducible")
def test_sparse_rows_in_the_reproducible_arithmetic_are_refused(backend: Backend) -> None:
    """There is no specification of them that a backend could follow."""
    _assert_refused(backend, _sparse(), arithmetic="reproducible")


@unclaimed("threads")
def test_a_number_of_threads_is_refused(backend: Backend) -> None:
    """A backend that cannot limit its threads says how they can be limited."""
    _assert_refused(backend, problems.small(), n_threads=2)


@unclaimed("hessian")
def test_solvers_that_need_second_derivatives_are_refused(backend: Backend) -> None:
    """The trainer names a solver that works."""
    problem = problems.small()
    found = outcome(backend, problem.X, problem.y, solver="newton", l2=0.1)
    assert found.error is not None, "newton trains without a Hessian"
    assert found.error[0] == UnsupportedError.__name__, found.error
    assert "use solver='lbfgs'" in found.error[1], found.error


def test_an_unknown_arithmetic_is_refused(backend: Backend) -> None:
    """It is not taken for the fast one."""
    _assert_refused(backend, problems.small(), arithmetic="exact", error=ValueError)


def _sparse() -> Problem:
    problem = problems.small()
    return Problem(sparse.csr_array(problem.X), problem.y)


def _assert_refused(
    backend: Backend,
    problem: Problem,
    objective: Objective = Objective(),  # noqa: B008 (frozen)
    arithmetic: str = "fast",
    n_threads: int | None = None,
    error: type[Exception] = UnsupportedError,
) -> None:
    """Fail unless compiling says exactly what the protocol's `require` says."""
    asked = problem, objective, arithmetic, n_threads
    expected = error_of(lambda: require(backend, *asked))
    found = error_of(lambda: backend.compile(*asked))
    assert expected is not None, "the protocol covers this"
    assert expected[0] == error.__name__, f"the protocol would have {expected}"
    assert found is not None, f"compiled, instead of refusing: {expected[1]}"
    assert found == expected, f"it says: {found}\nit should say: {expected}"
