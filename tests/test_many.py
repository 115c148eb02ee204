"""Many fits: each is the fit that it would be alone, and errors say which of them it was."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import lrbackends as lrb
from lrbackends import many


@pytest.fixture(scope="module")
def small():
    """Twelve problems of two shapes, rows between 20 and 60."""
    rng, problems = np.random.default_rng(0), []
    for k in range(12):
        X = rng.normal(size=(20 + 3 * k, 3 + k % 2))
        y = np.where(X[:, 0] + rng.logistic(size=len(X)) > 0, "yes", "no")
        problems.append((X, y, rng.integers(0, 3, size=len(X)).astype(float)))
    return problems


@pytest.mark.parametrize("intercept", [True, False])
def test_a_list_is_its_fits(backend_name, small, intercept):
    fits = lrb.fit_many(small, C=0.7, backend=backend_name, fit_intercept=intercept, gap=None)
    assert fits.batched == len(fits) == 12
    assert fits.converged
    for fit, (X, y, weight) in zip(fits, small, strict=True):
        total = weight.sum()
        alone = lrb.Trainer(
            backend_name, "newton", l2=1 / (0.7 * total), fit_intercept=intercept
        ).fit(X, y, weight)
        assert fit.loss == pytest.approx(alone.loss, rel=1e-14)
        assert fit.coef == pytest.approx(alone.coef, rel=1e-9)
        assert fit.intercept == pytest.approx(alone.intercept, rel=1e-9, abs=1e-13)
        assert np.array_equal(fit.predict(X), alone.predict(X))


def test_the_objective_is_that_of_scikit_learn(small):
    fits = lrb.fit_many(small, C=np.geomspace(0.1, 10, 12), backend="numpy", gap=None)
    for fit, (X, y, weight) in zip(fits, small, strict=True):
        other = LogisticRegression(C=fit.C, tol=1e-10).fit(X, y, weight)
        assert fit.coef == pytest.approx(other.coef_, abs=1e-5)


def test_a_grid_of_weights_and_strengths(backend_name, breast_cancer):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, size=(3, 569)).astype(float)
    C = [10.0, 0.1, 1.0, 0.1]  # in any order, values may come twice
    fits = lrb.fit_many(breast_cancer, C=C, sample_weights=weights, backend=backend_name)
    assert fits.coef.shape == (12, 1, 30)
    assert fits.batched == 12
    assert [fit.C for fit in fits] == C * 3
    for k in (0, 6, 11):
        weight = weights[k // 4]
        alone = lrb.Trainer(backend_name, "newton", l2=1 / (C[k % 4] * weight.sum()), gap=1e-9)
        assert fits[k].loss == pytest.approx(alone.fit(*breast_cancer, weight).loss, rel=1e-9)
    assert np.array_equal(fits[1].coef, fits[3].coef)


def test_others_go_one_after_the_other(noisy):
    X = np.vstack([noisy.X, noisy.X + 1])
    three = np.repeat([0, 1, 2], 40)
    fits = lrb.fit_many([tuple(noisy), (X, three), tuple(noisy)], C=[1, 1, np.inf], backend="numpy")
    assert fits.batched == 1
    assert [len(fit.coef) for fit in fits] == [1, 3, 1]
    assert fits.converged
    free = lrb.Trainer("numpy", "newton").fit(*noisy)
    assert fits[2].loss == pytest.approx(free.loss, rel=1e-9)


def test_large_problems_are_not_batched(noisy, monkeypatch):
    monkeypatch.setattr(many, "_MOST_WORK", 10.0)
    fits = lrb.fit_many(tuple(noisy), C=[0.1, 1.0], backend="numpy")
    assert fits.batched == 0
    monkeypatch.undo()
    batched = lrb.fit_many(tuple(noisy), C=[0.1, 1.0], backend="numpy")
    assert fits.loss == pytest.approx(batched.loss, rel=1e-9)


def test_data_are_not_written_to(small):
    for X, y, weight in small:
        for array in (X, y, weight):
            array.flags.writeable = False
    lrb.fit_many(small, backend="numpy")


def test_what_is_not_reached_is_warned_of_once(small):
    with pytest.warns(ConvergenceWarning, match=r"^12 of 12 fits, the first is number 0") as seen:
        fits = lrb.fit_many(small, backend="numpy", max_steps=1)
    assert len(seen) == 1
    assert set(fits.status) == {"completed"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"problems": [([[1.0], [2.0]], [0, 1]), ([[1.0]], [0])]}, ValueError, "in problem 1: y"),
        ({"problems": [([[1.0], [np.nan]], [0, 1])]}, ValueError, "in problem 0: X has .*NaN"),
        ({"problems": [3]}, TypeError, r"in problem 0: expected a Problem, \(X, y\)"),
        ({"problems": "X"}, TypeError, r"problems must be a pair \(X, y\), or a list"),
        ({"C": [1.0, 2.0, 3.0]}, ValueError, "C has 3 values for 2 problems"),
        ({"C": [1.0, -2.0]}, ValueError, r"C\[1\] must be a finite number > 0"),
        ({"C": "1"}, TypeError, "C must be a number"),
        ({"gap": 0.0}, ValueError, "gap"),
        ({"sample_weights": [[1.0, 1.0]]}, ValueError, "sample_weights is for one data set"),
        ({"backend": "torch"}, Exception, "torch"),
    ],
)
def test_errors_say_which(change, error, message):
    pair = [[0.0], [1.0], [2.0]], [0, 1, 0]
    options = {"problems": [pair, pair], "backend": "numpy"} | change
    with pytest.raises(error, match=message):
        lrb.fit_many(options.pop("problems"), **options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0, 1.0], r"sample_weights has shape \(3,\); expected \(n_sets, 3\)"),
        ([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], "in row 1 of sample_weights: only one class, 0"),
        ([[1.0, 1.0, -1.0]], "in row 0 of sample_weights"),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(ValueError, match=message):
        lrb.fit_many(([[0.0], [1.0], [2.0]], [0, 1, 0]), sample_weights=weights, backend="numpy")


def test_threads_that_cannot_be_limited_are_refused(small):
    with pytest.raises(ValueError, match="n_threads=1"):
        lrb.fit_many(small, backend="jax", n_threads=1)
