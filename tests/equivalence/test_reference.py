"""The reference that trajectories are judged by, judged by 50-digit arithmetic itself."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from lrbackends.backends.protocol import pack
from lrbackends.equivalence import reference
from lrbackends.equivalence.figures import ulps
from lrbackends.equivalence.problems import small
from lrbackends.objective import (
    EXACT_DIGITS,
    Objective,
    Params,
    exact_loss_gradient,
    reference_loss_gradient,
)
from lrbackends.solvers import UpdateRule, epoch_batches

START = Params(np.array([[0.5, -1.0, 0.25, 0.0, 2.0]]), np.array([0.125]))
N_EXTRA_BITS = reference.extra_bits()


def test_one_step_of_gd_is_exact_to_the_last_bits_of_its_type():
    problem, objective, rate = small(weighted=True), Objective(l2=0.25), 0.125
    found = reference.train(problem, objective, UpdateRule("gd", rate), START, 1)
    _, dw, db = exact_loss_gradient(problem, objective, START)
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        start = [Decimal(float(v)) for v in pack(START)]
        exact = [v - Decimal(rate) * g for v, g in zip(start, [*dw, *db], strict=True)]
        for value, true in zip(found, exact, strict=True):
            high = float(value)
            low = float(value - np.longdouble(high))
            error = abs(Decimal(high) + Decimal(low) - true) / abs(true)
            assert error < Decimal(2) ** -(52 + N_EXTRA_BITS) * 16


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_it_follows_the_update_rule(solver, fit_intercept):
    problem = small(weighted=True)
    objective = Objective(l2=0.25, fit_intercept=fit_intercept)
    start = Params(START.coef, START.intercept * fit_intercept)
    rule = UpdateRule(solver, 0.1)
    found = reference.train(problem, objective, rule, start, 5)

    theta = pack(start).astype(np.longdouble)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for rate, decay1, _, decay2, _, epsilon in rule.coefficients(0, 5):
        _, gradient = reference_loss_gradient(
            problem, objective, Params(theta[None, :-1], theta[-1:])
        )
        g = pack(gradient)
        if solver == "gd":
            theta = theta - rate * g
        elif solver == "adam":
            first = decay1 * first + (1 - decay1) * g
            second = decay2 * second + (1 - decay2) * g**2
            theta = theta - rate * first / (np.sqrt(second) + epsilon)
        else:
            first = decay1 * first + g
            theta = theta - rate * (first if solver == "momentum" else g + decay1 * first)
    np.testing.assert_allclose(found.astype(float), theta.astype(float), rtol=1e-15)
    assert (found[-1] == 0) is np.bool_(not fit_intercept)


def test_a_mini_batch_is_the_problem_of_its_rows():
    problem, rule = small(), UpdateRule("gd", 0.1)
    batches = reference.batches_of_steps(problem.n_samples, 24, seed=3, n_steps=3)
    found = reference.train(problem, Objective(), rule, START, 3, batches)
    theta = START
    for rows, size in zip(*batches, strict=True):
        after = reference.train(problem.take(rows[:size]), Objective(), rule, theta, 1)
        theta = Params(after[None, :-1], after[-1:])
    np.testing.assert_allclose(found.astype(float), pack(theta).astype(float), rtol=1e-15)


def test_batches_of_steps_go_from_epoch_to_epoch():
    batches = reference.batches_of_steps(10, 4, seed=1, n_steps=5)
    epochs = [epoch_batches(10, 4, 1, epoch) for epoch in (0, 1)]
    np.testing.assert_array_equal(batches.sizes, [4, 4, 2, 4, 4])
    np.testing.assert_array_equal(batches.indices[:3], epochs[0].indices)
    np.testing.assert_array_equal(batches.indices[3:], epochs[1].indices[:2])


def test_without_extra_bits_the_compensated_update_keeps_it_close():
    """As on platforms whose long double is a float64."""
    problem, rule = small(), UpdateRule("gd", 0.5)
    arguments = problem, Objective(), rule, START, 500
    wide, narrow = (reference.train(*arguments, dtype=t) for t in (np.longdouble, np.float64))
    assert narrow.dtype == np.float64
    assert np.median(ulps(narrow, wide)) <= 2


def test_it_says_when_it_has_no_extra_bits():
    assert reference.extra_bits(np.float64) == 0
    assert "no more bits than float64" in reference.describe(np.float64)
    if N_EXTRA_BITS:
        assert reference.describe() == f"long double, {N_EXTRA_BITS} bits more than float64"
