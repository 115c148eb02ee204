"""Markdown tables of what pytest-benchmark stored: ``python benchmarks/summary.py BENCH.json``.

From `test_time_to_solution`: per problem and type our best time, the best peer's, and their ratio.
Each contestant took turns with the same one of ours; ratios are therefore formed from the medians
of the ratios to that one, not from times that were taken minutes apart. From `test_limits`: passes
per kernel and array, and time per row as rows grow.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def records(path: Path) -> list[Record]:
    """Return extra_info of each benchmark with its suite, group and median ``seconds``."""
    found = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return [
        b["extra_info"]
        | {
            "suite": b["fullname"].split("::")[0].rsplit("/", 1)[-1],
            "group": b["group"],
            "seconds": b["stats"]["median"],
        }
        for b in found
    ]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _relative(record: Record) -> float:
    """Return the time in units of the reference's, or in seconds where there was no reference."""
    return float(record["over_reference"][1] if record["over_reference"] else record["seconds"])


def _who(record: Record) -> str:
    name = record["contestant"].removeprefix("lrbackends ")
    return f"{name}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}"


def solution_table(found: list[Record]) -> str:
    """Return problem, our best, the best peer and the ratio of their times."""
    by_problem: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in found:
        by_problem[record["problem"], record["dtype"]].append(record)
    rows = []
    for (problem, dtype), entries in by_problem.items():
        reached = [r for r in entries if r["reached"]]
        in_turn = [r for r in reached if r["over_reference"]]
        reached = in_turn or reached  # never mix ratios with seconds
        ours = min((r for r in reached if r["ours"]), key=_relative, default=None)
        peer = min((r for r in reached if not r["ours"]), key=_relative, default=None)
        row = [problem, dtype]
        row.append("none" if ours is None else f"{_time(ours['seconds'])} ({_who(ours)})")
        row.append("–" if ours is None else f"{ours['passes']:.3g}")
        row.append("none" if peer is None else f"{_time(peer['seconds'])} ({_who(peer)})")
        both = ours is not None and peer is not None
        row.append(f"{_relative(ours) / _relative(peer):.2f}" if both else "–")
        rows.append(row)
    head = ["problem", "type", "ours", "passes", "best peer", "ours / peer"]
    return _table(head, rows)


def everyone_table(found: list[Record]) -> str:
    """Return every contestant on every problem, those that did not get there included."""
    rows = []
    best_first = sorted(found, key=_relative)
    for r in sorted(best_first, key=lambda r: (r["problem"], r["dtype"], not r["reached"])):
        gap = r.get("suboptimality")
        rows.append(
            [
                r["problem"],
                r["dtype"],
                r["contestant"],
                str(r["threads"]),
                _time(r["seconds"]) if r["reached"] else "–",
                "–" if gap is None else f"{gap:.1e}",
                r.get("status", "–").replace("|", "/"),
            ]
        )
    head = ["problem", "type", "who", "threads", "time", "(F − F*) / F*", "status"]
    return _table(head, rows)


def limits_table(found: list[Record]) -> str:
    """Return passes per kernel, array, backend and threads."""
    rows = [
        [
            r["data"],
            r["kernel"],
            r["backend"],
            str(r["threads"]),
            _time(r["seconds"]),
            _time(r["read_once_seconds"]),
            f"{r['passes']:.2f}",
            "–" if r["gflop_per_second"] is None else f"{r['gflop_per_second']:.0f}",
            f"{r['ns_per_row']:.3g}",
        ]
        for r in found
    ]
    head = ["array", "kernel", "backend", "threads"]
    return _table([*head, "time", "X read once", "passes", "GF/s", "ns / row"], rows)


def steps_table(found: list[Record]) -> str:
    """Return how many times faster native steps are than a loop over textbook NumPy."""
    rows = [
        [r["group"], r["backend"], _time(r["seconds"]), f"{r['textbook_over_kernel'][1]:.3g}×"]
        for r in found
    ]
    return _table(["steps", "backend", "time", "textbook NumPy / ours"], rows)


def main() -> None:
    """Print the tables of a file."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} BENCH.json [--everyone]")
    found = records(Path(sys.argv[1]))
    solutions = [r for r in found if r["suite"] == "test_time_to_solution.py"]
    limits = [r for r in found if r["suite"] == "test_limits.py"]
    tables = [solution_table(solutions)] if solutions else []
    if solutions and "--everyone" in sys.argv[2:]:
        tables.append(everyone_table(solutions))
    kernels = [r for r in limits if "kernel" in r]
    if kernels:
        tables.append(limits_table(kernels))
    steps = [r for r in limits if "textbook_over_kernel" in r]
    if steps:
        tables.append(steps_table(steps))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
