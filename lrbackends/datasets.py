"""Data by name: bundled sets, and files in the formats that people have.

A reader turns a file into `Rows`; choosing classes, checking and splitting are the same for all of
them. What a file is shows in its first bytes rather than in its name.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import importlib.util
import math
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lrbackends import _validation as validation

if TYPE_CHECKING:
    import pandas as pd

TEST_SIZE = 0.25

_Source = str | os.PathLike[str]
_Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Rows:
    """Samples as they were read.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or None
        Labels, None where there are none.
    feature_names : tuple of str
    image_shape : (height, width) or None
        Where each row is an unrolled image.
    target : str or None
        Name of the column that the labels came from.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    feature_names: tuple[str, ...]
    image_shape: tuple[int, int] | None = None
    target: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set with a training part and a test part.

    Attributes
    ----------
    name : str
        The bundled name or the file's name.
    X_train, X_test : ndarray of shape (n_samples, n_features)
        Finite numbers; ``X_test`` has no rows where no test part was wanted.
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
    X_train: NDArray[Any]
    y_train: NDArray[Any]
    X_test: NDArray[Any]
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
        - LIBSVM text, made dense
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
        The data do not fit into memory when dense.
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
        read, description = _BUNDLED[name]
        train = read()
    else:
        path = _existing(source)
        name = path.name
        train, test, description = _read(path, target, None)
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
    rows, _, _ = _read(path, target, tuple(feature_names))
    return _checked(_keep(rows, digits, path.name), path.name)


def standardised(dataset: Dataset) -> tuple[Dataset, NDArray[Any], NDArray[Any]]:
    """Return the data set with columns of mean 0 and deviation 1 on the training rows.

    Also returns the means and deviations, shape (n_features,); a constant column is only centred.
    """
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
    labels = validation.as_labels(rows.y, len(rows.X))
    for digit in digits:
        if not np.any(labels == digit):
            known = [repr(label) for label in np.unique(labels).tolist()]
            raise ValueError(f"no row of {name} has label {digit!r}; it has {_listed(known)}")
    kept = (labels == digits[0]) | (labels == digits[1])
    return replace(rows, X=rows.X[kept], y=labels[kept])


def _checked(rows: Rows, name: str) -> Rows:
    """Return the rows as floats with labels of one kind; here row numbers are still the file's."""
    if not len(rows.X):
        raise ValueError(f"{name} has no rows")
    X = validation.as_matrix(rows.X)
    if rows.X.dtype == np.uint8 and rows.image_shape is not None:
        X = X / 255
    validation.check_finite(X, rows.feature_names)
    y = None if rows.y is None else validation.as_labels(rows.y, len(X))
    if y is not None and y.dtype.kind == "f":
        y = y.astype(np.int64)  # as_labels lets whole numbers through only
    return replace(rows, X=X, y=y)


def _split(rows: Rows, test_size: float, random_state: int) -> tuple[Rows, Rows]:
    """Return a stratified training and test part, each in the order of the file."""
    assert rows.y is not None
    train = np.arange(len(rows.X))
    test = train[:0]
    if test_size > 0:
        from sklearn.model_selection import train_test_split

        try:
            train, test = train_test_split(
                train, test_size=test_size, random_state=random_state, stratify=rows.y
            )
        except ValueError as error:
            raise ValueError(
                f"test_size={test_size} does not work: {_line(error)}; 0 sets no rows aside"
            ) from None
    parts = (
        replace(rows, X=rows.X[part], y=rows.y[part]) for part in (np.sort(train), np.sort(test))
    )
    return next(parts), next(parts)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= 10:
        return ", ".join(names)
    return ", ".join(names[:8]) + f", …, {names[-1]} ({len(names)} in all)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


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


# -- files

_Features = tuple[str, ...] | None  # those of the model that is to predict; None: labels are needed
_Parts = tuple[Rows, Rows | None]  # a file's rows and, where it has one, its test part


def _read(path: Path, target: str | int | None, features: _Features) -> tuple[Rows, Any, str]:
    """Return the rows, the test part or None, and a description."""
    try:
        kind = _kind(path)
        if kind in _TABLES:
            rows = _from_table(_TABLES[kind](path), path, target, features)
            return rows, None, f"{kind} file"
        if target is not None and features is None:
            raise ValueError(
                f"target (--target) is for CSV and Parquet files; {path} is {kind}, which has "
                "labels of its own"
            )
        return *_OTHERS[kind](path, features), f"{kind} file"
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {_line(error)}") from None


