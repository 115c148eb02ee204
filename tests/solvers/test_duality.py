"""Duality gaps are true bounds on F - F*, wherever they are taken, and tight near the optimum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrbackends as lrb
from lrbackends.objective import reference_loss_gradient
from lrbackends.solvers.duality import Dual, Duality, wrong_classes
from lrbackends.solvers.goal import Goal
from lrbackends.solvers.oracle import Oracle
from lrbackends.solvers.proximal_newton import proximal_newton

ANY = Goal(gap=1e6)  # a bound is asked for at every step


def oracle_of(
    seed: int = 0,
    *,
    classes: int = 2,
    l1: float = 0.02,
    l2: float = 0.0,
    fit_intercept: bool = True,
    weighted: bool = False,
    uneven: bool = False,
    dtype: str = "float64",
) -> Oracle:
    """Make a problem of 40 to 120 rows; ``uneven`` penalties differ among coefficients."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(40, 120)), int(rng.integers(1, 8))
    X = rng.normal(size=(n, p)) + rng.normal(size=p)
    z = X @ rng.normal(size=(p, classes)) + rng.gumbel(size=(n, classes))
    y = z.argmax(axis=1)
    y[:classes] = np.arange(classes)
    weight = rng.integers(1, 5, size=n) if weighted else None
    numpy = lrb.get_backend("numpy")
    return Oracle(
        lrb.Problem(X, y, weight, dtype=dtype),
        lrb.Objective(l2=l2, l1=l1, fit_intercept=fit_intercept),
        numpy.compile,
        scale=rng.uniform(0.3, 3.0, size=p) if uneven else None,
    )


def exact_loss(oracle: Oracle, theta: np.ndarray) -> np.longdouble:
    """Return the whole objective in extended precision."""
    smooth = lrb.Objective(fit_intercept=oracle.objective.fit_intercept)
    loss, _ = reference_loss_gradient(oracle.problem, smooth, oracle.params(theta))
    wide = theta.astype(np.longdouble)
    return loss + oracle.l1 @ np.abs(wide) + (oracle.penalty * wide) @ wide / 2


def optimum(oracle: Oracle) -> np.ndarray:
    *_, last = proximal_newton(oracle, np.zeros(oracle.size), Goal())
    return last.point.theta


def bound_at(oracle: Oracle, theta: np.ndarray, duality: type[Duality] = Duality) -> float:
    """Return the bound by the residuals of a point themselves."""
    certificate, point = duality(oracle), oracle.at(theta)
    dual = certificate.dual_at(point, oracle.scores(point.theta))
    point = point._replace(loss=float(exact_loss(oracle, point.theta)))
    return certificate.bound(point, dual, np.inf)


def places(oracle: Oracle, seed: int) -> list[np.ndarray]:
    """Return the optimum, points around it, in the last entry too, and the start."""
    rng, best = np.random.default_rng(seed), optimum(oracle)
    away = [best + d * rng.normal(size=oracle.size) for d in (1e-6, 1e-3, 0.03, 0.3, 3.0)]
    last = np.eye(oracle.size)[-1]
    return [best, *away, best + 0.5 * last, best - 0.5 * last, np.zeros(oracle.size)]


