"""One pass over X that refuses entries that cannot be computed with and measures the columns."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._blas import single_threaded
from lrbackends._containers import column_name, refuse_missing
from lrbackends._csr import column_sums, position_of

# X is examined in parts, which threads share, and these in blocks that stay in cache.
_PART_BYTES = 1 << 22
_BLOCK_BYTES = 1 << 18
_LARGEST = {np.dtype(np.float64): 1e100, np.dtype(np.float32): 1e15}
_VANISHING = 1e-280  # a mean square below this may have lost digits; none is lost in larger units
_LARGER = 2.0**600


def available_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        if names is not None and np.isnan(X[row, col]):
            column = X[:, col] if isinstance(X, np.ndarray) else X[:, [col]].toarray()[:, 0]
            refuse_missing(col, names, np.flatnonzero(np.isnan(column)))
        raise ValueError(
            f"X has {int(bad.sum())} NaN or infinite values, the first ({X[row, col]}) in row "
            f"{row}, {column_name(col, names)}; fill or drop them"
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
