import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.objective import sigmoid


@pytest.fixture(scope="module")
def result(noisy):
    return lrb.Trainer("numpy", epochs=50).fit(noisy.X, np.where(noisy.y, "yes", "no"))


def with_params(result, coef, intercept=0.0):
    dtype = result.coef.dtype
    return dataclasses.replace(
        result, coef=np.array([coef], dtype), intercept=np.array([intercept], dtype)
    )


def test_shapes_and_types(backend_name, noisy):
    result = lrb.Trainer(backend_name, "adam", epochs=3).fit(*noisy)
    assert result.coef.shape == (1, 3)
    assert result.intercept.shape == (1,)
    assert result.classes.shape == (2,)
    assert type(result.loss) is type(result.initial_loss) is type(result.gradient_norm) is float
    assert (result.backend, result.solver) == (backend_name, "adam")
    assert (result.arithmetic, result.dtype) == ("fast", "float64")
    assert result.params.coef is result.coef
    assert result.params.intercept is result.intercept
    for values in result.history.values():
        assert type(values) is np.ndarray


def test_a_result_cannot_be_changed(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.loss = 0.0


def test_a_result_belongs_to_its_state(backend_name, noisy):
    result = lrb.Trainer(backend_name, epochs=3).fit(*noisy)
    assert result.state.theta.tolist() == [*result.coef[0], *result.intercept]
    assert result.state.step == result.n_steps == 3


def test_scores_probabilities_and_labels_belong_together(result, noisy):
    z = result.decision_function(noisy.X)
    np.testing.assert_allclose(z, noisy.X @ result.coef[0] + result.intercept[0], rtol=1e-14)
    proba = result.predict_proba(noisy.X)
    assert proba.shape == (60, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-15)
    assert proba[:, 1].tolist() == sigmoid(z).tolist()
    labels = result.predict(noisy.X)
    assert labels.tolist() == np.where(z > 0, "yes", "no").tolist()
    assert set(labels) == {"yes", "no"}


def test_a_probability_near_zero_keeps_its_digits(result):
    confident = with_params(result, [1.0, 0.0, 0.0])
    proba = confident.predict_proba([[100.0, 0.0, 0.0], [-100.0, 0.0, 0.0]])
    assert proba[0, 0] == proba[1, 1] == pytest.approx(np.exp(-100.0), rel=1e-15)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_threshold_is_on_the_probability(result, noisy, threshold):
    labels = result.predict(noisy.X, threshold=threshold)
    above = result.predict_proba(noisy.X)[:, 1] > threshold
    assert labels.tolist() == np.where(above, "yes", "no").tolist()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_outside_the_unit_interval_is_refused(result, noisy, threshold):
    with pytest.raises(ValueError, match="threshold must be a finite number >= 0 and <= 1"):
        result.predict(noisy.X, threshold=threshold)


def test_a_score_of_zero_is_the_first_class(result):
    undecided = with_params(result, [0.0, 0.0, 0.0])
    assert undecided.predict(np.zeros((1, 3))).tolist() == ["no"]


def test_a_score_however_small_decides(result):
    """Its probability rounds to exactly one half."""
    barely = with_params(result, [1e-300, 0.0, 0.0])
    assert barely.predict_proba([[1.0, 0.0, 0.0]]).tolist() == [[0.5, 0.5]]
    assert barely.predict([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).tolist() == ["yes", "no"]


def test_accuracy_is_the_share_of_right_labels(result, noisy):
    y = np.where(noisy.y, "yes", "no")
    assert result.accuracy(noisy.X, y) == np.mean(result.predict(noisy.X) == y)
    assert result.accuracy(noisy.X, result.predict(noisy.X)) == 1.0


def test_accuracy_on_rows_of_one_class(result, noisy):
    rows = noisy.y == 1
    share = np.mean(result.predict(noisy.X[rows]) == "yes")
    assert result.accuracy(noisy.X[rows], ["yes"] * rows.sum()) == share


def test_an_unknown_label_is_refused(result, noisy):
    with pytest.raises(ValueError, match=r"'maybe'.* in row 0, .*\['no', 'yes'\]"):
        result.accuracy(noisy.X, ["maybe"] * 60)


@pytest.mark.parametrize("form", ["list", "frame", "fortran", "float32", "int8", "uint8-frame"])
def test_rows_come_in_any_form(result, noisy, form):
    X = noisy.X.astype(np.float32).astype(np.float64)
    if "int8" in form:
        X = (noisy.X * 9).clip(0).round()
    given = {
        "list": X.tolist(),
        "frame": pd.DataFrame(X),
        "fortran": np.asfortranarray(X),
        "float32": X.astype(np.float32),
        "int8": X.astype(np.int8),
        "uint8-frame": pd.DataFrame(X.astype(np.uint8)),
    }[form]
    assert result.decision_function(given).tobytes() == result.decision_function(X).tobytes()


@pytest.fixture
def rows(noisy):
    """Half of the entries are zero, and one row is all zeros."""
    X = np.where(np.random.default_rng(0).random((60, 3)) < 0.5, 0.0, noisy.X)
    X[7] = 0.0
    return X


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix, sparse.coo_array])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sparse_rows_are_predicted_like_dense_ones(noisy, rows, container, dtype):
    model = lrb.Trainer("numpy", dtype=dtype, epochs=50, l2=0.1).fit(*noisy)
    X, y = container(rows), model.predict(rows)
    eps = np.finfo(dtype).eps
    z = model.decision_function(X)
    assert z.dtype == dtype
    np.testing.assert_allclose(z, model.decision_function(rows), rtol=8 * eps, atol=2 * eps)
    np.testing.assert_allclose(model.predict_proba(X), model.predict_proba(rows), rtol=8 * eps)
    assert model.predict(X).tolist() == y.tolist()
    assert model.accuracy(X, y) == 1.0


