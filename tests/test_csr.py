"""Sparse input in every form that SciPy has, sound and damaged, all become one form."""

import numpy as np
import pytest
from scipy import sparse

from lrbackends import Problem
from lrbackends._csr import as_csr, cast_csr, position_of

FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
COMPRESSED = ("bsr", "csc", "csr")
COMPRESSED_ARRAYS = ("data", "indices", "indptr")


@pytest.fixture
def dense() -> np.ndarray:
    """20 rows of 6 columns, a third of them not zero, an empty row and an empty column."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((20, 6)) < 0.4, rng.normal(size=(20, 6)), 0.0)
    X[7], X[:, 4] = 0.0, 0.0
    return X


def arrays_of(X):
    names = {"coo": ("data", "row", "col")}.get(X.format, COMPRESSED_ARRAYS)
    return [getattr(X, name) for name in names]


def reversed_rows(X):
    """The same matrix with falling indices in each row, which it says are rising."""
    X = sparse.csr_array(X)
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        for array in (X.indices, X.data):
            array[start:stop] = array[start:stop][::-1].copy()
    X.has_canonical_format = True
    return X


def repeated(X):
    """Every entry in two parts, next to each other."""
    X = sparse.csr_array(X)
    halves = np.repeat(X.data / 2, 2)
    made = sparse.csr_array((halves, np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape)
    made.has_canonical_format = True
    return made


def with_stored_zeros(X):
    X = sparse.csr_array(X + 1e-300 * (X == 0))
    X.data[X.data == 1e-300] = 0.0
    assert X.nnz == X.shape[0] * X.shape[1]
    return X


def with_unused_room(X):
    """Longer arrays than indptr says; what is beyond is garbage."""
    X = sparse.csr_array(X)
    X.data, X.indices = np.append(X.data, np.nan), np.append(X.indices, 99)
    return X


def with_wide_indices(X):
    X = sparse.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def of_both_index_types(X):
    X = sparse.csr_array(X)
    X.indptr = X.indptr.astype(np.int64)
    return X


def read_only(X):
    X = sparse.csr_array(X)
    for name in COMPRESSED_ARRAYS:
        getattr(X, name).flags.writeable = False
    return X


def read_only_repeated(X):
    return read_only(repeated(X))


def big_endian(X):
    X = sparse.csr_array(X)
    X.data = X.data.astype(">f8")
    return X


ODD = (
    reversed_rows,
    repeated,
    with_stored_zeros,
    with_unused_room,
    with_wide_indices,
    of_both_index_types,
    read_only,
    read_only_repeated,
    big_endian,
)


def check(X, dense):
    """X becomes ``dense`` in canonical form, and is not written to."""
    before = [array.copy() for array in arrays_of(X)] if X.format in (*COMPRESSED, "coo") else []
    flags = dict(vars(X))
    made = Problem(X, np.arange(20) % 2).X
    assert isinstance(made, sparse.csr_array)
    assert made.data.dtype == np.float64
    assert made.indices.dtype == made.indptr.dtype
    fresh = sparse.csr_array((made.data, made.indices, made.indptr), shape=made.shape)
    assert fresh.has_canonical_format
    assert made.data.all()
    assert made.indptr[-1] == len(made.indices) == len(made.data)
    assert made.data.dtype.isnative
    np.testing.assert_array_equal(made.toarray(), dense)
    for array, earlier in zip(arrays_of(X) if before else (), before, strict=True):
        assert array.dtype == earlier.dtype
        assert array.tobytes() == earlier.tobytes()
    assert vars(X).keys() == flags.keys()


@pytest.mark.parametrize("container", ["array", "matrix"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_the_same(dense, name, container):
    check(getattr(sparse, f"{name}_{container}")(dense), dense)


@pytest.mark.parametrize("odd", ODD, ids=lambda f: f.__name__)
def test_odd_but_sound_csr(dense, odd):
    check(odd(dense), dense)


def test_repeated_coordinates_are_summed(dense):
    X = sparse.coo_array(dense)
    twice = (np.tile(X.data, 2), tuple(np.tile(part, 2) for part in X.coords))
    check(sparse.coo_array(twice, shape=X.shape), 2 * dense)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int64", "bool", "float32"])
@pytest.mark.parametrize("name", ["csr", "coo"])
def test_numbers_take_the_type_computed_in(dense, name, dtype):
    X = getattr(sparse, f"{name}_array")((5 * dense).clip(0).astype(dtype))
    y = np.arange(20) % 2
    expected = {None: "float32" if dtype == "float32" else "float64", "float32": "float32"}
    for asked, computed in expected.items():
        problem = Problem(X, y, dtype=asked)
        assert problem.X.dtype == problem.dtype == computed
        np.testing.assert_array_equal(problem.X.toarray(), X.toarray().astype(computed))


def test_sound_csr_is_shared(dense):
    X = sparse.csr_array(dense)
    made = as_csr(X)
    for name in COMPRESSED_ARRAYS:
        assert np.shares_memory(getattr(made, name), getattr(X, name))
    assert cast_csr(made, np.dtype(np.float64)) is made
    assert np.shares_memory(cast_csr(made, np.dtype(np.float32)).indices, X.indices)


def test_entries_that_become_zero_in_the_type_are_dropped(dense):
    X = sparse.csr_array(dense)
    X.data[3] = 1e-60
    assert cast_csr(as_csr(X), np.dtype(np.float32)).nnz == X.nnz - 1


def test_the_place_of_an_entry(dense):
    X = sparse.csr_array(dense)
    places = [position_of(X, k) for k in range(X.nnz)]
    assert places == [tuple(place) for place in np.argwhere(dense).tolist()]


def spoilt(name, array, where, value):
    """Return a function that makes a matrix of that format and changes one of its arrays."""

    def make(dense):
        X = getattr(sparse, f"{name}_array")(dense)
        assert X.has_canonical_format in (True, False)  # and remembers it
        getattr(X, array)[where] = value
        return X

    return make


def spoilt_lil(dense):
    X = sparse.lil_array(dense)
    X.rows[0][0] = 100_000_000
    return X


def too_short(array):
    def make(dense):
        X = sparse.csr_array(dense)
        setattr(X, array, getattr(X, array)[:-1])
        return X

    return make


def replaced(name, array, change):
    """Return a function that makes a matrix of that format with one of its arrays changed."""

    def make(dense):
        X = getattr(sparse, f"{name}_array")(dense)
        if array in ("row", "col"):
            X.coords = tuple(
                change(part) if (array == "col") == k else part for k, part in enumerate(X.coords)
            )
        else:
            setattr(X, array, change(getattr(X, array)))
        return X

    return make


def longer_row(part):
    def make(dense):
        X = sparse.lil_array(dense)
        getattr(X, part)[3].append(1)
        return X

    return make


def far_key(dense):
    X = sparse.dok_array(dense)
    X._dict[(0, 10**8)] = 1.0
    return X


DAMAGED = {
    "csr-9": (spoilt("csr", "indices", 0, 9), "row 0 has column index 9, outside 0..5"),
    "csr-far": (spoilt("csr", "indices", 0, 10**8), "row 0 has column index 100000000"),
    "csr-negative": (spoilt("csr", "indices", -1, -5), "row 19 has column index -5, outside 0..5"),
    "csc-far": (spoilt("csc", "indices", 0, 10**8), "column 0 has row index 100000000, outside 0"),
    "bsr-far": (spoilt("bsr", "indices", 0, 10**8), "has block column index 100000000"),
    "coo-far": (lambda X: far_coordinate(X), "entry 2 has column index 100000000, outside 0..5"),
    "lil-far": (spoilt_lil, "row 0 has column index 100000000"),
    "indptr-falls": (spoilt("csr", "indptr", 3, 10**6), "never fall"),
    "indptr-starts-late": (spoilt("csr", "indptr", 0, 1), "start at 0"),
    "indptr-ends-below-0": (spoilt("csr", "indptr", -1, -1), "never fall"),
    "indptr-ends-late": (spoilt("csr", "indptr", -1, 10**6), "indptr ends at 1000000 but there"),
    "indptr-short": (too_short("indptr"), "indptr must have 21 entries"),
    "data-short": (too_short("data"), "indices and"),
    "indices-short": (too_short("indices"), "indices and"),
    "indptr-float": (
        replaced("csr", "indptr", lambda a: a + 0.5),
        "indptr must hold integers, not float64",
    ),
    "indices-float": (
        replaced("csc", "indices", lambda a: a.astype(float)),
        "indices must hold integers, not float64",
    ),
    "indices-2d": (
        replaced("csr", "indices", lambda a: a[None]),
        "indices must be an array of dimension 1",
    ),
    "data-2d": (replaced("csr", "data", lambda a: a[None]), "data must be an array of dimension 1"),
    "data-list": (replaced("csr", "data", list), "data must be an array of dimension 1"),
    "indptr-far": (spoilt("csr", "indptr", slice(1, 20), 2**31 - 1), "never fall"),
    "bsr-blocks": (
        replaced("bsr", "data", lambda a: np.repeat(a, 4, axis=2)),
        "do not fill (20, 6)",
    ),
    "bsr-empty-blocks": (replaced("bsr", "data", lambda a: a[:, :0]), "do not fill (20, 6)"),
    "coo-short": (
        replaced("coo", "col", lambda a: a[:-1]),
        "its arrays differ in length",
    ),
    "coo-data-short": (replaced("coo", "data", lambda a: a[:-1]), "its arrays differ in length"),
    "coo-float": (replaced("coo", "row", lambda a: a + 0.5), "row must hold integers"),
    "dia-short": (replaced("dia", "data", lambda a: a[:-1]), "its arrays differ in length"),
    "dia-repeated": (
        replaced("dia", "offsets", np.zeros_like),
        "its offsets must differ from one another",
    ),
    "lil-indices-long": (longer_row("rows"), "row 3 has"),
    "lil-entries-long": (longer_row("data"), "row 3 has"),
    "dok-far": (far_key, "axis 1 index 100000000 exceeds matrix dimension 6"),
}


def far_coordinate(dense):
    X = sparse.coo_array(dense)
    X.coords[1][2] = 10**8
    return X


@pytest.mark.parametrize(("make", "says"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_indices_are_refused_before_they_are_used(dense, make, says):
    with pytest.raises(ValueError, match="sparse X is damaged") as caught:
        as_csr(make(dense))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_damaged_is_refused_or_harmless(dense, seed):
    """Each array of each format, changed at random in value, length, type or dimension."""
    rng = np.random.default_rng(seed)
    changes = (
        lambda a: put(a, rng.integers(len(a), size=2), rng.choice([-5, 0, 1, 6, 20, 2**31 - 1], 2)),
        lambda a: a[:-1],
        lambda a: np.append(a, a[-1:], axis=0),
        lambda a: a.astype(float),
        lambda a: a[None],
        lambda a: a.astype(object),
        lambda a: a.astype(a.dtype.newbyteorder()),
    )
    arrays = {"coo": ("data", "row", "col"), "dia": ("data", "offsets")}
    messages = []
    for _ in range(200):
        name = str(rng.choice(["csr", "csc", "bsr", "coo", "dia"]))
        array = str(rng.choice(arrays.get(name, COMPRESSED_ARRAYS)))
        try:
            X = replaced(name, array, changes[rng.integers(len(changes))])(dense)
        except ValueError:  # SciPy does not let this happen
            continue
        try:
            made = as_csr(X)
        except (TypeError, ValueError) as error:
            messages.append(str(error))
        else:
            made.check_format(full_check=True)
            assert made.shape == dense.shape
    assert len(messages) > 50
    assert all(message.startswith("sparse X ") for message in messages)


def put(array, where, values):
    array = array.copy()
    array[where] = np.broadcast_to(values, array[where].T.shape).T
    return array


def of_objects(dense):
    X = sparse.csr_array(dense)
    X.data = X.data.astype(object)
    return X


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda X: sparse.coo_array(X[0]), ValueError, "two dimensions .*, got 1"),
        (lambda X: sparse.csr_array(X[0]), ValueError, "two dimensions .*, got 1"),
        (lambda X: sparse.csr_array(X + 1j), ValueError, "X is complex .complex128.; .* real"),
        (lambda X: of_objects(X), TypeError, "dtype object; its entries must be real numbers"),
    ],
    ids=["coo-1d", "csr-1d", "complex", "objects"],
)
def test_other_shapes_and_types_are_refused(dense, make, error, says):
    with pytest.raises(error, match=says):
        as_csr(make(dense))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.nan, r"X has 1 NaN or infinite values, the first \(nan\) in row 3, column 5;"),
        (-np.inf, r"the first \(-inf\) in row 3, column 5;"),
        (1e-310, r"X\[3, 5\] = 1e-310 is subnormal in float64"),
        (-1e150, "X scale: the largest entry is 1e[+]150"),
    ],
)
def test_bad_entries_are_located(dense, value, says):
    dense[3, 5] = value
    with pytest.raises(ValueError, match=says):
        Problem(sparse.csr_array(dense), np.arange(20) % 2)
