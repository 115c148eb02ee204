"""X, y and sample_weight as arrays and lists; `test_containers` has what else they may be in."""

import numpy as np
import pytest

from lrbackends._validation import as_labels, as_matrix, as_weights


@pytest.mark.parametrize("given", ["<f4", ">f4"])
def test_float32_of_either_byte_order_is_computed_in_float32(given):
    matrix = as_matrix(np.ones((2, 2), given))
    assert matrix.dtype == np.float32
    assert matrix.dtype.isnative


# -- X

RECORDS = np.zeros(3, [("dose", "f8"), ("age", "i4")])

NOT_A_MATRIX = {
    "structured": (RECORDS[:, None], TypeError, "the fields dose, age; convert it with numpy.lib"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "X is ragged: row 0 has 2 values but row 1 has 1"),
    "nested": ([[1, [2, 3]], [1, 2]], TypeError, "X (list) cannot be read as an array: "),
    "ragged-arrays": (
        [np.ones((2, 3)), np.ones((2, 4))],
        ValueError,
        "row 0 has shape (2, 3) but row 1 has shape (2, 4)",
    ),
    "number": (5, ValueError, "X must have two dimensions (n_samples, n_features), got 0"),
    "dict": ({"a": [1.0]}, TypeError, "X is a dict, which cannot be read as an array; give an"),
    "generator": (iter([[1.0]]), TypeError, "X is a list_iterator, which cannot be read"),
    "None": ([[1.0, None]], ValueError, "X[0, 1] is missing (None); fill or drop it"),
    "text": ([[1.0, object()]], TypeError, "(object), not a number; convert X to a numeric array"),
    "huge": ([[1.0], [10**400]], ValueError, "X[1, 0] is too large for float64; rescale"),
    "bytes": (np.array([[b"1"]]), TypeError, "strings are not numbers"),
}


@pytest.mark.parametrize(("X", "error", "says"), NOT_A_MATRIX.values(), ids=NOT_A_MATRIX)
def test_what_is_no_matrix_is_refused(X, error, says):
    with pytest.raises(error) as caught:
        as_matrix(X)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


SAME = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
MATRICES = {
    "lists": SAME.tolist(),
    "tuples": tuple(map(tuple, SAME.tolist())),
    "ranges": [range(2), range(2, 4), range(4, 6)],
    "list-of-arrays": list(SAME),
    "integers": SAME.astype(int).tolist(),
    "objects": SAME.astype(object),
    "objects-of-many-kinds": [[np.False_, 1], [np.float32(2), 3.0], [4, np.int8(5)]],
    "float16": SAME.astype(np.float16),
    "memoryview": memoryview(SAME),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_same_numbers_in_arrays_and_lists(name):
    made = as_matrix(MATRICES[name])
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, SAME)


def test_booleans_are_numbers():
    np.testing.assert_array_equal(as_matrix([[True, False]]), [[1.0, 0.0]])


# Forms of 40 rows, as the kernels need them: the memory itself is used.
GOOD = np.random.default_rng(0).normal(size=(40, 3))


def memory_mapped(X, path):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int8", "bool"])
@pytest.mark.parametrize("form", ["array", "memory-mapped", "read-only", "rows", "subclass"])
def test_what_fits_is_not_copied(dtype, form, tmp_path):
    X = (GOOD * 40).clip(0, 100).astype(dtype)
    given = {
        "array": lambda: X,
        "memory-mapped": lambda: memory_mapped(X, tmp_path),
        "read-only": lambda: read_only(X),
        "rows": lambda: X[5:30],
        "subclass": lambda: X.view(np.memmap),
    }[form]()
    made = as_matrix(given, narrow=True)
    assert np.shares_memory(made, given)
    assert type(made) is np.ndarray
    np.testing.assert_array_equal(made, given)


@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, lambda X: X[:, ::2], lambda X: X[::-1], lambda X: X.astype(">f8")],
    ids=["fortran", "every-other-column", "reversed", "big-endian"],
)
def test_what_does_not_fit_is_copied_and_left_alone(change):
    given = change(GOOD.copy())
    given.flags.writeable = False
    before = given.tobytes()
    made = as_matrix(given)
    assert not np.shares_memory(made, given)
    assert made.flags.c_contiguous
    assert made.flags.aligned
    assert made.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(made, given)
    assert given.tobytes() == before


# -- y

NOT_LABELS = {
    "list-of-strings-and-numbers": (["a", 1, 0], TypeError, "y mixes str and int labels; use one"),
    "list-of-strings-and-None": (["a", None, "b"], ValueError, "missing label (None) in row 1"),
    "dates": (np.arange(3).astype("M8[D]"), TypeError, "y is of dtype datetime64[D]; class labels"),
    "structured": (RECORDS, TypeError, "class labels must be integers, booleans or strings"),
    "objects": (np.array([(), {}, ()], object), TypeError, "y mixes tuple and dict labels"),
    "sets": (np.array([{1}, {2}, {1}], object), TypeError, "y holds set objects; labels must be"),
    "ragged": ([[1], [1, 2]], ValueError, "y is ragged: row 0 has 1 values but row 1 has 2"),
    "generator": (iter([0, 1]), TypeError, "y is a list_iterator, which cannot be read"),
    "a-word": ("yes", ValueError, "y must be one-dimensional, got shape ()"),
    "huge": (np.array([0, 2**70], object), ValueError, "integers of more than 64 bits"),
}


@pytest.mark.parametrize(("y", "error", "says"), NOT_LABELS.values(), ids=NOT_LABELS)
def test_what_is_no_label_is_refused(y, error, says):
    with pytest.raises(error) as caught:
        as_labels(y)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


LABELS = {
    "range": range(3),
    "tuple": (0, 1, 2),
    "int8": np.arange(3, dtype=np.int8),
    "big-endian": np.arange(3).astype(">i4"),
    "bool": [True, False, True],
    "bytes": [b"a", b"b", b"a"],
    "strings": ["a", "b", "a"],
    "strings-of-any-length": np.array(["a", "b", "a"], np.dtypes.StringDType()),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_one_kind(name):
    labels = as_labels(LABELS[name])
    assert labels.shape == (3,)
    assert labels.dtype.kind in "biuSU"
    assert labels.tolist() == np.asarray(LABELS[name]).tolist()


def test_labels_are_not_copied():
    y = read_only(np.arange(3))
    assert np.shares_memory(as_labels(y), y)


# -- sample_weight

NOT_WEIGHTS = {
    "strings": (["1", "2", "3"], TypeError, "sample_weight has dtype <U1; weights must be numbers"),
    "None": ([1.0, None, 2.0], ValueError, "sample_weight[1] is missing (None); fill or drop it"),
    "objects": ([1.0, "a", 2.0], TypeError, "sample_weight has dtype <U32; weights must be"),
    "dict": ({}, TypeError, "sample_weight is a dict, which cannot be read as an array"),
}


@pytest.mark.parametrize(("weight", "error", "says"), NOT_WEIGHTS.values(), ids=NOT_WEIGHTS)
def test_what_is_no_weight_is_refused(weight, error, says):
    with pytest.raises(error) as caught:
        as_weights(weight, 3)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "weight", [[1, 2, 3], (1, 2, 3), range(1, 4), np.arange(1, 4, dtype=">f4")]
)
def test_weights(weight):
    found = as_weights(weight, 3)
    assert found.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(found, [1.0, 2.0, 3.0])
