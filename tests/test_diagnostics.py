import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.diagnostics import collinear_columns, separating_columns
from lrbackends.errors import CollinearityWarning, SeparationWarning

FREE = lrb.Objective()
NO_INTERCEPT = lrb.Objective(fit_intercept=False)


def start_of(problem):
    return lrb.Params(np.zeros((1, problem.n_features)), np.zeros(1))


def separated(X, y, objective=FREE):
    problem = lrb.Problem(X, y)
    return separating_columns(problem, objective, start_of(problem))


# -- collinear columns


def test_independent_columns_are_not_reported(noisy, breast_cancer, digits01):
    for data in (noisy, breast_cancer):
        assert collinear_columns(lrb.Problem(*data), FREE) is None
    assert collinear_columns(lrb.Problem(*digits01), FREE) is not None


@pytest.mark.parametrize(
    ("change", "report"),
    [
        (lambda X: X[:, [0, 1, 2, 0]], "columns 0, 3"),
        (lambda X: np.column_stack([X, X[:, 0] - 2 * X[:, 1]]), "columns 0, 1, 3"),
        (lambda X: np.column_stack([X, np.full(60, 5.0)]), "column 3 and the intercept"),
        (
            lambda X: np.column_stack([X, X[:, 0] > 0, X[:, 0] <= 0]),
            "columns 3, 4 and the intercept",
        ),
        (lambda X: np.column_stack([X, 1e-9 * X[:, 1]]), "columns 1, 3"),
        (lambda X: np.column_stack([X, np.zeros(60)]), None),
        (lambda X: np.column_stack([X, X[:, 0] + 1e-3 * X[:, 1] ** 2]), None),
    ],
    ids=["copy", "combination", "constant", "one-hot", "tiny-copy", "zeros", "nearly"],
)
@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
def test_dependent_columns_are_named(noisy, change, report):
    assert collinear_columns(lrb.Problem(change(noisy.X), noisy.y), FREE) == report


def test_without_an_intercept_a_constant_column_is_independent(noisy):
    problem = lrb.Problem(np.column_stack([noisy.X, np.ones(60)]), noisy.y)
    assert collinear_columns(problem, NO_INTERCEPT) is None
    assert collinear_columns(problem, FREE) is not None


def test_names_of_columns_are_used(noisy):
    frame = pd.DataFrame(noisy.X, columns=["a", "b", "c"]).assign(copy=noisy.X[:, 1])
    assert collinear_columns(lrb.Problem(frame, noisy.y), FREE) == "columns 1 ('b'), 3 ('copy')"


def test_a_long_list_of_columns_is_cut(noisy):
    problem = lrb.Problem(np.hstack([noisy.X] * 3), noisy.y)
    assert collinear_columns(problem, FREE) == "columns 0, 1, 2, 3, 4, …"


def test_weights_of_zero_do_not_hide_dependence(noisy):
    X, weight = np.column_stack([noisy.X, noisy.X[:, 0]]), np.ones(60)
    X[0, 3], weight[0] = 7.0, 0.0
    assert collinear_columns(lrb.Problem(X, noisy.y, weight), FREE) == "columns 0, 3"
    assert collinear_columns(lrb.Problem(X, noisy.y), FREE) is None


# -- separated classes


def test_overlapping_classes_are_not_reported(noisy, breast_cancer):
    assert separated(*noisy) is None
    assert separated(breast_cancer.X[:, :5], breast_cancer.y) is None


def test_complete_separation_is_told_from_the_trained_parameters(noisy):
    y = noisy.X[:, 0] > 0.05
    problem = lrb.Problem(noisy.X, y)
    trained = lrb.Params(np.array([[1.0, 0.0, 0.0]]), np.array([-0.05]))
    report = separating_columns(problem, FREE, trained)
    assert report == "completely: every sample is on its right side of the hyperplane found"


@pytest.mark.parametrize("shift", [0.05, 1.0, -1.0])
def test_complete_separation_is_found_before_training_finds_it(noisy, shift):
    """Whatever the trained parameters are: the start, at which nothing is separated, will do."""
    report = separated(noisy.X, noisy.X[:, 0] > shift)
    assert report is not None
    assert report.startswith("completely, along column")
    assert "0" in report


@pytest.fixture
def quasi(noisy):
    """Below zero only the first class, above only the second; at zero equal rows of both."""
    X, y = noisy.X.copy(), noisy.X[:, 0] > 0
    X[:6, 0], y[:6] = 0.0, [False, True] * 3
    X[1:6:2] = X[0:6:2]
    return X, y


def test_quasi_separation_names_the_columns(quasi):
    X, y = quasi
    assert separated(X, y) == "quasi-completely, along column 0"
    frame = pd.DataFrame(X, columns=["dose", "b", "c"])
    assert separated(frame, y) == "quasi-completely, along column 0 ('dose')"


def test_a_rare_column_that_only_one_class_has_separates(noisy):
    X = np.column_stack([noisy.X, np.zeros(60)])
    X[np.flatnonzero(noisy.y == 1)[0], 3] = 1.0
    assert separated(X, noisy.y) == "quasi-completely, along column 3"


