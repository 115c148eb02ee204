import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest

from lrbackends import Problem
from lrbackends.errors import ScaleWarning


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([5, -3], [-3, 5]),
        (["yes", "no"], ["no", "yes"]),
        ([True, False], [False, True]),
        ([2.0, 1.0], [1.0, 2.0]),
    ],
    ids=["integers", "strings", "booleans", "whole-floats"],
)
def test_labels_are_encoded_by_their_sorted_classes(labels, classes):
    problem = Problem([[1.0], [2.0]], labels)
    assert problem.classes.tolist() == classes
    assert problem.y.tolist() == [1, 0]
    assert problem.y.dtype == np.int64
    assert problem.sign.tolist() == [-1.0, 1.0]


def test_data_that_fit_are_not_copied(noisy):
    assert np.shares_memory(Problem(*noisy).X, noisy.X)


@pytest.mark.parametrize("layout", ["fortran", "strided", "float32-to-float64"])
def test_data_are_copied_where_type_or_layout_must_change(noisy, layout):
    given = {
        "fortran": np.asfortranarray(noisy.X),
        "strided": np.repeat(noisy.X, 2, axis=0)[::2],
        "float32-to-float64": noisy.X.astype(np.float32),
    }[layout]
    X = Problem(given, noisy.y, dtype="float64").X
    assert not np.shares_memory(X, given)
    assert X.flags.c_contiguous
    assert X.flags.aligned
    assert np.array_equal(X, given)


@pytest.mark.parametrize(
    ("given", "asked", "computed"),
    [
        ("float64", None, "float64"),
        ("float32", None, "float32"),
        ("float16", None, "float64"),
        ("int8", None, "float64"),
        ("bool", None, "float64"),
        ("float64", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("int64", "float32", "float32"),
    ],
)
def test_type_computed_in(noisy, given, asked, computed):
    problem = Problem(noisy.X.astype(given), noisy.y, dtype=asked)
    for array in (problem.X, problem.sign, problem.weight):
        assert array.dtype == computed
    assert problem.dtype == computed


@pytest.mark.parametrize("dtype", ["float16", "int64", "longdouble", "nonsense"])
def test_other_types_are_refused(noisy, dtype):
    with pytest.raises(ValueError, match=f"dtype='{dtype}' is not supported; use 'float64'"):
        Problem(*noisy, dtype=dtype)


def test_equal_weights_are_the_same_as_none(noisy):
    assert Problem(*noisy).sample_weight is None
    assert Problem(*noisy, 7.0).sample_weight is None
    assert Problem(*noisy, np.full(60, 0.3)).sample_weight is None
    assert Problem(*noisy).weight.tolist() == [1.0] * 60


def test_weights_have_mean_one_and_their_scale_does_not_matter(noisy, row_weights):
    weight = row_weights + 1.0
    once, doubled = Problem(*noisy, weight), Problem(*noisy, 2 * weight)
    assert once.sample_weight.mean() == pytest.approx(1.0, rel=1e-15)
    assert np.array_equal(once.sample_weight, doubled.sample_weight)
    np.testing.assert_allclose(once.sample_weight, weight / weight.mean(), rtol=1e-15)


def test_rows_of_weight_zero_are_dropped(noisy, row_weights):
    kept = row_weights > 0
    problem = Problem(*noisy, row_weights)
    alone = Problem(noisy.X[kept], noisy.y[kept], row_weights[kept])
    assert problem.n_samples == kept.sum() < 60
    for name in ("X", "y", "sample_weight"):
        assert np.array_equal(getattr(problem, name), getattr(alone, name))


def test_rows_of_weight_zero_may_hold_the_only_samples_of_a_third_class(noisy):
    y, weight = noisy.y.copy(), np.ones(60)
    y[3], weight[3] = 2, 0.0
    assert Problem(noisy.X, y, weight).classes.tolist() == [0, 1]


def test_shape_and_names():
    frame = pd.DataFrame({"height": [1.0, 2.0], "width": [0.5, 3.0], 7: [1.0, 1.5]})
    problem = Problem(frame, ["a", "b"])
    assert (problem.n_samples, problem.n_features, problem.n_outputs) == (2, 3, 1)
    assert problem.feature_names == ("height", "width", "7")
    assert Problem(frame.to_numpy(), ["a", "b"]).feature_names is None


def test_columns_of_a_frame_may_share_a_name():
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 5.0]], columns=["x", "x"])
    assert Problem(frame, [0, 1]).X.tolist() == [[1.0, 2.0], [3.0, 5.0]]


