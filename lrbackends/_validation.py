"""Checks of what the user hands in: each failure is one sentence that says what would work."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends.errors import DtypeWarning, PrecisionWarning

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
# Rows are examined in blocks of this size, so that no n x p temporary is made.
_SCAN_BYTES = 1 << 18
_LARGEST = {np.dtype(np.float64): 1e100, np.dtype(np.float32): 1e15}


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


@dataclass(frozen=True)
class ColumnFacts:
    """What one scan of X found.

    ``rms`` is each column's root mean square, shape (n_features,), float64.
    """

    rms: NDArray[np.float64]


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
    if hasattr(X, "tocsr"):
        raise TypeError(
            "X is a sparse matrix, which is not supported yet; densify it with X.toarray()"
        )


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


def as_matrix(X: Any, dtype: Any = None) -> NDArray[Any]:
    """Return X as a C-contiguous, aligned, native float array of two dimensions.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Numbers. Never written to; copied only when its type or layout has to change.
    dtype : {"float64", "float32"}, optional
        Type to compute in. Default: float32 for float32 data, float64 for everything else.

    Raises
    ------
    TypeError, ValueError
        X does not hold numbers in two dimensions.
    """
    _refuse_odd_containers(X)
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
    if dtype is None:
        target = array.dtype.newbyteorder("=") if array.dtype.newbyteorder("=") in FLOATS else None
        target = target or np.dtype(np.float64)
    else:
        target = check_dtype(dtype)
    if kind == "f" and array.dtype.itemsize > 8:
        warnings.warn(
            f"X has dtype {array.dtype} and is rounded to {target}",
            DtypeWarning,
            stacklevel=outside_frame(),
        )
    if kind in "iu" and array.dtype.itemsize == 8 and array.size:
        largest = max(int(array.max()), -int(array.min()))
        if largest > 2**53:
            warnings.warn(
                f"X holds integers up to {largest}, above 2**53: they are rounded to {target}",
                PrecisionWarning,
                stacklevel=outside_frame(),
            )
    with np.errstate(over="ignore"):
        return np.require(array, dtype=target, requirements=["C", "A"])


def check_finite(X: NDArray[Any], names: tuple[str, ...] | None = None) -> None:
    """Raise ValueError naming the first entry of X that is NaN or infinite, and their number."""
    if X.size and not (np.isfinite(X.max()) and np.isfinite(X.min())):
        bad = ~np.isfinite(X)
        row, col = (int(k) for k in np.argwhere(bad)[0])
        raise ValueError(
            f"X has {int(bad.sum())} NaN or infinite values, the first ({X[row, col]}) in row "
            f"{row}, {_column(names, col)}; fill or drop them"
        )


def scan(X: NDArray[Any], names: tuple[str, ...] | None = None) -> ColumnFacts:
    """Refuse entries that cannot be computed with, and measure the columns.

    Raises
    ------
    ValueError
        NaN, infinite or subnormal entries, or a scale whose squares overflow.
    """
    check_finite(X, names)
    n, p = X.shape
    limits = np.finfo(X.dtype)
    largest = max(float(X.max()), -float(X.min()))
    # Training forms sums of squares, and steps of one over them that must still move the weights.
    if largest > _LARGEST[X.dtype]:
        raise ValueError(
            f"X scale: the largest entry is {largest:.3g}, so ||X||^2 overflows {X.dtype} on the "
            "way; "
            "standardise the columns" + (" or use dtype='float64'" if X.itemsize == 4 else "")
        )
    unit = largest or 1.0
    squares = np.zeros(p)
    rows = max(1, _SCAN_BYTES // (8 * p))
    for start in range(0, n, rows):
        size = np.abs(X[start : start + rows])
        scaled = size.astype(np.float64)
        scaled /= unit
        squares += np.einsum("ij,ij->j", scaled, scaled)
        size[size == 0] = limits.max
        if size.min() < limits.tiny:
            i, j = np.unravel_index(int(size.argmin()), size.shape)
            raise ValueError(
                f"X[{start + int(i)}, {int(j)}] = {X[start + i, j]:.3g} is subnormal in {X.dtype}, "
                "which some engines flush to zero; rescale the columns or set such entries to 0"
            )
    return ColumnFacts(rms=np.sqrt(squares / n) * unit)


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
