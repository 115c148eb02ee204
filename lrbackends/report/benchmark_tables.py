"""Benchmarks as sentences and tables, for text, Markdown and HTML alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

from lrbackends._units import seconds
from lrbackends.benchmarking.statistics import CONFIDENCE, Estimate
from lrbackends.report.benchmark_changes import KINDS, Change, RunChanges
from lrbackends.report.benchmarks import BATCHES, ENOUGH, BenchmarkReport, Entry, Group
from lrbackends.report.equivalence import listed
from lrbackends.report.page import Cell, Column, Table, slug

NONE = "–"
BUSY = "cores busy"
_INTERVAL = f"{100 * CONFIDENCE:.0f} % interval"
MEASURED = 6  # columns of `group_table` that hold times; what was noted beside them follows
METHOD = (
    f"median: of the medians of up to {BATCHES} batches of consecutive rounds, because rounds that "
    "follow one another share the machine's luck. Intervals come from a bootstrap of the batches; "
    f"with fewer than {ENOUGH} rounds there is none, and nothing is said of a difference.",
    "tie: the interval of the ratio to the fastest holds 1, or the ratio is nearer to 1 than 3 %.",
    "flagged: did not end well, notes no objective where others do, or has another objective. Such "
    "a time never counts as fastest. Where equal steps were asked for, objectives may differ by "
    "256 eps of the type, as rounding in a sum over samples makes them; between fits to a "
    "tolerance, by the target that is noted, or by 0.1 % without one.",
)
CAUTION = (
    "Intervals hold what varies within a run. Two runs of the same code differ by more: the speed "
    "of the machine, where memory lies, what else is running."
)
_TONES = {"other answer": "bad", "slower": "bad", "faster": "good", "not judged": "warn"}
_VERDICT_TONES = {"fastest": "good", "tie": "good", "flagged": "warn"}


def span(low: float, high: float) -> str:
    """Return an interval of seconds: "1.2–1.5 ms"."""
    (a, unit), (b, other) = seconds(low).split(), seconds(high).split()
    return f"{a}–{b} {unit}" if unit == other else f"{a} {unit} – {b} {other}"


def percent(ratio: float) -> str:
    """Return the change that a ratio stands for: "+12 %"."""
    change = 100 * (ratio - 1)
    if abs(change) < 0.05:
        return "0 %"
    return f"{change:+.0f} %" if abs(change) >= 10 else f"{change:+.1f} %"


def counted(n: int, what: str) -> str:
    """Return "1 group" or "2 groups"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


# -- one run


def overview(report: BenchmarkReport) -> str:
    """Return what is in the file, in a sentence."""
    return (
        f"{counted(len(report.entries), 'benchmark')} in {counted(len(report.groups), 'group')}, "
        f"from {report.source}"
    )


def contested(report: BenchmarkReport) -> list[Group]:
    """Return the groups in which the fastest can be told."""
    return [group for group in report.groups if group.level]


def verdict(report: BenchmarkReport) -> str:
    """Return who is fastest where, in a sentence or two."""
    groups = contested(report)
    if not groups:
        return "No group has two benchmarks whose times can be compared."
    if len(groups) == 1:
        told = _who(groups[0])
    else:
        wins = Counter(entry.label for group in groups for entry in group.level)
        most = max(wins.values())
        best = [label for label, n in wins.items() if n == most]
        told = (
            f"{listed(best)} {'is' if len(best) == 1 else 'are each'} fastest, or level with the "
            f"fastest, in {most} of {len(groups)} groups."
        )
        if most == 1:
            told = f"In each of {len(groups)} groups another one is fastest."
    flagged = sum(len(group.flags) for group in report.groups)
    if flagged:
        told += f" {flagged} of {counted(len(report.entries), 'time')} do not count (flagged)."
    return told


def _who(group: Group) -> str:
    names = [entry.label for entry in group.level]
    if len(names) == 1:
        return f"{names[0]} is fastest in {group.name}."
    return f"{listed(names)} are level in {group.name}."


