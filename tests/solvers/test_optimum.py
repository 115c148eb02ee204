"""Solvers that seek the optimum: they reach it, say so truly, and in few passes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.errors import UnsupportedError
from lrbackends.solvers import OPTIMUM, choose
from lrbackends.solvers.samples import draw

# Relative distance of an objective that has converged as far as rounding allows.
ROUNDING = 1e-13


def correlated(n: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Columns with correlation 1/2 between neighbours; noisy labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    for j in range(1, p):
        X[:, j] = 0.5 * X[:, j - 1] + np.sqrt(0.75) * X[:, j]
    z = X @ rng.normal(size=p) / np.sqrt(p)
    return X, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int)


def hostile(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows on which a naive sample misleads."""
    rng = np.random.default_rng(5)
    X, y = correlated(20_000, 8)
    if kind == "sorted by class":
        order = np.argsort(y, kind="stable")
        X, y = X[order], y[order]
    elif kind == "rare class":
        z = X @ rng.normal(size=8) - 8.0
        y = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    elif kind == "heavy tails":
        X = rng.standard_t(2, size=X.shape)
    elif kind == "every row twice":
        X, y = np.repeat(X[::2], 2, axis=0), np.repeat(y[::2], 2)
    elif kind == "badly scaled":
        X = X * 10.0 ** np.arange(-2, 2).repeat(2)
    return X, y


HOSTILE = ("sorted by class", "rare class", "heavy tails", "every row twice", "badly scaled")


def suboptimality(result: lrb.TrainingResult, X, y, l2: float, weight=None) -> float:
    """Return (F - F*) / F* with F* by scikit-learn's Newton solver."""
    from sklearn.linear_model import LogisticRegression

    total = len(y) if weight is None else np.sum(weight)
    model = LogisticRegression(
        C=1 / (l2 * total), tol=1e-12, max_iter=500, solver="newton-cholesky"
    ).fit(X, y, weight)
    problem, objective = lrb.Problem(X, y, weight), lrb.Objective(l2=l2)
    kernels = lrb.get_backend("numpy").compile(problem, objective)
    best = kernels.loss((model.coef_, model.intercept_))
    return (kernels.loss(result.params) - best) / best


@pytest.mark.parametrize("solver", OPTIMUM)
@pytest.mark.parametrize("data", ["breast_cancer", "digits01"])
def test_every_backend_reaches_the_optimum(request, backend_name, solver, data):
    X, y = request.getfixturevalue(data)
    result = lrb.Trainer(backend_name, solver, l2=1e-2, random_state=0).fit(X, y)
    assert result.status == "converged"
    assert abs(suboptimality(result, X, y, 1e-2)) < ROUNDING


@pytest.mark.parametrize("solver", OPTIMUM)
def test_the_certified_gap_is_true(backend_name, breast_cancer, solver):
    X, y = breast_cancer
    l2 = 1 / len(y)
    result = lrb.Trainer(backend_name, solver, l2=l2, gap=1e-6, random_state=0).fit(X, y)
    assert result.status == "converged"
    assert result.suboptimality <= 1e-6 * result.loss
    assert suboptimality(result, X, y, l2) <= result.suboptimality / result.loss + ROUNDING


@pytest.mark.parametrize("solver", [*OPTIMUM, "auto"])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
def test_hostile_rows_are_not_called_converged_too_early(solver, kind):
    X, y = hostile(kind)
    l2 = 1 / len(y)
    result = lrb.Trainer("numpy", solver, l2=l2, gap=1e-6, random_state=0).fit(X, y)
    assert result.status == "converged"
    assert suboptimality(result, X, y, l2) <= 1e-6


@pytest.mark.parametrize("solver", OPTIMUM)
def test_weights_count_as_repeated_rows(noisy, row_weights, solver):
    X, y = noisy
    repeats = row_weights.astype(int)
    trainer = lrb.Trainer("numpy", solver, l2=0.1, random_state=0)
    weighted = trainer.fit(X, y, row_weights)
    repeated = trainer.fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(weighted.coef, repeated.coef, rtol=1e-10)


