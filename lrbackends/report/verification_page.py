"""An equivalence report as a page: verdict, worst figures as a heat map, failures, all figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lrbackends.equivalence.evidence import EquivalenceReport, Evidence
from lrbackends.report.equivalence import distances, grouped, listed, number, verdict
from lrbackends.report.page import Cell, Column, Table, render, slug

_HEAT = (0.25, 0.5, 1.0)  # severities where the next tone begins
_ROW = (
    Column("backend", "A backend, or two that were compared with one another."),
    Column("case", "What was computed."),
    Column("figure", "What was measured, with its unit."),
    Column("value", align="right"),
    Column("limit", "The greatest value that passes.", "right"),
    Column("value / limit", "Beyond 1 it fails.", "right"),
    Column("note"),
)


def as_html(report: EquivalenceReport) -> str:
    """Return the page."""
    facts = report.metadata
    checks = dict.fromkeys(row.check for row in report.rows)
    return render(
        "verification.html",
        title=f"Do {listed(facts['backends'])} agree?"
        if len(facts["backends"]) > 1
        else f"Is {listed(facts['backends'])} right?",
        kind="Verification",
        lead=f"{facts['arithmetic'].capitalize()} arithmetic, {facts['steps']:,} steps; "
        f"{len(report.rows):,} figures in {facts['seconds']:.0f} s.",
        sections=[
            ("worst", "Worst figures"),
            *([("failed", "Failed")] if report.failed else []),
            ("all", "All figures"),
            ("method", "Method and versions"),
        ],
        passed=report.passed,
        verdict=verdict(report),
        missing=_missing(report),
        heat=_heat_map(report),
        distances=_distances(report),
        failed=_rows("failed-rows", "Figures beyond their limits", report.failed, check=True),
        checks=[
            (
                check,
                _rows(f"all-{slug(check)}", check, [r for r in report.rows if r.check == check]),
            )
            for check in checks
        ],
        facts=_facts(report),
    )


def _missing(report: EquivalenceReport) -> list[str]:
    """Return what was not verified, and why."""
    absent = report.metadata.get("environments", {}).get("absent", {})
    return [
        *(f"{name}: {reason}" for name, reason in report.metadata["skipped"].items()),
        *(f"the environment {name}: {reason}" for name, reason in absent.items()),
    ]


def _heat_map(report: EquivalenceReport) -> Table:
    """Return the worst severity of each check on each backend."""
    worst = {
        (rows[0].check, rows[0].backend): max(rows, key=lambda row: row.severity)
        for rows in grouped(report.rows)
    }
    names = list(dict.fromkeys(backend for _, backend in worst))
    rows = [
        [Cell(check), *(_heat(worst.get((check, name))) for name in names)]
        for check in dict.fromkeys(check for check, _ in worst)
    ]
    return Table(
        "worst-figures",
        "The worst figure of each check, as a share of its limit",
        [Column("check"), *(Column(name, align="right") for name in names)],
        rows,
        note="Beyond 1 a figure fails. Below each share stands the figure that it is of.",
    )


def _heat(row: Evidence | None) -> Cell:
    if row is None:
        return Cell("")
    level = 4 if not row.passed else sum(row.severity > start for start in (0.0, *_HEAT[:-1]))
    failed = "" if row.passed else " fails"
    return Cell(_share(row) + failed, row.severity, f"heat-{level}", row.figure)


def _share(row: Evidence) -> str:
    return number(row.severity) if math.isfinite(row.severity) else "∞"


def _distances(report: EquivalenceReport) -> Table | None:
    figures, groups, cases = distances(report)
    if not groups:
        return None
    return Table(
        "distances",
        f"Trajectories: the worst of {cases}",
        [Column("backend"), *(Column(figure, align="right") for figure in figures)],
        [
            [Cell(name), *(Cell(number(value), value) for value in values)]
            for name, values in groups.items()
        ],
    )


def _rows(id: str, caption: str, rows: Iterable[Evidence], *, check: bool = False) -> Table:
    first = [Column("check")] if check else []
    return Table(id, caption, [*first, *_ROW], [_row(row, check=check) for row in rows])


def _row(row: Evidence, *, check: bool) -> Sequence[Cell]:
    return [
        *([Cell(row.check)] if check else []),
        Cell(row.backend),
        Cell(row.case),
        Cell(row.figure),
        Cell(number(row.value), row.value),
        Cell(number(row.limit), row.limit),
        Cell(_share(row), row.severity, "" if row.passed else "bad", "" if row.passed else "fails"),
        Cell(row.note),
    ]


def _facts(report: EquivalenceReport) -> list[tuple[str, str]]:
    facts = report.metadata
    here = facts.get("environments", {}).get("here", [])
    pairs = [
        ("Arithmetic", facts["arithmetic"]),
        ("Steps", f"{facts['steps']:,}"),
        ("Checks", listed(facts["checks"])),
        ("Reference", facts["reference"]),
        ("Environments", listed(here)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
    ]
    return [(name, value) for name, value in pairs if value]
