"""Bad and odd input: each case has one outcome and one message, the same from every backend.

Dense and sparse. The rows are numbered, and ``test_no_row_is_silently_missing`` counts them.
"""

import dataclasses
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.errors import DivergenceError, UnsupportedError

N_ROWS = 104


@dataclass(frozen=True)
class Outcome:
    """What came of one fit: an error or a result, and the warnings on the way."""

    error: type[Exception] | None
    message: str
    warned: tuple[tuple[str, str], ...]
    result: Any = field(compare=False, default=None)

    @property
    def categories(self) -> list[str]:
        return sorted(name for name, _ in self.warned)


def snapshot(value: Any) -> Any:
    """Return what ``unchanged`` compares with: a copy of what pandas made, else all its bytes."""
    return value.copy() if hasattr(value, "equals") else pickle.dumps(value)


def unchanged(value: Any, earlier: Any) -> bool:
    return bool(
        value.equals(earlier) if hasattr(value, "equals") else pickle.dumps(value) == earlier
    )


def attempt(backend: str, X: Any, y: Any, sample_weight: Any = None, **options: Any) -> Outcome:
    """Train, and look afterwards that nothing handed in has changed."""
    given = (X, y, sample_weight)
    before = [snapshot(part) for part in given]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer = lrb.Trainer(backend, **{"epochs": 50, "random_state": 0} | options)
            result, error, message = trainer.fit(*given), None, ""
        except Exception as problem:
            error, message = type(problem), str(problem)
            result = getattr(problem, "result", None)
    for part, earlier in zip(given, before, strict=True):
        assert unchanged(part, earlier), "the input was changed"
    for warning in caught:
        assert warning.filename == __file__, f"the warning points at {warning.filename}"
    warned = tuple((w.category.__name__, str(w.message)) for w in caught)
    return Outcome(error, message, warned, result)


Change = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]  # arguments and options of a fit


def changes_of(change: Change, data: Any) -> dict[str, Any]:
    return dict(change(data) if callable(change) else change)


def on_every_backend(names: tuple[str, ...], data: Any, change: Change) -> dict[str, Outcome]:
    """Return each backend's outcome, which must be the same but for the numbers learnt."""
    arguments = {"X": data.X.copy(), "y": data.y.copy()} | changes_of(change, data)
    outcomes = {name: attempt(name, **arguments) for name in names}
    first = outcomes[names[0]]
    for name, outcome in outcomes.items():
        assert outcome == first, f"{name} differs from {names[0]}"
        if first.result is not None:
            assert outcome.result.status == first.result.status
            assert outcome.result.reason == first.result.reason
            assert outcome.result.classes.tolist() == first.result.classes.tolist()
            assert outcome.result.classes.dtype == first.result.classes.dtype
            assert outcome.result.dtype == first.result.dtype
    return outcomes


# -- ways to spoil good data; X is (60, 3) and y is 0 or 1


def put(array: np.ndarray, value: Any, *where: Any) -> np.ndarray:
    """Return ``array`` with ``value`` at some places."""
    array = array.copy()
    for place in where:
        array[place] = value
    return array


def replaced(values: Any, row: int, value: Any) -> np.ndarray:
    """Return ``values`` as objects, one of them replaced."""
    array = np.array(values, dtype=object)
    array[row] = value
    return array


def masked(X: np.ndarray) -> np.ma.MaskedArray:
    array = np.ma.array(X.copy())
    array[3, 1] = np.ma.masked
    return array


