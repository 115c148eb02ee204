"""Sparse input: checked before SciPy's loops trust it, brought to one form, never written to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._containers import check_dimensions

# What the compressed and the other dimension of each format are made of.
_COMPRESSED = {
    "csr": ("row", "column"),
    "csc": ("column", "row"),
    "bsr": ("block row", "block column"),
}


def as_csr(X: Any) -> Any:
    """Return a sparse matrix as a csr_array in canonical form, which may share its arrays with X.

    Parameters
    ----------
    X : sparse matrix or array
        Of any SciPy format, or anything that SciPy's ``tocsr`` makes one of.

    Returns
    -------
    csr_array
        Column indices rise in each row. Repeated entries are summed in the type of X, as
        ``X.toarray()`` does.

    Raises
    ------
    TypeError, ValueError
        X does not hold real numbers in two dimensions, its arrays do not fit one another, or an
        index points outside of it.
    """
    from scipy import sparse

    if not sparse.issparse(X):
        X = X.tocsr()
    check_dimensions(X.ndim)
    _check_parts(X)
    if X.dtype.kind == "c":
        raise ValueError(f"X is complex ({X.dtype}); logistic regression needs real numbers")
    if X.dtype.kind not in "biuf":
        raise TypeError(f"sparse X has dtype {X.dtype}; its entries must be real numbers")
    own = X
    if X.format in _COMPRESSED:
        _check_compressed(X)
        # A container of its own: what X remembers of the order of its indices may be out of date.
        own = type(X)((_native(X.data), X.indices, X.indptr), shape=X.shape)
    elif X.format == "coo":
        _check_coordinates(X)
    elif X.format == "dia":
        own = sparse.dia_array((_native(X.data), X.offsets), shape=X.shape)
    elif X.format == "dok":
        try:
            own = X.tocoo()
        except ValueError as error:
            raise ValueError(f"sparse X is damaged: {error}") from None
    csr = sparse.csr_array(own)
    if X.format != "csr":
        _check_compressed(csr)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _native(entries: NDArray[Any]) -> NDArray[Any]:
    return entries.astype(entries.dtype.newbyteorder("="), copy=False)


def cast_csr(csr: Any, dtype: np.dtype[Any]) -> Any:
    """Return a csr_array with its numbers in ``dtype``, without those that are zero there."""
    from scipy import sparse

    if csr.dtype != dtype:
        parts = csr.data.astype(dtype), csr.indices, csr.indptr
        csr = sparse.csr_array(parts, shape=csr.shape)
        csr.has_canonical_format = True
    if np.count_nonzero(csr.data) < len(csr.data):
        csr = csr.copy()
        csr.eliminate_zeros()
    return csr


def column_sums(csr: Any, entries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over each column of other entries at the places of ``csr``."""
    from scipy import sparse

    made = sparse.csr_array((entries, csr.indices, csr.indptr), shape=csr.shape)
    return np.asarray(np.ones(csr.shape[0]) @ made)


def position_of(csr: Any, k: int) -> tuple[int, int]:
    """Return row and column of the ``k``-th stored entry."""
    return int(np.searchsorted(csr.indptr, k, side="right")) - 1, int(csr.indices[k])


# The arrays of each format, the entries first, and of how many dimensions these are.
_PARTS = {
    "csr": (("data", "indices", "indptr"), 1),
    "csc": (("data", "indices", "indptr"), 1),
    "bsr": (("data", "indices", "indptr"), 3),
    "coo": (("data", "row", "col"), 1),
    "dia": (("data", "offsets"), 2),
}


def _check_parts(X: Any) -> None:
    """Refuse arrays of other types or shapes than the format's, which SciPy's loops rely on."""
    if X.format == "lil":
        for row, (columns, entries) in enumerate(zip(X.rows, X.data, strict=True)):
            if len(columns) != len(entries):
                raise ValueError(
                    f"sparse X is damaged: row {row} has {len(columns)} column indices and "
                    f"{len(entries)} entries"
                )
    names, n_dimensions = _PARTS.get(X.format, ((), 0))
    parts = {name: getattr(X, name) for name in names}
    for name, part in parts.items():
        expected = n_dimensions if name == "data" else 1
        if not isinstance(part, np.ndarray) or part.ndim != expected:
            raise ValueError(
                f"sparse X is damaged: {name} must be an array of dimension {expected}"
            )
        if name != "data" and part.dtype.kind not in "iu":
            raise ValueError(f"sparse X is damaged: {name} must hold integers, not {part.dtype}")
    if X.format in ("coo", "dia") and len({len(part) for part in parts.values()}) > 1:
        sizes = ", ".join(f"{len(part)} in {name}" for name, part in parts.items())
        raise ValueError(f"sparse X is damaged: its arrays differ in length ({sizes})")
    if X.format == "dia" and len(np.unique(X.offsets)) < len(X.offsets):
        raise ValueError("sparse X is damaged: its offsets must differ from one another")


def _check_compressed(X: Any) -> None:
    major, minor = _COMPRESSED[X.format]
    shape = X.shape[::-1] if X.format == "csc" else X.shape
    if X.format == "bsr":
        blocks = X.data.shape[1:]
        if any(not block or size % block for size, block in zip(shape, blocks, strict=True)):
            raise ValueError(f"sparse X is damaged: blocks of shape {blocks} do not fill {shape}")
        shape = tuple(size // block for size, block in zip(shape, blocks, strict=True))
    indptr, indices, n_entries = X.indptr, X.indices, len(X.data)
    if len(indptr) != shape[0] + 1 or indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(
            f"sparse X is damaged: indptr must have {shape[0] + 1} entries that start at 0 and "
            "never fall"
        )
    if indptr[-1] > min(len(indices), n_entries) or len(indices) != n_entries:
        raise ValueError(
            f"sparse X is damaged: indptr ends at {indptr[-1]} but there are {len(indices)} "
            f"indices and {n_entries} entries"
        )
    k = _first_outside(indices[: indptr[-1]], shape[1])
    if k is not None:
        place = int(np.searchsorted(indptr, k, side="right")) - 1
        raise ValueError(
            f"sparse X is damaged: {major} {place} has {minor} index {indices[k]}, outside "
            f"0..{shape[1] - 1}"
        )


def _check_coordinates(X: Any) -> None:
    for name, indices, size in zip(("row", "column"), X.coords, X.shape, strict=True):
        k = _first_outside(indices, size)
        if k is not None:
            raise ValueError(
                f"sparse X is damaged: entry {k} has {name} index {indices[k]}, outside "
                f"0..{size - 1}"
            )


def _first_outside(indices: NDArray[Any], size: int) -> int | None:
    if not len(indices) or (indices.min() >= 0 and indices.max() < size):
        return None
    return int(((indices < 0) | (indices >= size)).argmax())
