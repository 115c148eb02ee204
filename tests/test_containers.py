"""The same numbers in every container people have: the same bits learnt, nothing written to.

polars, pyarrow and torch are used where they are installed.
"""

import importlib
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

import lrbackends as lrb
from lrbackends import Problem, _containers
from lrbackends._validation import as_labels, as_matrix, as_weights, feature_names_of
from lrbackends.errors import DtypeWarning, PrecisionWarning

NAMES = ["a", "b", "c"]
X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] + np.tile([1.0, -1.0], 20) > 0).astype(np.int64)
WHOLE = (X * 10).astype(np.int64)


@pytest.fixture
def pl():
    return pytest.importorskip("polars")


@pytest.fixture
def pa():
    return pytest.importorskip("pyarrow")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def jnp():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        yield jax.numpy


def in_pieces(pa, values, size=7):
    """A chunked array, an empty chunk among the others."""
    pieces = [pa.array(values[i : i + size]) for i in range(0, len(values), size)]
    return pa.chunked_array([*pieces[:2], pieces[0][:0], *pieces[2:]])


def polars_frame(pl, values):
    return pl.DataFrame({name: values[:, j].copy() for j, name in enumerate(NAMES)})


def polars_in_chunks(pl, values):
    return pl.concat([polars_frame(pl, values[:13]), polars_frame(pl, values[13:])], rechunk=False)


def arrow_table(pa, values):
    return pa.table({name: in_pieces(pa, values[:, j]) for j, name in enumerate(NAMES)})


def uneven_table(pa, values):
    sizes = (7, 5, 40)
    return pa.table({name: in_pieces(pa, values[:, j], sizes[j]) for j, name in enumerate(NAMES)})