def _open(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacking it on the way if it is gzipped."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


_LIBSVM_LINE = re.compile(rb"[^\s:,;]+(\s+(\d+|qid):[^\s:]+)+\s*(#.*)?$")
_LIBSVM_ENDINGS = {".libsvm", ".svm", ".svmlight"}


def _kind(path: Path) -> str:
    """Return the format of a file."""
    with _open(path) as stream:
        head = stream.read(1024)
        stream.seek(0)
        first = next((line for line in stream if line.strip()[:1] not in (b"", b"#")), b"")
    if not head:
        raise ValueError(f"{path} is empty")
    if head[:4] == b"PAR1":
        return "Parquet"
    if head[:4] == b"PK\x03\x04":
        return ".npz"
    if head[:2] == b"\0\0":
        return "MNIST IDX"
    if b"\0" in head:
        raise ValueError(f"{path} is none of CSV, LIBSVM, Parquet, .npz and MNIST IDX")
    named = _LIBSVM_ENDINGS & {ending.lower() for ending in path.suffixes}
    return "LIBSVM" if named or _LIBSVM_LINE.match(first.strip()) else "CSV"


# Tables, where the labels are one of the columns


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        with _open(path) as stream:
            line = next((line for line in stream if line.strip()), b"").decode("utf-8-sig")
            stream.seek(0)
            delimiter = max(",;\t", key=line.count)
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
            headless = any(map(_is_number, fields))
            table = pd.read_csv(
                stream,
                sep=delimiter,
                header=None if headless else 0,
                encoding="utf-8-sig",
                low_memory=False,
                skipinitialspace=True,
            )
    except ValueError as error:  # pandas' own errors and those of decoding
        raise ValueError(f"{path} cannot be read as CSV: {_line(error)}") from None
    if headless:
        table.columns = pd.Index(_positional(table.shape[1]))
    elif fields[:1] == [""] and (table.iloc[:, 0] == np.arange(len(table))).all():
        return table.iloc[:, 1:]  # pandas writes row numbers under an empty name
    return table


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _positional(n_features: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(n_features))


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow")
    try:
        return pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {_line(error)}") from None


_TABLES = {"CSV": _csv, "Parquet": _parquet}


def _from_table(
    table: pd.DataFrame, path: Path, target: str | int | None, features: _Features
) -> Rows:
    table.columns = table.columns.map(str)
    names = list(table.columns)
    if features is None:
        target = _target_column(names, target, path)
        features = tuple(name for name in names if name != target)
    absent = [name for name in features if name not in names]
    if absent:
        raise ValueError(
            f"{path} lacks {len(absent)} of the {len(features)} columns that the model was "
            f"trained on: {_listed(absent)}"
        )
    frame = table[list(features)]
    for name in features:
        _refuse_text(frame[name], path)
    labels = table[target].to_numpy() if target in names else None
    return Rows(validation.as_matrix(frame), labels, features, target=cast(str | None, target))


def _target_column(names: list[str], target: str | int | None, path: Path) -> str:
    if target is None:
        raise ValueError(
            f"which column of {path} holds the labels? Name it by target (--target): "
            + _listed(names)
        )
    if target in names:
        return str(target)
    try:
        return names[int(target)]
    except (ValueError, IndexError):
        close = difflib.get_close_matches(str(target), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {_listed(names)}"
        raise ValueError(f"{path} has no column {target!r}{hint}") from None


def _refuse_text(column: pd.Series[Any], path: Path) -> None:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return
    texts = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    if len(texts):
        raise TypeError(
            f"column {column.name!r} of {path} holds text, {texts.iloc[0]!r} in row "
            f"{texts.index[0]}; encode it as numbers or drop it"
        )


# Files that keep features and labels apart


def _libsvm(path: Path, features: _Features) -> _Parts:
    from sklearn.datasets import load_svmlight_file

    try:
        with _open(path) as stream:
            X, y = load_svmlight_file(stream, zero_based=True)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as LIBSVM: {_line(error)}") from None
    start = 0 if not X.nnz else int(X.indices.min() > 0)  # indices count from 1, mostly
    size = 8 * X.shape[0] * (X.shape[1] - start if features is None else len(features))
    if size > _memory():
        raise MemoryError(
            f"{path} has {X.shape[0]} rows and indices up to {X.shape[1] - 1}: {size / 1e9:.3g} GB "
            "when dense, more than this machine's memory"
        )
    if features is None:
        features = tuple(str(j) for j in range(start, X.shape[1]))
    elif not all(name.isdecimal() for name in features):
        raise ValueError(
            f"the features of LIBSVM files are numbered, so {path} does not have those that the "
            f"model was trained on: {_listed(features)}"
        )
    columns = np.array([int(name) for name in features], dtype=np.intp)
    # What the model has not seen has no weight, and what the file lacks is zero.
    X.resize(X.shape[0], max(X.shape[1], columns.max(initial=0) + 1))
    return Rows(X[:, columns].toarray(), y, features), None


def _memory() -> float:
    """Return the size of the machine's memory in bytes, infinite where it cannot be told."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return np.inf


def _npz(path: Path, features: _Features) -> _Parts:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            held = list(archive.files)
            arrays = {
                name: archive[name] for name in ("X", "y", "X_test", "y_test") if name in held
            }
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"{path} cannot be read as .npz: {_line(error)}") from None
    absent = [name for name in ("X", "y")[: 1 + (features is None)] if name not in arrays]
    if absent:
        raise ValueError(
            f"{path} has no array {' and '.join(absent)}; it holds {_listed(held) or 'nothing'}"
        )
    train = _unrolled(arrays["X"], arrays.get("y"))
    if "X_test" not in arrays or "y_test" not in arrays or features is not None:
        return train, None
    test = _unrolled(arrays["X_test"], arrays["y_test"])
    if len(test.feature_names) != len(train.feature_names):
        raise ValueError(
            f"X of {path} has {len(train.feature_names)} features but X_test has "
            f"{len(test.feature_names)}"
        )
    return train, test


def _unrolled(X: NDArray[Any], y: NDArray[Any] | None) -> Rows:
    """Return images of shape (n, height, width) as rows, anything else as it is."""
    if X.ndim != 3:
        return Rows(X, y, _positional(X.shape[1] if X.ndim == 2 else 0))
    n, height, width = X.shape
    return Rows(X.reshape(n, -1), y, _positional(height * width), (height, width))


_IDX_BYTES = b"\0\0\x08"  # an array of unsigned bytes; its number of dimensions follows


def _idx(path: Path, features: _Features) -> _Parts:
    train = _images(path, labelled=features is None)
    test = _present(path.with_name(path.name.replace("train-", "t10k-", 1)))
    if features is not None or test in (None, path) or _label_file(test) is None:
        return train, None
    return train, _images(test, labelled=True)


def _images(path: Path, *, labelled: bool) -> Rows:
    """Return the images in an IDX file, unrolled, with the labels that lie beside it."""
    images = _idx_array(path, 3, "images")
    beside = _label_file(path)
    labels = None if beside is None else _idx_array(beside, 1, "labels").astype(np.int64)
    if labels is None and labelled:
        raise ValueError(
            f"no labels for {path}: the file beside it must be named like "
            "train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped or not"
        )
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{path} has {len(images)} images but {beside} has {len(labels)} labels")
    return _unrolled(images, labels)


def _label_file(images: Path) -> Path | None:
    name = images.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1")
    return None if name == images.name else _present(images.with_name(name))


def _present(path: Path) -> Path | None:
    """Return the file of that name, gzipped or not, if there is one."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    return next((p for p in (path, plain, Path(f"{plain}.gz")) if p.is_file()), None)


def _idx_array(path: Path, ndim: int, what: str) -> NDArray[np.uint8]:
    """Return the array of bytes in an IDX file (format: LeCun's MNIST page)."""
    with _open(path) as stream:
        content = stream.read()
    magic = _IDX_BYTES + bytes([ndim])
    if content[:4] != magic:
        raise ValueError(
            f"{path} is not an IDX file of {what}: it starts with 0x{content[:4].hex()}, "
            f"not 0x{magic.hex()}"
        )
    header = 4 + 4 * ndim
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if len(content) < header or len(content) != header + math.prod(shape):
        raise ValueError(
            f"{path} is truncated or damaged: it has {len(content)} bytes, and "
            f"{header + math.prod(shape)} are needed for {' x '.join(map(str, shape))} {what}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


_OTHERS = {"LIBSVM": _libsvm, ".npz": _npz, "MNIST IDX": _idx}