@pytest.mark.parametrize("solver", OPTIMUM)
def test_without_an_intercept_it_stays_zero(backend_name, noisy, solver):
    result = lrb.Trainer(backend_name, solver, l2=0.1, fit_intercept=False, tol=1e-10).fit(*noisy)
    assert result.status == "converged"
    assert result.intercept == 0


def test_few_passes_where_rows_are_many():
    X, y = correlated(200_000, 10)
    result = lrb.Trainer("numpy", "auto", l2=1 / len(y), gap=1e-6, random_state=0).fit(X, y)
    assert result.solver == "sampled-newton"
    assert result.n_passes < 4
    assert result.status == "converged"
    assert suboptimality(result, X, y, 1 / len(y)) <= 1e-6


def test_float32_is_certified_as_far_as_it_goes(backend_name, breast_cancer):
    X, y = breast_cancer
    trainer = lrb.Trainer(backend_name, "newton", l2=1e-2, gap=1e-4, dtype="float32")
    assert trainer.fit(X, y).status == "converged"


@pytest.mark.parametrize("solver", OPTIMUM)
def test_a_gap_beyond_rounding_is_not_claimed(solver, breast_cancer):
    from sklearn.exceptions import ConvergenceWarning

    trainer = lrb.Trainer("numpy", solver, l2=1e-2, gap=1e-30, random_state=0)
    with pytest.warns(ConvergenceWarning, match="could not be lowered further"):
        assert trainer.fit(*breast_cancer).status == "stalled"


def test_running_out_of_steps_is_said(breast_cancer):
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning, match=r"lbfgs did not reach gap=1e-06 in 3 steps"):
        result = lrb.Trainer("numpy", "lbfgs", l2=1e-2, gap=1e-6, epochs=3).fit(*breast_cancer)
    assert (result.status, result.n_steps, len(result.history["loss"])) == ("completed", 3, 3)


def test_the_loss_falls_at_every_step(breast_cancer):
    for solver in OPTIMUM:
        result = lrb.Trainer("numpy", solver, l2=1e-2, gap=1e-9, random_state=0).fit(*breast_cancer)
        losses = [result.initial_loss, *result.history["loss"]]
        assert (np.diff(losses) < 0).all()
        assert result.loss == losses[-1]


class CountingBackend:
    """NumPy, counting the rows that its kernels are asked to read."""

    name, api_version = "counting", 1

    def __init__(self):
        self.numpy, self.rows_read = lrb.get_backend("numpy"), 0

    def capabilities(self):
        return self.numpy.capabilities()

    def compile(self, problem, *arguments):
        return CountingKernels(self, self.numpy.compile(problem, *arguments), problem.n_samples)


class CountingKernels:
    def __init__(self, backend, kernels, n_samples):
        self.backend, self.kernels, self.n_samples = backend, kernels, n_samples

    def __getattr__(self, name):
        kernel = getattr(self.kernels, name)

        def counted(*arguments):
            self.backend.rows_read += self.n_samples
            return kernel(*arguments)

        return counted


class NoHessians(CountingBackend):
    """NumPy without second derivatives."""

    def capabilities(self):
        return replace(self.numpy.capabilities(), hessian=False)

    def compile(self, problem, *arguments):
        kernels = self.numpy.compile(problem, *arguments)
        return SimpleNamespace(
            loss_gradient=kernels.loss_gradient, decision_function=kernels.decision_function
        )


def test_lbfgs_needs_no_second_derivatives(breast_cancer):
    result = lrb.Trainer(NoHessians(), "lbfgs", l2=1e-2, gap=1e-6).fit(*breast_cancer)
    assert result.status == "converged"
    assert suboptimality(result, *breast_cancer, 1e-2) <= 1e-6


@pytest.mark.parametrize("solver", ["newton", "newton-cg", "sampled-newton"])
def test_other_solvers_are_refused_without_them(breast_cancer, solver):
    with pytest.raises(UnsupportedError, match="use solver='lbfgs' or another backend"):
        lrb.Trainer(NoHessians(), solver, l2=1e-2).fit(*breast_cancer)