class Exported:
    """What offers Arrow's C data interface and nothing else."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def engine(name):
    return pytest.importorskip(name)


# how to make X from an array of numbers: (needs, function)
FRAMES = {
    "pandas": ("pandas", lambda pd, v: pd.DataFrame(v, columns=NAMES)),
    "pandas-uncopied": ("pandas", lambda pd, v: pd.DataFrame(v, columns=NAMES, copy=False)),
    "pandas-by-columns": (
        "pandas",
        lambda pd, v: pd.DataFrame({n: v[:, j].copy() for j, n in enumerate(NAMES)}),
    ),
    "pandas-one-name": ("pandas", lambda pd, v: pd.DataFrame(v, columns=["a", "a", "a"])),
    "pandas-odd-index": ("pandas", lambda pd, v: pd.DataFrame(v, index=range(99, 59, -1))),
    "pandas-nullable": (
        "pandas",
        lambda pd, v: pd.DataFrame(v, columns=NAMES).convert_dtypes(dtype_backend="numpy_nullable"),
    ),
    "pandas-arrow": (
        "pyarrow",
        lambda _, v: pd.DataFrame(v, columns=NAMES).convert_dtypes(dtype_backend="pyarrow"),
    ),
    "pandas-objects": ("pandas", lambda pd, v: pd.DataFrame(v, columns=NAMES).astype(object)),
    "pandas-decimals": (
        "pandas",
        lambda pd, v: pd.DataFrame([[Decimal(float(x)) for x in row] for row in v]),
    ),
    "pandas-sparse-and-dense": (
        "pandas",
        lambda pd, v: pd.DataFrame(v, columns=NAMES).astype({"b": pd.SparseDtype(v.dtype, 0)}),
    ),
    "polars": ("polars", polars_frame),
    "polars-chunked": ("polars", polars_in_chunks),
    "arrow": ("pyarrow", arrow_table),
    "arrow-uneven-chunks": ("pyarrow", uneven_table),
    "arrow-batch": ("pyarrow", lambda pa, v: arrow_table(pa, v).combine_chunks().to_batches()[0]),
    "arrow-reader": ("pyarrow", lambda pa, v: arrow_table(pa, v).combine_chunks().to_reader()),
    "arrow-interface": ("pyarrow", lambda pa, v: Exported(arrow_table(pa, v))),
}
NUMBERS = {"float": X, "int": WHOLE}


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("form", FRAMES)
def test_frames_hold_the_same_numbers(form, numbers):
    needs, make = FRAMES[form]
    made = as_matrix(make(engine(needs), NUMBERS[numbers].copy()))
    assert type(made) is np.ndarray
    assert made.dtype == np.float64
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, NUMBERS[numbers])


@pytest.mark.parametrize("form", FRAMES)
def test_frames_have_names(form):
    if form in ("arrow-interface", "pandas-decimals", "pandas-odd-index"):
        pytest.skip("it has no names of its own")
    needs, make = FRAMES[form]
    names = feature_names_of(make(engine(needs), X))
    assert names == (("a", "a", "a") if form == "pandas-one-name" else ("a", "b", "c"))


@pytest.mark.parametrize(
    "thing", [X, X.tolist(), None, 3, "X", sparse.csr_array(X), pd.Series([1])]
)
def test_other_things_have_no_names(thing):
    assert feature_names_of(thing) is None


MIXED = {"a": X[:, 0].astype(np.float32), "b": WHOLE[:, 1].astype(np.int16), "c": X[:, 2] > 0}
MIXTURES = {
    "pandas": lambda lib: lib.DataFrame(MIXED),
    "polars": lambda lib: lib.DataFrame(MIXED),
    "pyarrow": lambda lib: lib.table(MIXED),
}


@pytest.mark.parametrize("library", MIXTURES)
def test_columns_of_several_types(library):
    """Their common type is float32, which holds all of their numbers; so is what is computed in."""
    frame = MIXTURES[library](engine(library))
    expected = np.column_stack([MIXED["a"], MIXED["b"], MIXED["c"]])
    for dtype, kept in ((None, "float32"), ("float64", "float32"), ("float32", "float32")):
        problem = Problem(frame, Y, dtype=dtype)
        assert problem.X.dtype == kept
        assert problem.dtype == (dtype or "float32")
        np.testing.assert_array_equal(problem.X, expected)


@pytest.mark.parametrize("library", MIXTURES)
def test_columns_of_bits_and_bytes_stay_narrow(library):
    lib, bits = engine(library), X[:, 0] > 0
    make = lib.table if library == "pyarrow" else lib.DataFrame
    made = as_matrix(make({"a": bits, "b": ~bits}), narrow=True)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, np.column_stack([bits, ~bits]))


def test_rounding_is_warned_of_once(pl):
    large = np.array([2**62 + 1, 0])
    frame = pl.DataFrame({"a": large, "b": [0.5, 1.5], "c": large - 7})
    with pytest.warns(PrecisionWarning, match=f"integers up to {2**62 + 1}, above 2") as caught:
        as_matrix(frame)
    assert len(caught) == 1
    with pytest.warns(DtypeWarning, match="rounded to float64"):
        as_matrix(pd.DataFrame({"a": large.astype(np.longdouble), "b": [0.5, 1.5]}))


def test_a_frame_of_sparse_columns_is_sparse():
    thin = np.where(X > 0, X, 0.0)
    made = as_matrix(pd.DataFrame(thin, columns=NAMES).astype(pd.SparseDtype("float64", 0.0)))
    assert isinstance(made, sparse.csr_array)
    np.testing.assert_array_equal(made.toarray(), thin)
    other = pd.DataFrame(thin).astype(pd.SparseDtype("float64", 1.0))  # another number left out
    np.testing.assert_array_equal(as_matrix(other), thin)


# -- what is in the way is named


def spoilt(library, column):
    """A frame whose column 1, ``b``, is what ``column`` makes; X around it."""
    lib = engine(library)
    columns = {"a": X[:, 0].copy(), "b": column(lib), "c": X[:, 2].copy()}
    return (lib.table if library == "pyarrow" else lib.DataFrame)(columns)


def words():
    return np.where(Y == 1, "x", "z").tolist()


def without(rows, values):
    return [None if i in rows else value for i, value in enumerate(values)]


NOT_NUMBERS = {
    "pandas-strings": ("pandas", lambda pd: pd.Series(words()), "dtype str"),
    "pandas-objects": ("pandas", lambda pd: pd.Series(words(), dtype=object), "dtype object"),
    "pandas-category": ("pandas", lambda pd: pd.Categorical(words()), "dtype category"),
    "pandas-category-of-numbers": ("pandas", lambda pd: pd.Categorical(Y), "dtype category"),
    "pandas-dates": ("pandas", lambda pd: pd.date_range("2020", periods=40), "dtype datetime64["),
    "pandas-complex": ("pandas", lambda _: X[:, 0] + 1j, "dtype complex128"),
    "polars-strings": ("polars", lambda pl: pl.Series(words()), "dtype String"),
    "polars-category": (
        "polars",
        lambda pl: pl.Series(words(), dtype=pl.Categorical),
        "dtype Categorical",
    ),
    "polars-enum": ("polars", lambda pl: pl.Series(words(), dtype=pl.Enum(["x", "z"])), "Enum("),
    "polars-dates": ("polars", lambda pl: pl.Series(Y).cast(pl.Date), "dtype Date"),
    "polars-lists": ("polars", lambda pl: pl.Series([[1, 2]] * 40), "dtype List(Int64)"),
    "polars-arrays": (
        "polars",
        lambda pl: pl.Series([[1, 2]] * 40, dtype=pl.Array(pl.Int64, 2)),
        "dtype Array(Int64",
    ),
    "polars-int128": ("polars", lambda pl: pl.Series(Y).cast(pl.Int128), "dtype Int128"),
    "arrow-strings": ("pyarrow", lambda pa: pa.array(words()), "dtype string"),
    "arrow-dictionary": (
        "pyarrow",
        lambda pa: pa.array(words()).dictionary_encode(),
        "dtype dictionary<",
    ),
    "arrow-dictionary-of-numbers": (
        "pyarrow",
        lambda pa: pa.array(Y).dictionary_encode(),
        "dtype dictionary<",
    ),
    "arrow-dates": ("pyarrow", lambda pa: pa.array(Y).cast(pa.timestamp("s")), "dtype timestamp"),
    "arrow-lists": ("pyarrow", lambda pa: pa.array([[1, 2]] * 40), "dtype list<"),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_columns_that_are_not_numbers_are_named(case):
    library, column, dtype = NOT_NUMBERS[case]
    with pytest.raises(TypeError) as caught:
        Problem(spoilt(library, column), Y)
    message = str(caught.value)
    assert message.startswith("column 1 ('b') of X has dtype ")
    assert dtype in message
    assert message.endswith(", not numbers; encode it as numbers or drop it")
    assert "\n" not in message


GAPS = (4, 6, 31)
MISSING = {
    "pandas-nan": ("pandas", lambda pd: pd.Series(without(GAPS, X[:, 1]), dtype="float64")),
    "pandas-Float64": ("pandas", lambda pd: pd.Series(without(GAPS, X[:, 1]), dtype="Float64")),
    "pandas-Int64": ("pandas", lambda pd: pd.Series(without(GAPS, Y), dtype="Int64")),
    "pandas-boolean": ("pandas", lambda pd: pd.Series(without(GAPS, Y == 1), dtype="boolean")),
    "pandas-objects": ("pandas", lambda pd: pd.Series(without(GAPS, Y), dtype=object)),
    "pandas-strings": ("pandas", lambda pd: pd.Series(without(GAPS, words()))),
    "pandas-arrow": (
        "pyarrow",
        lambda pa: pa.array(without(GAPS, Y)),
    ),
    "polars-float": ("polars", lambda pl: pl.Series(without(GAPS, X[:, 1]))),
    "polars-nan": (
        "polars",
        lambda pl: pl.Series(np.where(np.isin(np.arange(40), GAPS), np.nan, 1)),
    ),
    "polars-int": ("polars", lambda pl: pl.Series(without(GAPS, Y.tolist()))),
    "polars-bool": ("polars", lambda pl: pl.Series(without(GAPS, (Y == 1).tolist()))),
    "arrow-float": ("pyarrow", lambda pa: pa.array(without(GAPS, X[:, 1]))),
    "arrow-nan": (
        "pyarrow",
        lambda pa: pa.array(np.where(np.isin(np.arange(40), GAPS), np.nan, 1)),
    ),
    "arrow-int": ("pyarrow", lambda pa: in_pieces(pa, without(GAPS, Y))),
    "arrow-bool": ("pyarrow", lambda pa: pa.array(without(GAPS, (Y == 1).tolist()))),
    "arrow-words": ("pyarrow", lambda pa: pa.array(without(GAPS, words()))),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_values_are_named_with_column_and_row(case):
    frame = spoilt(*MISSING[case])
    if case == "pandas-arrow":
        frame = frame.to_pandas(types_mapper=pd.ArrowDtype)
        assert str(frame.dtypes["b"]) == "int64[pyarrow]"
    expected = "column 1 ('b') of X has 3 missing or NaN values, the first in row 4; fill or drop"
    with pytest.raises(ValueError) as caught:
        Problem(frame, Y)
    assert str(caught.value).startswith(expected)


def test_infinity_in_a_table_is_named(pa):
    table = pa.table({"a": X[:, 0], "b": np.where(np.arange(40) == 9, -np.inf, X[:, 1])})
    with pytest.raises(ValueError, match=r"\(-inf\) in row 9, column 1 \('b'\)"):
        Problem(table, Y)


def test_a_lazy_frame_asks_to_be_collected(pl):
    lazy = polars_frame(pl, X).lazy()
    with pytest.raises(TypeError, match=r"a LazyFrame is not computed yet; give .* collect\(\)"):
        Problem(lazy, Y)


def test_a_dask_frame_asks_to_be_computed():
    class DataFrame:
        iloc = __dask_graph__ = columns = None

    with pytest.raises(TypeError, match=r"a DataFrame is not computed yet; give .* compute\(\)"):
        Problem(DataFrame(), Y)


def test_without_pyarrow_the_arrow_interface_asks_for_it(monkeypatch):
    monkeypatch.setitem(importlib.sys.modules, "pyarrow", None)
    with pytest.raises(TypeError, match="a Exported is read by pyarrow, which is not installed"):
        as_matrix(Exported(None))


def test_what_exports_no_table_is_refused(pa):
    with pytest.raises(TypeError, match="a Exported is no Arrow table"):
        as_matrix(Exported(in_pieces(pa, X[:, 0])))


def test_one_column_alone_is_no_matrix(pl, pa):
    for column in (
        pl.Series(X[:, 0]),
        pa.array(X[:, 0]),
        in_pieces(pa, X[:, 0]),
        pd.Series(X[:, 0]),
    ):
        with pytest.raises(ValueError, match=r"two dimensions .*, got 1; reshape"):
            as_matrix(column)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_without_rows_or_columns(library):
    lib = engine(library)
    make = lib.table if library == "pyarrow" else lib.DataFrame
    with pytest.raises(ValueError, match="X has no rows"):
        Problem(make({"a": X[:0, 0], "b": X[:0, 1]}), Y[:0])
    with pytest.raises(ValueError, match=r"X has no (rows|columns)"):
        Problem(make({}), Y)


# -- tensors

TENSORS = ("float64", "float32", "int64", "int8", "uint8", "bool")


@pytest.mark.parametrize("dtype", TENSORS)
@pytest.mark.parametrize("library", ["jax", "torch"])
def test_tensors_share_their_memory(library, dtype, request):
    values = (X * 10).astype(dtype)
    if library == "torch":
        tensor = request.getfixturevalue("torch").from_numpy(values.copy())
        own = tensor.numpy()
    else:
        tensor = request.getfixturevalue("jnp").asarray(values)
        own = np.asarray(tensor)
    made = as_matrix(tensor, narrow=True)
    np.testing.assert_array_equal(made, values)
    assert np.shares_memory(made, own) == (dtype != "int64")  # which kernels do not compute with
    assert Problem(tensor, Y).dtype == ("float32" if dtype == "float32" else "float64")


def test_tensors_of_other_layouts(torch):
    tensor = torch.from_numpy(X.copy())
    np.testing.assert_array_equal(as_matrix(tensor[::2, 1:]), X[::2, 1:])
    np.testing.assert_array_equal(as_matrix(tensor.t().contiguous().t()), X)


def test_labels_and_weights_may_be_tensors(torch, jnp):
    for kind in (torch.from_numpy, jnp.asarray):
        np.testing.assert_array_equal(as_labels(kind(Y)), Y)
        np.testing.assert_array_equal(as_weights(kind(Y), 40), Y)


REFUSED_TENSORS = {
    "gradient": (
        lambda t: t.ones(40, 3, requires_grad=True),
        ValueError,
        "X requires gradients, which training does not record; give X.detach()",
    ),
    "meta": (
        lambda t: t.ones(40, 3, device="meta"),
        ValueError,
        "X is on device meta, not on the CPU; copy it there first",
    ),
    "bfloat16": (lambda t: t.ones(40, 3, dtype=t.bfloat16), TypeError, "X (Tensor) cannot be read"),
    "sparse": (lambda t: t.ones(40, 3).to_sparse(), TypeError, "Use Tensor.to_dense() first"),
    "complex": (lambda t: t.ones(40, 3) * 1j, ValueError, "X is complex (complex64)"),
}


@pytest.mark.parametrize("case", REFUSED_TENSORS)
def test_tensors_that_are_refused(torch, case):
    make, error, says = REFUSED_TENSORS[case]
    with pytest.raises(error) as caught:
        Problem(make(torch), Y)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


class OnDevice:
    """A tensor as DLPack sees it."""

    def __init__(self, kind, **attributes):
        self.kind = kind
        vars(self).update(attributes)

    def __dlpack__(self, **_):
        raise AssertionError("it must not be read")

    def __dlpack_device__(self):
        return (self.kind, 0)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (OnDevice(2, device="cuda:0"), "is on device cuda:0, not on the CPU; copy it there first"),
        (OnDevice(10), "is on device type 10, not on the CPU"),
        (OnDevice(1, requires_grad=True), "requires gradients, which training does not record"),
    ],
    ids=["cuda", "rocm", "gradient"],
)
def test_tensors_elsewhere_are_refused_without_torch(name, tensor, says):
    with pytest.raises(ValueError) as caught:
        Problem(**{"X": X, "y": Y} | {name: tensor})
    assert str(caught.value).startswith(f"{name} {says}")


def test_jax_arrays_of_types_that_numpy_lacks(jnp):
    with pytest.raises(TypeError, match=r"X has dtype bfloat16, .* convert X to float32"):
        as_matrix(jnp.ones((3, 2), jnp.bfloat16))


# -- labels and weights

LABELS = {
    "pandas-strings": ("pandas", lambda pd: pd.Series(words())),
    "pandas-category": ("pandas", lambda pd: pd.Categorical(words())),
    "pandas-category-series": ("pandas", lambda pd: pd.Series(words(), dtype="category")),
    "pandas-index": ("pandas", lambda pd: pd.Index(words())),
    "pandas-array": ("pandas", lambda pd: pd.array(words())),
    "pandas-arrow": (
        "pyarrow",
        lambda pa: pd.Series(words(), dtype=pd.ArrowDtype(pa.string())),
    ),
    "polars-strings": ("polars", lambda pl: pl.Series(words())),
    "polars-category": ("polars", lambda pl: pl.Series(words(), dtype=pl.Categorical)),
    "polars-enum": ("polars", lambda pl: pl.Series(words(), dtype=pl.Enum(["z", "x"]))),
    "arrow-strings": ("pyarrow", lambda pa: pa.array(words())),
    "arrow-chunks": ("pyarrow", lambda pa: in_pieces(pa, words())),
    "arrow-dictionary": ("pyarrow", lambda pa: pa.array(words()).dictionary_encode()),
    "arrow-dictionaries": ("pyarrow", lambda pa: in_pieces(pa, words()).dictionary_encode()),
    "list": ("pandas", lambda _: words()),
}


@pytest.mark.parametrize("case", LABELS)
def test_the_labels_are_the_classes(case):
    needs, make = LABELS[case]
    problem = Problem(X, make(engine(needs)))
    assert problem.classes.tolist() == ["x", "z"]
    np.testing.assert_array_equal(problem.y, 1 - Y)


VECTORS = {
    "pandas": ("pandas", lambda pd, v: pd.Series(v, index=range(99, 59, -1))),
    "pandas-nullable": ("pandas", lambda pd, v: pd.Series(v).convert_dtypes()),
    "polars": ("polars", lambda pl, v: pl.Series(v)),
    "polars-chunked": (
        "polars",
        lambda pl, v: pl.concat([pl.Series(v[:9]), pl.Series(v[9:])], rechunk=False),
    ),
    "arrow": ("pyarrow", lambda pa, v: pa.array(v)),
    "arrow-chunks": ("pyarrow", in_pieces),
    "list": ("pandas", lambda _, v: v.tolist()),
    "tuple": ("pandas", lambda _, v: tuple(v)),
}


@pytest.mark.parametrize("kind", ["int64", "int8", "uint64", "bool", "float32", "float64"])
@pytest.mark.parametrize("form", VECTORS)
def test_vectors_hold_the_same_numbers(form, kind):
    needs, make = VECTORS[form]
    values = Y.astype(kind)
    labels = as_labels(make(engine(needs), values), 40)
    np.testing.assert_array_equal(labels, values)
    if form not in ("pandas-nullable", "list"):  # which have integers of one kind
        assert labels.dtype.kind == values.dtype.kind
    weight = as_weights(make(engine(needs), values), 40)
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, Y)


GAPPED = {
    "pandas-Int64": ("pandas", lambda pd: pd.Series(without(GAPS, Y), dtype="Int64")),
    "pandas-category": ("pandas", lambda pd: pd.Categorical(without(GAPS, Y))),
    "pandas-objects": ("pandas", lambda pd: pd.Series(without(GAPS, Y), dtype=object)),
    "polars": ("polars", lambda pl: pl.Series(without(GAPS, Y.tolist()))),
    "arrow": ("pyarrow", lambda pa: pa.array(without(GAPS, Y))),
    "arrow-chunks": ("pyarrow", lambda pa: in_pieces(pa, without(GAPS, Y))),
    "arrow-dictionary": (
        "pyarrow",
        lambda pa: pa.array(without(GAPS, words())).dictionary_encode(),
    ),
}


@pytest.mark.parametrize("case", GAPPED)
def test_missing_labels_and_weights_are_refused_by_row(case):
    needs, make = GAPPED[case]
    values = make(engine(needs))
    with pytest.raises(ValueError) as caught:
        as_labels(values)
    assert str(caught.value) == "y has 3 missing labels, the first in row 4; drop such rows"
    with pytest.raises(ValueError) as caught:
        as_weights(values, 40)
    assert str(caught.value).startswith("sample_weight has 3 missing weights, the first in row 4;")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_frame_of_one_column_is_read_as_labels_with_a_warning(library):
    lib = engine(library)
    make = lib.table if library == "pyarrow" else lib.DataFrame
    with pytest.warns(DataConversionWarning, match=r"y is a column of shape \(40, 1\)"):
        np.testing.assert_array_equal(as_labels(make({"y": Y})), Y)
    with pytest.raises(ValueError, match="y must be one-dimensional, got 2 columns; give one"):
        as_labels(make({"y": Y, "z": Y}))


# -- memory


def test_what_lies_in_rows_is_not_copied(pl, pa):
    values = X.copy()
    values.flags.writeable = False
    frame = pd.DataFrame(values, columns=NAMES, copy=False)
    assert np.shares_memory(as_matrix(frame), values)
    column = values[:, 1].copy()
    for table in (pl.DataFrame({"a": pl.Series(column)}), pa.table({"a": pa.array(column)})):
        (series,) = table.get_columns() if hasattr(table, "get_columns") else table.columns
        (chunk,) = _containers._chunks(series)
        assert np.shares_memory(as_matrix(table), chunk)
    for labels in (pl.Series(Y), pa.array(Y), pd.Series(Y)):
        assert np.shares_memory(as_labels(labels), np.asarray(labels))


@pytest.mark.parametrize("n_columns", [1, 3, 5000])
def test_columns_are_put_into_rows(n_columns):
    """Also where a block of rows would be less than one row."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(23, n_columns))
    cuts = [np.sort(rng.integers(0, 24, size=j % 4)) for j in range(n_columns)]
    columns = [np.split(values[:, j].copy(), cut) for j, cut in enumerate(cuts)]
    for dtype in (np.float64, np.float32):
        rows = _containers.as_rows(columns, np.dtype(dtype))
        assert rows.flags.c_contiguous
        np.testing.assert_array_equal(rows, values.astype(dtype))