def matrix(X: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix(X)


def frame(X: np.ndarray, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(**columns)


def csr(X: np.ndarray, index: int | None = None, **options: Any) -> Any:
    """Return X as CSR, one column index spoilt."""
    made = sparse.csr_array(X, **options)
    if index is not None:
        made.indices[0] = index
    return made


def thinned(X: np.ndarray) -> np.ndarray:
    """Half of the entries, the others zero."""
    return np.where(X > 0, X, 0.0)


def with_stored_zeros(X: np.ndarray) -> Any:
    made = sparse.csr_array(np.where(X == 0, 1.0, X))
    made.data[X.ravel() == 0] = 0.0
    return made


def unsorted(X: np.ndarray) -> Any:
    made = sparse.csr_array(X)
    for start, stop in zip(made.indptr[:-1], made.indptr[1:], strict=True):
        for part in (made.indices, made.data):
            part[start:stop] = part[start:stop][::-1].copy()
    return made


def halves(X: np.ndarray) -> Any:
    """Each entry in two parts side by side."""
    X = sparse.csr_array(X)
    parts = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
    return sparse.csr_array(parts, shape=X.shape)


def coo_halves(X: np.ndarray) -> Any:
    X = sparse.coo_array(X)
    places = tuple(np.tile(part, 2) for part in X.coords)
    return sparse.coo_array((np.tile(X.data / 2, 2), places), shape=X.shape)


def wide_indices(X: np.ndarray) -> Any:
    X = sparse.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def read_only_csr(X: np.ndarray) -> Any:
    X = halves(X)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    return X


def ragged(X: np.ndarray) -> list[list[float]]:
    rows = X.tolist()
    rows[7] = rows[7][:1]
    return rows


def above(X: np.ndarray) -> np.ndarray:
    """Labels that the first column separates completely."""
    return (X[:, 0] > 0).astype(int)


def quasi(d: Any, **options: Any) -> dict[str, Any]:
    """Separated by the first column, except for equal rows of both classes where it is zero."""
    X, labels = put(d.X, 0.0, np.s_[:6, 0]), above(d.X)
    X[1:6:2], labels[:6] = X[0:6:2], [0, 1] * 3
    return {"X": X, "y": labels} | options


def missing_int(y: np.ndarray) -> pd.Series:
    return pd.Series(y).astype("Int64").mask(np.arange(60) == 5)


DAMAGED = (ValueError, "sparse X is damaged: row 0 has column index", "outside 0..2")
OVERFLOWS = (ValueError, "X scale: the largest entry is", "||X||^2 overflows", "standardise")

# (id, what to change, the error, what its message says)
REFUSED: list[tuple[str, Change, tuple[Any, ...]]] = [
    ("r08-one-class", lambda d: {"y": d.y * 0 + 1}, (ValueError, "only one class", "two are")),
    (
        "r09-nan-in-X",
        lambda d: {"X": put(d.X, np.nan, (7, 2), (9, 0))},
        (ValueError, "X has 2 NaN or infinite values", "(nan) in row 7, column 2", "drop"),
    ),
    (
        "r10-inf-in-X",
        lambda d: {"X": put(d.X, np.inf, (7, 2))},
        (ValueError, "X has 1 NaN or infinite values", "(inf) in row 7, column 2", "drop"),
    ),
    (
        "r10-minus-inf-in-X",
        lambda d: {"X": put(d.X, -np.inf, (59, 0))},
        (ValueError, "(-inf) in row 59, column 0", "drop"),
    ),
    (
        "r11-nan-in-y",
        lambda d: {"y": put(d.y.astype(float), np.nan, 3)},
        (ValueError, "y has 1 NaN or infinite labels", "(nan) in row 3", "drop"),
    ),
    (
        "r12-inf-in-y",
        lambda d: {"y": put(d.y.astype(float), np.inf, 3, 4)},
        (ValueError, "y has 2 NaN or infinite labels", "(inf) in row 3", "drop"),
    ),
    ("r13-huge-X", lambda d: {"X": d.X * 1e150}, OVERFLOWS),
    ("r14-huger-X", lambda d: {"X": d.X * 1e300}, OVERFLOWS),
    (
        "r17-subnormal-X",
        lambda d: {"X": d.X * 1e-310},
        (ValueError, "X[", "is subnormal in float64", "rescale the columns"),
    ),
    (
        "r17-one-subnormal-entry",
        lambda d: {"X": put(d.X, 1e-310, (41, 1))},
        (ValueError, "X[41, 1] = 1e-310 is subnormal in float64", "rescale", "set such entries"),
    ),
    (
        "r18-float32-near-overflow",
        lambda d: {"X": (d.X / np.abs(d.X).max() * 3e38).astype(np.float32)},
        (*OVERFLOWS, "overflows float32", "dtype='float64'"),
    ),
    (
        "r19-too-large-for-float32",
        lambda d: {"X": (np.sign(d.X) * 1e39).astype(object), "dtype": "float32"},
        (ValueError, "NaN or infinite", "(inf) in row 0, column 0"),
    ),
    (
        "r23-weights-all-zero",
        {"sample_weight": np.zeros(60)},
        (ValueError, "sample_weight is zero in every row", "at least one must be positive"),
    ),
    (
        "r24-one-negative-weight",
        {"sample_weight": put(np.ones(60), -1.0, 4)},
        (ValueError, "sample_weight must be finite and >= 0", "row 4 has -1.0"),
    ),
    (
        "r25-negative-weights",
        {"sample_weight": -np.ones(60)},
        (ValueError, "sample_weight must be finite and >= 0", "row 0 has -1.0", "60"),
    ),
    (
        "r26-nan-weight",
        {"sample_weight": put(np.ones(60), np.nan, 4)},
        (ValueError, "sample_weight must be finite and >= 0", "row 4 has nan"),
    ),
    (
        "r27-too-few-weights",
        {"sample_weight": np.ones(59)},
        (ValueError, "sample_weight has shape (59,)", "expected (60,)", "one weight per row"),
    ),
    (
        "r28-weights-leave-one-class",
        lambda d: {"sample_weight": (d.y == 0) * 1.0},
        (ValueError, "only one class", "of positive weight", "two are needed"),
    ),
    (
        "r30-weights-of-1e300",
        {"sample_weight": np.full(60, 1e300)},
        (ValueError, "sample_weight overflows when squared", "divide the weights by their mean"),
    ),
    (
        "r30-weights-of-1e308",
        {"sample_weight": np.full(60, 1e308)},
        (
            ValueError,
            "sum of sample_weight overflows when squared",
            "divide the weights by their mean",
        ),
    ),
    (
        "r35-continuous-y",
        lambda d: {"y": np.where(d.y == 1, 0.7, 0.3)},
        (ValueError, "y looks continuous", "row 0 is 0.7", "whole numbers, booleans or strings"),
    ),
    (
        "r39-two-columns-of-y",
        lambda d: {"y": np.column_stack([d.y, d.y])},
        (ValueError, "y must be one-dimensional", "(60, 2)"),
    ),
    (
        "r41-mixed-labels",
        lambda d: {"y": replaced(d.y.tolist(), 0, "a")},
        (TypeError, "y mixes str and int labels", "use one kind"),
    ),
    (
        "r42-missing-label",
        lambda d: {"y": replaced(d.y.tolist(), 5, None)},
        (ValueError, "y has a missing label (None) in row 5", "drop"),
    ),
    (
        "r43-pandas-NA-among-labels",
        lambda d: {"y": missing_int(d.y)},
        (ValueError, "y has 1 missing labels", "the first in row 5", "drop"),
    ),
    (
        "r43-pandas-NA-among-objects",
        lambda d: {"y": replaced(d.y.tolist(), 5, pd.NA)},
        (ValueError, "y has a missing label (<NA>) in row 5", "drop"),
    ),
    (
        "r50-complex-X",
        lambda d: {"X": d.X + 1j},
        (ValueError, "X is complex (complex128)", "real numbers"),
    ),
    (
        "r62-sparse-nan",
        lambda d: {"X": csr(put(d.X, np.nan, (7, 2)))},
        (ValueError, "X has 1 NaN or infinite values", "(nan) in row 7, column 2", "drop"),
    ),
    (
        "r64-no-rows",
        lambda d: {"X": d.X[:0], "y": d.y[:0]},
        (ValueError, "X has no rows", "at least one sample of each class"),
    ),
    (
        "r65-no-columns",
        lambda d: {"X": d.X[:, :0]},
        (ValueError, "X has no columns", "at least one feature"),
    ),
    (
        "r66-one-sample",
        lambda d: {"X": d.X[:1], "y": d.y[:1]},
        (ValueError, "only one class", "two are needed"),
    ),
    (
        "r68-one-dimensional-X",
        lambda d: {"X": d.X[:, 0]},
        (ValueError, "two dimensions (n_samples, n_features), got 1", "X.reshape(-1, 1)"),
    ),
    (
        "r69-three-dimensional-X",
        lambda d: {"X": d.X[None]},
        (ValueError, "two dimensions (n_samples, n_features), got 3"),
    ),
    (
        "r71-ragged-rows",
        lambda d: {"X": ragged(d.X)},
        (ValueError, "X is ragged", "row 0 has 3 values but row 7 has 1"),
    ),
    (
        "r73-numbers-as-string-objects",
        lambda d: {"X": replaced(d.X, (4, 1), "1.5")},
        (TypeError, "X[4, 1] is '1.5' (str), not a number", "numeric array"),
    ),
    (
        "r73-nothing-among-objects",
        lambda d: {"X": replaced(d.X, (4, 1), None)},
        (ValueError, "X[4, 1] is missing (None)", "fill or drop it"),
    ),
    (
        "r74-numbers-as-strings",
        lambda d: {"X": d.X.astype(str)},
        (TypeError, "X has dtype <U", "strings are not numbers", "numeric array"),
    ),
    (
        "r75-strings",
        {"X": np.full((60, 3), "abc")},
        (TypeError, "X has dtype <U3", "strings are not numbers", "numeric array"),
    ),
    (
        "r76-dates",
        {"X": np.arange(180).reshape(60, 3).astype("datetime64[D]")},
        (TypeError, "X has dtype datetime64[D]", "dates or times are not numbers"),
    ),
    (
        "r76-durations",
        {"X": np.arange(180).reshape(60, 3).astype("timedelta64[s]")},
        (TypeError, "X has dtype timedelta64[s]", "dates or times are not numbers"),
    ),
    (
        "r77-lengths-differ",
        lambda d: {"y": d.y[:-1]},
        (ValueError, "X has 60 rows but y has 59 labels"),
    ),
    (
        "r78-X-is-None",
        {"X": None},
        (TypeError, "X is None", "array of shape (n_samples, n_features)"),
    ),
    (
        "r79-y-is-None",
        {"y": None},
        (TypeError, "y is None", "one class label per row"),
    ),
    (
        "r80-masked-entries",
        lambda d: {"X": masked(d.X)},
        (ValueError, "X has 1 masked entries", "fill or drop them"),
    ),
    (
        "r80-masked-labels",
        lambda d: {"y": np.ma.array(d.y, mask=np.arange(60) == 5)},
        (ValueError, "y has 1 masked", "drop them"),
    ),
    (
        "r80-masked-weights",
        {"sample_weight": np.ma.array(np.ones(60), mask=np.arange(60) == 5)},
        (ValueError, "sample_weight has 1 masked", "fill"),
    ),
    (
        "r81-numpy-matrix",
        lambda d: {"X": matrix(d.X)},
        (TypeError, "X is a numpy.matrix", "numpy.asarray(X)"),
    ),
    (
        "r82-frame-with-nan",
        lambda d: {"X": frame(put(d.X, np.nan, (4, 1), (6, 1)))},
        (ValueError, "column 1 ('b') of X has 2 missing or NaN values", "row 4", "fill or drop"),
    ),
    (
        "r82-frame-with-NA",
        lambda d: {"X": frame(d.X, c=missing_int(d.y))},
        (ValueError, "column 2 ('c') of X has 1 missing or NaN values", "row 5", "fill or drop"),
    ),
    (
        "r82-frame-with-inf",
        lambda d: {"X": frame(put(d.X, np.inf, (4, 1)))},
        (ValueError, "(inf) in row 4, column 1 ('b')", "fill or drop"),
    ),
    (
        "r83-category-column",
        lambda d: {"X": frame(d.X, b=pd.Categorical(np.where(d.y == 1, "x", "z")))},
        (TypeError, "column 1 ('b') of X has dtype category", "encode it as numbers or drop it"),
    ),
    (
        "r83-string-column",
        lambda d: {"X": frame(d.X, c=np.where(d.y == 1, "x", "z"))},
        (TypeError, "column 2 ('c') of X has dtype str", "encode it as numbers or drop it"),
    ),
    (
        "r86-negative-epochs",
        {"epochs": -1},
        (ValueError, "epochs must be", ">= 0", "got -1"),
    ),
    ("r88-tol-nan", {"tol": np.nan}, (ValueError, "tol must be", ">= 0", "got nan")),
    (
        "r89-infinite-penalty",
        {"l2": np.inf},
        (ValueError, "l2 must be", "finite", ">= 0", "got inf"),
    ),
    ("r90-negative-penalty", {"l2": -1}, (ValueError, "l2 must", ">= 0", "got -1")),
    ("r91-penalty-nan", {"l2": np.nan}, (ValueError, "l2 must", ">= 0", "got nan")),
    ("r92-penalty-string", {"l2": "1"}, (TypeError, "l2 must be a number", "'1'")),
    (
        "r94-rate-1e300",
        {"learning_rate": 1e300},
        (DivergenceError, "training diverged in epoch 1", "largest safe learning_rate", "(1/L)"),
    ),
    (
        "r94-rate-1e6",
        {"learning_rate": 1e6},
        (DivergenceError, "training diverged in epoch 1", "largest safe learning_rate", "(1/L)"),
    ),
    (
        "r96-rate-inf",
        {"learning_rate": np.inf},
        (ValueError, "learning_rate must be", "finite", "> 0", "got inf"),
    ),
    (
        "r97-unknown-solver",
        {"solver": "newtn"},
        (ValueError, "solver='newtn' is unknown", "gd, momentum, nesterov, adam"),
    ),
    (
        "r41-mixed-labels-in-a-list",
        lambda d: {"y": ["a", *d.y[1:].tolist()]},
        (TypeError, "y mixes str and int labels", "use one kind"),
    ),
    ("r102-csr-index-too-large", lambda d: {"X": csr(d.X, 9)}, DAMAGED),
    ("r103-csr-index-far-too-large", lambda d: {"X": csr(d.X, 100_000_000)}, DAMAGED),
    ("r104-csr-negative-index", lambda d: {"X": csr(d.X, -5)}, DAMAGED),
]


# What sparse matrices cannot hold, or what is one already.
DENSE_ONLY = re.compile(
    r"r(19|62|71|73|74|75|76|78|81|82|83|102|103|104)-|r80-masked-entries|r15-.*frame"
)


def sparsely(change: Change) -> Change:
    """The same with X in CSR form, or COO of as many dimensions as it has."""

    def changed(data: Any) -> dict[str, Any]:
        made = {"X": data.X} | changes_of(change, data)
        form = sparse.csr_array if np.ndim(made["X"]) == 2 else sparse.coo_array
        return made | {"X": form(made["X"])}

    return changed


SPARSE_REFUSED = [
    pytest.param(change, says, id=name)
    for name, change, says in REFUSED
    if not DENSE_ONLY.match(name) and says[0] is not DivergenceError
]


@pytest.mark.parametrize(("change", "expected"), SPARSE_REFUSED)
def test_refused_when_sparse_in_the_same_words(backend_names, noisy, change, expected):
    """Also by backends that do not cover sparse data: what is bad is bad everywhere."""
    outcome = on_every_backend(backend_names, noisy, sparsely(change))["numpy"]
    assert outcome.error is expected[0]
    dense = attempt("numpy", **{"X": noisy.X, "y": noisy.y} | changes_of(change, noisy))
    assert outcome.message == dense.message
    assert outcome.categories == []


@pytest.mark.parametrize(
    ("change", "expected"), [pytest.param(change, says, id=name) for name, change, says in REFUSED]
)
def test_refused(backend_names, noisy, change, expected):
    error, *fragments = expected
    outcome = on_every_backend(backend_names, noisy, change)["numpy"]
    assert outcome.error is error
    for fragment in fragments:
        assert fragment in outcome.message
    assert len(outcome.message.splitlines()) == 1
    assert len(outcome.message) < 250, "a sentence, not a dump of the data"
    assert outcome.categories == []


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("rate", [1e6, 1e300], ids="r94-rate-{:g}".format)
def test_an_explosion_holds_the_best_weights(backend_names, noisy, rate, form):
    change: Change = {"learning_rate": rate}
    if form == "sparse":
        backend_names, change = covering_sparse(backend_names), sparsely(change)
    outcomes = on_every_backend(backend_names, noisy, change)
    for outcome in outcomes.values():
        assert outcome.error is DivergenceError
        assert "training diverged in epoch 1" in outcome.message
        assert outcome.result.status == "diverged"
        assert np.isfinite(outcome.result.coef).all()
        assert outcome.result.loss <= outcome.result.initial_loss


# -- input that is odd but good: the very bits of the plain form


def packed(X: np.ndarray) -> np.ndarray:
    """Return X at an odd address, as a field of a packed record is."""
    array = np.frombuffer(bytearray(X.nbytes + 1), np.uint8)[1:].view(np.float64).reshape(X.shape)
    array[:] = X
    assert not array.flags.aligned
    return array


def read_only(X: np.ndarray) -> np.ndarray:
    array = X.copy()
    array.flags.writeable = False
    return array


def whole(y: np.ndarray) -> np.ndarray:
    return y.astype(object)


# (id, what to change, warnings)
SAME_BITS: list[tuple[str, Change, list[str]]] = [
    ("r29-scalar-weight", {"sample_weight": 3.0}, []),
    ("r29-scalar-weight-of-a-third", {"sample_weight": 1 / 3}, []),
    ("r31-string-labels", lambda d: {"y": np.where(d.y == 1, "yes", "no")}, []),
    ("r31-series-of-strings", lambda d: {"y": pd.Series(np.where(d.y == 1, "yes", "no"))}, []),
    ("r31-categorical", lambda d: {"y": pd.Categorical(np.where(d.y == 1, "yes", "no"))}, []),
    ("r32-minus-one-and-one", lambda d: {"y": 2 * d.y - 1}, []),
    ("r33-booleans", lambda d: {"y": d.y == 1}, []),
    ("r34-whole-floats", lambda d: {"y": d.y.astype(float)}, []),
    ("r36-zero-and-two", lambda d: {"y": 2 * d.y}, []),
    ("r36-unsigned", lambda d: {"y": d.y.astype(np.uint8)}, []),
    ("r38-column-of-labels", lambda d: {"y": d.y[:, None]}, ["DataConversionWarning"]),
    ("r40-objects-that-are-integers", lambda d: {"y": whole(d.y)}, []),
    ("r40-objects-that-are-booleans", lambda d: {"y": whole(d.y == 1)}, []),
    ("r40-objects-that-are-strings", lambda d: {"y": whole(np.where(d.y == 1, "b", "a"))}, []),
    ("r46-longdouble", lambda d: {"X": d.X.astype(np.longdouble)}, ["DtypeWarning"]),
    ("r51-fortran-order", lambda d: {"X": np.asfortranarray(d.X)}, []),
    ("r52-every-other-row", lambda d: {"X": np.repeat(d.X, 2, axis=0)[::2]}, []),
    ("r52-every-other-column", lambda d: {"X": np.repeat(d.X, 2, axis=1)[:, ::2]}, []),
    ("r52-every-other-label", lambda d: {"y": np.repeat(d.y, 2)[::2]}, []),
    ("r53-negative-strides", lambda d: {"X": d.X[::-1, ::-1].copy()[::-1, ::-1]}, []),
    ("r54-read-only", lambda d: {"X": read_only(d.X), "y": read_only(d.y)}, []),
    ("r55-big-endian", lambda d: {"X": d.X.astype(">f8"), "y": d.y.astype(">i8")}, []),
    ("r56-misaligned", lambda d: {"X": packed(d.X)}, []),
    ("r70-lists", lambda d: {"X": d.X.tolist(), "y": d.y.tolist()}, []),
    ("r72-objects-that-are-numbers", lambda d: {"X": d.X.astype(object)}, []),
    ("r80-masked-array-without-mask", lambda d: {"X": np.ma.array(d.X)}, []),
    ("r82-frame", lambda d: {"X": frame(d.X), "y": pd.Series(d.y)}, []),
    ("r82-frame-of-nullable-floats", lambda d: {"X": frame(d.X).astype("Float64")}, []),
    ("r87-tol-zero", {"tol": 0}, []),
]


@pytest.mark.parametrize(
    ("change", "warned"),
    [pytest.param(change, warned, id=name) for name, change, warned in SAME_BITS],
)
def test_same_bits(backend_names, noisy, change, warned):
    outcomes = on_every_backend(backend_names, noisy, change)
    plain = on_every_backend(backend_names, noisy, {})
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        assert outcome.categories == warned
        expected = plain[name].result
        assert outcome.result.status == "completed"
        assert outcome.result.n_epochs == 50
        assert outcome.result.coef.tobytes() == expected.coef.tobytes()
        assert outcome.result.intercept.tobytes() == expected.intercept.tobytes()
        assert outcome.result.history["loss"].tobytes() == expected.history["loss"].tobytes()


# Other types hold other numbers: the bits of the same numbers given as float64.
AS_FLOAT64: list[tuple[str, Change, list[str]]] = [
    ("r45-float16", lambda d: {"X": d.X.astype(np.float16)}, []),
    ("r47-int64-above-2**53", lambda d: {"X": (d.X * 2**60).astype(np.int64)}, ["Precision"]),
    (
        "r48-int8",
        lambda d: {"X": put((d.X * 40).clip(-128, 127).astype(np.int8), -128, (0, 0))},
        [],
    ),
    ("r49-bool", lambda d: {"X": d.X > 0}, []),
    ("r49-frame-of-mixed-types", lambda d: {"X": frame(d.X, b=d.X[:, 1] > 0, c=np.arange(60))}, []),
]


@pytest.mark.parametrize(
    ("change", "warned"),
    [pytest.param(change, warned, id=name) for name, change, warned in AS_FLOAT64],
)
def test_other_types_are_the_same_numbers_in_float64(backend_names, noisy, change, warned):
    def converted(d):
        return {"X": np.asarray(change(d)["X"]).astype(np.float64)}

    outcomes = on_every_backend(backend_names, noisy, change)
    plain = on_every_backend(backend_names, noisy, converted)
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        extra = [f"{kind}Warning" for kind in warned]
        assert outcome.categories == sorted(extra + plain[name].categories)
        assert outcome.result.dtype == "float64"
        assert outcome.result.coef.tobytes() == plain[name].result.coef.tobytes()


# -- sparse data: the bits of sorted CSR, and of dense data up to rounding

ODD_BESIDE_SPARSE = [
    pytest.param(change, warned, id=name)
    for name, change, warned in SAME_BITS
    if re.match(r"r(29|3|40)", name)
]


@pytest.mark.parametrize(("change", "warned"), ODD_BESIDE_SPARSE)
def test_odd_labels_and_weights_beside_sparse_data(backend_names, thin, change, warned):
    names = covering_sparse(backend_names)
    outcomes = on_every_backend(names, thin, sparsely(change))
    plain = on_every_backend(names, thin, sparsely({}))
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        assert outcome.categories == warned
        assert outcome.result.coef.tobytes() == plain[name].result.coef.tobytes()


SPARSE_TYPES = [
    pytest.param(change, warned, id=name)
    for name, change, warned in AS_FLOAT64
    if re.match("r47|r48|r49-bool", name)  # SciPy has no float16
]


@pytest.mark.parametrize(("change", "warned"), SPARSE_TYPES)
def test_other_types_of_sparse_data_are_the_same_numbers(backend_names, thin, change, warned):
    def converted(d):
        return {"X": np.asarray(change(d)["X"]).astype(np.float64)}

    names = covering_sparse(backend_names)
    outcomes = on_every_backend(names, thin, sparsely(change))
    plain = on_every_backend(names, thin, sparsely(converted))
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        extra = [f"{kind}Warning" for kind in warned]
        assert outcome.categories == sorted(extra + plain[name].categories)
        assert outcome.result.coef.tobytes() == plain[name].result.coef.tobytes()


SPARSE: list[tuple[str, Callable[[np.ndarray], Any]]] = [
    ("r57-csr-matrix", sparse.csr_matrix),
    ("r57-csr-array", sparse.csr_array),
    ("r57-csc-array", sparse.csc_array),
    ("r57-lil-matrix", sparse.lil_matrix),
    ("r57-csr-of-float32", lambda X: sparse.csr_array(X.astype(np.float32))),
    ("r58-csr-explicit-zeros", with_stored_zeros),
    ("r59-csr-unsorted", unsorted),
    ("r60-csr-duplicates", halves),
    ("r60-csr-duplicates-read-only", read_only_csr),
    ("r61-coo-duplicates", coo_halves),
    ("r63-sparse-int64-indices", wide_indices),
]


@pytest.fixture(scope="module")
def thin(noisy):
    """Half of the entries are zero, and float32 holds the others."""
    return noisy._replace(X=thinned(noisy.X.astype(np.float32)).astype(np.float64))


def covering_sparse(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if lrb.get_backend(name).capabilities().sparse)


def test_which_backends_cover_sparse_data(backend_names):
    assert covering_sparse(backend_names) == ("numpy", "numba")


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in SPARSE])
def test_sparse_data_are_fitted_like_sorted_csr(backend_names, thin, make):
    names = covering_sparse(backend_names)
    outcomes = on_every_backend(names, thin, {"X": make(thin.X), "dtype": "float64"})
    plain = on_every_backend(names, thin, {"X": csr(thin.X)})
    dense = on_every_backend(names, thin, {})
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        assert outcome.categories == []
        expected = plain[name].result
        assert outcome.result.coef.tobytes() == expected.coef.tobytes()
        assert outcome.result.intercept.tobytes() == expected.intercept.tobytes()
        assert outcome.result.history["loss"].tobytes() == expected.history["loss"].tobytes()
        np.testing.assert_allclose(
            outcome.result.coef, dense[name].result.coef, rtol=1e-13, atol=1e-15
        )


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in SPARSE])
def test_sparse_data_are_refused_where_they_are_not_covered(backend_names, thin, make):
    others = tuple(set(backend_names) - set(covering_sparse(backend_names)))
    for name in others:
        outcome = attempt(name, make(thin.X), thin.y)
        assert outcome.error is UnsupportedError
        assert name in outcome.message
        assert "sparse X" in outcome.message
        assert "X.toarray()" in outcome.message


