"""What people keep numbers and labels in, read as NumPy arrays and copied only where it must be.

Each kind is known by what it offers, and none of their libraries is needed:

* pandas and frames like it: ``iloc``; polars: ``get_columns``;
* Arrow tables and record batches: ``column_names``, or the C data interface alone
  (``__arrow_c_stream__``), which pyarrow then reads;
* columns of any of these: ``null_count`` (Arrow, polars) or ``isna`` (pandas);
* JAX, torch and other tensors: ``__dlpack__``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from importlib import import_module
from itertools import pairwise
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Chunks = list[NDArray[Any]]  # of one column, in order

_HOST = (1, 3)  # DLPack's kDLCPU and kDLCUDAHost: memory that the processor reads
_BLOCK_BYTES = 1 << 18


def column_name(j: int, names: Sequence[str] | None) -> str:
    """Return how messages call column ``j``."""
    return f"column {j}" if names is None else f"column {j} ({names[j]!r})"


def refuse_missing(j: int, names: Sequence[str], rows: NDArray[np.intp]) -> NoReturn:
    """Raise ValueError naming a column and its first row without a value."""
    raise ValueError(
        f"{column_name(j, names)} of X has {len(rows)} missing or NaN values, the first in row "
        f"{rows[0]}; fill or drop them"
    )


def check_dimensions(n_dimensions: int) -> None:
    """Raise ValueError unless X has two dimensions."""
    if n_dimensions != 2:
        hint = "; reshape one feature with X.reshape(-1, 1) or one sample with X.reshape(1, -1)"
        raise ValueError(
            f"X must have two dimensions (n_samples, n_features), got {n_dimensions}"
            + (hint if n_dimensions == 1 else "")
        )


# -- frames and tables


def feature_names_of(X: Any) -> tuple[str, ...] | None:
    """Return the column names of a data frame or table, or None for what has no named columns."""
    if _is_lazy(X):
        return None
    # In Arrow ``columns`` are the columns themselves.
    names = getattr(X, "column_names", None)
    if names is None and not hasattr(X, "columns") and is_frame(X):
        names = getattr(getattr(X, "schema", None), "names", None)
    if names is None:
        names = getattr(X, "columns", None)
    return None if names is None else tuple(map(str, names))


def _is_lazy(X: Any) -> bool:
    return hasattr(X, "collect") or (hasattr(X, "iloc") and hasattr(X, "__dask_graph__"))


def is_frame(X: Any) -> bool:
    """Return whether X is a data frame, an Arrow table or something else of named columns.

    Raises
    ------
    TypeError
        It is one whose values are not computed yet.
    """
    if isinstance(X, np.ndarray):
        return False
    if _is_lazy(X):
        call = "collect()" if hasattr(X, "collect") else "compute()"
        raise TypeError(f"a {type(X).__name__} is not computed yet; give what its {call} returns")
    if hasattr(X, "iloc") or hasattr(X, "get_columns"):
        return hasattr(X, "columns")
    exports = hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__")
    # Arrow's own arrays and chunked arrays export themselves, too; they are vectors.
    return exports and (hasattr(X, "column_names") or not hasattr(X, "__array__"))


def sparse_frame(X: Any) -> Any | None:
    """Return a frame whose columns are all of pandas' sparse type, with zeros left out, as COO."""
    if not hasattr(X, "iloc") or not len(X.columns):
        return None
    if any(getattr(dtype, "fill_value", None) != 0 for dtype in X.dtypes):
        return None
    return X.sparse.to_coo()


def plain_frame(X: Any) -> NDArray[Any] | None:
    """Return the values of a frame of columns of one NumPy type of numbers, else None.

    pandas keeps such columns together, so that this is mostly a view.
    """
    if not hasattr(X, "iloc") or not len(X.columns):
        return None
    dtypes = list(X.dtypes)
    if any(dtype != dtypes[0] for dtype in dtypes) or not isinstance(dtypes[0], np.dtype):
        return None
    return np.asarray(X.to_numpy()) if dtypes[0].kind in "biuf" else None


def columns_of(X: Any) -> list[Chunks]:
    """Return the columns of a frame or table as arrays of numbers.

    Raises
    ------
    TypeError, ValueError
        A column holds something else, or lacks values; the message names it.
    """
    columns, names = _series_of(X)
    return [_numbers_of(series, j, names) for j, series in enumerate(columns)]


