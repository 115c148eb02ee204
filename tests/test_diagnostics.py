import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import datasets

import lrbackends as lrb
from lrbackends.diagnostics import collinear_columns, separating_columns
from lrbackends.errors import CollinearityWarning, SeparationWarning

FREE = lrb.Objective()
NO_INTERCEPT = lrb.Objective(fit_intercept=False)


def start_of(problem):
    shape = problem.n_outputs, problem.n_features
    return lrb.Params(np.zeros(shape), np.zeros(shape[0]))


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


# -- more than two classes


@pytest.fixture
def iris():
    """Of which it is known that setosa is apart from the others, and these are not."""
    data = datasets.load_iris()
    return pd.DataFrame(data.data, columns=["sl", "sw", "pl", "pw"]), data.target_names[data.target]


@pytest.fixture
def three(noisy):
    """60 rows of 3 classes that overlap."""
    z = noisy.X @ np.eye(3) + np.random.default_rng(5).gumbel(size=(60, 3))
    return noisy.X, z.argmax(axis=1)


def test_three_overlapping_classes_are_not_reported(three):
    assert separated(*three) is None


def test_three_completely_separated_classes(noisy):
    X = noisy.X
    y = np.digitize(X[:, 1], [-0.4, 0.4])  # the middle one is told by the intercepts
    report = separated(X, np.array(["low", "middle", "high"])[y])
    assert report.startswith("completely, along column")
    assert report.endswith("classes 'high' / 'low' / 'middle' from one another")
    problem = lrb.Problem(X[:, 1:2], y)
    weights = lrb.Params(np.array([[-9.0], [0.0], [9.0]]), np.array([-3.6, 0.0, -3.6]))
    told = separating_columns(problem, FREE, weights)
    assert told == "completely: every sample is on its right side of the hyperplanes found"
    assert separated(X[:, 1:2], y) == (
        "completely, along column 0: classes 0 / 1 / 2 from one another"
    )


def test_the_class_that_is_apart_is_named(iris):
    X, y = iris
    report = separated(X, y)
    assert report.startswith("quasi-completely, along columns 0 ('sl')")
    assert report.endswith(": class 'setosa' from classes 'versicolor', 'virginica'")
    assert separated(X[y != "setosa"], y[y != "setosa"]) is None
    assert separated(X[y != "virginica"], y[y != "virginica"]).startswith("completely, along")


def test_quasi_separation_of_three_classes_names_columns_and_classes(three):
    """Column 0 is positive for class 2 alone, and otherwise zero."""
    X, y = three
    X = X.copy()
    X[:, 0] = 0.0
    X[np.flatnonzero(y == 2)[:3], 0] = [1.0, 2.0, 3.0]
    frame = pd.DataFrame(X, columns=["dose", "b", "c"])
    expected = "quasi-completely, along column 0 ('dose'): classes 0, 1 from class 2"
    assert separated(frame, y) == expected
    assert separated(frame * [1e-4, 1.0, 1.0], y) == expected
    assert separated(sparse.csr_array(X), y) == expected.replace(" ('dose')", "")
    copied = np.column_stack([X, X[:, 1]])  # what these weigh against each other tells nothing
    assert separated(copied, y).endswith("classes 0, 1 from class 2")


def test_a_class_without_rows_is_told_where_there_is_an_intercept(three):
    X, y = three
    problem = lrb.Problem(X, y, classes=[0, 1, 2, 7])
    report = separating_columns(problem, FREE, start_of(problem))
    assert report.startswith("quasi-completely, along")
    assert report.endswith("classes 0, 1, 2 from class 7")
    assert separating_columns(problem, NO_INTERCEPT, start_of(problem)) is None


def brute_force(X, y, K, n_draws=20_000):
    """Whether a random direction of the weights lowers the scores of no right class."""
    W = np.random.default_rng(0).normal(size=(n_draws, K, X.shape[1] + 1))
    z = np.einsum("dkj,ij->dik", W, np.column_stack([X, np.ones(len(X))]))
    own = np.take_along_axis(z, np.broadcast_to(y[None, :, None], (*z.shape[:2], 1)), axis=2)
    return bool((own >= z).all(axis=(1, 2)).any())


@pytest.mark.parametrize("seed", range(8))
def test_random_directions_agree_with_the_linear_program(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(7, 1)), np.append([0, 1, 2], rng.integers(0, 3, size=4))
    report = separated(X, y)
    found = brute_force(X, y, 3)
    assert found == (report is not None and report.startswith("completely"))


@pytest.mark.parametrize("seed", range(4))
def test_two_of_the_classes_are_reported_like_two_classes(seed):
    """A class far away from two others changes nothing between these."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 2))
    y = (X[:, 0] > 0).astype(int) if seed % 2 else rng.integers(0, 2, size=30)
    alone = separated(X, y)
    both = separated(np.vstack([X, X[:5] + 100]), np.append(y, [2] * 5))
    assert both.startswith("completely" if alone else "quasi-completely")
    assert both.endswith(
        "classes 0 / 1 / 2 from one another" if alone else "classes 0, 1 from class 2"
    )


def test_large_problems_of_many_classes_are_not_searched(monkeypatch, noisy):
    X, y = noisy.X, np.digitize(noisy.X[:, 1], [-0.4, 0.4])
    monkeypatch.setattr("lrbackends.diagnostics._SEARCH_ENTRIES", 60 * 3 * 4)
    assert separated(X, y) is not None
    monkeypatch.setattr("lrbackends.diagnostics._SEARCH_ENTRIES", 60 * 3 * 4 - 1)
    assert separated(X, y) is None
    assert separated(X, y > 0) is not None


def test_collinear_columns_do_not_depend_on_the_classes(three):
    X, y = three
    assert collinear_columns(lrb.Problem(X[:, [0, 1, 2, 0]], y), FREE) == "columns 0, 3"
    assert collinear_columns(lrb.Problem(X, y), FREE) is None


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
