"""What changed from one run of benchmarks to another: regressions first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any

from lrbackends.benchmarking.statistics import Estimate, estimate, unpaired_ratio
from lrbackends.report.benchmarks import (
    ENOUGH,
    SCHEMA,
    BenchmarkReport,
    Entry,
    apart,
    as_json,
    write,
)

if TYPE_CHECKING:
    import pandas as pd

# What may become of a benchmark, in the order in which it is shown.
KINDS = ("other answer", "slower", "faster", "tie", "not judged")
# Facts that change times; the date and the commit are what one compares.
_SURROUNDINGS = ("processor", "cores", "system", "python", "tool")


@dataclass(frozen=True)
class Change:
    """A benchmark of both runs.

    Attributes
    ----------
    group : str
    new, old : Entry
    answer : str
        How the answers differ, "" if they do not.
    """

    group: str
    new: Entry
    old: Entry
    answer: str

    @cached_property
    def ratio(self) -> Estimate | None:
        """New time over old with its interval, None with fewer than four rounds in either run."""
        if not (self.new.judged and self.old.judged):
            return None
        return unpaired_ratio(self.new.batches, self.old.batches)

    @property
    def times(self) -> float:
        """New median over old; 1 where the clock stood still."""
        if not (self.new.median and self.old.median):
            return 1.0
        return self.new.median / self.old.median

    @property
    def kind(self) -> str:
        """One of `KINDS`. Where the answer is another, the time does not matter."""
        if self.answer:
            return "other answer"
        return "not judged" if self.ratio is None else self.ratio.verdict


@dataclass(frozen=True)
class RunChanges:
    """Two runs, benchmark by benchmark.

    Attributes
    ----------
    new, old : BenchmarkReport
    changes : tuple of Change
        Of the benchmarks that are in both: other answers, slower, faster (each by the size of the
        change), ties, and those with too few rounds to judge.
    only_new, only_old : tuple of str
        Full names of benchmarks that one run has alone.
    """

    new: BenchmarkReport
    old: BenchmarkReport
    changes: tuple[Change, ...]
    only_new: tuple[str, ...]
    only_old: tuple[str, ...]

    def of_kind(self, kind: str) -> tuple[Change, ...]:
        """Return the changes of one of `KINDS`."""
        return tuple(change for change in self.changes if change.kind == kind)

    @cached_property
    def differences(self) -> tuple[str, ...]:
        """In what the runs differ besides the code: "processor: A, was B"."""
        pairs = [
            (name, self.new.facts.get(name), self.old.facts.get(name)) for name in _SURROUNDINGS
        ]
        packages = dict.fromkeys((*self.new.versions, *self.old.versions))
        pairs += [(p, self.new.versions.get(p), self.old.versions.get(p)) for p in packages]
        return tuple(
            f"{name}: {a or 'not noted'}, was {b or 'not noted'}" for name, a, b in pairs if a != b
        )

    @property
    def commits(self) -> str:
        """Which commits are compared."""
        new, old = (run.facts.get("commit", "an unknown commit") for run in (self.new, self.old))
        return f"{new} against {old}" if new != old else f"both at {new}"

    @cached_property
    def whole(self) -> Estimate | None:
        """The median over all benchmarks of new time over old, with its interval over them."""
        return _middle(self.changes)

    @cached_property
    def by_group(self) -> dict[str, tuple[float, Estimate | None, int]]:
        """For each group: the median of its ratios, its interval if it has four, and how many."""
        grouped: dict[str, list[Change]] = {}
        for change in self.changes:
            grouped.setdefault(change.group, []).append(change)
        return {
            name: (median(c.times for c in members), _middle(members), len(members))
            for name, members in sorted(
                grouped.items(), key=lambda item: -median(c.times for c in item[1])
            )
        }

    def beyond(self, slowdown: float) -> tuple[Change, ...]:
        """Return what must not pass: other answers, and what is slower by more than ``slowdown``.

        Parameters
        ----------
        slowdown : float
            0.1 for 10 %. The whole interval of the ratio has to lie above ``1 + slowdown``.

        Raises
        ------
        ValueError
            No benchmark can be judged: none is in both runs with four rounds in each.
        """
        if all(change.kind == "not judged" for change in self.changes):
            raise ValueError(
                f"{self.new.source} and {self.old.source} have no benchmark in common with at "
                f"least {ENOUGH} rounds in each, so a slowdown cannot be told"
            )
        return tuple(
            change
            for change in self.changes
            if change.answer or (change.ratio is not None and change.ratio.low > 1 + slowdown)
        )

    def records(self) -> list[dict[str, Any]]:
        """Return a row of plain values for each benchmark of both runs."""
        return [_record(change) for change in self.changes]

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row for each benchmark of both runs; times in seconds."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_text(self, width: int = 80) -> str:
        """Return the changes as text; no line is wider than ``width``."""
        from lrbackends.report.benchmark_text import changes_as_text

        return changes_as_text(self, width)

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the changes as GitHub-flavoured Markdown, and write it to ``path`` if given."""
        from lrbackends.report.benchmark_text import changes_as_markdown

        return write(changes_as_markdown(self), path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a page of the changes and of the new run, and write it to ``path`` if given."""
        from lrbackends.report.benchmark_page import changes_as_html

        return write(changes_as_html(self), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the changes as JSON, and write it to ``path`` if given.

        The object holds::

            schema        1
            new, old      as `BenchmarkReport.to_json` writes them
            differences   list of str
            changes       list of {group, name, fullname, kind, new, old, ratio, ratio_low,
                          ratio_high, answer}; new and old in seconds
            only_new, only_old    lists of full names
        """
        document = {
            "schema": SCHEMA,
            "new": self.new.as_dict(),
            "old": self.old.as_dict(),
            "differences": list(self.differences),
            "changes": self.records(),
            "only_new": list(self.only_new),
            "only_old": list(self.only_old),
        }
        return write(as_json(document), path)


def compare_runs(new: BenchmarkReport, old: BenchmarkReport) -> RunChanges:
    """Return what changed from ``old`` to ``new``; benchmarks are matched by their full names."""
    before = {entry.fullname: entry for entry in old.entries}
    known = {entry.fullname for entry in new.entries}
    changes = []
    for group in new.groups:
        for entry in group.entries:
            if entry.fullname in before:
                was = before[entry.fullname]
                changes.append(Change(group.name, entry, was, _answer(entry, was)))
    return RunChanges(
        new,
        old,
        tuple(sorted(changes, key=_order)),
        tuple(entry.fullname for entry in new.entries if entry.fullname not in before),
        tuple(name for name in before if name not in known),
    )


def _answer(new: Entry, old: Entry) -> str:
    """Return how the new answer is another one, or worse, "" if it is not."""
    if new.failure and new.failure != old.failure:
        return new.failure
    by = apart(new, old)
    if by > new.tolerance:
        return (
            f"objective {new.loss:.10g}, was {old.loss:.10g}: {by:.1e} apart (relative); "
            f"{new.tolerance:.1e} is tolerated"
        )
    return ""


def _order(change: Change) -> tuple[int, float]:
    """Order by kind, then by the size of the change."""
    size = change.times if change.kind == "faster" else -change.times
    return KINDS.index(change.kind), size


def _middle(changes: Iterable[Change]) -> Estimate | None:
    ratios: Sequence[float] = [change.times for change in changes]
    return estimate(ratios) if len(ratios) >= ENOUGH else None


def _record(change: Change) -> dict[str, Any]:
    ratio = change.ratio
    return {
        "group": change.group,
        "name": change.new.label,
        "fullname": change.new.fullname,
        "kind": change.kind,
        "new": change.new.median,
        "old": change.old.median,
        "ratio": change.times if ratio is None else ratio.median,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "answer": change.answer,
    }