def test_a_missing_value_in_a_frame_with_shared_names_is_located():
    frame = pd.DataFrame([[1.0, 2.0], [3.0, np.nan]], columns=["x", "x"])
    with pytest.raises(ValueError, match=r"column 1 \('x'\).*row 1"):
        Problem(frame, [0, 1])


def test_columns_of_a_frame_may_differ_in_type():
    frame = pd.DataFrame({"a": [1, 2], "b": [True, False], "c": np.float32([0.5, 0.25])})
    frame["d"] = pd.array([3, 4], dtype="Int64")
    assert Problem(frame, [0, 1]).X.tolist() == [[1.0, 1.0, 0.5, 3.0], [2.0, 0.0, 0.25, 4.0]]


def test_given_classes_decide_the_encoding():
    assert Problem([[1.0], [2.0]], ["b", "b"], classes=["a", "b"]).y.tolist() == [1, 1]
    assert Problem([[1.0], [2.0]], [1.0, 0.0], classes=[0, 1]).y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("classes", "label"), [([0, 1], 2), ([0, 1], -1), ([0, 1], "a"), (["a", "c"], "b")]
)
def test_a_label_outside_the_given_classes_is_located(classes, label):
    labels = np.array([classes[0], label], dtype=object if isinstance(label, str) else int)
    if isinstance(classes[0], int) and isinstance(label, str):
        labels = np.array([label, label])
    row = 0 if labels[0] == label else 1
    with pytest.raises(ValueError, match=f"label .*{label}.* in row {row}, .*classes .*{classes}"):
        Problem([[1.0], [2.0]], labels, classes=classes)


@pytest.mark.parametrize("change", ["nothing", "scaled up", "scaled down", "zero column"])
def test_columns_of_very_different_sizes_are_reported(noisy, change):
    X = noisy.X.copy()
    X[:, 1] *= {"nothing": 1.0, "scaled up": 1e8, "scaled down": 1e-8, "zero column": 0.0}[change]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Problem(pd.DataFrame(X, columns=["a", "b", "c"]), noisy.y)
    if change in ("nothing", "zero column"):
        assert caught == []
    else:
        (warning,) = caught
        assert warning.category is ScaleWarning
        assert "column 1 ('b')" in str(warning.message)
        assert "standardise" in str(warning.message)
        assert warning.filename == __file__


def test_some_rows_of_a_problem_are_the_problem_of_these_rows(noisy, row_weights):
    weight = row_weights + 1.0
    rows = np.arange(0, 60, 3)
    part = Problem(*noisy, weight).take(rows)
    alone = Problem(noisy.X[rows], noisy.y[rows], weight[rows])
    assert np.array_equal(part.X, alone.X)
    assert np.array_equal(part.y, alone.y)
    np.testing.assert_allclose(part.sample_weight, alone.sample_weight, rtol=1e-15)


def test_some_rows_of_a_problem_keep_its_classes(noisy):
    rows = np.flatnonzero(noisy.y == 1)[:3]
    part = Problem(*noisy).take(rows)
    assert part.classes.tolist() == [0, 1]
    assert part.y.tolist() == [1, 1, 1]


def test_a_problem_cannot_be_changed(noisy):
    with pytest.raises(dataclasses.FrozenInstanceError):
        Problem(*noisy).X = np.zeros((60, 3))
