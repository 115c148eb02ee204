"""The problems that backends are judged on are what their names say."""

import numpy as np
import pytest

from lrbackends.equivalence import elementary, optimum, problems
from lrbackends.equivalence.gradient import _exact
from lrbackends.objective import (
    exact_loss_gradient,
    reference_hessian,
    reference_loss_gradient,
)

SETTINGS = {setting.name: setting for setting in problems.training()}


def test_the_ill_conditioned_problem_has_condition_1e8():
    setting = SETTINGS["condition 1e8"]
    assert np.linalg.cond(setting.problem.X) == pytest.approx(1e8, rel=1e-6)
    assert setting.objective.l2 == 0


def test_bundled_data():
    assert SETTINGS["digits01"].problem.X.shape == (360, 64)
    assert SETTINGS["digits01"].problem.X.max() == 1
    breast_cancer = SETTINGS["breast_cancer"].problem.X
    assert breast_cancer.shape == (569, 30)
    np.testing.assert_allclose(breast_cancer.std(axis=0), 1)


@pytest.mark.parametrize("name", SETTINGS)
def test_labels_are_compared_on_thousands_of_rows_like_those_trained_on(name):
    setting = SETTINGS[name]
    n = setting.problem.n_samples
    assert len(setting.points) == n + 20_000
    np.testing.assert_array_equal(setting.points[:n], setting.problem.X)
    assert np.abs(setting.points).max() < 1.5 * np.abs(setting.problem.X).max()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_points_reach_margins_of_several_hundred_on_both_sides(dtype):
    points = {setting.name: setting for setting in problems.points(dtype)}
    setting = points["large w"]
    problem = setting.problem
    m = problem.sign * (problem.X @ setting.params.coef[0] + setting.params.intercept)
    assert m.dtype == dtype
    assert m.min() < -300
    assert m.max() > 100
    assert np.abs(m).max() == pytest.approx(500, rel=1e-3)
    assert not points["w = 0"].params.coef.any()


def test_both_references_of_the_gradient_agree():
    for setting in problems.points("float64"):
        loss, exact = _exact(setting)
        coefs = setting.params.coef.size
        assert (loss, exact[:coefs], exact[coefs:]) == exact_loss_gradient(
            setting.problem, setting.objective, setting.params
        )
        wide, gradient = reference_loss_gradient(setting.problem, setting.objective, setting.params)
        assert float(loss) == pytest.approx(float(wide), rel=1e-14)
        np.testing.assert_allclose(
            np.array(exact[:coefs], float), gradient.coef.ravel().astype(float), rtol=1e-12
        )


def test_scores_cover_the_wide_range():
    z = elementary.scores("float64", 700.0)
    assert {z.min(), z.max()} == {-700.0, 700.0}
    assert np.abs(z[z != 0]).min() <= 1e-20
    assert 0.0 in z
    assert len(z) % 32 == 0


def test_the_curvature_at_the_optimum_is_what_the_limits_assume():
    for setting in problems.penalised():
        best, problem = optimum._best(setting), setting.problem
        hessian = reference_hessian(problem, setting.objective, best, np.float64)
        null = problem.n_outputs > 1  # a number added to all intercepts changes nothing
        assert np.linalg.eigvalsh(hessian)[int(null)] > 1.2e-3
        assert np.linalg.norm(best.coef) > 2
