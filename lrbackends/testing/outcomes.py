"""What comes of a fit, to compare a backend's with NumPy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lrbackends.backends.protocol import Backend, pack
from lrbackends.equivalence.figures import relative_norm
from lrbackends.equivalence.trajectory import BETWEEN_BACKENDS
from lrbackends.result import TrainingResult
from lrbackends.trainer import Trainer

_RELATIVE = BETWEEN_BACKENDS["fast"].relative


@dataclass(frozen=True)
class Outcome:
    """An error or a result, and the warnings on the way; equal where both said the same."""

    error: tuple[str, str] | None
    warned: tuple[tuple[str, str], ...]
    told: dict[str, Any]  # of the result
    result: TrainingResult | None = field(compare=False, repr=False)


_TOLD = ("status", "reason", "n_epochs", "n_steps", "dtype", "feature_names")


def error_of(call: Callable[[], object]) -> tuple[str, str] | None:
    """Return type and message of the error that a call raises, None where it raises none."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def outcome(
    backend: str | Backend, X: Any, y: Any, sample_weight: Any = None, **options: Any
) -> Outcome:
    """Train by 20 steps of gradient descent, or as ``options`` of `Trainer` say."""
    chosen: dict[str, Any] = {"solver": "gd", "epochs": 20, "random_state": 0, **options}
    validation_data = chosen.pop("validation_data", None)
    error: tuple[str, str] | None = None
    result: TrainingResult | None = None
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            result = Trainer(backend, **chosen).fit(X, y, sample_weight, validation_data)
        except Exception as problem:
            error = type(problem).__name__, str(problem)
            result = getattr(problem, "result", None)
    warned = tuple((w.category.__name__, str(w.message)) for w in caught)
    told = {} if result is None else {name: getattr(result, name) for name in _TOLD}
    if result is not None:
        told["classes"] = result.classes.tolist(), str(result.classes.dtype)
        told["history"] = {name: len(values) for name, values in result.history.items()}
    return Outcome(error, warned, told, result)


def assert_same_as_numpy(
    backend: Backend, X: Any, y: Any, sample_weight: Any = None, **options: Any
) -> Outcome:
    """Fail unless a fit comes out as on NumPy, errors, warnings and numbers; return how that is."""
    found, expected = (outcome(b, X, y, sample_weight, **options) for b in (backend, "numpy"))
    assert found == expected, f"{backend.name}: {found}\nnumpy: {expected}"
    if found.result is not None and expected.result is not None and found.error is None:
        ours, theirs = (pack(run.params) for run in (found.result, expected.result))
        distance, limit = relative_norm(ours, theirs), _limit(expected.result)
        assert distance <= limit, f"parameters are {distance:.3g} apart, limit {limit:.3g}"
    return found


def _limit(result: TrainingResult) -> float:
    """Return how far parameters may be apart, relatively: the contract, scaled to the type."""
    assert _RELATIVE is not None
    return _RELATIVE * float(np.finfo(result.dtype).eps / np.finfo(np.float64).eps)
