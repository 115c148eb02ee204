"""Checks of what the user hands in: each failure is one sentence that says what would work."""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._blas import single_threaded
from lrbackends._csr import as_csr, cast_csr, column_sums, position_of
from lrbackends.errors import DtypeWarning, PrecisionWarning

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
# Whole numbers that X may stay in: computing with them in either float type is exact.
_NARROW = (np.dtype(np.uint8), np.dtype(np.int8))
# X is examined in parts, which threads share, and these in blocks that stay in cache.
_PART_BYTES = 1 << 22
_BLOCK_BYTES = 1 << 18
_LARGEST = {np.dtype(np.float64): 1e100, np.dtype(np.float32): 1e15}
_VANISHING = 1e-280  # a mean square below this may have lost digits; none is lost in larger units
_LARGER = 2.0**600


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return ``dtype`` as a NumPy dtype; raise ValueError unless it is float64 or float32."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in FLOATS:
        raise ValueError(f"dtype={dtype!r} is not supported; use 'float64' or 'float32'")
    return found


def check_number(
    name: str,
    value: Any,
    *,
    low: float = 0.0,
    high: float = np.inf,
    integer: bool = False,
    open_low: bool = False,
    open_high: bool = False,
) -> float | int:
    """Return ``value`` as a float (or int) between ``low`` and ``high``.

    The ends belong to the interval unless it is ``open_low`` or ``open_high``; infinity never does.

    Raises
    ------
    TypeError
        It is not a number.
    ValueError
        It is not an integer where one is needed, NaN, infinite, or outside the interval.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        kind = "an integer" if integer else "a number"
        raise TypeError(f"{name} must be {kind}, got {value!r} ({type(value).__name__})")
    number = float(value)
    bound = f"{'>' if open_low else '>='} {low:g}"
    if high < np.inf:
        bound += f" and {'<' if open_high else '<='} {high:g}"
    if integer and number != int(number if np.isfinite(number) else 0):
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")
    inside = (
        low < number < high
        or (number == low and not open_low)
        or (number == high and not open_high)
    )
    if not np.isfinite(number) or not inside:
        raise ValueError(f"{name} must be a finite number {bound}, got {value!r}")
    return int(number) if integer else number


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``; raise ValueError listing them otherwise."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose from {', '.join(choices)}")
    return str(value)


def feature_names_of(X: Any) -> tuple[str, ...] | None:
    """Return the column names of a data frame, or None for what has no named columns."""
    columns = getattr(X, "columns", None)
    return None if columns is None else tuple(str(c) for c in columns)


def _column(names: tuple[str, ...] | None, j: int) -> str:
    return f"column {j}" if names is None else f"column {j} ({names[j]!r})"


def _refuse_mask(name: str, values: Any) -> None:
    if np.ma.isMaskedArray(values) and np.ma.is_masked(values):
        count = int(np.ma.getmaskarray(values).sum())
        raise ValueError(
            f"{name} has {count} masked entries; fill or drop them, a mask is never ignored"
        )


def _refuse_odd_containers(X: Any) -> None:
    if X is None:
        raise TypeError("X is None; give an array of shape (n_samples, n_features)")
    if isinstance(X, np.matrix):
        raise TypeError("X is a numpy.matrix; convert it with numpy.asarray(X)")
    _refuse_mask("X", X)


def _refuse_odd_columns(X: Any) -> None:
    """Name the first column of a data frame that does not hold numbers or has missing values."""
    for j, name in enumerate(X.columns):
        column = X.iloc[:, j] if hasattr(X, "iloc") else X[name]  # names may repeat
        kind = getattr(column.dtype, "kind", "O")
        if kind not in "biuf" and not (kind == "O" and all(_is_number(v) for v in column)):
            raise TypeError(
                f"column {j} ({str(name)!r}) of X has dtype {column.dtype}, not numbers; "
                "encode it as numbers or drop it"
            )
        missing = np.flatnonzero(np.asarray(column.isna())) if hasattr(column, "isna") else None
        if missing is not None and len(missing):
            raise ValueError(
                f"column {j} ({str(name)!r}) of X has {len(missing)} missing or NaN values, "
                f"the first in row {int(missing[0])}; fill or drop them"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, str)


def _from_objects(X: NDArray[Any]) -> NDArray[Any]:
    n_columns = int(np.shape(X)[1])
    for k, value in enumerate(X.flat):
        if not _is_number(value):
            row, col = divmod(k, n_columns)
            raise TypeError(
                f"X[{row}, {col}] is {value!r} ({type(value).__name__}), not a number; "
                "convert X to a numeric array first"
            )
    return X.astype(np.float64)


def _storage(found: np.dtype[Any], dtype: np.dtype[Any], narrow: bool) -> np.dtype[Any]:
    """Return the type to keep X in: its own where that loses nothing, else the one computed in."""
    if not narrow:
        return dtype
    if found.kind == "b":
        return np.dtype(np.uint8)
    widens = found == np.float32 and dtype == np.float64
    return found if found in _NARROW or widens else dtype


def compute_dtype(X: Any, dtype: Any = None) -> np.dtype[Any]:
    """Return the type to compute in: ``dtype``, else float32 for float32 data, else float64."""
    if dtype is not None:
        return check_dtype(dtype)
    found = getattr(X, "dtype", None)
    single = isinstance(found, np.dtype) and found.newbyteorder("=") == np.float32
    return np.dtype(np.float32 if single else np.float64)


def as_matrix(X: Any, dtype: Any = None, *, narrow: bool = False) -> Any:
    """Return X as a C-contiguous, aligned, native array of two dimensions, or in CSR form.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Numbers. Never written to; copied only when its type or layout has to change.
    dtype : {"float64", "float32"}, optional
        Type to compute in. Default: float32 for float32 data, float64 for everything else.
    narrow : bool, default False
        Keep 8-bit integers, booleans (as uint8), and float32 where float64 is computed in, as they
        are.

    Returns
    -------
    ndarray or csr_array
        CSR for sparse input: sorted, without repeated entries, its numbers of the computing type.

    Raises
    ------
    TypeError, ValueError
        X does not hold numbers in two dimensions, or its sparse structure is not sound.
    """
    _refuse_odd_containers(X)
    if hasattr(X, "tocsr"):
        csr = as_csr(X)
        target = compute_dtype(csr, dtype)
        _warn_of_rounding(csr.data, target)
        with np.errstate(over="ignore"):
            return cast_csr(csr, target)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _refuse_odd_columns(X)
        X = X.to_numpy()
    try:
        array = np.asarray(X)
    except ValueError:
        lengths = [np.size(row) for row in X]
        row = next(i for i, k in enumerate(lengths) if k != lengths[0])
        raise ValueError(
            f"X is ragged: row 0 has {lengths[0]} values but row {row} has {lengths[row]}"
        ) from None
    if array.ndim != 2:
        hint = "; reshape one feature with X.reshape(-1, 1) or one sample with X.reshape(1, -1)"
        raise ValueError(
            f"X must have two dimensions (n_samples, n_features), got {array.ndim}"
            + (hint if array.ndim == 1 else "")
        )
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(f"X is complex ({array.dtype}); logistic regression needs real numbers")
    if kind == "O":
        array = _from_objects(array)
    elif kind not in "biuf":
        what = "strings" if kind in "USTV" else "dates or times"
        raise TypeError(
            f"X has dtype {array.dtype}: {what} are not numbers; convert X to a numeric array first"
        )
    array_dtype = array.dtype.newbyteorder("=")
    target = _storage(array_dtype, compute_dtype(array, dtype), narrow)
    if kind == "b" and target == np.uint8:
        array = array.view(np.uint8)
    _warn_of_rounding(array, target)
    with np.errstate(over="ignore"):
        return np.require(array, dtype=target, requirements=["C", "A"])


def _warn_of_rounding(values: NDArray[Any], target: np.dtype[Any]) -> None:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f" and size > 8:
        warnings.warn(
            f"X has dtype {values.dtype} and is rounded to {target}",
            DtypeWarning,
            stacklevel=outside_frame(),
        )
    if kind in "iu" and size == 8 and values.size:
        largest = max(int(values.max()), -int(values.min()))
        if largest > 2**53:
            warnings.warn(
                f"X holds integers up to {largest}, above 2**53: they are rounded to {target}",
                PrecisionWarning,
                stacklevel=outside_frame(),
            )


def _entries(X: Any) -> NDArray[Any]:
    """Return what is stored of a matrix: all of it, or of CSR the entries that are not zero."""
    return X if isinstance(X, np.ndarray) else X.data


def _first(X: Any, flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return row and column of the first stored entry that is marked."""
    k = int(flags.argmax())
    return divmod(k, X.shape[1]) if isinstance(X, np.ndarray) else position_of(X, k)


