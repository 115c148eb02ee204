"""Bounds on F - F*: they hold at every point, from all rows or some, and are tight near the end."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrbackends as lrb
from lrbackends.solvers import certificate
from lrbackends.solvers.certificate import Certificate, strong_convexity_bound
from lrbackends.solvers.goal import Goal
from lrbackends.solvers.newton import newton
from lrbackends.solvers.oracle import Oracle


def oracle_of(seed: int, l2: float, fit_intercept: bool = True, weighted: bool = False) -> Oracle:
    """Make a problem of 40 to 200 rows whose columns differ in scale."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(40, 200)), int(rng.integers(1, 6))
    X = rng.normal(size=(n, p)) * 10.0 ** rng.integers(-2, 3, size=p) + rng.normal(size=p)
    y = (X @ (rng.normal(size=p) / X.std(axis=0)) + rng.logistic(size=n) > 0).astype(int)
    y[:2] = 0, 1
    weight = rng.integers(1, 5, size=n) if weighted else None
    objective = lrb.Objective(l2=l2, fit_intercept=fit_intercept)
    numpy = lrb.get_backend("numpy")
    return Oracle(lrb.Problem(X, y, weight), objective, numpy.compile)


def optimum(oracle: Oracle) -> np.ndarray:
    *_, last = newton(oracle, np.zeros(oracle.size), Goal())
    return last.point.theta


def near(theta: np.ndarray, distance: float, oracle: Oracle, seed: int) -> np.ndarray:
    """Move by so much in units of each column's size."""
    size = np.append(oracle.problem.rms, 1.0)[: oracle.size]
    return theta + distance * np.random.default_rng(seed).normal(size=oracle.size) / size


problems = given(
    seed=st.integers(0, 10_000),
    l2=st.sampled_from([1e-3, 1e-2, 1.0]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    distance=st.sampled_from([1e-6, 1e-3, 0.03, 0.3, 3.0]),
)


@problems
@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
def test_bounds_hold_wherever_they_are_given(seed, l2, fit_intercept, weighted, distance):
    oracle = oracle_of(seed, l2, fit_intercept, weighted)
    best = optimum(oracle)
    point = oracle.curved_at(near(best, distance, oracle, seed))
    excess = point.loss - oracle.at(best).loss
    rounding = 1e-14 * point.loss
    assert Certificate(oracle, point).bound(point, np.inf) >= excess - rounding
    assert strong_convexity_bound(oracle, point, np.inf) >= excess - rounding


@problems
@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
def test_some_rows_taken_elsewhere_certify_too(seed, l2, fit_intercept, weighted, distance):
    oracle = oracle_of(seed, l2, fit_intercept, weighted)
    best = optimum(oracle)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(oracle.problem.n_samples, 30, replace=False))
    weights = oracle.problem.exact_weight[rows]
    sample = oracle.sampled(rows, weights)
    share = float(weights.sum() / oracle.problem.n_samples)
    anchor = sample.curved_at(near(best, distance, oracle, seed + 1))
    point = oracle.at(near(best, distance, oracle, seed))
    bound = Certificate(sample, anchor, share).bound(point, np.inf)
    assert bound >= point.loss - oracle.at(best).loss - 1e-14 * point.loss


def test_the_bound_is_tight_near_the_optimum():
    oracle = oracle_of(3, 1e-2)
    best = optimum(oracle)
    point = oracle.curved_at(near(best, 1e-4, oracle, 0))
    excess = point.loss - oracle.at(best).loss
    assert excess <= Certificate(oracle, point).bound(point, np.inf) <= 1.1 * excess


def test_a_bound_above_what_is_wanted_is_not_given():
    oracle = oracle_of(3, 1e-2)
    point = oracle.curved_at(near(optimum(oracle), 1e-2, oracle, 0))
    bound = Certificate(oracle, point).bound(point, np.inf)
    assert np.isfinite(bound)
    assert Certificate(oracle, point).bound(point, bound / 2) == np.inf
    assert strong_convexity_bound(oracle, point, 1e-300) == np.inf


def test_nothing_is_certified_without_curvature():
    oracle = oracle_of(3, 0.0)
    point = oracle.at(np.zeros(oracle.size))
    assert strong_convexity_bound(oracle, point, np.inf) == np.inf
    X, y = np.repeat(oracle.problem.X[:, :1], 2, axis=1), oracle.problem.y
    twice = Oracle(
        lrb.Problem(X, y),
        lrb.Objective(),
        lrb.get_backend("numpy").compile,
    )
    curved = twice.curved_at(np.zeros(3))
    assert Certificate(twice, curved).bound(curved, np.inf) == np.inf


@pytest.mark.parametrize("r", [1e-12, 1e-4, 0.999e-3, 1.001e-3, 0.1, 0.9])
def test_the_gap_agrees_with_its_definition(r):
    with localcontext() as context:
        context.prec = 50
        left = 1 - Decimal(r)
        exact = (Decimal(r) + left * left.ln()) / 4
    assert certificate.gap(r / 2, 2.0) == pytest.approx(float(exact), rel=1e-3)
    assert certificate.gap(r / 2, 2.0) >= float(exact) * (1 - 1e-9)


def test_the_gap_is_infinite_far_away():
    assert certificate.gap(1.0, 1.0) == certificate.gap(3.0, np.inf) == np.inf