def test_sparse_data_are_refused_in_the_reproducible_arithmetic(backend_names, thin):
    for name in backend_names:
        outcome = attempt(name, csr(thin.X), thin.y, arithmetic="reproducible")
        assert outcome.error is UnsupportedError
        assert "sparse X" in outcome.message
        assert "X.toarray()" in outcome.message


# -- narrow data: the bits of the same numbers widened

NARROW: list[tuple[str, Callable[[np.ndarray], Any]]] = [
    ("r44-float32-as-float64", lambda X: X.astype(np.float32)),
    ("r44-big-endian-float32", lambda X: X.astype(">f4")),
    ("r44-frame-of-float32", lambda X: frame(X.astype(np.float32))),
    ("r48-int8", lambda X: (X * 40).clip(-128, 127).astype(np.int8)),
    ("r48-uint8", lambda X: (X * 40).clip(0, 255).astype(np.uint8)),
    ("r48-uint8-read-only", lambda X: read_only((X * 40).clip(0, 255).astype(np.uint8))),
    ("r48-uint8-fortran", lambda X: np.asfortranarray((X * 40).clip(0, 255).astype(np.uint8))),
    ("r49-bool", lambda X: X > 0),
]


def arithmetics_of(name: str) -> tuple[str, ...]:
    return ("fast", "reproducible") if name in ("r44-float32-as-float64", "r48-int8") else ("fast",)