@pytest.mark.parametrize("form", FRAMES)
def test_nothing_is_written_to(form):
    if form == "arrow-reader":
        pytest.skip("it is read once, by whoever reads it")
    needs, make = FRAMES[form]
    frame = make(engine(needs), X.copy())
    before = as_matrix(frame).tobytes()
    lrb.Trainer("numpy", epochs=3, l2=0.1).fit(frame, Y)
    assert as_matrix(frame).tobytes() == before == X.tobytes()


# -- training


@pytest.mark.parametrize("form", ["pandas", "pandas-nullable", "polars", "arrow"])
def test_every_backend_learns_the_same_bits_from_frames(backend_name, form):
    needs, make = FRAMES[form]
    lib = engine(needs)
    trainer = lrb.Trainer(backend_name, epochs=5, l2=0.1)
    weight = np.arange(1.0, 41.0)
    plain = trainer.fit(X, Y, weight)
    vector = VECTORS[form][1]
    found = trainer.fit(make(lib, X), vector(lib, Y), vector(lib, weight))
    assert found.coef.tobytes() == plain.coef.tobytes()
    assert found.intercept.tobytes() == plain.intercept.tobytes()
    np.testing.assert_array_equal(found.predict(make(lib, X)), plain.predict(X))


def test_every_backend_learns_the_same_bits_from_tensors(backend_name, torch):
    trainer = lrb.Trainer(backend_name, epochs=5, l2=0.1)
    plain = trainer.fit(X, Y)
    found = trainer.fit(torch.from_numpy(X.copy()), torch.from_numpy(Y.copy()))
    assert found.coef.tobytes() == plain.coef.tobytes()
