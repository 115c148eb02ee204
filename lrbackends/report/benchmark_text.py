"""Benchmarks as text for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrbackends.report import benchmark_tables as tables
from lrbackends.report.benchmark_changes import KINDS, RunChanges
from lrbackends.report.benchmarks import BenchmarkReport, Group
from lrbackends.report.page import Cell, Table
from lrbackends.report.tables import table as drawn_table
from lrbackends.report.tables import to_text

_GAP = 3  # between columns


def report_as_text(report: BenchmarkReport, width: int) -> str:
    """Return a run as text: the verdict, a table for each group, the machine."""
    parts = [tables.overview(report) + ".", tables.verdict(report)]
    texts = [to_text(part, width=width) for part in parts]
    texts += [_group_as_text(group, width) for group in report.groups]
    texts.append(to_text(*tables.METHOD, width=width))
    texts.append(to_text(_machine(report), width=width))
    return "\n".join(texts)


def report_as_markdown(report: BenchmarkReport) -> str:
    """Return a run as GitHub-flavoured Markdown."""
    parts = [f"# Benchmarks\n\n{tables.overview(report)}.", tables.verdict(report)]
    for group in report.groups:
        table = tables.group_table(group)
        parts += [f"## {_escaped(group.name)}", _as_markdown(table), _escaped(table.note)]
    parts += ["## Method", *tables.METHOD, _escaped(_machine(report))]
    return "\n\n".join(filter(None, parts)) + "\n"


def changes_as_text(changes: RunChanges, width: int) -> str:
    """Return two runs as text: the verdict, warnings, regressions first, groups."""
    texts = [to_text(part, width=width) for part in _changes_head(changes)]
    for kind in KINDS:
        found = changes.of_kind(kind)
        if found:
            table = tables.changes_table(found, f"{kind.capitalize()} ({len(found)})")
            kept = [k for k, column in enumerate(table.columns) if column.name != "verdict"]
            texts.append(_drawn(table, kept, width))
            texts += [
                to_text(f"{row[0].text}: {row[0].note}", width=width)
                for row in table.rows
                if row[0].note
            ]
    if len(changes.by_group) > 1:
        table = tables.groups_table(changes)
        texts.append(_drawn(table, range(len(table.columns)), width))
    texts += [to_text(part, width=width) for part in _alone(changes)]
    texts.append(to_text(tables.CAUTION, width=width))
    return "\n".join(texts)


def changes_as_markdown(changes: RunChanges) -> str:
    """Return two runs as GitHub-flavoured Markdown."""
    parts = ["# Benchmarks compared", *map(_escaped, _changes_head(changes))]
    if changes.changes:
        parts += [
            _as_markdown(tables.changes_table(changes.changes, "Changes")),
            "## Groups as a whole",
            _as_markdown(tables.groups_table(changes)),
        ]
    parts += [*map(_escaped, _alone(changes)), tables.CAUTION]
    return "\n\n".join(parts) + "\n"


def _changes_head(changes: RunChanges) -> list[str]:
    new, old = changes.new, changes.old
    head = [f"{new.source} against {old.source}; {changes.commits}."]
    if changes.differences:
        head.append("Warning: not only the code differs. " + "; ".join(changes.differences) + ".")
    head.append(f"{tables.changes_verdict(changes)} {tables.whole_sentence(changes)}".rstrip())
    return head


def _alone(changes: RunChanges) -> list[str]:
    return [
        f"Only in {run.source}: {', '.join(names)}."
        for run, names in ((changes.new, changes.only_new), (changes.old, changes.only_old))
        if names
    ]


def _machine(report: BenchmarkReport) -> str:
    facts = [f"{name} {value}" for name, value in report.facts.items()]
    facts += [f"{name} {version}" for name, version in report.versions.items()]
    return "; ".join(facts) + "." if facts else "The file does not say where it was made."


def _group_as_text(group: Group, width: int) -> str:
    """Return a group; what does not fit beside the times follows in a table of its own."""
    table = tables.group_table(group)
    noted = [k for k, column in enumerate(table.columns) if k >= tables.MEASURED]
    noted = [k for k in noted if table.columns[k].name != tables.BUSY]
    same = [k for k in noted if len(table.rows) > 1 and _constant(table, k)]
    varying = [k for k in noted if k not in same]
    times = list(range(tables.MEASURED))
    together = [*times, *varying]
    if _width(table, together) <= width:
        parts = [_drawn(table, together, width)]
    else:
        parts = [_drawn(table, times, width), _drawn(table, [0, *varying], width, title="")]
    said = []
    if same:
        facts = ", ".join(f"{table.columns[k].name} {table.rows[0][k].text}" for k in same)
        said.append(f"In all: {facts}.")
    said += tables.remarks(group)
    if said:
        parts.append(to_text(*said, width=width))
    return "\n".join(parts)


def _constant(table: Table, column: int) -> bool:
    return len({row[column].text for row in table.rows}) == 1


def _width(table: Table, columns: Sequence[int]) -> int:
    return sum(_GAP + max(len(text) for text in _column(table, k)) for k in columns) - _GAP


def _column(table: Table, k: int) -> list[str]:
    return [table.columns[k].name, *(row[k].text for row in table.rows)]


def _drawn(table: Table, columns: Iterable[int], width: int, title: str | None = None) -> str:
    kept = list(columns)
    drawn = drawn_table(
        ["" if k == 0 else table.columns[k].name for k in kept],
        ([row[k].text for k in kept] for row in table.rows),
        title=table.caption if title is None else title or None,
        left=[column.name for column in table.columns if column.align == "left"],
    )
    return to_text(drawn, width=width).rstrip("\n") + "\n"


def _as_markdown(table: Table) -> str:
    rules = ["---:" if column.align == "right" else "---" for column in table.columns]
    lines = [
        [column.name for column in table.columns],
        rules,
        *(map(_cell, row) for row in table.rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(cell: Cell) -> str:
    text = f"{cell.text} ({cell.note})" if cell.note else cell.text
    return _escaped(text)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, in a cell too."""
    for mark in "\\|*_<`[":
        text = text.replace(mark, f"\\{mark}")
    return text