@pytest.mark.parametrize(
    ("make", "arithmetic"),
    [
        pytest.param(make, arithmetic, id=f"{name}-{arithmetic}")
        for name, make in NARROW
        for arithmetic in arithmetics_of(name)
    ],
)
def test_narrow_data_have_the_bits_of_wide_ones(backend_names, noisy, make, arithmetic):
    X = make(noisy.X)
    options = {"arithmetic": arithmetic, "dtype": "float64"}
    outcomes = on_every_backend(backend_names, noisy, {"X": X} | options)
    wide = np.asarray(X).astype(np.float64)
    plain = on_every_backend(backend_names, noisy, {"X": wide} | options)
    for name, outcome in outcomes.items():
        assert outcome.error is None, outcome.message
        assert outcome.categories == plain[name].categories
        expected = plain[name].result
        assert outcome.result.coef.tobytes() == expected.coef.tobytes()
        assert outcome.result.history["loss"].tobytes() == expected.history["loss"].tobytes()


@pytest.mark.parametrize("form", ["csr", "float32", "int8"])
def test_validation_rows_may_come_in_every_form(backend_names, noisy, form):
    X = (noisy.X * 9).round()
    held = {"csr": csr, "float32": np.float32, "int8": lambda X: X.astype(np.int8)}[form](X)
    names = covering_sparse(backend_names) if form == "csr" else backend_names
    for name in names:
        trainer = lrb.Trainer(name, epochs=5, l2=0.1)
        for rows in (X, csr(X) if form == "csr" else X.astype(np.int8)):
            plain = trainer.fit(rows, noisy.y, validation_data=(X, noisy.y)).history
            found = trainer.fit(rows, noisy.y, validation_data=(held, noisy.y)).history
            for key in ("validation_loss", "validation_accuracy"):
                np.testing.assert_allclose(found[key], plain[key], rtol=1e-13)


