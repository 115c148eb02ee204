"""Distances in units in the last place, in norm and in units of rounding."""

from decimal import Decimal

import numpy as np
import pytest

from lrbackends.equivalence import figures
from lrbackends.objective import Objective, Params, reference_loss_gradient
from lrbackends.problem import Problem

EPS = np.finfo(np.float64).eps


def test_ulps_count_neighbouring_floats():
    a = np.array([1.0, 1.0, -8.0])
    b = np.array([1.0 + EPS, 1.0 + 3 * EPS, -8.0])
    np.testing.assert_array_equal(figures.ulps(a, b), [1, 3, 0])
    np.testing.assert_array_equal(figures.ulps(b, a), [1, 3, 0])


def test_ulps_of_extended_precision_are_fractions_of_the_float64_unit():
    if np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("long double has no extra bits here")
    exact = np.longdouble(1) + np.longdouble(EPS) / 4
    assert figures.ulps(np.array([1.0]), np.array([exact]))[0] == 0.25


def test_ulps_leave_out_what_is_zero_in_both_but_not_what_is_zero_in_one():
    distance = figures.ulps(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]))
    assert len(distance) == 2
    assert distance[0] > 1e15


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_ulps_of_what_is_not_finite_are_infinite(strange):
    with np.errstate(invalid="ignore"):
        assert figures.ulps(np.array([strange, 1.0]), np.array([1.0, 1.0])).max() == np.inf


def test_relative_norm():
    assert figures.relative_norm(np.array([3.0, 4.1]), np.array([3.0, 4.0])) == pytest.approx(0.02)
    assert figures.relative_norm(np.zeros(2), np.zeros(2)) == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ulps_of_exact_use_the_unit_of_the_type(dtype):
    third = np.array([1, 3], dtype)[:1] / 3
    neighbour = np.nextafter(third, np.ones(1, dtype))
    exact = [Decimal(float(third[0]))]
    assert figures.ulps_of_exact(third, exact)[0] == 0
    assert figures.ulps_of_exact(neighbour, exact)[0] == 1


def test_rounding_units():
    assert figures.rounding_units(2 + 4 * EPS, Decimal(2), 2.0, np.float64) == 2
    assert figures.rounding_units(2 + 4 * EPS, np.longdouble(2), 2.0, np.float64) == 2
    assert figures.rounding_units(np.nan, Decimal(2), 1.0, np.float64) == np.inf
    assert figures.rounding_units(1e-300, Decimal(0), 0.0, np.float64) == np.inf
    assert figures.rounding_units(0.0, Decimal(0), 0.0, np.float64) == 0


def test_magnitudes_are_the_sums_without_their_signs():
    """Where no term cancels, they are the loss and the gradient themselves."""
    problem = Problem([[1.0], [-2.0]], [0, 1])
    params = Params(np.array([[0.0]]), np.array([0.0]))
    size = figures.magnitudes(problem, Objective(), params)
    loss, gradient = reference_loss_gradient(problem, Objective(), params)
    assert size.loss == pytest.approx(float(loss))
    assert size.gradient[0] == pytest.approx(float(gradient.coef[0, 0]))
    assert size.gradient[1] == 0.5  # the two residuals cancel: 1/2 and -1/2


def test_magnitudes_grow_with_the_scores_that_are_rounded():
    problem = Problem([[1.0], [-2.0]], [0, 1])
    near, far = (
        figures.magnitudes(problem, Objective(), Params(np.array([[w]]), np.zeros(1)))
        for w in (1.0, 100.0)
    )
    assert far.score.max() == 200
    assert far.loss > 50 * near.loss


def test_the_limit_of_a_sum_grows_with_the_root_of_its_terms():
    assert figures.summation_limit(64) == 8
    assert figures.summation_limit(6400) == 44