def _series_of(X: Any) -> tuple[list[Any], tuple[str, ...]]:
    if hasattr(X, "iloc"):
        columns = [X.iloc[:, j] for j in range(len(X.columns))]  # names may repeat
    elif hasattr(X, "get_columns"):
        columns = X.get_columns()
    else:
        X = _table(X)
        columns = X.columns
    return columns, feature_names_of(X) or ()


def _table(X: Any) -> Any:
    """Return what offers Arrow's C data interface as a pyarrow Table."""
    try:
        pyarrow = import_module("pyarrow")
    except ImportError:
        raise TypeError(
            f"a {type(X).__name__} is read by pyarrow, which is not installed; pip install "
            "pyarrow, or give a NumPy array"
        ) from None
    try:
        return pyarrow.table(X)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a {type(X).__name__} is no Arrow table: {_first_line(error)}") from None


def _numbers_of(series: Any, j: int, names: tuple[str, ...]) -> Chunks:
    missing = _missing(series)
    if missing is not None:
        refuse_missing(j, names, np.flatnonzero(missing))
    chunks: Chunks = []
    if not _is_categorical(series):
        with suppress(Exception):  # each library has errors of its own for what NumPy cannot hold
            chunks = [_unboxed(chunk) for chunk in _chunks(series)]
    if not chunks or any(chunk.dtype.kind not in "biuf" or chunk.ndim != 1 for chunk in chunks):
        raise TypeError(
            f"{column_name(j, names)} of X has dtype {_dtype(series)}, not numbers; encode it as "
            "numbers or drop it"
        )
    return chunks


def _unboxed(chunk: NDArray[Any]) -> NDArray[Any]:
    return numbers_from_objects("X", chunk) if chunk.dtype.kind == "O" else chunk


