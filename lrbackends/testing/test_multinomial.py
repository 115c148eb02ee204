"""More than two classes, where they are claimed."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.testing.evidence import assert_passed, gradients, hessians, optima, trajectories
from lrbackends.testing.kit import claimed


@claimed("multinomial")
def test_softmax_and_its_gradient_are_those_of_50_digits(backend: Backend) -> None:
    """With weights, penalty or no intercept, at w = 0 and at large scores."""
    assert_passed(gradients(backend, "multinomial"))


@claimed("multinomial", "hessian")
def test_hessians_of_many_classes_are_those_of_the_formula(backend: Backend) -> None:
    """Classes are coupled, and each has its penalty."""
    assert_passed(hessians(backend, "multinomial"))


@claimed("multinomial")
def test_training_follows_extended_precision_and_numpy(backend: Backend) -> None:
    """Every update rule, on all rows and on mini-batches."""
    assert_passed(trajectories(backend, "multinomial"))


@claimed("multinomial")
def test_training_ends_where_scikit_learn_ends(backend: Backend) -> None:
    """By an update rule, and by every solver that the backend has the kernels for."""
    assert_passed(optima(backend, "multinomial"))
