"""An absolute penalty, where it is claimed."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.testing.evidence import assert_passed, gradients, optima, trajectories
from lrbackends.testing.kit import claimed


@claimed("l1")
def test_the_subgradient_is_the_one_of_least_size(backend: Backend) -> None:
    """Where some weights, or all, are exactly zero."""
    assert_passed(gradients(backend, "l1"))


@claimed("l1")
def test_proximal_steps_follow_extended_precision_and_numpy(backend: Backend) -> None:
    """Each step ends by shrinking the coefficients, and only them, by its threshold."""
    assert_passed(trajectories(backend, "l1"))


@claimed("l1")
def test_training_ends_at_a_minimum_with_exact_zeros(backend: Backend) -> None:
    """By proximal Newton steps and by proximal gradient steps."""
    assert_passed(optima(backend, "l1"))
