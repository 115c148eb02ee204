"""An equivalence report for people: a table of the worst figures, what failed, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from lrbackends.equivalence import EquivalenceReport, Evidence, trajectory
from lrbackends.report.tables import WIDTH, table, to_text

_COLUMNS = ("check", "backend", "figures", "worst", "value", "limit", "verdict")


def as_text(report: EquivalenceReport, width: int = WIDTH) -> str:
    """Return the report as plain text.

    Parameters
    ----------
    report : EquivalenceReport
    width : int, default 80
        No line is wider.

    Returns
    -------
    str
        A table with the worst figure of each check on each backend or pair, the distances of
        trajectories, each failed row in full, and the verdict in one sentence.
    """
    summary = table(
        _COLUMNS,
        (_summary(rows) for rows in grouped(report.rows)),
        left=("backend", "worst", "verdict"),
    )
    failed = [_in_full(row) + "\n" for row in report.failed]
    parts: list[Table | str] = [
        _heading(report),
        summary,
        *_distances(report),
        *failed,
        verdict(report),
    ]
    return to_text(*parts, width=width)


def _distances(report: EquivalenceReport) -> list[Table]:
    figures, groups, cases = distances(report)
    if not groups:
        return []
    rows = ((name, *map(number, values)) for name, values in groups.items())
    return [table(("", *figures), rows, title=f"Trajectories: the worst of {cases}")]


def distances(
    report: EquivalenceReport,
) -> tuple[list[str], dict[str, list[float | None]], int]:
    """Return how far trajectories are apart at most, if they were looked at.

    Returns
    -------
    figures : list of str
    values : dict of str to list of float or None
        By backend or pair: the worst of each figure.
    cases : int
        Trajectories of each.
    """
    groups = grouped(row for row in report.rows if row.check == trajectory.NAME)
    figures = list(dict.fromkeys(row.figure for rows in groups for row in rows))
    values = {
        rows[0].backend: [
            max((row.value for row in rows if row.figure == figure), default=None)
            for figure in figures
        ]
        for rows in groups
    }
    return figures, values, len({row.case for row in groups[0]}) if groups else 0


def verdict(report: EquivalenceReport) -> str:
    """Return the outcome in one sentence."""
    names = listed(report.metadata["backends"])
    several = len(report.metadata["backends"]) > 1
    n = len(report.rows)
    if not n:
        return "Nothing was verified, so nothing is shown."
    if report.passed:
        agree = f"{names} agree" if several else f"{names} is right"
        return f"{agree}: all {n:,} figures are within their limits."
    agree = f"{names} do not agree" if several else f"{names} is wrong"
    where = listed(dict.fromkeys(f"{row.check} ({row.backend})" for row in report.failed))
    exceed = "exceeds its limit" if len(report.failed) == 1 else "exceed their limits"
    return f"{agree}: {len(report.failed):,} of {n:,} figures {exceed}, in {where}."


def _heading(report: EquivalenceReport) -> str:
    facts = report.metadata
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    skipped = "".join(
        f"\nNot verified: {name} ({reason})." for name, reason in facts["skipped"].items()
    )
    absent = "".join(
        f"\nAn environment that is not here: {name} ({reason})."
        for name, reason in facts.get("environments", {}).get("absent", {}).items()
    )
    return (
        f"Equivalence of {listed(facts['backends'])}, {facts['arithmetic']} arithmetic, "
        f"{facts['steps']:,} steps; {facts['seconds']:.0f} s.\n"
        f"Reference: {facts['reference']}.\n{versions}{skipped}{absent}\n"
    )


def grouped(rows: Iterable[Evidence]) -> list[list[Evidence]]:
    """Return the rows of each check and backend, backends before pairs, in order of appearance."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for row in rows:
        groups.setdefault((row.check, row.backend), []).append(row)
    return list(groups.values())


def _summary(rows: Sequence[Evidence]) -> tuple[str, ...]:
    worst = max(rows, key=lambda row: row.severity)
    return (
        worst.check,
        worst.backend,
        f"{len(rows):,}",
        worst.figure,
        number(worst.value),
        number(worst.limit),
        "pass" if all(row.passed for row in rows) else "FAIL",
    )


def _in_full(row: Evidence) -> str:
    limit = f"limit {number(row.limit)}" if row.limit is not None else "not finite"
    note = f" ({row.note})" if row.note else ""
    return (
        f"FAIL {row.check}, {row.backend}: {row.case}: {row.figure} {number(row.value)}, "
        f"{limit}{note}"
    )


def number(value: float | None) -> str:
    """Return a figure in a few digits, "" for none."""
    if value is None:
        return ""
    counted = value == 0 or (1 <= value < 1e6 and value.is_integer())
    return f"{value:,.0f}" if counted else f"{value:.3g}"


def listed(names: Iterable[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