def as_rows(columns: list[Chunks], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return columns as a C-contiguous array of shape (n_samples, n_features) of ``dtype``."""
    if len(columns) == len(columns[0]) == 1:
        return np.require(columns[0][0].reshape(-1, 1), dtype, ["C", "A"])
    edges = [np.cumsum([0, *map(len, chunks)]).tolist() for chunks in columns]
    n = edges[0][-1]
    rows = np.empty((n, len(columns)), dtype)
    # Blocks stay in cache, in which the columns' numbers are put next to one another.
    step = max(1, _BLOCK_BYTES // (dtype.itemsize * len(columns)))
    for start, stop in pairwise(
        sorted({n, *range(0, n, step), *(e for one in edges for e in one)})
    ):
        for j, (chunks, edge) in enumerate(zip(columns, edges, strict=True)):
            k = bisect_right(edge, start) - 1
            rows[start:stop, j] = chunks[k][start - edge[k] : stop - edge[k]]
    return rows


# -- columns


def _is_series(values: Any) -> bool:
    return hasattr(values, "null_count") or (hasattr(values, "isna") and hasattr(values, "dtype"))


def _is_categorical(series: Any) -> bool:
    dtype = _dtype(series)  # pandas' and polars' have categories, Arrow's dictionaries an index
    return hasattr(dtype, "categories") or hasattr(dtype, "index_type")


def _dtype(series: Any) -> Any:
    return series.dtype if hasattr(series, "dtype") else series.type


def _missing(series: Any) -> NDArray[np.bool_] | None:
    """Return which rows lack a value, or None where all have one.

    NaN in a column of NumPy's floating-point types is not looked for.
    """
    if hasattr(series, "null_count"):
        count = series.null_count
        if not (count() if callable(count) else count):
            return None
        return np.asarray(series.is_null(), bool)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind != "O":
        return None
    flags = np.asarray(series.isna(), bool)
    return flags if flags.any() else None


def _chunks(series: Any) -> Chunks:
    """Return the values of a column, which lacks none, in the pieces that its library keeps."""
    if hasattr(series, "get_chunks"):
        parts = series.get_chunks()
    elif hasattr(series, "null_count") and hasattr(series, "chunks"):
        parts = series.chunks
    else:
        parts = [series]
    return [np.asarray(part) for part in parts] or [np.empty(0)]


def vector_of(name: str, values: Any, each: str) -> NDArray[Any]:
    """Return labels or weights as an array, of one dimension or what the caller will refuse.

    Parameters
    ----------
    name, each : str
        What messages call ``values``, and its entries.
    values : Series, Arrow array, tensor, ndarray, list or frame

    Raises
    ------
    TypeError, ValueError
        A value is missing, or this cannot be read.
    """
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if is_frame(values):
        columns, _ = _series_of(values)
        if len(columns) != 1:
            raise ValueError(
                f"{name} must be one-dimensional, got {len(columns)} columns; give one of them"
            )
        return vector_of(name, columns[0], each)[:, None]
    if not _is_series(values):
        return as_array(name, values)
    missing = _missing(values)
    if missing is not None:
        raise ValueError(
            f"{name} has {int(missing.sum())} missing {each}, the first in row "
            f"{int(missing.argmax())}; drop such rows"
        )
    try:
        chunks = _chunks(values)
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    except Exception as error:  # each library has errors of its own
        raise TypeError(
            f"{name} has dtype {_dtype(values)}, which cannot be read: {_first_line(error)}"
        ) from None


# -- arrays, tensors and lists


def as_array(name: str, values: Any) -> NDArray[Any]:
    """Return what is not a frame as an array of any type, sharing memory where that is possible.

    Raises
    ------
    TypeError, ValueError
        It is ragged, needs gradients, is not in memory that the processor reads, or is no array.
    """
    if isinstance(values, np.ndarray):
        return np.asarray(values)
    if hasattr(values, "__dlpack__"):
        array = _from_dlpack(name, values)
    else:
        array = _from_protocols(name, values)
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(
            f"{name} is a {type(values).__name__}, which cannot be read as an array; give an "
            "array, a list, a data frame, an Arrow table or a tensor"
        )
    return array


def _from_dlpack(name: str, tensor: Any) -> NDArray[Any]:
    if getattr(tensor, "requires_grad", False):
        raise ValueError(
            f"{name} requires gradients, which training does not record; give {name}.detach()"
        )
    try:
        device = int(tensor.__dlpack_device__()[0])
    except Exception:  # each library has errors of its own
        device = -1
    if device not in _HOST:
        where = getattr(tensor, "device", f"type {device}")
        raise ValueError(f"{name} is on device {where}, not on the CPU; copy it there first")
    try:
        return np.from_dlpack(tensor)
    except Exception:  # not in DLPack or not in NumPy: its own way of becoming an array may do
        return _from_protocols(name, tensor)


def _from_protocols(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except Exception as error:
        if isinstance(values, Sequence):
            _refuse_ragged(name, values)
        raise TypeError(
            f"{name} ({type(values).__name__}) cannot be read as an array: {_first_line(error)}"
        ) from None


def _refuse_ragged(name: str, rows: Sequence[Any]) -> None:
    try:
        lengths = [np.shape(row) for row in rows]
    except ValueError:
        return
    k = next((i for i, shape in enumerate(lengths) if shape != lengths[0]), None)
    if k is not None:
        first, other = (_size(lengths[i]) for i in (0, k))
        raise ValueError(f"{name} is ragged: row 0 has {first} but row {k} has {other}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} values" if len(shape) == 1 else f"shape {shape}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


# -- Python objects


def is_missing(value: Any) -> bool:
    """Return whether a Python object stands for no value: None, NaN, pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _is_number(kind: type) -> bool:
    return issubclass(kind, (Real, Decimal, np.bool_))


def _is_too_large(value: Any) -> bool:
    try:
        float(value)
    except OverflowError:
        return True
    return False


def _first(name: str, array: NDArray[Any], wanted: Callable[[Any], bool]) -> tuple[str, Any]:
    """Return what messages call the first object that is wanted, and the object."""
    k, value = next((k, value) for k, value in enumerate(array.flat) if wanted(value))
    place = np.unravel_index(k, array.shape)
    return f"{name}[{', '.join(str(i) for i in place)}]", value


def numbers_from_objects(name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """Return an array of Python objects, all of them numbers, as float64.

    Raises
    ------
    TypeError, ValueError
        One is no number, is missing, or is too large for float64; the message says where.
    """
    if not all(map(_is_number, set(map(type, array.flat)))):
        at, value = _first(name, array, lambda value: not _is_number(type(value)))
        if is_missing(value):
            raise ValueError(f"{at} is missing ({value!r}); fill or drop it")
        raise TypeError(
            f"{at} is {value!r} ({type(value).__name__}), not a number; convert {name} to a "
            "numeric array first"
        )
    try:
        return array.astype(np.float64)
    except OverflowError:
        at, value = _first(name, array, _is_too_large)
        raise ValueError(f"{at} is too large for float64; rescale the columns") from None