# -- input that is fitted, with or without a warning


def finite(result: Any) -> None:
    assert np.isfinite(result.coef).all()
    assert np.isfinite(result.intercept).all()
    assert np.isfinite(result.history["loss"]).all()


def learnt(result: Any) -> None:
    assert result.status == "completed"
    assert result.loss < result.initial_loss


def three_outputs(result: Any) -> None:
    learnt(result)
    assert result.coef.shape[0] == len(result.intercept) == 3
    assert result.classes.tolist() == [0, 1, 2]
    # The gradients of the classes add up to zero, and training starts there.
    np.testing.assert_allclose(result.coef.sum(axis=0), 0, atol=1e-14)


def separated(result: Any) -> None:
    assert result.status == "separated"
    assert not result.converged
    assert np.abs(result.coef).max() > 0


def zero_weight(result: Any) -> None:
    learnt(result)
    assert result.coef[0, 1] == 0.0
    assert np.abs(result.coef[0, [0, 2]]).min() > 0


def least_norm(result: Any) -> None:
    learnt(result)
    assert result.coef[0, 0] == result.coef[0, 3]


def float32(result: Any) -> None:
    learnt(result)
    assert result.dtype == result.coef.dtype.name == "float32"


def float64(result: Any) -> None:
    learnt(result)
    assert result.dtype == result.coef.dtype.name == "float64"


