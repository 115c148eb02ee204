"""Trained models on disk: JSON that anyone can read, and that is believed only when it is whole.

The file is one canonical text (fixed key order, spacing and number format) that carries its own
SHA-256, so that no byte of it can change unnoticed. It is written beside its final name and moved
there when it is on disk: a crash leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._validation import check_dtype
from lrbackends.result import LinearModel, TrainingResult

FORMAT = "lrbackends model"
VERSION = 1

_FACTS = (
    "backend",
    "solver",
    "arithmetic",
    "loss",
    "status",
    "reason",
    "learning_rate",
    "random_state",
    "n_epochs",
)
_CLASS_KINDS = {"i": "int64", "u": "int64", "b": "bool", "U": "str", "f": "float64"}


@dataclass(frozen=True)
class SavedModel(LinearModel):
    """A model as it is kept in a file; predicts like the `TrainingResult` that it came from.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        One output for two classes, one for each of more.
    intercept : ndarray of shape (n_outputs,)
    classes : ndarray of shape (K,)
        With one output a positive score predicts ``classes[1]``.
    feature_names : tuple of str or None
    target : str or None
        Name of the column that the labels came from.
    training : mapping of str to value
        How it was trained: backend, solver, arithmetic, loss, status, reason, learning_rate,
        random_state, n_epochs. None where it does not apply.
    """

    feature_names: tuple[str, ...] | None
    target: str | None
    training: Mapping[str, Any]


def save_model(
    result: TrainingResult,
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str] | None = None,
    target: str | None = None,
    scaling: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> SavedModel:
    """Write a trained model to a file, atomically, and return what was saved.

    Parameters
    ----------
    result : TrainingResult
    path : str or path
        An existing file is replaced once the new one is on disk.
    feature_names : sequence of str, optional
        One name per column of X.
    target : str, optional
        Name of the column of the labels.
    scaling : (mean, scale), optional
        Each of shape (n_features,), where the model was trained on ``(X - mean) / scale``: they
        are folded into the weights, so that the saved model takes X itself.

    Raises
    ------
    OSError
        The file cannot be written.
    ValueError
        There is not one name per feature, or the weights are not finite.
    """
    coef, intercept = result.coef, result.intercept
    if scaling is not None:
        mean, scale = scaling
        coef = (coef / scale).astype(coef.dtype)
        intercept = (intercept - (result.coef * (mean / scale)).sum(axis=1)).astype(coef.dtype)
    if feature_names is not None and len(feature_names) != coef.shape[1]:
        raise ValueError(
            f"{len(feature_names)} feature names were given for a model of {coef.shape[1]} features"
        )
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError("the model has weights that are not finite, so it is not saved")
    model = SavedModel(
        coef,
        intercept,
        result.classes,
        None if feature_names is None else tuple(feature_names),
        target,
        {fact: _finite(getattr(result, fact)) for fact in _FACTS},
    )
    _write_atomically(Path(path), _encode(model))
    return model


def _finite(value: Any) -> Any:
    """Return a value, or None for a number that JSON cannot hold: what does not apply is NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read a model that `save_model` wrote; the numbers are the same to the last bit.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        It is not a model, was written by a newer version, or is damaged.
    """
    content = Path(path).read_bytes()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged or no model of lrbackends: it is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} is no model of lrbackends: it lacks format {FORMAT!r}")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ValueError(
            f"{path} is a model of format version {version}; this lrbackends reads {VERSION}, "
            "so a newer one is needed"
        )
    payload: Any = document.get("model")
    try:
        whole = content == _document(payload)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: its content does not fit its SHA-256")
    try:
        return _decode(payload)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} holds no usable model: {error}") from None


def _encode(model: SavedModel) -> bytes:
    kind = _CLASS_KINDS[model.classes.dtype.kind]
    return _document(
        {
            "dtype": model.coef.dtype.name,
            "coef": model.coef.tolist(),
            "intercept": model.intercept.tolist(),
            "classes": {"dtype": kind, "values": model.classes.tolist()},
            "feature_names": model.feature_names,
            "target": model.target,
            "training": model.training,
        }
    )


def _document(payload: Any) -> bytes:
    """Return the one text that stands for ``payload``."""
    head = {"format": FORMAT, "version": VERSION}
    digest = hashlib.sha256(_canonical(head | {"model": payload}).encode()).hexdigest()
    return f"{_canonical(head | {'sha256': digest, 'model': payload}, indent=1)}\n".encode()


def _canonical(value: Any, indent: int | None = None) -> str:
    # Python writes the shortest digits that read back as the same float.
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent)


def _decode(payload: dict[str, Any]) -> SavedModel:
    dtype = check_dtype(payload["dtype"])
    coef, intercept = np.array(payload["coef"], dtype), np.array(payload["intercept"], dtype)
    classes = np.array(payload["classes"]["values"], payload["classes"]["dtype"])
    names = payload["feature_names"]
    outputs = 1 if classes.shape == (2,) else classes.size
    fit = coef.ndim == 2 and len(coef) == outputs and intercept.shape == (outputs,)
    if not fit or classes.ndim != 1 or len(classes) < 2:
        raise ValueError("the shapes of coef, intercept and classes are not those of a model")
    if names is not None and len(names) != coef.shape[1]:
        raise ValueError("it does not have one name per feature")
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError("its weights are not finite")
    return SavedModel(
        coef,
        intercept,
        classes,
        None if names is None else tuple(names),
        payload["target"],
        payload["training"],
    )


def _write_atomically(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Bring a directory's list of names to disk, where the system lets one."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
