"""How much slower than the best backend is the one that ``backend="auto"`` takes?

``python benchmarks/regret.py [--json FILE]`` times every backend on 30 problems that ``lrbackends
calibrate`` did not measure, asks for the choice in the same state of the process, and prints the
regret: the seconds of the chosen backend over those of the best one, less 1; of auto, and of the
rule that decides where nothing is calibrated. It takes some minutes.

Three states: *fresh*, a process that has only imported the estimator, so that a fit includes
importing the engine and compiling; *used*, one that has done another fit of the same kind on each
backend, but none of this shape; *warm*, one that has done this very fit. Backends take turns.

What engines keep on disk is compiled before, as in any process but the first ever.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from regret_worker import HELD, Held

from lrbackends import _cost_store
from lrbackends._units import seconds
from lrbackends.backends.registry import available_backends
from lrbackends.benchmarking.processes import run_worker

ROUNDS = 3  # of processes where first fits are timed

Answer = dict[str, Any]


def measure(held: Held, backends: Sequence[str]) -> Answer:
    """Return the seconds of each backend on a problem, and what would be chosen."""

    def answer(*names: str) -> Answer:
        found = run_worker({"held": asdict(held), "backends": names}, 300.0, "regret_worker")
        if found["status"] != "completed":
            raise SystemExit(f"regret: {held.state} {held.title}: {found['reason']}")
        return found

    if held.state == "warm":
        return answer(*backends)
    # In a fresh process only one backend can be the first.
    groups = [[name] for name in backends] if held.state == "fresh" else [backends]
    for group in groups:
        answer(*group)  # what can be kept on disk
    found = [answer(*group) for _ in range(ROUNDS) for group in groups]
    times: dict[str, list[float]] = {}
    for each in found:
        for name, values in each["times"].items():
            times.setdefault(name, []).extend(values)
    return found[0] | {"times": times}


def regret(times: dict[str, list[float]], backend: str) -> float:
    """Return the seconds of a backend over those of the best, less 1."""
    middle = {name: median(values) for name, values in times.items()}
    return middle[backend] / min(middle.values()) - 1


def table(rows: Sequence[Answer], backends: Sequence[str]) -> str:
    """Return all problems, and the median and the worst regret."""
    head = ("state", "problem", *backends, "auto", "regret", "rule", "regret of rule")
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        times = row["times"]
        shown = [seconds(median(times[name])) if name in times else "-" for name in backends]
        chosen = (row["auto"], f"{row['regret']:.0%}", row["rule"], f"{row['regret_of_rule']:.0%}")
        lines.append("| " + " | ".join((row["state"], row["problem"], *shown, *chosen)) + " |")
    for name, key in (("auto", "regret"), ("the rule", "regret_of_rule")):
        values = [row[key] for row in rows]
        lines.append(
            f"\n{name}: median regret {median(values):.1%}, worst {max(values):.0%}, "
            f"of {len(values)} problems"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--state", choices=sorted({held.state for held in HELD}))
    options = parser.parse_args()
    known = available_backends()
    backends = [name for name in known if known[name]]
    stored = _cost_store.load()
    if stored.model is None:
        print(f"auto goes by the rule: {stored.reason}", file=sys.stderr)
    rows = []
    some = [held for held in HELD if options.state in (None, held.state)]
    for k, held in enumerate(some, 1):
        print(f"{k}/{len(some)} {held.state} {held.title}", file=sys.stderr)
        found = measure(held, backends)
        rows.append(
            {"state": held.state, "problem": held.title}
            | found
            | {
                "regret": regret(found["times"], found["auto"]),
                "regret_of_rule": regret(found["times"], found["rule"]),
            }
        )
    print(table(rows, backends))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