def check_finite(X: Any, names: tuple[str, ...] | None = None) -> None:
    """Raise ValueError naming the first entry of X that is NaN or infinite, and their number."""
    entries = _entries(X)
    if entries.size and not (np.isfinite(entries.max()) and np.isfinite(entries.min())):
        bad = ~np.isfinite(entries)
        row, col = _first(X, bad)
        raise ValueError(
            f"X has {int(bad.sum())} NaN or infinite values, the first ({X[row, col]}) in row "
            f"{row}, {_column(names, col)}; fill or drop them"
        )


def scan(
    X: Any,
    dtype: np.dtype[Any],
    names: tuple[str, ...] | None = None,
    n_threads: int | None = None,
) -> NDArray[np.float64]:
    """Refuse entries that cannot be computed with, and measure the columns, in one pass.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_samples, n_features)
        As `as_matrix` returns it, with at least one row and column.
    dtype : dtype
        Type that will be computed in.
    names : tuple of str, optional
        Of the columns, for messages.
    n_threads : int, optional
        Default: all that the process may use. The bits do not depend on it.

    Returns
    -------
    ndarray of shape (n_features,)
        Root mean square of each column, float64.

    Raises
    ------
    ValueError
        NaN, infinite or subnormal entries, or a scale whose squares overflow.
    """
    n = X.shape[0]
    with single_threaded(), _quiet():
        squares, subnormal = _measured(X, n_threads)
        vanished = np.flatnonzero(squares < n * _VANISHING)
        rms = np.sqrt(squares / n)
        if len(vanished) and X.dtype == np.float64:
            rms[vanished] = np.sqrt(_squares_of(X, vanished, _LARGER) / n) / _LARGER
    if not squares.max() <= _LARGEST[dtype] ** 2:
        check_finite(X, names)
        _check_scale(X, dtype)
    if subnormal:
        _refuse_subnormal(X, dtype)
    return np.asarray(rms)