def remarks(group: Group) -> list[str]:
    """Return what is said of flagged entries, and of a group without intervals."""
    said = [
        f"{e.label}: {group.flags[e.fullname]}." for e in group.entries if e.fullname in group.flags
    ]
    blind = [entry.label for entry in group.entries if not entry.judged]
    if blind:
        rounds = all(entry.batches for entry in group.entries if not entry.judged)
        why = f"fewer than {ENOUGH} rounds" if rounds else "the file has no time of each round"
        who = "all" if len(blind) == len(group.entries) else ", ".join(blind)
        said.append(f"No interval: {who} ({why}).")
    return said


def group_table(group: Group) -> Table:
    """Return a group as a table, fastest first."""
    columns = [
        Column("benchmark"),
        Column("median", "Of the batches; see the method.", "right"),
        Column(_INTERVAL, "Bounds the median.", "right"),
        Column("× fastest", "Median over the median of the fastest that counts.", "right"),
        Column("interval", f"Bounds that ratio with {100 * CONFIDENCE:.0f} %.", "right"),
        Column("verdict", "fastest, tie, slower, flagged; see the method."),
    ]
    rows = [_measured(group, entry) for entry in group.entries]
    for column, cells in _noted(group):
        columns.append(column)
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return Table(
        id=f"g-{slug(group.name)}",
        caption=group.name,
        columns=columns,
        rows=rows,
        sorted_by=1,
        note=" ".join(remarks(group)),
    )


def _measured(group: Group, entry: Entry) -> list[Cell]:
    verdict = group.verdict(entry)
    times = group.times(entry)
    ratio, interval = group.ratios.get(entry.fullname), entry.interval
    return [
        Cell(entry.label),
        Cell(seconds(entry.median), entry.median),
        Cell(NONE) if interval is None else _interval(interval),
        Cell(NONE) if times is None else Cell(f"{times:.3g}", times),
        Cell(NONE) if ratio is None else Cell(f"{ratio.low:.3g}–{ratio.high:.3g}", ratio.high),
        Cell(verdict or NONE, verdict or None, _VERDICT_TONES.get(verdict, "muted")),
    ]


def _interval(found: Estimate) -> Cell:
    return Cell(span(found.low, found.high), found.high)


def _noted(group: Group) -> list[tuple[Column, list[Cell]]]:
    """Return the columns of what was noted beside the times, if it was."""
    entries = group.entries
    found = [
        _numbers("passes", "Passes over the data.", [e.passes for e in entries], ".4g"),
        _numbers(
            "objective", "The objective reached or evaluated.", [e.loss for e in entries], ".9g"
        ),
        (Column("status", "How the work ended."), [Cell(e.status) for e in entries]),
        _numbers("threads", "As many as were given.", [e.threads for e in entries], ".3g"),
        _numbers(BUSY, "Processor time over wall time.", [e.cores_busy for e in entries], ".3g"),
    ]
    for name in dict.fromkeys(name for entry in entries for name in entry.in_turn):
        ratios = [entry.in_turn.get(name) for entry in entries]
        meaning = f"Ratio to {name}, measured in turn: median and the bounds that were noted."
        found.append(
            (
                Column(f"over {name}", meaning, "right"),
                [
                    Cell("") if r is None else Cell(f"{r[1]:.3g} ({r[0]:.3g}–{r[2]:.3g})", r[1])
                    for r in ratios
                ],
            )
        )
    return [(column, cells) for column, cells in found if any(cell.text for cell in cells)]


def _numbers(
    name: str, meaning: str, values: Sequence[float | None], form: str
) -> tuple[Column, list[Cell]]:
    cells = [Cell("") if v is None else Cell(format(v, form), v) for v in values]
    return Column(name, meaning, "right"), cells


