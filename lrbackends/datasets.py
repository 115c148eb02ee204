"""Data by name: bundled sets, and files in the formats that people have.

Readers (see `_files`) turn a file into `Rows`; choosing classes, checking and splitting are the
same for all of them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends import _validation as validation
from lrbackends._files import Rows, listed, one_line, read

TEST_SIZE = 0.25

_Source = str | os.PathLike[str]
_Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Dataset:
    """A data set with a training part and a test part.

    Attributes
    ----------
    name : str
        The bundled name or the file's name.
    X_train, X_test : ndarray or csr_array of shape (n_samples, n_features)
        Finite numbers; CSR where a LIBSVM file is sparse (see `load_dataset`). ``X_test`` has no
        rows where no test part was wanted.
    y_train, y_test : ndarray of shape (n_samples,)
        Labels: integers, booleans or strings.
    feature_names : tuple of str
    image_shape : (height, width) or None
        Where each row is an unrolled image.
    description : str
        What the data are, in a few words.
    target : str or None
        Name of the column that the labels came from.
    """

    name: str
    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    feature_names: tuple[str, ...]
    image_shape: tuple[int, int] | None
    description: str
    target: str | None = None


def load_dataset(
    source: _Source,
    *,
    target: str | int | None = None,
    digits: _Pair | None = None,
    test_size: float = TEST_SIZE,
    random_state: int = 0,
) -> Dataset:
    """Return a bundled data set, or one read from a file.

    Parameters
    ----------
    source : str or path
        ``"digits01"`` (handwritten digits 0 and 1, 8 x 8 pixels / 16), ``"digits"`` (all ten: train
        on two of them by ``digits``) or ``"breast_cancer"`` (standardised on its training rows);
        else a file:

        - CSV, or text with ``;`` or tabs; without a header where the first line holds a number,
          the columns are then called x0, x1, …
        - Parquet, which needs pyarrow
        - LIBSVM text; CSR where less than a tenth of X is not zero, else dense
        - ``.npz`` with arrays X and y and optionally X_test and y_test; X of shape (n, height,
          width) is unrolled, and pixels in bytes are divided by 255
        - MNIST IDX images, pixels / 255; labels are found beside them by their standard name, and
          so is the t10k pair, which becomes the test part

        Text and IDX files may be gzipped.
    target : str or int, optional
        Column of the labels in a CSV or Parquet file, by name or by index.
    digits : pair of labels, optional
        Keep the samples of these two labels only.
    test_size : float, default 0.25
        Share of the rows set aside, stratified, where the data have no test part of their own;
        0 sets none aside.
    random_state : int, default 0
        Seed of that split.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    MemoryError
        The data do not fit into memory.
    TypeError, ValueError
        The file is damaged or holds no training data; the message says where and why.
    """
    if validation.check_number("test_size", test_size) >= 1:
        raise ValueError(f"test_size must be a share of the rows, below 1, got {test_size!r}")
    test: Rows | None = None
    if source in _BUNDLED:
        if target is not None:
            raise ValueError(f"target (--target) is for CSV and Parquet files, not for {source}")
        name = str(source)
        bundled, description = _BUNDLED[name]
        train = bundled()
    else:
        path = _existing(source)
        name = path.name
        train, test, description = read(path, target, None)
    train = _checked(_keep(train, digits, name), name)
    if test is None:
        train, test = _split(train, test_size, random_state)
    else:
        test = _checked(_keep(test, digits, name), name)
    assert train.y is not None
    assert test.y is not None
    dataset = Dataset(
        name,
        train.X,
        train.y,
        test.X,
        test.y,
        train.feature_names,
        train.image_shape,
        description,
        train.target,
    )
    return standardised(dataset)[0] if name == "breast_cancer" else dataset


def load_rows(
    source: _Source,
    feature_names: Sequence[str],
    *,
    target: str | None = None,
    digits: _Pair | None = None,
) -> Rows:
    """Return rows to predict: all rows of a file, or the test rows of a bundled data set.

    Columns of a table, and features of a LIBSVM file, are looked up by ``feature_names``; others
    are ignored. ``y`` is None where the file has no labels or the table no column ``target``.
    Raises as `load_dataset` does.
    """
    if source in _BUNDLED:
        data = load_dataset(source, digits=digits)
        return Rows(data.X_test, data.y_test, data.feature_names, data.image_shape)
    path = _existing(source)
    rows, _, _ = read(path, target, tuple(feature_names))
    return _checked(_keep(rows, digits, path.name), path.name)


def standardised(dataset: Dataset) -> tuple[Dataset, NDArray[Any], NDArray[Any]]:
    """Return the data set with columns of mean 0 and deviation 1 on the training rows.

    Also returns the means and deviations, shape (n_features,); a constant column is only centred.

    Raises
    ------
    ValueError
        X is sparse.
    """
    if not isinstance(dataset.X_train, np.ndarray):
        raise ValueError(
            f"{dataset.name} is sparse, and centring its columns would fill it with numbers; "
            "leave standardise (--standardise) out, or scale the columns beforehand without "
            "centring them"
        )
    mean, scale = dataset.X_train.mean(axis=0), dataset.X_train.std(axis=0)
    # The computed deviation of a constant column may be a rounding error instead of 0.
    scale[np.ptp(dataset.X_train, axis=0) == 0] = 1
    X_train, X_test = ((X - mean) / scale for X in (dataset.X_train, dataset.X_test))
    return replace(dataset, X_train=X_train, X_test=X_test), mean, scale


# -- the same for all sources


def _existing(source: _Source) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.exists():
        raise IsADirectoryError(f"{path} is not a regular file; give a data file")
    close = difflib.get_close_matches(str(source), BUNDLED, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise FileNotFoundError(
        f"there is no file {str(path)!r}, and the bundled data sets are {', '.join(BUNDLED)}{hint}"
    )


def _keep(rows: Rows, digits: _Pair | None, name: str) -> Rows:
    """Return the samples whose label is one of ``digits``."""
    if digits is None or rows.y is None:
        return rows
    if len(digits) != 2 or digits[0] == digits[1]:
        raise ValueError(f"digits (--digits) must be two different labels, got {digits!r}")
    labels = validation.as_labels(rows.y, rows.X.shape[0])
    for digit in digits:
        if not np.any(labels == digit):
            known = [repr(label) for label in np.unique(labels).tolist()]
            raise ValueError(f"no row of {name} has label {digit!r}; it has {listed(known)}")
    kept = (labels == digits[0]) | (labels == digits[1])
    return replace(rows, X=rows.X[kept], y=labels[kept])


def _checked(rows: Rows, name: str) -> Rows:
    """Return the rows as floats with labels of one kind; here row numbers are still the file's."""
    if not rows.X.shape[0]:
        raise ValueError(f"{name} has no rows")
    X = validation.as_matrix(rows.X)
    if rows.X.dtype == np.uint8 and rows.image_shape is not None:
        X = X / 255
    validation.check_finite(X, rows.feature_names)
    y = None if rows.y is None else validation.as_labels(rows.y, X.shape[0])
    if y is not None and y.dtype.kind == "f":
        y = y.astype(np.int64)  # as_labels lets whole numbers through only
    return replace(rows, X=X, y=y)


