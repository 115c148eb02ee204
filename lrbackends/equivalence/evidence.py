"""What a verification finds: rows of figures with their limits, and the report that holds them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evidence:
    """One figure, measured on one backend or on a pair of backends.

    Attributes
    ----------
    check : str
        The check that measured it, one of `equivalence.CHECKS`.
    backend : str
        A backend's name, or two of them joined by a hyphen.
    case : str
        What was computed.
    figure : str
        What was measured, with its unit.
    value : float
    limit : float or None
        The greatest value that passes; None where the figure is reported only.
    note : str
        What a reader needs to judge the figure.
    """

    check: str
    backend: str
    case: str
    figure: str
    value: float
    limit: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value is finite and within its limit."""
        return math.isfinite(self.value) and (self.limit is None or self.value <= self.limit)

    @property
    def severity(self) -> float:
        """The value in units of its limit, infinite where no multiple of the limit expresses it."""
        if not math.isfinite(self.value):
            return math.inf
        if self.limit is None or self.value == 0:
            return 0.0
        return self.value / self.limit if self.limit > 0 else math.inf

    def as_dict(self) -> dict[str, Any]:
        """Return the row, verdict included, as plain values."""
        return {
            "check": self.check,
            "backend": self.backend,
            "case": self.case,
            "figure": self.figure,
            "value": self.value,
            "limit": self.limit,
            "passed": self.passed,
            "note": self.note,
        }


@dataclass(frozen=True)
class EquivalenceReport:
    """The evidence that backends agree, or do not.

    Attributes
    ----------
    rows : tuple of Evidence
    metadata : mapping
        ``arithmetic``, ``steps``, ``checks``, ``backends`` (names), ``skipped`` (name to reason),
        ``reference`` (the type that trajectories are compared with), ``versions`` and ``seconds``.
    """

    rows: tuple[Evidence, ...]
    metadata: Mapping[str, Any]

    @property
    def failed(self) -> tuple[Evidence, ...]:
        """The rows whose figure is beyond its limit."""
        return tuple(row for row in self.rows if not row.passed)

    @property
    def passed(self) -> bool:
        """Whether there is evidence and every figure is within its limit."""
        return bool(self.rows) and not self.failed

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a data frame; needs pandas."""
        import pandas as pd

        return pd.DataFrame([row.as_dict() for row in self.rows])

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as JSON, and write it to ``path`` if there is one.

        JSON has no numbers for values that are not finite: they are the strings "inf" and "nan".
        """
        rows = [
            row.as_dict() | ({} if math.isfinite(row.value) else {"value": str(row.value)})
            for row in self.rows
        ]
        content = {"passed": self.passed, **self.metadata, "rows": rows}
        text = json.dumps(content, indent=2, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a page that is complete in itself, and write it to ``path`` if there is one.

        The verdict comes first, then the worst figure of each check on each backend, what failed,
        every figure, and the versions.
        """
        from lrbackends.report.verification_page import as_html

        text = as_html(self)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text
