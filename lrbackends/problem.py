"""What is learnt from: validated features, encoded labels and sample weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends import _validation as validation
from lrbackends.errors import ScaleWarning

_SCALE_SPAN = 1e6  # columns whose sizes span more than this are reported
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, init=False, eq=False)
class Problem:
    """A data set that has been checked once and is ready for every backend.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Real, finite numbers. Never written to; copied only when its type or layout must change.
        8-bit integers and booleans stay what they are, and so does float32 where float64 is
        computed in: that is exact and moves fewer bytes.
    y : array-like of shape (n_samples,) or (n_samples, 1)
        Class labels: integers, booleans, strings or whole floats; at least two classes.
    sample_weight : array-like of shape (n_samples,) or scalar, optional
        Non-negative weights. A weight of 2 counts as a repeated row; rows of weight 0 are dropped.
    dtype : {"float64", "float32"}, optional
        Type to compute in. Default: float32 for float32 data, float64 for everything else.
    classes : array-like of shape (K,), optional
        Encode ``y`` by these classes, in ascending order; some may be missing, as in validation
        data. Default: the sorted labels of ``y``.
    n_threads : int, optional
        Threads that check large data. Default: all that the process may use.
    warn_of_scale : bool, default True
        Whether columns of very different sizes are worth a `ScaleWarning`.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_samples, n_features)
        C-contiguous, of type ``dtype`` or narrower (see above); CSR with sorted indices.
    dtype : dtype
        Type that is computed in.
    y : ndarray of shape (n_samples,)
        Labels encoded 0..K-1, int64.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights divided by their mean, float64; None when every row counts the same.
    classes : ndarray of shape (K,)
        The labels that 0..K-1 stand for.
    feature_names : tuple of str or None
        Column names where X had them.
    rms : ndarray of shape (n_features,)
        Root mean square of each column, unweighted, float64; a sample's is that of the whole.
    total_weight : float
        Sum of the sample weights as they were given; the number of rows without any.

    Raises
    ------
    TypeError, ValueError
        The data cannot be trained on; the message names the row, column or value.
    """

    X: Any
    dtype: np.dtype[Any]
    y: NDArray[np.int64]
    sample_weight: NDArray[np.float64] | None
    classes: NDArray[Any]
    feature_names: tuple[str, ...] | None
    rms: NDArray[np.float64]
    total_weight: float

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        dtype: Any = None,
        classes: ArrayLike | None = None,
        n_threads: int | None = None,
        warn_of_scale: bool = True,
    ) -> None:
        names = validation.feature_names_of(X)
        matrix = validation.as_matrix(X, dtype, narrow=True)
        n, p = matrix.shape
        if n == 0:
            raise ValueError("X has no rows; at least one sample of each class is needed")
        if p == 0:
            raise ValueError("X has no columns; at least one feature is needed")
        labels = validation.as_labels(y, n)
        computed = validation.compute_dtype(matrix, dtype)
        rms = validation.scan(matrix, computed, names, n_threads)
        weight = validation.as_weights(sample_weight, n)
        total = float(n if weight is None else weight.sum())
        if weight is not None:
            kept = weight > 0
            if not kept.all():
                matrix, labels, weight = matrix[kept], labels[kept], weight[kept]
                rms = validation.scan(matrix, computed, names, n_threads)
            weight = None if (weight == weight[0]).all() else weight / weight.mean()
        known, codes = _encode(labels, classes)
        if warn_of_scale:
            _warn_of_scale(rms, names)
        self._set(
            X=matrix,
            dtype=computed,
            y=codes,
            sample_weight=weight,
            classes=known,
            feature_names=names,
            rms=rms,
            total_weight=total,
        )

    def take(
        self, rows: NDArray[np.intp], sample_weight: NDArray[np.float64] | None = None
    ) -> Problem:
        """Return the problem of some rows, with the same classes and dtype.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,)
            Indices; a row may be taken more than once.
        sample_weight : ndarray of shape (n_rows,), optional
            Positive weights of these rows. Default: those that they have here.
        """
        part = object.__new__(Problem)
        weight = sample_weight
        if weight is None and self.sample_weight is not None:
            weight = self.sample_weight[rows]
        part._set(
            X=self.X[rows],
            dtype=self.dtype,
            y=self.y[rows],
            sample_weight=None if weight is None else weight / weight.mean(),
            classes=self.classes,
            feature_names=self.feature_names,
            rms=self.rms,
            total_weight=self.total_weight * float(self.exact_weight[rows].sum()) / self.n_samples,
        )
        return part

    def widened(self) -> Problem:
        """Return the same problem with X stored in the type that is computed in."""
        if self.X.dtype == self.dtype:
            return self
        wide = object.__new__(Problem)
        wide._set(**{**vars(self), "X": self.X.astype(self.dtype)})
        return wide

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows start..stop-1 of X as a dense array of ``dtype``."""
        return dense(self.X[start:stop], self.dtype)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    @property
    def n_outputs(self) -> int:
        """Rows of ``coef``: one for two classes, K for more."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def sparse(self) -> bool:
        """Whether X is in CSR form."""
        return not isinstance(self.X, np.ndarray)

    @cached_property
    def sign(self) -> NDArray[Any]:
        """1 - 2y of two classes: +1 for class 0 and -1 for class 1, shape (n_samples,)."""
        return (1 - 2 * self.y).astype(self.dtype)

    @cached_property
    def exact_weight(self) -> NDArray[np.float64]:
        """Sample weights with mean one, all ones where none were given, float64."""
        return np.ones(self.n_samples) if self.sample_weight is None else self.sample_weight

    @cached_property
    def weight(self) -> NDArray[Any]:
        """The same, of type ``dtype``."""
        return self.exact_weight.astype(self.dtype, copy=False)


def dense(X: Any, dtype: Any) -> NDArray[Any]:
    """Return X, dense or CSR, as a dense array of ``dtype``: X itself where it is one."""
    rows = X if isinstance(X, np.ndarray) else X.toarray()
    return np.asarray(rows.astype(dtype, copy=False))


def dense_blocks(X: Any, dtype: Any) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Cut X, dense or CSR, into blocks of rows of ``dtype`` that are no larger than a mebibyte.

    How it is cut depends on shape and ``dtype`` alone, not on how X is stored, so that sums over
    the blocks have the same bits. Yields the rows' slice and the block, which may be a view of X.
    """
    n, p = X.shape
    step = max(1, _BLOCK_BYTES // (np.dtype(dtype).itemsize * max(1, p)))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, dense(X[rows], dtype)


def _encode(
    labels: NDArray[Any], classes: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if classes is not None:
        known = np.asarray(classes)
        if known.ndim != 1 or len(known) < 2 or not (known[:-1] < known[1:]).all():
            raise ValueError(
                f"classes must be two or more labels in ascending order, got {classes!r}"
            )
        codes = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        strange = np.flatnonzero(known[codes] != labels)
        if len(strange):
            raise ValueError(
                f"y has label {labels.tolist()[strange[0]]!r} in row {strange[0]}, which is not "
                f"one of the training classes {known.tolist()}"
            )
        return known, codes.astype(np.int64)
    first = labels == labels[0]
    other = first.argmin()
    if first[other]:
        raise ValueError(
            f"y has only one class, {labels[:1].tolist()[0]!r}, among the rows of positive weight; "
            "two are needed"
        )
    if (first | (labels == labels[other])).all():  # two classes are found without sorting
        known = np.sort(labels[[0, other]])
        return known, (labels == known[1]).astype(np.int64)
    known, codes = np.unique(labels, return_inverse=True)
    return known, codes.astype(np.int64)


def _warn_of_scale(rms: NDArray[np.float64], names: tuple[str, ...] | None) -> None:
    """Compare column sizes with one another and with the intercept's column of ones."""
    used = np.flatnonzero(rms > 0)
    if not len(used):
        return
    small, large = used[rms[used].argmin()], used[rms[used].argmax()]
    if max(rms[large], 1.0) > _SCALE_SPAN * min(rms[small], 1.0):
        extreme = int(large if rms[large] > 1.0 / rms[small] else small)
        column = f"column {extreme}" + (f" ({names[extreme]!r})" if names else "")
        warnings.warn(
            f"column sizes span more than {_SCALE_SPAN:.0e}: the root mean square of {column} is "
            f"{rms[extreme]:.3g} (the intercept's is 1); training will be slow, "
            "standardise the columns",
            ScaleWarning,
            stacklevel=validation.outside_frame(),
        )
