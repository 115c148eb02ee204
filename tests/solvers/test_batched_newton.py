"""Newton's method for many problems: the optimum, honest bounds, honest ends."""

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.batched import batch_compiler
from lrbackends.many import shared_batch
from lrbackends.solvers.batched_newton import (
    Problems,
    _levels,
    minimise_grid,
    minimise_many,
)

L2 = np.array([1e-6, 1e-4, 1e-2, 1.0])


@pytest.fixture(scope="module")
def batch(breast_cancer):
    weights = np.ones((2, len(breast_cancer.y)))
    weights[1, ::3] = 0
    return shared_batch(lrb.Problem(*breast_cancer), weights, True)


@pytest.fixture(scope="module")
def kernels(batch):
    return batch_compiler(lrb.get_backend("numpy"))(batch, None)


def of(batch, l2, members=0):
    return Problems(batch, np.full(len(l2), members), np.asarray(l2, float))


@pytest.mark.parametrize("member", [0, 1])
def test_single_fits_by_newton_agree_to_rounding(batch, kernels, breast_cancer, member):
    found = minimise_many(kernels, of(batch, L2, member), np.zeros((4, 31)))
    assert (found.statuses == "converged").all()
    for k, l2 in enumerate(L2):
        weight = batch.weight[member]
        alone = lrb.Trainer("numpy", "newton", l2=l2).fit(*breast_cancer, weight)
        assert found.losses[k] == pytest.approx(alone.loss, rel=1e-14)
        size = np.abs(alone.coef).max()
        assert found.thetas[k, :-1] == pytest.approx(alone.coef[0], abs=1e-10 * size)


def test_bounds_hold(batch, kernels):
    problems = of(batch, L2)
    least = minimise_many(kernels, problems, np.zeros((4, 31))).losses
    previous = np.full(4, np.inf)
    for steps in range(12):
        with_few = minimise_many(kernels, problems, np.zeros((4, 31)), 1e-12, steps)
        assert (with_few.losses - least <= with_few.bounds + 1e-16).all()
        assert (with_few.losses <= previous).all()
        previous = with_few.losses
    assert (with_few.bounds < 1e-3 * least).any()  # some do say something


@pytest.mark.parametrize("gap", [1e-2, 1e-9])
def test_the_gap_is_reached_and_no_more_steps_are_done(batch, kernels, gap):
    least = minimise_many(kernels, of(batch, L2), np.zeros((4, 31)))
    found = minimise_many(kernels, of(batch, L2), np.zeros((4, 31)), gap)
    assert (found.statuses == "converged").all()
    assert ((found.losses - least.losses) / least.losses <= gap).all()
    assert (found.n_steps <= least.n_steps).all()


def test_what_rounding_forbids_is_stalled(batch, kernels):
    found = minimise_many(kernels, of(batch, [1e-2]), np.zeros((1, 31)), 1e-18)
    assert found.statuses.tolist() == ["stalled"]


def test_steps_run_out(batch, kernels):
    found = minimise_many(kernels, of(batch, [1e-6, 1.0]), np.zeros((2, 31)), 1e-9, 4)
    assert found.statuses.tolist() == ["completed", "converged"]
    assert found.n_steps[0] == 4


def test_far_starts_come_back(batch, kernels):
    start = 30 * np.random.default_rng(0).normal(size=(1, 31))
    found = minimise_many(kernels, of(batch, [1e-4]), start)
    other = minimise_many(kernels, of(batch, [1e-4]), np.zeros((1, 31)))
    assert found.losses == pytest.approx(other.losses, rel=1e-13)


def test_collinear_columns(kernels):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = (X[:, 0] + rng.logistic(size=50) > 0).astype(int)
    twice = lrb.Problem(np.column_stack([X, X]), y)
    batch = shared_batch(twice, np.ones((1, 50)), True)
    found = minimise_many(
        batch_compiler(lrb.get_backend("numpy"))(batch, None),
        of(batch, [1e-20, 1e-3]),
        np.zeros((2, 5)),
    )
    single = lrb.Trainer("numpy", "newton", l2=1e-3).fit(twice.X, y)
    assert found.losses[1] == pytest.approx(single.loss, rel=1e-13)
    assert np.isfinite(found.thetas).all()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_a_grid_is_its_problems(breast_cancer, count, intercept):
    weights = np.ones((2, len(breast_cancer.y)))
    weights[1, ::3] = 0
    batch = shared_batch(lrb.Problem(*breast_cancer), weights, intercept)
    kernels = batch_compiler(lrb.get_backend("numpy"))(batch, None)
    l2 = np.geomspace(1e-5, 1.0, count) * np.array([[1.0], [1.3]])
    grid = minimise_grid(kernels, batch, l2, intercept)
    problems = Problems(batch, np.repeat([0, 1], count), l2.ravel(), intercept)
    each = minimise_many(kernels, problems, np.zeros((2 * count, batch.X.shape[2])))
    assert grid.losses == pytest.approx(each.losses, rel=1e-13)
    assert grid.thetas == pytest.approx(each.thetas, abs=1e-8)
    if count == 30:
        assert grid.n_steps.sum() < 0.7 * each.n_steps.sum()


@pytest.mark.parametrize("count", [1, 2, 3, 12, 13, 100, 129])
def test_levels_have_everything_once(count):
    assert sorted(np.concatenate(_levels(count)).tolist()) == list(range(count))
