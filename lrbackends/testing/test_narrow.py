"""X in a narrower type than is computed in: read as it is where claimed, else widened before."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import problems
from lrbackends.testing.evidence import assert_passed, gradients, hessians
from lrbackends.testing.kit import claimed
from lrbackends.testing.outcomes import assert_same_as_numpy


@claimed("narrow")
def test_loss_and_gradient_of_narrow_rows_are_those_of_50_digits(backend: Backend) -> None:
    """Whole numbers of 8 bits, with and without sign, and float32 in float64."""
    assert_passed(gradients(backend, "narrow"))


@claimed("narrow", "hessian")
def test_hessians_of_narrow_rows_are_those_of_the_formula(backend: Backend) -> None:
    """In each type that is claimed."""
    assert_passed(hessians(backend, "narrow"))


def test_training_on_narrow_rows_is_numpys(backend: Backend) -> None:
    """Nobody has to widen them by hand."""
    for setting in problems.stored("float64"):
        problem = setting.problem
        if not problem.sparse and problem.n_outputs == 1:
            assert_same_as_numpy(
                backend, problem.X, problem.y, problem.sample_weight, l2=1.0, dtype="float64"
            )