def summary_table(report: BenchmarkReport) -> Table:
    """Return a row for each group: who is fastest, and how far the next one is."""
    rows = []
    for group in report.groups:
        level = group.level
        best, behind = group.fastest, [e for e in group.entries if group.verdict(e) == "slower"]
        following = behind[0] if behind else None
        rows.append(
            [
                Cell(group.name, link=f"g-{slug(group.name)}"),
                Cell(f"{len(group.entries)}", len(group.entries)),
                Cell(listed(e.label for e in level) or (best.label if best else NONE)),
                Cell(NONE) if best is None else Cell(seconds(best.median), best.median),
                Cell(NONE)
                if following is None
                else Cell(
                    f"{following.label}, {group.times(following):.3g}\u00a0×",
                    group.times(following),
                ),
                Cell(f"{len(group.flags)}" if group.flags else "", len(group.flags), "warn"),
            ]
        )
    columns = [
        Column("group"),
        Column("benchmarks", align="right"),
        Column("fastest", "With those that tie with it."),
        Column("median", "Of the fastest.", "right"),
        Column("next", "The first that is slower, and how many times as long it takes."),
        Column("flagged", "Times that do not count.", "right"),
    ]
    return Table("summary", "Fastest in each group", columns, rows)


# -- two runs


def changes_verdict(changes: RunChanges) -> str:
    """Return how many benchmarks changed which way."""
    if not changes.changes:
        return "The runs have no benchmark in common."
    counts = {kind: len(changes.of_kind(kind)) for kind in KINDS}
    names = {"tie": "level", "other answer": "with another answer"}
    told = [f"{n} {names.get(kind, kind)}" for kind, n in counts.items() if n]
    if not counts["slower"]:
        told.insert(0, "none slower")
    return f"Of {counted(len(changes.changes), 'benchmark')} in both runs: {', '.join(told)}."


def whole_sentence(changes: RunChanges) -> str:
    """Return how the middle benchmark changed, "" where too few are in both runs."""
    whole = changes.whole
    if whole is None:
        return ""
    usual = math.exp(median(abs(math.log(change.times)) for change in changes.changes))
    told = (
        f"The median benchmark changed by {percent(whole.median)} "
        f"({percent(whole.low)} to {percent(whole.high)} over the benchmarks); half of them "
        f"changed by more than {percent(usual).removeprefix('+')}, up or down."
    )
    if whole.verdict != "tie":
        told += " Where most change alike, look at the machine before the code."
    return told


def changes_table(changes: Sequence[Change], caption: str, id: str = "changes") -> Table:
    """Return a row for each benchmark of both runs."""
    rows = []
    for change in changes:
        ratio = change.ratio
        tone = _TONES.get(change.kind, "muted")
        rows.append(
            [
                Cell(f"{change.group}: {change.new.label}", note=change.answer),
                Cell(change.kind, KINDS.index(change.kind), tone),
                Cell(percent(change.times), change.times),
                Cell(NONE)
                if ratio is None
                else Cell(f"{percent(ratio.low)} to {percent(ratio.high)}", ratio.low),
                Cell(seconds(change.old.median), change.old.median),
                Cell(seconds(change.new.median), change.new.median),
            ]
        )
    columns = [
        Column("benchmark"),
        Column("verdict", "tie: the interval holds no change, or the change is less than 3 %."),
        Column("change", "Of the median, new against old.", "right"),
        Column(_INTERVAL, "Bounds the change; the runs are resampled apart.", "right"),
        Column("old", align="right"),
        Column("new", align="right"),
    ]
    return Table(id, caption, columns, rows)


def groups_table(changes: RunChanges) -> Table:
    """Return how each group changed as a whole, slowed most first."""
    rows = [
        [
            Cell(name),
            Cell(f"{n}", n),
            Cell(percent(middle), middle),
            Cell(NONE)
            if whole is None
            else Cell(f"{percent(whole.low)} to {percent(whole.high)}", whole.low),
        ]
        for name, (middle, whole, n) in changes.by_group.items()
    ]
    columns = [
        Column("group"),
        Column("benchmarks", "In both runs.", "right"),
        Column("change", "The median of the group's changes.", "right"),
        Column(_INTERVAL, f"Over the benchmarks; with {ENOUGH} or more.", "right"),
    ]
    return Table("groups-changed", "Groups as a whole", columns, rows)
