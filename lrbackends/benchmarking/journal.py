"""A file that keeps each measurement as it is made, so that a stopped comparison can be continued.

One JSON object a line: first what the measurements are of, then each of them. A line that was cut
off when the process was killed is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrbackends.benchmarking.cells import Cell

_KIND = "lrbackends comparison, measurements"


def fingerprint(*parts: Any) -> str:
    """Return a hash of arrays' bytes and of other values' JSON."""
    found = hashlib.sha256()
    for part in parts:
        if hasattr(part, "tobytes"):
            found.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            found.update(json.dumps(part, sort_keys=True, default=str).encode())
    return found.hexdigest()


class Journal:
    """Measurements made so far, in a file or, without one, in memory only.

    Parameters
    ----------
    path : path or None
    of : mapping
        What is measured: data, versions, machine. A file of something else is refused.

    Raises
    ------
    ValueError
        The file holds something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, of: Mapping[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        self._found: dict[str, dict[str, Any]] = {}
        if self._path is None:
            return
        head = {"kind": _KIND, **of}
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        whole, _, _ = text.rpartition("\n")  # what follows the last line's end was cut off
        lines = whole.splitlines()
        if not lines:
            if text.strip():
                raise ValueError(f"{self._path} is not a journal of a comparison")
            self._path.write_text(json.dumps(head) + "\n", encoding="utf-8")
            return
        self._check(lines[0], head)
        for number, line in enumerate(lines[1:], 2):
            try:
                entry = json.loads(line)
                self._found[entry["key"]] = entry["answer"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{self._path}, line {number}, is not a measurement; remove that line"
                ) from None
        if len(whole) + 1 != len(text):
            self._path.write_text(whole + "\n", encoding="utf-8")

    def _check(self, line: str, head: Mapping[str, Any]) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("kind") != _KIND:
            raise ValueError(f"{self._path} is not a journal of a comparison")
        differing = sorted(k for k in head if found.get(k) != head[k])
        if differing:
            raise ValueError(
                f"{self._path} belongs to another comparison: {', '.join(differing)} "
                f"differ{'s' * (len(differing) == 1)}; give another file or delete this one"
            )

    def answer(self, cell: Cell, round_: int, source: str = "") -> dict[str, Any] | None:
        """Return the measurement of a cell in a round, None if it has not been made.

        ``source`` tells backend objects of the same name apart.
        """
        return self._found.get(_key(cell, round_, source))

    def add(self, cell: Cell, round_: int, answer: dict[str, Any], source: str = "") -> None:
        """Keep a measurement; in the file before this returns."""
        key = _key(cell, round_, source)
        self._found[key] = answer
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "answer": answer}) + "\n")
                file.flush()
                os.fsync(file.fileno())


def _key(cell: Cell, round_: int, source: str) -> str:
    return fingerprint(asdict(cell), round_, source)
