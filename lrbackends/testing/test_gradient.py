"""Loss, gradient and scores are right: at zero, at random and at large parameters."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import elementary
from lrbackends.testing.evidence import assert_passed, gradients, part
from lrbackends.testing.kit import claimed


def test_loss_and_gradient_are_those_of_50_digits(backend: Backend) -> None:
    """With weights, penalty or no intercept, at w = 0 and at margins of several hundred."""
    assert_passed(gradients(backend))


@claimed("float32")
def test_loss_and_gradient_in_float32_are_those_of_50_digits(backend: Backend) -> None:
    """The same points, with the rounding errors of float32."""
    assert_passed(gradients(backend, "float32"))


def test_the_loss_and_sigmoid_of_single_samples_have_all_their_digits(backend: Backend) -> None:
    """Within 4 ULP from |z| = 1e-20 to 700."""
    assert_passed(elementary.measure(part(backend), backend))


@claimed("float32")
def test_the_loss_and_sigmoid_in_float32_have_all_their_digits(backend: Backend) -> None:
    """Within 4 ULP of float32 from |z| = 1e-20 to 80."""
    assert_passed(elementary.measure(part(backend, "float32"), backend))