def test_a_reproducible_model_gives_sparse_rows_the_bits_of_dense_ones(noisy, rows):
    model = lrb.Trainer("numpy", arithmetic="reproducible", epochs=5, l2=0.1).fit(*noisy)
    for form in (sparse.csr_array(rows), sparse.csc_matrix(rows)):
        assert model.predict_proba(form).tobytes() == model.predict_proba(rows).tobytes()


def test_huge_scores_of_sparse_rows(result):
    steep = with_params(result, [1e200, -1e200, 1.0])
    X = np.array([[1e200, 1e200, 0.0], [1e200, 0.0, 0.0], [0.0, 1e200, 0.0], [0.0, 0.0, 2.0]])
    expected = steep.decision_function(X)
    assert expected.tolist() == [0.0, np.inf, -np.inf, 2.0]
    assert steep.decision_function(sparse.csr_array(X)).tolist() == expected.tolist()


def test_sparse_rows_that_cannot_be_predicted(result, rows):
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"\(nan\) in row 3, column 1"):
        result.predict(sparse.csr_array(rows))
    with pytest.raises(ValueError, match="X has 2 features, but the model was trained on 3"):
        result.predict(sparse.csr_array(rows[:, :2]))


@pytest.mark.parametrize("form", ["narrow", "csr"])
def test_predicting_makes_no_dense_copy(result, form):
    n, wide = 200_000, 40
    model = dataclasses.replace(result, coef=np.ones((1, wide)))
    X = np.ones((n, wide), np.uint8)
    if form == "csr":
        X = sparse.csr_array((np.ones(n), np.arange(n) % wide, np.arange(n + 1)), (n, wide))
    model.decision_function(X)
    tracemalloc.start()
    model.decision_function(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * 8 * 4 + (4 << 20) < n * wide * 8


def test_a_float32_model_scores_in_float32(noisy):
    result = lrb.Trainer("numpy", dtype="float32", epochs=3).fit(*noisy)
    assert result.decision_function(noisy.X).dtype == np.float32
    assert result.predict_proba(noisy.X).dtype == np.float32
