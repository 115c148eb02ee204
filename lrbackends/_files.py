"""Files in the formats that people have, read into rows; their first bytes say what they are."""

from __future__ import annotations

import csv
import difflib
import gzip
import importlib.util
import math
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lrbackends import _validation as validation

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """Samples as they were read.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or None
        Labels, None where there are none.
    feature_names : tuple of str
    image_shape : (height, width) or None
        Where each row is an unrolled image.
    target : str or None
        Name of the column that the labels came from.
    """

    X: Any
    y: NDArray[Any] | None
    feature_names: tuple[str, ...]
    image_shape: tuple[int, int] | None = None
    target: str | None = None


def listed(names: Sequence[str]) -> str:
    """Return names for a message, shortened where there are many."""
    if len(names) <= 10:
        return ", ".join(names)
    return ", ".join(names[:8]) + f", …, {names[-1]} ({len(names)} in all)"


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())


_Features = tuple[str, ...] | None  # those of the model that is to predict; None: labels are needed
_Parts = tuple[Rows, Rows | None]  # a file's rows and, where it has one, its test part


def read(path: Path, target: str | int | None, features: _Features) -> tuple[Rows, Any, str]:
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
        raise ValueError(f"{path} is damaged: {one_line(error)}") from None


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
        raise ValueError(f"{path} cannot be read as CSV: {one_line(error)}") from None
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
        raise ValueError(f"{path} cannot be read as Parquet: {one_line(error)}") from None


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
            f"trained on: {listed(absent)}"
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
            + listed(names)
        )
    if target in names:
        return str(target)
    try:
        return names[int(target)]
    except (ValueError, IndexError):
        close = difflib.get_close_matches(str(target), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {listed(names)}"
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


_SPARSE = 0.1  # CSR takes less memory and time below this share of entries that are not zero
_FEATURE_BYTES = 200  # its name, and a number of it in each vector that a solver keeps


def _libsvm(path: Path, features: _Features) -> _Parts:
    from sklearn.datasets import load_svmlight_file

    try:
        with _open(path) as stream:
            X, y = load_svmlight_file(stream, zero_based=True)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as LIBSVM: {one_line(error)}") from None
    start = 0 if not X.nnz else int(X.indices.min() > 0)  # indices count from 1, mostly
    n, p = X.shape[0], X.shape[1] - start if features is None else len(features)
    is_sparse = X.nnz < _SPARSE * n * p
    size = _FEATURE_BYTES * p if is_sparse else 8 * n * p
    if size > _memory():
        what = "for the features alone" if is_sparse else "when dense"
        raise MemoryError(
            f"{path} has {n} rows and indices up to {X.shape[1] - 1}: {size / 1e9:.3g} GB {what}, "
            "more than this machine's memory"
        )
    if features is None:
        features = tuple(str(j) for j in range(start, X.shape[1]))
    elif not all(name.isdecimal() for name in features):
        raise ValueError(
            f"the features of LIBSVM files are numbered, so {path} does not have those that the "
            f"model was trained on: {listed(features)}"
        )
    columns = np.array([int(name) for name in features], dtype=np.intp)
    # What the model has not seen has no weight, and what the file lacks is zero.
    X.resize(X.shape[0], max(X.shape[1], columns.max(initial=0) + 1))
    X = X[:, columns]
    return Rows(X if is_sparse else X.toarray(), y, features), None


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
        raise ValueError(f"{path} cannot be read as .npz: {one_line(error)}") from None
    absent = [name for name in ("X", "y")[: 1 + (features is None)] if name not in arrays]
    if absent:
        raise ValueError(
            f"{path} has no array {' and '.join(absent)}; it holds {listed(held) or 'nothing'}"
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