def test_without_an_intercept_less_is_separated(noisy):
    X = noisy.X.copy()
    X[:, 0] = np.abs(X[:, 0]) + 0.1
    y = X[:, 0] > 0.7
    assert separated(X, y) is not None
    assert separated(X[:, :1], y, NO_INTERCEPT) is None


@pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")
def test_the_scale_of_columns_does_not_matter(noisy, quasi):
    X, y = quasi
    for scale in ([1e-5, 1.0, 1.0], [1e5, 1.0, 1e-3]):
        assert separated(X * scale, y) == "quasi-completely, along column 0"
        assert separated(noisy.X * scale, noisy.y) is None


# -- other forms of X

FORMS = {
    "csr": sparse.csr_array,
    "float32": lambda X: X.astype(np.float32),
    "int8": lambda X: X.astype(np.int8),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_numbers_has_the_same_reports(noisy, quasi, form):
    X, y = quasi
    X, kept = (X * 3).round(), np.append(X[:6, 0] == 0, X[6:, 0] != 0)
    kept &= (X[:, 0] != 0) | (np.arange(60) < 6)
    X, y = X[kept], y[kept]
    problem = lrb.Problem(FORMS[form](X), y, dtype="float64")
    report = separating_columns(problem, FREE, start_of(problem))
    assert report == separated(X, y) == "quasi-completely, along column 0"
    trained = lrb.Params(np.array([[1.0, 0.0, 0.0]]), np.array([0.0]))
    assert separating_columns(problem.take(np.arange(6, len(y))), FREE, trained).startswith(
        "completely: every sample"
    )
    copied = lrb.Problem(FORMS[form](X[:, [0, 1, 2, 0]]), y, dtype="float64")
    assert collinear_columns(copied, FREE) == "columns 0, 3"
    assert collinear_columns(problem, FREE) is None


def test_sparse_data_of_many_columns_are_not_searched():
    """Dense, they would not fit into memory."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 10_000_000), density=1e-6, rng=rng, format="csr")
    problem = lrb.Problem(X, np.arange(300) % 2)
    assert separating_columns(problem, FREE, start_of(problem)) is None
    assert collinear_columns(problem, FREE) is None


# -- what the trainer makes of it


def train(noisy, y=None, X=None, **options):
    X, y = (noisy.X if X is None else X), (noisy.y if y is None else y)
    return lrb.Trainer("numpy", **{"epochs": 30} | options).fit(X, y)


def stop(progress):
    return True


@pytest.mark.parametrize(
    "options",
    [{}, {"patience": 1, "min_delta": 10.0}, {"tol": 0.05}, {"callbacks": (stop,)}],
    ids=["completed", "early-stopped", "converged", "callback"],
)
def test_separation_is_reported_however_training_ended(noisy, options):
    with pytest.warns(SeparationWarning, match="the classes are separated .* set l2 > 0") as caught:
        result = train(noisy, y=noisy.X[:, 0] > 0, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert result.status == "separated"
    assert result.reason == str(caught[0].message)
    assert not result.converged
    assert np.isfinite(result.coef).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"patience": 1, "min_delta": 10.0}, {"tol": 0.05}],
    ids=["completed", "early-stopped", "converged"],
)
def test_collinearity_is_reported_however_training_ended(noisy, options):
    X = noisy.X[:, [0, 1, 2, 0]]
    with pytest.warns(CollinearityWarning, match="columns 0, 3 of X are linearly dependent") as got:
        result = train(noisy, X=X, **options)
    assert len(got) == 1
    assert got[0].filename == __file__
    # From zeros, equal columns move together: the solution of least norm among the many.
    assert result.coef[0, 0] == result.coef[0, 3]


def test_a_penalty_makes_the_optimum_finite_and_unique(noisy):
    assert train(noisy, y=noisy.X[:, 0] > 0, l2=0.1).status == "completed"
    assert train(noisy, X=noisy.X[:, [0, 1, 2, 0]], l2=0.1).status == "completed"


def test_separated_classes_are_one_warning_even_where_columns_depend(noisy):
    """No optimum exists, so that it would not be unique is beside the point."""
    rng = np.random.default_rng(0)
    with pytest.warns(SeparationWarning) as caught:
        train(noisy, X=rng.normal(size=(10, 50)), y=np.arange(10) % 2)
    assert [warning.category for warning in caught] == [SeparationWarning]


def test_large_problems_are_not_searched(monkeypatch, noisy):
    """The check must not cost more than a short training."""
    monkeypatch.setattr("lrbackends.diagnostics._SEARCH_ENTRIES", 100)
    monkeypatch.setattr("lrbackends.diagnostics._RANK_FEATURES", 2)
    X, y = noisy.X[:, [0, 1, 2, 0]], noisy.X[:, 0] > 0
    problem = lrb.Problem(X, y)
    assert separating_columns(problem, FREE, start_of(problem)) is None
    assert collinear_columns(problem, FREE) is None