@pytest.mark.parametrize("solver", OPTIMUM)
def test_passes_are_counted(solver):
    X, y = correlated(3_000, 4)
    backend = CountingBackend()
    result = lrb.Trainer(backend, solver, l2=1e-2, gap=1e-9, random_state=0).fit(X, y)
    assert result.n_passes == backend.rows_read / len(y) > 3


def test_callbacks_and_patience_stop_a_solver(breast_cancer):
    seen = []

    def stop_at_three(progress):
        seen.append((progress.epoch, len(progress.history["loss"])))
        return progress.epoch == 3

    result = lrb.Trainer("numpy", "lbfgs", l2=1e-2, callbacks=[stop_at_three]).fit(*breast_cancer)
    assert (result.status, result.n_steps) == ("callback", 3)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3), (3, 3)]
    result = lrb.Trainer("numpy", "newton", l2=1e-2, patience=2, min_delta=1e-2).fit(*breast_cancer)
    assert result.status == "early_stopped"


def test_separated_classes_without_a_penalty_are_named():
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    with pytest.warns(lrb.errors.SeparationWarning):
        result = lrb.Trainer("numpy", "newton", tol=1e-6).fit(X, [0, 0, 1, 1])
    assert result.status == "separated"


def test_collinear_columns_without_a_penalty_still_reach_the_optimum(noisy):
    X, y = noisy
    with pytest.warns(lrb.errors.CollinearityWarning):
        twice = lrb.Trainer("numpy", "newton", tol=1e-10).fit(np.hstack([X, X]), y)
    once = lrb.Trainer("numpy", "newton", tol=1e-10).fit(X, y)
    assert twice.loss == pytest.approx(once.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((569, 30), "newton"),
        ((300, 500), "lbfgs"),
        ((1_100_000, 1), "sampled-newton"),
        ((2_000, 600), "lbfgs"),
    ],
)
def test_auto_chooses_by_shape(shape, expected):
    X = np.zeros(shape, np.uint8)
    X[::2, 0] = 1
    assert choose(lrb.Problem(X, X[:, 0])) == expected


def test_auto_chooses_by_sparsity(noisy):
    from scipy import sparse

    y = noisy.y
    assert choose(lrb.Problem(sparse.random(60, 20, 0.1, "csr", rng=0), y)) == "newton"
    assert choose(lrb.Problem(sparse.random(60, 500, 0.1, "csr", rng=0), y)) == "newton-cg"


def test_samples_keep_rare_classes_and_their_weight():
    X, y = correlated(10_000, 2)
    y[:] = 0
    y[:50] = 1
    rows, weights = draw(lrb.Problem(X, y), 1_000, np.random.default_rng(0))
    assert (y[rows] == 1).sum() == 50
    assert len(np.unique(rows)) == len(rows) >= 1_000
    assert weights.sum() == pytest.approx(10_000)
    assert weights[y[rows] == 1].sum() == pytest.approx(50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.1}, "learning_rate=0.1 does not go with solver='newton'"),
        ({"batch_size": 10}, "batch_size=10 does not go with solver='newton'"),
        ({"arithmetic": "reproducible"}, "arithmetic='reproducible' does not go with"),
    ],
)
def test_options_of_update_rules_are_refused(noisy, options, message):
    with pytest.raises(ValueError, match=message):
        lrb.Trainer("numpy", "newton", **options).fit(*noisy)


def test_a_gap_needs_a_solver_that_certifies():
    with pytest.raises(ValueError, match="gap=1e-06 needs a solver that certifies it"):
        lrb.Trainer("numpy", "gd", gap=1e-6)
    with pytest.raises(ValueError, match="gap must be a finite number > 0"):
        lrb.Trainer("numpy", "newton", gap=0)


def test_auto_takes_what_a_backend_without_second_derivatives_can_do(noisy):
    class Plain(NumpyBackend):
        name = "plain"

        def capabilities(self):
            return replace(super().capabilities(), hessian=False)

    result = lrb.Trainer(Plain(), "auto", l2=0.01, gap=1e-6).fit(noisy.X, noisy.y)
    assert (result.solver, result.status) == ("lbfgs", "converged")
    assert lrb.Trainer("numpy", "auto", l2=0.01, gap=1e-6).fit(noisy.X, noisy.y).solver == "newton"
