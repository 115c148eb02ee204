"""How the NumPy kernels get at rows of X: wide ones as they lie, narrow ones widened, CSR by parts.

Every reader cuts the rows into ``bounds``, (start, stop) of each chunk, by shape and number of
entries alone, and returns a chunk as something that ``.dot`` and ``.T.dot`` work on.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._chunks import chunk_edges

_LEAST_ROW_BYTES = 128  # of shorter rows a chunk has no more, to leave its vectors room in cache


class DenseRows:
    """Rows of an array, read in type ``dtype``; narrower ones are widened into scratch memory."""

    def __init__(self, X: NDArray[Any], dtype: np.dtype[Any], n_outputs: int) -> None:
        n, p = X.shape
        self.X, self.dtype = X, dtype
        self.shape = n, p
        self.n_bytes = n * p * dtype.itemsize
        row = p * dtype.itemsize
        slot = n_outputs * (p + 1) * dtype.itemsize
        edges = chunk_edges(n, max(row, _LEAST_ROW_BYTES * n_outputs), slot)
        self.bounds = list(pairwise(edges.tolist()))
        self._scratch = threading.local()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; a widened one is valid until this thread's next call."""
        rows = self.X[start:stop]
        if rows.dtype == self.dtype:
            return rows
        room: NDArray[Any] | None = getattr(self._scratch, "room", None)
        if room is None or len(room) < len(rows):
            room = self._scratch.room = np.empty(rows.shape, self.dtype)
        wide = room[: len(rows)]
        np.copyto(wide, rows)
        return wide

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the given rows, copied."""
        return np.asarray(self.X[rows].astype(self.dtype, copy=False))

    def read_dense(self, start: int, stop: int) -> NDArray[Any]:
        """Return the same as `read`."""
        return self.read(start, stop)


class SparseRows:
    """Rows of a CSR array; its chunks are views of the whole, made once."""

    def __init__(self, X: Any, n_outputs: int) -> None:
        n, p = X.shape
        self.X, self.dtype = X, X.dtype
        self.shape = n, p
        self.n_bytes = X.data.nbytes + X.indices.nbytes
        entry = X.data.itemsize + X.indices.itemsize
        edges = chunk_edges(n, entry, n_outputs * (p + 1) * self.dtype.itemsize, X.indptr)
        self.bounds = list(pairwise(edges.tolist()))
        self._parts = {bounds: self._part(*bounds) for bounds in self.bounds}

    def _part(self, start: int, stop: int) -> Any:
        X = self.X
        begin, end = X.indptr[start], X.indptr[stop]
        arrays = X.data[begin:end], X.indices[begin:end], X.indptr[start : stop + 1] - begin
        part = type(X)(arrays, shape=(stop - start, X.shape[1]), copy=False)
        part.has_canonical_format = True
        return part

    def read(self, start: int, stop: int) -> Any:
        """Return the chunk of these bounds."""
        return self._parts[start, stop]

    def take(self, rows: NDArray[np.int64]) -> Any:
        """Return the given rows, copied."""
        return self.X[rows]

    def read_dense(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows as an array."""
        return np.asarray(self._part(start, stop).toarray())


def rows_of(X: Any, dtype: np.dtype[Any], n_outputs: int) -> DenseRows | SparseRows:
    """Return the reader for X, whose rows each have ``n_outputs`` scores."""
    if isinstance(X, np.ndarray):
        return DenseRows(X, dtype, n_outputs)
    return SparseRows(X, n_outputs)