def _quiet() -> np.errstate:
    return np.errstate(over="ignore", under="ignore", invalid="ignore")


def _measured(X: Any, n_threads: int | None) -> tuple[NDArray[np.float64], bool]:
    """Return each column's sum of squares, and whether any entry is subnormal."""
    if not isinstance(X, np.ndarray):
        tiny = float(np.finfo(X.dtype).tiny)
        square = np.square(X.data, dtype=np.float64)
        near_zero = not square.min(initial=np.inf) >= max(tiny**2, _VANISHING)
        return column_sums(X, square), near_zero and bool((np.abs(X.data) < tiny).any())
    parts = _blocks(X, _PART_BYTES)
    threads = min(len(parts), n_threads or available_threads())
    if threads == 1:
        found = list(map(_measured_part, parts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(_measured_part, parts))
    # Added up in the order of the rows, so that the bits do not depend on the threads.
    squares = np.add.reduce([part for part, _ in found])
    return squares, any(subnormal for _, subnormal in found)


def _measured_part(X: NDArray[Any]) -> tuple[NDArray[np.float64], bool]:
    tiny = float(np.finfo(X.dtype).tiny) if X.dtype.kind == "f" else 0.0
    least = max(tiny**2, _VANISHING)
    squares, subnormal = np.zeros(X.shape[1]), False
    blocks = _blocks(X, _BLOCK_BYTES)
    room, ones = np.empty(blocks[0].shape), np.ones(len(blocks[0]))
    for block in blocks:
        with _quiet():  # each thread has an error state of its own
            square = np.square(block, out=room[: len(block)], dtype=np.float64)
            squares += ones[: len(block)] @ square
        # Mostly nothing is near zero, or only zeros are; the squares tell.
        if tiny and not square.min() >= least:
            zeros = int(np.count_nonzero(block == 0))
            if np.count_nonzero(square < least) > zeros:
                subnormal = subnormal or int(np.count_nonzero(np.abs(block) < tiny)) > zeros
    return squares, subnormal


def _blocks(X: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Cut an array into blocks of rows that have about ``size`` bytes in float64."""
    rows = max(1, size // (8 * X.shape[1]))
    return [X[start : start + rows] for start in range(0, len(X), rows)]


def _squares_of(X: Any, columns: NDArray[np.intp], unit: float) -> NDArray[np.float64]:
    """Return the sums of squares of some columns of ``unit`` X."""
    if not isinstance(X, np.ndarray):
        return column_sums(X, np.square(unit * X.data, dtype=np.float64))[columns]
    squares = np.zeros(len(columns))
    for block in _blocks(X, _BLOCK_BYTES):
        some = unit * block[:, columns]
        squares += np.einsum("ij,ij->j", some, some)
    return squares


def _check_scale(X: Any, dtype: np.dtype[Any]) -> None:
    """Refuse entries whose squares overflow in ``dtype``.

    Training forms sums of squares, and steps of one over them that must still move the weights.
    """
    entries = _entries(X)
    largest = max(float(entries.max()), -float(entries.min()))
    if largest > _LARGEST[dtype]:
        raise ValueError(
            f"X scale: the largest entry is {largest:.3g}, so ||X||^2 overflows {dtype} on the "
            "way; standardise the columns"
            + (" or use dtype='float64'" if dtype == np.float32 else "")
        )


def _refuse_subnormal(X: Any, dtype: np.dtype[Any]) -> None:
    size = np.abs(_entries(X))
    i, j = _first(X, (size > 0) & (size < np.finfo(size.dtype).tiny))
    wider = ", or give X as float64" if size.dtype != dtype else ""
    raise ValueError(
        f"X[{i}, {j}] = {X[i, j]:.3g} is subnormal in {size.dtype}, which some engines flush to "
        f"zero; rescale the columns or set such entries to 0{wider}"
    )


def as_labels(y: Any, n_samples: int | None = None) -> NDArray[Any]:
    """Return y as a one-dimensional array of class labels of one kind.

    Raises
    ------
    TypeError, ValueError
        y is missing, continuous, mixed, not finite, or not one label per row.
    """
    if y is None:
        raise TypeError("y is None; give one class label per row of X")
    _refuse_mask("y", y)
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        warnings.warn(
            f"y is a column of shape {labels.shape}; it is read as shape ({labels.shape[0]},)",
            DataConversionWarning,
            stacklevel=outside_frame(),
        )
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"y must be one-dimensional, got shape {labels.shape}")
    if n_samples is not None and len(labels) != n_samples:
        raise ValueError(f"X has {n_samples} rows but y has {len(labels)} labels")
    kind = labels.dtype.kind
    if kind == "O":
        labels = _one_kind(labels)
        kind = labels.dtype.kind
    if kind == "c":
        raise ValueError("y is complex; class labels must be integers, booleans or strings")
    if kind == "f":
        bad = np.flatnonzero(~np.isfinite(labels))
        if len(bad):
            raise ValueError(
                f"y has {len(bad)} NaN or infinite labels, the first ({labels[bad[0]]}) "
                f"in row {bad[0]}; drop these rows"
            )
        fractions = np.flatnonzero(labels != np.rint(labels))
        if len(fractions):
            raise ValueError(
                f"y looks continuous: row {fractions[0]} is {labels[fractions[0]]}; "
                "class labels must be whole numbers, booleans or strings"
            )
    return labels


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Turn an object array whose elements are all of one kind into an array of that kind."""
    missing = next((i for i, value in enumerate(labels) if _is_missing(value)), None)
    if missing is not None:
        raise ValueError(
            f"y has a missing label ({labels[missing]!r}) in row {missing}; drop such rows"
        )
    kinds: dict[str, Any] = {}
    for value in labels:
        if isinstance(value, (bool, np.bool_)):
            kinds.setdefault("bool", np.bool_)
        elif isinstance(value, (int, np.integer)):
            kinds.setdefault("int", np.int64)
        elif isinstance(value, str):
            kinds.setdefault("str", np.str_)
        elif isinstance(value, (float, np.floating)):
            kinds.setdefault("float", np.float64)
        else:
            kinds.setdefault(type(value).__name__, None)
    if len(kinds) > 1:
        raise TypeError(f"y mixes {' and '.join(kinds)} labels; use one kind")
    name, kind = next(iter(kinds.items()), ("", np.int64))
    if kind is None:
        raise TypeError(f"y holds {name} objects; labels must be integers, booleans or strings")
    return np.array(labels.tolist(), dtype=kind)


def as_weights(sample_weight: ArrayLike | None, n_samples: int) -> NDArray[np.float64] | None:
    """Return sample weights as float64 of shape (n_samples,), or None when all are equal to one.

    Raises
    ------
    ValueError
        Wrong length, NaN, infinite, negative, all zero, or a sum that overflows.
    """
    if sample_weight is None:
        return None
    _refuse_mask("sample_weight", sample_weight)
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight has dtype {weight.dtype}; weights must be numbers")
    weight = weight.astype(np.float64)
    if weight.ndim == 0:
        weight = np.full(n_samples, float(weight))
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, expected ({n_samples},): one weight per row"
        )
    bad = np.flatnonzero(~np.isfinite(weight) | (weight < 0))
    if len(bad):
        raise ValueError(
            f"sample_weight must be finite and >= 0, but row {bad[0]} has {weight[bad[0]]} "
            f"({len(bad)} such rows)"
        )
    with np.errstate(over="ignore"):
        total = weight.sum()
        square = total * total
    if not np.isfinite(square):
        raise ValueError(
            "the sum of sample_weight overflows when squared; divide the weights by their mean"
        )
    if total == 0:
        raise ValueError("sample_weight is zero in every row; at least one must be positive")
    return weight


def available_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def outside_frame() -> int:
    """Return the ``stacklevel`` of the first caller outside this package, for warnings."""
    level, frame = 1, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]
    ):
        frame = frame.f_back
        level += 1
    return level