def not_converged(n_epochs: int) -> Callable[[Any], None]:
    def check(result: Any) -> None:
        assert result.status == "completed"
        assert not result.converged
        assert result.n_epochs == n_epochs
        assert (result.coef == 0).all() == (n_epochs == 0)

    return check


SEPARATED = {"SeparationWarning": ("the classes are separated", "set l2 > 0")}
STEADY = {"ConvergenceWarning": ("tol", "epochs")}


WIDE = {"X": np.random.default_rng(2).normal(size=(10, 50)), "y": np.arange(10) % 2}

# (id, what to change, the warning and what its message says, what to look at in the result)
FITTED: list[tuple[str, Change, dict[str, tuple[str, ...]], Callable[[Any], None]]] = [
    ("r01-baseline", {}, {}, learnt),
    ("r02-separated", lambda d: {"y": above(d.X)}, SEPARATED, separated),
    (
        "r02-separated-found-by-the-weights",
        lambda d: {"y": above(d.X), "epochs": 1000},
        {"SeparationWarning": ("separated completely", "set l2 > 0")},
        separated,
    ),
    (
        "r02-separated-within-tol",
        lambda d: {"y": above(d.X), "tol": 0.05, "epochs": 500},
        SEPARATED,
        separated,
    ),
    ("r03-separated-but-penalised", lambda d: {"y": above(d.X), "l2": 0.1}, {}, learnt),
    (
        "r04-quasi-separated",
        quasi,
        {"SeparationWarning": ("separated quasi-completely, along column 0;", "set l2 > 0")},
        separated,
    ),
    (
        "r05-quasi-separated-other-solver",
        lambda d: quasi(d, solver="nesterov"),
        {"SeparationWarning": ("separated quasi-completely, along column 0;", "set l2 > 0")},
        separated,
    ),
    (
        "r06-constant-column",
        lambda d: {"X": put(d.X, 5.0, np.s_[:, 1])},
        {"CollinearityWarning": ("column 1 and the intercept", "drop one or set l2 > 0")},
        learnt,
    ),
    (
        "r06-constant-column-penalised",
        lambda d: {"X": put(d.X, 5.0, np.s_[:, 1]), "l2": 0.1},
        {},
        learnt,
    ),
    (
        "r06-constant-column-no-intercept",
        lambda d: {"X": put(d.X, 5.0, np.s_[:, 1]), "fit_intercept": False},
        {},
        learnt,
    ),
    ("r07-zero-column", lambda d: {"X": put(d.X, 0.0, np.s_[:, 1])}, {}, zero_weight),
    (
        "r15-mixed-scale",
        lambda d: {"X": d.X * [1e8, 1.0, 1.0]},
        {"ScaleWarning": ("column 0", "standardise")},
        learnt,
    ),
    (
        "r15-mixed-scale-in-a-frame",
        lambda d: {"X": frame(d.X * [1.0, 1e8, 1.0])},
        {"ScaleWarning": ("column 1 ('b')", "standardise")},
        learnt,
    ),
    (
        "r16-tiny-scale",
        lambda d: {"X": d.X * 1e-300},
        {"ScaleWarning": ("1e+06", "standardise")},
        learnt,
    ),
    (
        "r20-duplicated-column",
        lambda d: {"X": d.X[:, [0, 1, 2, 0]]},
        {"CollinearityWarning": ("columns 0, 3", "drop one or set l2 > 0")},
        least_norm,
    ),
    (
        "r21-duplicated-column-other-solver",
        lambda d: {"X": d.X[:, [0, 1, 2, 0]], "solver": "adam"},
        {"CollinearityWarning": ("columns 0, 3", "drop one or set l2 > 0")},
        least_norm,
    ),
    ("r22-fewer-rows-than-columns", WIDE, SEPARATED, separated),
    ("r44-float32", lambda d: {"X": d.X.astype(np.float32)}, {}, float32),
    (
        "r44-float32-as-float64",
        lambda d: {"X": d.X.astype(np.float32), "dtype": "float64"},
        {},
        float64,
    ),
    (
        "r47-int64-above-2**53",
        lambda d: {"X": (d.X * 2**60).astype(np.int64)},
        {"PrecisionWarning": ("2**53", "rounded to float64"), "ScaleWarning": ("standardise",)},
        learnt,
    ),
    ("r37-three-classes", {"y": np.arange(60) % 3}, {}, three_outputs),
    (
        "r37-three-classes-one-apart",
        lambda d: {"y": np.where(d.X[:, 0] > 1, "c", np.where(d.y == 1, "b", "a"))},
        {"SeparationWarning": ("the classes are separated", "set l2 > 0")},
        separated,
    ),
    (
        "r37-three-classes-duplicated-column",
        lambda d: {"X": d.X[:, [0, 1, 2, 0]], "y": np.arange(60) % 3},
        {"CollinearityWarning": ("columns 0, 3", "drop one or set l2 > 0")},
        three_outputs,
    ),
    ("r67-two-samples", lambda d: {"X": d.X[[0, 2]], "y": d.y[[0, 2]], "l2": 0.1}, {}, learnt),
    (
        "r84-one-epoch-is-not-enough",
        {"epochs": 1, "tol": 1e-6},
        STEADY,
        not_converged(1),
    ),
    ("r85-no-epochs", {"epochs": 0, "tol": 1e-6}, STEADY, not_converged(0)),
    ("r87-tol-zero-in-few-epochs", {"epochs": 1, "tol": 0.0}, {}, not_converged(1)),
    ("r93-tiny-penalty", {"l2": 1e-308}, {}, learnt),
    (
        "r95-rate-above-2/L",
        {"learning_rate": 12.0},
        {"DivergenceWarning": ("learning_rate=12", "largest safe learning_rate", "(1/L)")},
        finite,
    ),
]