problems = given(
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([2, 3]),
    l1=st.sampled_from([1e-3, 0.02, 0.3]),
    l2=st.sampled_from([0.0, 1e-4, 0.1]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    uneven=st.booleans(),
)


@problems
def test_bounds_hold_everywhere(seed, classes, l1, l2, fit_intercept, weighted, uneven):
    oracle = oracle_of(
        seed,
        classes=classes,
        l1=l1,
        l2=l2,
        fit_intercept=fit_intercept,
        weighted=weighted,
        uneven=uneven,
    )
    best = exact_loss(oracle, optimum(oracle))
    for theta in places(oracle, seed):
        assert bound_at(oracle, theta) >= exact_loss(oracle, theta) - best


@problems
def test_bounds_of_a_solver_hold_at_each_step(
    seed, classes, l1, l2, fit_intercept, weighted, uneven
):
    oracle = oracle_of(
        seed,
        classes=classes,
        l1=l1,
        l2=l2,
        fit_intercept=fit_intercept,
        weighted=weighted,
        uneven=uneven,
    )
    best = exact_loss(oracle, optimum(oracle))
    steps = list(proximal_newton(oracle, np.zeros(oracle.size), ANY))
    for step in steps:
        assert step.bound >= exact_loss(oracle, step.point.theta) - best
    # The last is at rounding.
    assert steps[-1].bound <= 1e-11 * steps[-1].point.loss


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_a_solvers_bound_is_tight_near_the_optimum(classes, l2):
    oracle = oracle_of(3, classes=classes, l2=l2)
    best = exact_loss(oracle, optimum(oracle))
    ratios = []
    for step in proximal_newton(oracle, np.zeros(oracle.size), ANY):
        excess = float(exact_loss(oracle, step.point.theta) - best)
        if 1e-12 < excess < 1e-3 * step.point.loss:
            ratios.append(step.bound / excess)
    assert ratios
    assert max(ratios) < 2.0


def test_a_points_own_residuals_certify_the_optimum():
    for classes in (2, 3):
        oracle = oracle_of(4, classes=classes)
        theta = optimum(oracle)
        assert bound_at(oracle, theta) <= 1e-12 * float(exact_loss(oracle, theta))


class WithoutBalance(Duality):
    """Forgets that intercepts need the residuals' mean to be 0."""

    def _balanced(self, dual: Dual, rounding: np.ndarray) -> Dual:
        return dual


class WithoutBox(Duality):
    """Forgets that slopes have to stay within l1."""

    def _scales(self, slope: np.ndarray, rounding: np.ndarray) -> tuple[float, float]:
        return 1.0, 1.0


class TooMuchEntropy(Duality):
    """Errs by a thousandth."""

    def _value(self, dual: Dual) -> float:
        return 1.001 * super()._value(dual)


@pytest.mark.parametrize("wrong", [WithoutBalance, WithoutBox, TooMuchEntropy])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_wrong_certificate_is_seen_to_fail(wrong, classes):
    broken = 0
    for seed in range(6):
        oracle = oracle_of(seed, classes=classes, l1=0.02 if seed < 3 else 0.3)
        best = exact_loss(oracle, optimum(oracle))
        for theta in places(oracle, seed):
            broken += bound_at(oracle, theta, wrong) < exact_loss(oracle, theta) - best
    assert broken


@pytest.mark.parametrize("classes", [2, 3])
def test_balanced_residuals_are_those_of_probabilities(classes):
    oracle = oracle_of(5, classes=classes, weighted=True)
    problem = oracle.problem
    duality = Duality(oracle)
    rng = np.random.default_rng(0)
    for size in (0.01, 1.0, 10.0):
        theta = size * rng.normal(size=oracle.size)
        point = oracle.at(theta)
        dual = duality.dual_at(point, oracle.scores(theta))
        balanced = duality._balanced(dual, np.zeros(oracle.size))
        wrong = wrong_classes(problem, balanced.residual)
        assert wrong.min() >= -1e-15
        assert wrong.sum(axis=1).max() <= 1 + 1e-15
        # The slopes that were told without reading X are those of the residuals.
        rows = np.column_stack([problem.X, np.ones(problem.n_samples)])
        residual = balanced.residual.reshape(problem.n_samples, -1)
        means = (problem.exact_weight[:, None] * residual).T @ rows / problem.n_samples
        np.testing.assert_allclose(oracle.rows_of(balanced.slope), means, atol=1e-13)
        np.testing.assert_allclose(means[:, -1], 0.0, atol=1e-15)


def test_a_free_coefficient_is_certified_only_where_its_slope_vanishes():
    oracle = oracle_of(6)
    oracle.l1[0] = 0.0
    theta = optimum(oracle)
    loss = float(exact_loss(oracle, theta))
    assert theta[0] != 0
    assert bound_at(oracle, theta) <= 1e-11 * loss
    theta[0] += 0.01  # now only that the loss is not negative is known
    assert bound_at(oracle, theta) == pytest.approx(float(exact_loss(oracle, theta)))


def test_more_than_wanted_is_infinite():
    oracle = oracle_of(7)
    point = oracle.at(np.zeros(oracle.size))
    duality = Duality(oracle)
    dual = duality.dual_at(point, oracle.scores(point.theta))
    assert duality.bound(point, dual, 1e-9) == np.inf
    assert 0 < duality.bound(point, dual, 1.0) < np.inf


def test_float32_bounds_know_their_rounding():
    oracle = oracle_of(8, dtype="float32")
    wide = oracle_of(8)
    best = exact_loss(wide, optimum(wide))
    theta = optimum(oracle)
    bound = bound_at(oracle, theta)
    assert exact_loss(oracle, theta) - best <= bound <= 1e-4
    assert bound >= np.finfo(np.float32).eps * float(best)
