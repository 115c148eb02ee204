"""scikit-learn's ``C``, ``l1_ratio`` and ``tol`` in the terms of `Trainer`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._validation import check_number

_FLOAT32_GAP = 1e-6  # gaps below it are lost in the rounding of a float32 objective


def penalties_of(C: float, l1_ratio: float, total_weight: float) -> tuple[float, float]:
    """Return ``(l2, l1)`` of the mean's objective; none where nothing has a weight."""
    strength = 1.0 / C / total_weight if total_weight > 0 else 0.0
    return (1.0 - l1_ratio) * strength, l1_ratio * strength


def strengths_of(name: str, C: Any) -> NDArray[np.float64]:
    """Return the values of ``C``, each > 0 and perhaps infinite, as a vector.

    Raises
    ------
    TypeError, ValueError
        One is none of that; the message says which, by its ``name`` and index.
    """
    values = np.atleast_1d(np.asarray(C, dtype=object)).ravel()
    for k, value in enumerate(values):
        if not (isinstance(value, (float, np.floating)) and value == np.inf):
            check_number(f"{name}[{k}]" if np.ndim(C) else name, value, open_low=True)
    return values.astype(np.float64)


def gap_of(tol: float, dtype: Any) -> float | None:
    """Return the gap that ``tol`` asks for; None where the type that is computed in hides it."""
    reachable = np.dtype(dtype) == np.float64 or tol >= _FLOAT32_GAP
    return tol if reachable and tol > 0 else None
