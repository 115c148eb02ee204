import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lrbackends import Problem
from lrbackends.errors import ScaleWarning
from lrbackends.problem import dense_blocks


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


@pytest.mark.parametrize("layout", ["fortran", "strided", "float64-to-float32"])
def test_data_are_copied_where_type_or_layout_must_change(noisy, layout):
    given = {
        "fortran": np.asfortranarray(noisy.X),
        "strided": np.repeat(noisy.X, 2, axis=0)[::2],
        "float64-to-float32": noisy.X.astype(np.float32).astype(np.float64),
    }[layout]
    dtype = "float32" if layout.endswith("float32") else "float64"
    X = Problem(given, noisy.y, dtype=dtype).X
    assert not np.shares_memory(X, given)
    assert X.flags.c_contiguous
    assert X.flags.aligned
    assert np.array_equal(X, given)


@pytest.mark.parametrize(
    ("given", "asked", "computed", "stored"),
    [
        ("float64", None, "float64", "float64"),
        ("float32", None, "float32", "float32"),
        (">f4", None, "float32", "float32"),
        ("float16", None, "float64", "float64"),
        ("int8", None, "float64", "int8"),
        ("uint8", None, "float64", "uint8"),
        ("bool", None, "float64", "uint8"),
        ("int16", None, "float64", "float64"),
        ("float64", "float32", "float32", "float32"),
        ("float32", "float64", "float64", "float32"),
        (">f4", "float64", "float64", "float32"),
        ("float16", "float32", "float32", "float32"),
        ("uint8", "float32", "float32", "uint8"),
        ("bool", "float32", "float32", "uint8"),
        ("int64", "float32", "float32", "float32"),
    ],
)
def test_type_computed_in_and_type_stored(noisy, given, asked, computed, stored):
    X = (noisy.X * 9).clip(0).astype(given)
    problem = Problem(X, noisy.y, dtype=asked)
    assert problem.dtype == problem.sign.dtype == problem.weight.dtype == computed
    assert problem.X.dtype == stored
    assert problem.X.dtype.isnative
    assert problem.X.flags.c_contiguous
    assert np.array_equal(problem.X, X.astype(computed))


@pytest.mark.parametrize("stored", ["uint8", "int8", "bool", "float32"])
@pytest.mark.parametrize("container", ["array", "read-only", "frame", "fortran"])
def test_narrow_data_stay_narrow_in_any_container(noisy, stored, container):
    X = (noisy.X * 9).clip(0).astype(stored)
    made = {"frame": pd.DataFrame, "fortran": np.asfortranarray}.get(container, np.copy)(X)
    if container == "read-only":
        made.flags.writeable = False
    problem = Problem(made, noisy.y, dtype="float64")
    assert problem.X.dtype == ("uint8" if stored == "bool" else stored)
    assert problem.X.flags.c_contiguous
    assert np.array_equal(problem.X, X)
    if container in ("array", "read-only"):
        assert np.shares_memory(problem.X, made)


FORMS = {
    "float64": lambda X: X.astype(np.float64),
    "float32": lambda X: X.astype(np.float32),
    "uint8": lambda X: X.astype(np.uint8),
    "csr": lambda X: sparse.csr_array(X.astype(np.float64)),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_dense_and_of_the_type_computed_in(noisy, form):
    X = (noisy.X * 9).clip(0).round()
    problem = Problem(FORMS[form](X), noisy.y, dtype="float64")
    assert problem.sparse == (form == "csr")
    rows = problem.rows(5, 9)
    assert type(rows) is np.ndarray
    assert rows.dtype == np.float64
    assert np.array_equal(rows, X[5:9])
    assert np.array_equal(problem.widened().rows(0, 60), X)
    assert problem.widened().X.dtype == np.float64
    assert (problem.widened() is problem) == (form in ("float64", "csr"))
    np.testing.assert_allclose(problem.rms, np.sqrt((X**2).mean(axis=0)), rtol=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_blocks_are_cut_by_shape_and_type_alone(monkeypatch, noisy, form, dtype):
    monkeypatch.setattr("lrbackends.problem._BLOCK_BYTES", 500)
    X = (noisy.X * 9).clip(0).round()
    found = list(dense_blocks(FORMS[form](X), dtype))
    rows = 500 // (3 * np.dtype(dtype).itemsize)
    assert [part.start for part, _ in found] == list(range(0, 60, rows))
    assert found[-1][0].stop == 60
    assert all(block.dtype == dtype for _, block in found)
    assert np.array_equal(np.concatenate([block for _, block in found]), X)


@pytest.mark.parametrize("form", FORMS)
def test_some_rows_and_rows_of_weight_zero_in_every_form(noisy, row_weights, form):
    X, kept = (noisy.X * 9).clip(0).round(), row_weights > 0
    problem = Problem(FORMS[form](X), noisy.y, row_weights)
    assert np.array_equal(problem.rows(0, problem.n_samples), X[kept])
    part = problem.take(np.arange(0, 20, 3))
    assert (part.sparse, part.dtype, part.X.dtype) == (
        form == "csr",
        problem.dtype,
        problem.X.dtype,
    )
    assert np.array_equal(part.rows(0, 7), X[kept][0:20:3])


def test_some_rows_under_weights_of_their_own(noisy):
    rows, weight = np.array([3, 3, 40]), np.array([1.0, 2.0, 3.0])
    part = Problem(*noisy).take(rows, weight)
    assert part.sample_weight.tolist() == [0.5, 1.0, 1.5]
    assert np.array_equal(part.X, noisy.X[rows])


@pytest.mark.parametrize(
    "labels", ["int64", "uint8", ">i8", "bool", "float32", "str", "object"], ids=str
)
def test_two_classes_are_found_as_sorting_finds_them(labels):
    y = np.random.default_rng(0).integers(0, 2, size=50)
    given = np.where(y, "b", "a") if labels == "str" else y.astype(labels)
    problem = Problem(np.arange(50.0)[:, None], given)
    known, codes = np.unique(given, return_inverse=True)
    assert problem.classes.tolist() == known.tolist()
    assert problem.y.tolist() == codes.tolist()
    assert problem.y.dtype == np.int64


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