def _split(rows: Rows, test_size: float, random_state: int) -> tuple[Rows, Rows]:
    """Return a stratified training and test part, each in the order of the file."""
    assert rows.y is not None
    train = np.arange(rows.X.shape[0])
    test = train[:0]
    if test_size > 0:
        from sklearn.model_selection import train_test_split

        try:
            train, test = train_test_split(
                train, test_size=test_size, random_state=random_state, stratify=rows.y
            )
        except ValueError as error:
            raise ValueError(
                f"test_size={test_size} does not work: {one_line(error)}; 0 sets no rows aside"
            ) from None
    parts = (
        replace(rows, X=rows.X[part], y=rows.y[part]) for part in (np.sort(train), np.sort(test))
    )
    return next(parts), next(parts)


# -- bundled


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    found = load_digits()
    return Rows(found.data / 16, found.target, tuple(found.feature_names), (8, 8))


def _digits01() -> Rows:
    return _keep(_digits(), (0, 1), "digits01")


def _breast_cancer() -> Rows:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    return Rows(found.data, found.target_names[found.target], tuple(found.feature_names.tolist()))


_BUNDLED: dict[_Source, tuple[Callable[[], Rows], str]] = {
    "digits01": (_digits01, "handwritten digits 0 and 1, from scikit-learn"),
    "digits": (_digits, "handwritten digits, from scikit-learn"),
    "breast_cancer": (_breast_cancer, "breast tumours, standardised, from scikit-learn"),
}
BUNDLED = tuple(str(name) for name in _BUNDLED)
