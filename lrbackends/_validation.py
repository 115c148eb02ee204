"""Checks of what the user hands in: each failure is one sentence that says what would work."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._containers import (
    as_array,
    as_rows,
    check_dimensions,
    columns_of,
    is_frame,
    is_missing,
    numbers_from_objects,
    plain_frame,
    sparse_frame,
    vector_of,
)
from lrbackends._containers import feature_names_of as feature_names_of
from lrbackends._csr import as_csr, cast_csr
from lrbackends._scan import check_finite as check_finite
from lrbackends._scan import scan as scan
from lrbackends.errors import DtypeWarning, PrecisionWarning

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
# Whole numbers that X may stay in: computing with them in either float type is exact.
_NARROW = (np.dtype(np.uint8), np.dtype(np.int8))

# Python's kinds of labels, bool before the int that it is, and the NumPy type to keep each in.
_LABELS: dict[str, tuple[type, ...]] = {
    "bool": (np.bool_, bool),
    "int": (np.int64, int, np.integer),
    "str": (np.str_, str),
    "bytes": (np.bytes_, bytes),
    "float": (np.float64, float, np.floating),
}


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
        Numbers: an array, a list of rows, a SciPy sparse matrix, a pandas or polars frame, an Arrow
        table or record batch, a JAX array or a torch tensor on the CPU. Never written to; copied
        only when its type or layout has to change, which is always so for several columns that
        their container keeps apart.
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
        return _sparse_matrix(X, dtype)
    if is_frame(X):
        if (made := sparse_frame(X)) is not None:
            return _sparse_matrix(made, dtype)
        if (array := plain_frame(X)) is None:
            return _matrix_of_columns(X, dtype, narrow)
    else:
        array = as_array("X", X)
    check_dimensions(array.ndim)
    array = _numeric(array)
    found = array.dtype.newbyteorder("=")
    target = _storage(found, compute_dtype(array, dtype), narrow)
    if array.dtype.kind == "b" and target == np.uint8:
        array = array.view(np.uint8)
    _warn_of_rounding([array], target)
    with np.errstate(over="ignore"):
        return np.require(array, dtype=target, requirements=["C", "A"])


def _sparse_matrix(X: Any, dtype: Any) -> Any:
    csr = as_csr(X)
    target = compute_dtype(csr, dtype)
    _warn_of_rounding([csr.data], target)
    with np.errstate(over="ignore"):
        return cast_csr(csr, target)


def _matrix_of_columns(X: Any, dtype: Any, narrow: bool) -> NDArray[Any]:
    columns = columns_of(X)
    if not columns:
        return np.empty((len(X), 0))
    chunks = [chunk for column in columns for chunk in column]
    common = np.result_type(*{chunk.dtype for chunk in chunks})
    target = _storage(common, compute_dtype(np.empty(0, common), dtype), narrow)
    _warn_of_rounding(chunks, target)
    with np.errstate(over="ignore"):
        return as_rows(columns, target)


def _numeric(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of two dimensions if it holds real numbers, those of objects as float64."""
    kind, dtype = array.dtype.kind, array.dtype
    if kind in "biuf":
        return array
    if kind == "O":
        return numbers_from_objects("X", array)
    if kind == "c":
        raise ValueError(f"X is complex ({dtype}); logistic regression needs real numbers")
    if dtype.names is not None:
        raise TypeError(
            f"X is a structured array with the fields {', '.join(dtype.names)}; convert it with "
            "numpy.lib.recfunctions.structured_to_unstructured(X)"
        )
    if kind == "V":
        raise TypeError(
            f"X has dtype {dtype}, which NumPy does not compute with; convert X to float32"
        )
    what = "strings" if kind in "UST" else "dates or times"
    raise TypeError(
        f"X has dtype {dtype}: {what} are not numbers; convert X to a numeric array first"
    )


def _warn_of_rounding(parts: Sequence[NDArray[Any]], target: np.dtype[Any]) -> None:
    wide = [part.dtype for part in parts if part.dtype.kind == "f" and part.dtype.itemsize > 8]
    if wide:
        warnings.warn(
            f"X has dtype {wide[0]} and is rounded to {target}",
            DtypeWarning,
            stacklevel=outside_frame(),
        )
    integers = [part for part in parts if part.dtype.kind in "iu" and part.dtype.itemsize == 8]
    largest = max(
        (max(int(part.max()), -int(part.min())) for part in integers if part.size), default=0
    )
    if largest > 2**53:
        warnings.warn(
            f"X holds integers up to {largest}, above 2**53: they are rounded to {target}",
            PrecisionWarning,
            stacklevel=outside_frame(),
        )


def as_labels(y: Any, n_samples: int | None = None) -> NDArray[Any]:
    """Return y as a one-dimensional array of class labels of one kind.

    It may be an array, a list, a Series, an Arrow array, a tensor on the CPU or a frame of one
    column; of categories and dictionaries the labels are the values that they stand for.

    Raises
    ------
    TypeError, ValueError
        y is missing, continuous, mixed, not finite, or not one label per row.
    """
    if y is None:
        raise TypeError("y is None; give one class label per row of X")
    _refuse_mask("y", y)
    labels = vector_of("y", y, "labels")
    if labels.dtype.kind in "US" and labels.ndim == 1 and isinstance(y, (list, tuple)):
        labels = np.array(y, dtype=object)  # or NumPy would make strings of numbers among them
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
    if labels.dtype.kind in "OT":  # T: NumPy's strings of any length, which may be missing
        labels = _one_kind(labels.astype(object))
    kind = labels.dtype.kind
    if kind not in "biufUS":
        what = "complex" if kind == "c" else f"of dtype {labels.dtype}"
        raise (ValueError if kind == "c" else TypeError)(
            f"y is {what}; class labels must be integers, booleans or strings"
        )
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


def _one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Turn an object array whose elements are all of one kind into an array of that kind."""
    missing = next((i for i, value in enumerate(labels) if is_missing(value)), None)
    if missing is not None:
        raise ValueError(
            f"y has a missing label ({labels[missing]!r}) in row {missing}; drop such rows"
        )
    kinds = {_kind_of_label(found): found for found in dict.fromkeys(map(type, labels))}
    if len(kinds) > 1:
        raise TypeError(f"y mixes {' and '.join(kinds)} labels; use one kind")
    name = next(iter(kinds), "int")
    if name not in _LABELS:
        raise TypeError(f"y holds {name} objects; labels must be integers, booleans or strings")
    try:
        return np.array(labels.tolist(), dtype=_LABELS[name][0])
    except OverflowError:
        raise ValueError("y holds integers of more than 64 bits; use smaller labels") from None


def _kind_of_label(found: type) -> str:
    return next((name for name, own in _LABELS.items() if issubclass(found, own)), found.__name__)


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
    weight = vector_of("sample_weight", sample_weight, "weights")
    if weight.dtype.kind == "O":
        weight = numbers_from_objects("sample_weight", weight)
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
