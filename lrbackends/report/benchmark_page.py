"""Benchmarks as a page: verdict, what changed, each group with a drawing, method, machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from lrbackends._units import seconds
from lrbackends.benchmarking.statistics import Estimate
from lrbackends.report import benchmark_tables as tables
from lrbackends.report import palette
from lrbackends.report.benchmark_changes import RunChanges
from lrbackends.report.benchmarks import BenchmarkReport, Group
from lrbackends.report.page import Table, render, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BACKENDS = ("numpy", "numba", "jax")
_DRAWN = 30  # groups at most, so that a page of some hundred benchmarks is small and soon made
_SHOWN = 40  # changes at most in their drawing
_HEIGHT, _ROW = 0.75, 0.27  # inches: around the rows, of a row


@dataclass(frozen=True)
class Dot:
    """A row of a drawing: a median with its interval, if it has one."""

    name: str
    middle: float
    interval: Estimate | None
    look: palette.Look
    counts: bool
    text: str

    @property
    def low(self) -> float:
        """The lower end of what is drawn."""
        return self.middle if self.interval is None else min(self.middle, self.interval.low)

    @property
    def high(self) -> float:
        """The upper end of what is drawn."""
        return self.middle if self.interval is None else max(self.middle, self.interval.high)


@dataclass(frozen=True)
class Part:
    """A group on the page."""

    name: str
    table: Table
    drawing: Markup | None
    caption: str


def report_as_html(report: BenchmarkReport) -> str:
    """Return the page of a run."""
    return render(
        "benchmarks.html",
        title="Benchmarks",
        kind="Benchmark report",
        lead=f"{tables.overview(report)}.",
        sections=_sections(),
        report=report,
        changes=None,
        verdict=tables.verdict(report),
        **_of_run(report),
    )


def changes_as_html(changes: RunChanges) -> str:
    """Return the page of two runs: what changed, then the new run."""
    title = "Changes between two runs"
    return render(
        "benchmarks.html",
        title="Benchmarks compared",
        kind="Benchmark report",
        lead=f"{changes.new.source} against {changes.old.source}; {changes.commits}.",
        sections=[("changes", "Changes"), *_sections()],
        report=changes.new,
        changes=changes,
        verdict=tables.changes_verdict(changes),
        whole=tables.whole_sentence(changes),
        caution=tables.CAUTION,
        changes_table=tables.changes_table(changes.changes, title, "all-changes"),
        groups_table=tables.groups_table(changes),
        changes_drawing=_changes_drawing(changes),
        **_of_run(changes.new),
    )


def _sections() -> list[tuple[str, str]]:
    return [
        ("fastest", "Fastest"),
        ("groups", "Groups"),
        ("method", "Method"),
        ("machine", "Machine"),
    ]


def _of_run(report: BenchmarkReport) -> dict[str, object]:
    drawable = [group for group in report.groups if len(group.entries) > 1]
    drawn = sorted(drawable, key=lambda group: -len(group.entries))[:_DRAWN]
    kept = {group.name for group in drawn}
    machine = [(name.capitalize(), value) for name, value in report.facts.items()]
    if report.versions:
        versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        machine.append(("Versions", versions))
    return {
        "summary": tables.summary_table(report),
        "parts_": [_part(group, drawn=group.name in kept) for group in report.groups],
        "not_drawn": len(drawable) - len(drawn),
        "method": tables.METHOD,
        "machine": machine,
    }


def _part(group: Group, *, drawn: bool) -> Part:
    best = group.fastest
    told = f"{best.label} is fastest with {seconds(best.median)}." if best else "No time counts."
    caption = "Medians with 95 % intervals, logarithmic. Hollow: does not count."
    if not group.flags:
        caption = caption.partition(" Hollow")[0]
    drawing = (
        svg(group_figure(group), title=f"Times of {group.name}", description=told)
        if drawn
        else None
    )
    return Part(group.name, tables.group_table(group), drawing, caption)


# -- drawings


def group_figure(group: Group) -> Figure:
    """Draw a group: each median with its interval, fastest on top, on a logarithmic scale."""
    dots = [
        Dot(
            entry.label,
            entry.median,
            entry.interval,
            _look(entry.label),
            entry.fullname not in group.flags,
            seconds(entry.median),
        )
        for entry in group.entries
        if entry.median > 0
    ]
    return _drawn(dots, seconds, None)


def changes_figure(changes: RunChanges) -> Figure | None:
    """Draw what changed most, slowed most on top; None where nothing can be judged."""
    judged = [change for change in changes.changes if change.ratio is not None]
    judged.sort(key=lambda change: -abs(math.log(change.times)))
    shown = sorted(judged[:_SHOWN], key=lambda change: -change.times)
    colors = {"slower": palette.BAD, "faster": palette.GOOD, "other answer": palette.WARN}
    marks = {"slower": ">", "faster": "<", "other answer": "X"}
    dots = [
        Dot(
            f"{change.group}: {change.new.label}",
            change.times,
            change.ratio,
            palette.Look(colors.get(change.kind, palette.MUTED), marks.get(change.kind, "o"), "-"),
            True,
            tables.percent(change.times),
        )
        for change in shown
    ]
    return _drawn(dots, tables.percent, 1.0) if dots else None


def _changes_drawing(changes: RunChanges) -> Markup | None:
    figure = changes_figure(changes)
    if figure is None:
        return None
    return svg(
        figure,
        title="Changes of the medians, new against old",
        description=tables.changes_verdict(changes),
    )


def _look(label: str) -> palette.Look:
    """Return the look of the backend that a label names, else that of what has no colour."""
    words = label.replace(",", " ").replace("-", " ").split()
    for backend in _BACKENDS:
        if backend in words:
            return palette.look(backend)
    return palette.Look(palette.MUTED, "o", "-")


def _drawn(dots: Sequence[Dot], text: Callable[[float], str], line: float | None) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(palette.STYLE):
        height = _HEIGHT + _ROW * len(dots)
        figure = Figure(figsize=(palette.WIDTH, height), layout="constrained")
        axes = figure.subplots()
        if line is not None:
            axes.axvline(line, color=palette.MUTED, linewidth=1)
        for place, dot in enumerate(dots):
            _draw(axes, place, dot)
        _scale(axes, dots, text)
        axes.set_yticks(range(len(dots)), [dot.name for dot in dots])
        axes.set_ylim(len(dots) - 0.4, -0.6)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="both", length=0)
        axes.tick_params(axis="y", labelcolor=palette.INK)
        axes.grid(axis="x")
    return figure


def _draw(axes: Axes, place: int, dot: Dot) -> None:
    across = [place, place]
    axes.plot([dot.low, dot.high], across, color=dot.look.color, linewidth=3)
    axes.plot(
        [dot.middle],
        [place],
        color=dot.look.color,
        marker=dot.look.marker,
        markersize=7,
        markerfacecolor=dot.look.color if dot.counts else palette.PAPER,
        linestyle="none",
    )
    axes.annotate(
        dot.text,
        (dot.high, place),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=palette.MUTED,
    )


def _scale(axes: Axes, dots: Sequence[Dot], text: Callable[[float], str]) -> None:
    """Scale the axis logarithmically, with room for the texts on the right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low = min(dot.low for dot in dots)
    high = max(dot.high for dot in dots)
    wide = max(math.log(high / low), 0.05)
    axes.set_xscale("log")
    axes.set_xlim(low * math.exp(-0.06 * wide), high * math.exp(0.14 * wide))
    if wide > math.log(8):
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if wide < 7 else (1.0,)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