@pytest.mark.parametrize(
    ("change", "warned", "check"),
    [pytest.param(change, warned, check, id=name) for name, change, warned, check in FITTED],
)
def test_fitted(backend_names, noisy, change, warned, check):
    for outcome in on_every_backend(backend_names, noisy, change).values():
        assert outcome.error is None, outcome.message
        assert outcome.categories == sorted(warned)
        for category, message in outcome.warned:
            for fragment in warned[category]:
                assert fragment in message
        finite(outcome.result)
        check(outcome.result)


SPARSE_FITTED = [
    pytest.param(change, warned, check, id=name)
    for name, change, warned, check in FITTED
    if not DENSE_ONLY.match(name)
]


@pytest.mark.parametrize(("change", "warned", "check"), SPARSE_FITTED)
def test_fitted_when_sparse(backend_names, noisy, change, warned, check):
    """With the same warnings, where sparse data are covered; elsewhere they are refused."""
    covering = covering_sparse(backend_names)
    for outcome in on_every_backend(covering, noisy, sparsely(change)).values():
        assert outcome.error is None, outcome.message
        assert outcome.categories == sorted(warned)
        for category, message in outcome.warned:
            for fragment in warned[category]:
                assert fragment in message
        finite(outcome.result)
        check(outcome.result)
    for name in set(backend_names) - set(covering):
        given = {"X": noisy.X, "y": noisy.y} | changes_of(sparsely(change), noisy)
        outcome = attempt(name, **given)
        assert outcome.error is UnsupportedError
        assert "sparse X" in outcome.message


