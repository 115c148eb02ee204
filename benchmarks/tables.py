"""How pytest-benchmark's tables look here: narrow, best first, a row named by what it alone is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLUMNS = ["median", "iqr", "rounds"]
SORT = "median"


def set_defaults(option: Any, arguments: Sequence[str]) -> None:
    """Choose columns and order where the user did not."""
    if option.benchmark_columns is None:
        option.benchmark_columns = COLUMNS
    if not any(argument.startswith("--benchmark-sort") for argument in arguments):
        option.benchmark_sort = SORT


def label(rows: Sequence[dict[str, Any]]) -> None:
    """Name each row of a group by those of its parameters that tell it from the others.

    The group's title says what they share. Names that would not tell them apart are left.
    """
    parameters = [row["params"] or {} for row in rows]
    names = list(dict.fromkeys(name for some in parameters for name in some))
    varying = [name for name in names if len({str(some.get(name)) for some in parameters}) > 1]
    labels = [
        ", ".join(str(some[name]) for name in varying or names if name in some)
        for some in parameters
    ]
    stored = [row.get("source") for row in rows]  # with --benchmark-compare each row is there twice
    if all(labels) and len(set(zip(labels, stored, strict=True))) == len(rows):
        for row, text in zip(rows, labels, strict=True):
            row["name"] = text
