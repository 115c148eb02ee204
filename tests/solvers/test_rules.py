import math

import numpy as np
import pytest

from lrbackends.backends.protocol import Coefficients
from lrbackends.solvers import FIRST_ORDER, UpdateRule

A = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
B = np.array([1.0, -2.0, 0.5])
START = np.array([0.5, 0.0, -1.0])


def gradient_of(theta: np.ndarray, t: int) -> np.ndarray:
    """The gradient of a quadratic, pushed about from step to step as mini-batches do."""
    return A @ theta - B + 0.1 * np.cos(t + np.arange(3))


def follow(rule: UpdateRule, n_steps: int, parts: tuple[int, ...] = (0,)) -> np.ndarray:
    """Apply ``rule`` as a backend does; ask for its coefficients anew at each step in ``parts``."""
    theta, first, second = START, np.zeros(3), np.zeros(3)
    for t in range(n_steps):
        if t in parts:
            asked, rows = t, rule.coefficients(t, n_steps - t)
        c = Coefficients(*rows[t - asked])
        step, first, second = rule.update(gradient_of(theta, t), first, second, c, np.sqrt)
        theta = theta + step
    return theta


@pytest.mark.parametrize("n_steps", [1, 2, 3, 100])
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_rules_do_the_steps_of_their_papers(textbook, solver, n_steps):
    found = follow(UpdateRule(solver, 0.05), n_steps)
    truth = textbook(solver, gradient_of, START.astype(np.longdouble), n_steps, 0.05)
    np.testing.assert_allclose(found, truth.astype(float), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_rules_follow_their_hyper_parameters(textbook, solver):
    """A large epsilon, too, so that its place inside adam's bias correction shows."""
    found = follow(UpdateRule(solver, 0.02, momentum=0.7, decay2=0.95, epsilon=0.3), 40)
    truth = textbook(solver, gradient_of, START.astype(np.longdouble), 40, 0.02, 0.7, 0.95, 0.3)
    np.testing.assert_allclose(found, truth.astype(float), rtol=1e-13, atol=1e-15)


def test_the_rules_differ(textbook):
    ends = [follow(UpdateRule(solver, 0.05), 10) for solver in FIRST_ORDER]
    for i, end in enumerate(ends):
        for other in ends[:i]:
            assert np.abs(end - other).max() > 1e-3


@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_a_rule_asked_in_parts_goes_on_where_it_was(solver):
    rule = UpdateRule(solver, 0.05)
    assert follow(rule, 30, parts=(0, 1, 13)).tobytes() == follow(rule, 30).tobytes()


@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_a_rule_works_on_scalars_as_on_arrays(solver):
    rule = UpdateRule(solver, 0.05)
    c = Coefficients(*rule.coefficients(3, 1)[0])
    gradient, first, second = np.array([0.3, -2.0]), np.array([0.1, 0.0]), np.array([0.2, 4.0])
    together = np.array(rule.update(gradient, first, second, c, np.sqrt))
    for j in range(2):
        alone = rule.update(float(gradient[j]), float(first[j]), float(second[j]), c, math.sqrt)
        assert together[:, j].tolist() == list(alone)


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov"])
def test_only_adam_has_coefficients_that_change(solver):
    rows = UpdateRule(solver, 0.05).coefficients(7, 5)
    assert rows.shape == (5, 6)
    assert (rows == rows[0]).all()
    assert rows[0, 0] == 0.05
    adam = UpdateRule("adam", 0.05).coefficients(7, 5)
    assert (np.diff(adam[:, 0]) != 0).all()


def test_an_unknown_solver_is_refused_with_those_there_are():
    with pytest.raises(ValueError) as caught:
        UpdateRule("sgd", 0.1)
    assert str(caught.value) == (
        "solver='sgd' is unknown; choose from gd, momentum, nesterov, adam"
    )