def test_r37_three_classes_are_learnt_alike_by_every_backend(backend_names, noisy):
    outcomes = on_every_backend(backend_names, noisy, {"y": np.arange(60) % 3})
    for outcome in outcomes.values():
        for part in ("coef", "intercept"):
            np.testing.assert_allclose(
                getattr(outcome.result, part),
                getattr(outcomes["numpy"].result, part),
                rtol=1e-12,
                atol=1e-15,
            )


def test_r44_float32_agrees_to_its_own_precision(backend_names, noisy):
    single = on_every_backend(backend_names, noisy, lambda d: {"X": d.X.astype(np.float32)})
    double = on_every_backend(backend_names, noisy, {})
    for name in backend_names:
        np.testing.assert_allclose(
            single[name].result.coef, double[name].result.coef, rtol=20 * np.finfo("f4").eps
        )


def test_r93_a_tiny_penalty_is_no_penalty(backend_names, noisy):
    tiny = on_every_backend(backend_names, noisy, {"l2": 1e-308})
    none = on_every_backend(backend_names, noisy, {})
    for name in backend_names:
        assert tiny[name].result.coef.tobytes() == none[name].result.coef.tobytes()


# -- rows to predict


@pytest.fixture(scope="module")
def models(backend_names, noisy):
    return [lrb.Trainer(name, epochs=50).fit(*noisy) for name in backend_names]


METHODS = pytest.mark.parametrize("method", ["decision_function", "predict_proba", "predict"])

UNPREDICTABLE: list[tuple[str, Callable[[np.ndarray], Any], tuple[Any, ...]]] = [
    (
        "r98-other-number-of-features",
        lambda X: X[:, :2],
        (ValueError, "X has 2 features", "trained on 3"),
    ),
    (
        "r99-nan",
        lambda X: put(X, np.nan, (3, 1)),
        (ValueError, "NaN or infinite", "(nan) in row 3, column 1", "drop"),
    ),
    (
        "r99-nan-in-a-frame",
        lambda X: frame(put(X, np.nan, (3, 1))),
        (ValueError, "column 1 ('b')", "row 3", "drop"),
    ),
    (
        "r99-sparse-nan",
        lambda X: csr(put(X, np.nan, (3, 1))),
        (ValueError, "NaN or infinite", "(nan) in row 3, column 1", "drop"),
    ),
    ("r102-csr-index-too-large", lambda X: csr(X, 9), DAMAGED),
    ("r99-one-dimension", lambda X: X[0], (ValueError, "two dimensions", "X.reshape(1, -1)")),
    ("r99-strings", lambda X: X.astype(str), (TypeError, "strings are not numbers")),
]


@pytest.mark.parametrize(
    ("make", "expected"), [pytest.param(make, says, id=name) for name, make, says in UNPREDICTABLE]
)
@METHODS
def test_rows_that_cannot_be_predicted(models, noisy, method, make, expected):
    error, *fragments = expected
    messages = set()
    for model in models:
        with pytest.raises(error) as caught:
            getattr(model, method)(make(noisy.X))
        assert caught.type is error
        messages.add(str(caught.value))
    (message,) = messages
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    "rows",
    [
        [[1e300, 1e300, 1.0], [-1e300, 0.0, 0.0]],
        [[1e308, 1e308, 1e308], [-1e308, -1e308, -1e308]],
        [[1.7e308, -1.7e308, 1.7e308], [-1.7e308, 1.7e308, 0.0]],
    ],
    ids=["r100-huge", "r100-sum-overflows", "r100-sums-of-both-signs-overflow"],
)
def test_huge_scores_give_probabilities(models, rows):
    for model in models:
        steep = dataclasses.replace(model, coef=model.coef * 10)  # each product overflows
        truth = np.asarray(rows) / 1e300 @ model.coef[0] > 0
        for some in (model, steep):
            proba = some.predict_proba(rows)
            assert ((proba >= 0) & (proba <= 1)).all()
            assert proba[:, 1].tolist() == truth.astype(float).tolist()
            assert some.predict(rows).tolist() == truth.astype(int).tolist()


def test_r101_no_rows_give_no_predictions(models):
    for model in models:
        assert model.predict_proba(np.empty((0, 3))).shape == (0, 2)
        assert model.decision_function(np.empty((0, 3))).shape == (0,)
        assert model.predict(np.empty((0, 3))).shape == (0,)
        assert model.predict(np.empty((0, 3))).dtype == model.classes.dtype


# -- nothing left out


def test_no_row_is_silently_missing():
    names = [
        row[0]
        for table in (REFUSED, SAME_BITS, AS_FLOAT64, SPARSE, NARROW, FITTED, UNPREDICTABLE)
        for row in table
    ]
    names += ["r100-huge", "r101-no-rows"]
    assert all(re.fullmatch(r"r\d{2,3}-\S+", name) for name in names)
    tested = {int(name[1:].split("-")[0]) for name in names}
    assert tested == set(range(1, N_ROWS + 1))


def test_the_checks_above_can_fail(noisy):
    """A backend of its own mind, warning or wording is noticed; so is one that writes to X."""

    class Willful:
        name = "willful"
        api_version = 1

        def __init__(self, act):
            self.act = act

        def capabilities(self):
            return lrb.get_backend("numpy").capabilities()

        def compile(self, problem, *arguments):
            self.act(problem)
            return lrb.get_backend("numpy").compile(problem, *arguments)

    def complain(problem):
        raise ValueError("something else")

    def warn(problem):
        warnings.warn("hm", stacklevel=4)

    def write(problem):
        problem.X[0, 0] += 1.0

    for act in (complain, warn, write):
        with pytest.raises(AssertionError):
            on_every_backend(("numpy", Willful(act)), noisy, {})
    on_every_backend(("numpy", Willful(id)), noisy, {})
