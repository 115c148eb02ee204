"""The two-word update: parameters and the part of them that one float cannot hold."""

from __future__ import annotations

from typing import Any


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b and its rounding error (Knuth); for scalars and arrays of any engine."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)
