"""The two-word update: parameters and the part of them that one float cannot hold."""

from __future__ import annotations

from typing import Any


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b and its rounding error (Knuth); for scalars and arrays of any engine."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def shrink(theta: Any, residual: Any, threshold: Any, where: Any) -> tuple[Any, Any]:
    """Return ``theta + residual`` moved by ``threshold`` towards 0, which it does not pass.

    The proximal step of an L1 penalty, for scalars and arrays of any engine, whose ``where`` it is
    handed. ``theta`` is the sum rounded.
    """
    moved, error = two_sum(theta, residual - where(theta > 0, threshold, -threshold))
    inside = abs(theta) <= threshold
    # Times 0, not 0, to keep the type and NaN; of the size, so that no zero is negative.
    return where(inside, abs(theta) * 0, moved), where(inside, abs(residual) * 0, error)
