"""Numbers with units that suit them."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Return a duration such as "1.23 s", "4.56 ms" or "7.89 µs"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"
