"""Figures of a comparison, for pages, notebooks and files alike."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from lrbackends._units import seconds
from lrbackends.benchmarking.advice import count
from lrbackends.benchmarking.cells import GAP
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import REFERENCE
from lrbackends.benchmarking.rows import Measured
from lrbackends.benchmarking.statistics import Estimate
from lrbackends.report import figure_data as data
from lrbackends.report.palette import (
    ACCENT,
    BAD,
    INK,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    STYLE,
    THEME,
    WIDTH,
    looks,
)

_DPI = 150
_BAR = 0.4  # inches of height for a bar and what is around it
_SMALL = 9
_STACK = (  # of the cold bar: name, colour, hatch
    ("import", SERIES[5], None),
    ("compile", SERIES[4], "////"),
    ("rest of the first fit", ACCENT, None),
)
_HEAT = tuple(THEME[f"heat-{k}"][0] for k in range(data.HEATS))


class Drawing(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=_DPI)
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


def figure(comparison: Comparison, kind: str = "cost", *, headed: bool = True) -> Figure:
    """Draw one view of a comparison.

    Parameters
    ----------
    comparison : Comparison
    kind : str, of `KINDS`
        "cost": one fit in a fresh process, import, compile and the rest stacked, and the same fit
        again with the interval of its median. "sizes": time of a fit against rows, warm and cold,
        with the numbers of rows at which the fastest backend changes. "loss": objective above the
        optimum, or above the best one, against time, and how soon solvers that seek the optimum
        were there. "agreement": how far results are apart, in ULP. "reproducible": an epoch in the
        reproducible arithmetic over one in the fast arithmetic. "passes": an epoch in units of
        reading X once. Intervals hold the median with 95 %.
    headed : bool, default True
        Whether the figure says what was compared, as one that stands by itself has to.

    Raises
    ------
    ValueError
        The kind is unknown, or nothing was measured that it shows.
    """
    if kind not in _DRAWN:
        raise ValueError(f"there is no figure {kind!r}; choose from {', '.join(_DRAWN)}")
    with rc_context(STYLE):
        drawn = _DRAWN[kind](comparison)
        if headed:
            drawn.supxlabel(_heading(comparison), x=0.01, ha="left", color=MUTED, fontsize=_SMALL)
    return drawn


def _heading(comparison: Comparison) -> str:
    what = f"{comparison.name}, {comparison.n_samples:,} × {comparison.n_features:,}"
    return f"{what}: {comparison.settings.line()}"


# -- what all have in common


def _figure(height: float, width: float = WIDTH) -> Drawing:
    return Drawing(figsize=(width, height), layout="constrained", dpi=_DPI)


def _dress(axes: Axes, title: str, note: str = "", *, grid: str = "both") -> None:
    """Give the axes title, a note below it, and a grid."""
    lines = textwrap.wrap(note, 68)
    axes.set_title(title, pad=8 + 13 * len(lines))
    if lines:
        axes.text(
            0,
            1,
            "\n".join(lines),
            transform=axes.transAxes,
            fontsize=_SMALL,
            color=MUTED,
            va="bottom",
            linespacing=1.35,
        ).set_y(1.02)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)  # type: ignore[arg-type]


def _beside(axes: Axes, x: float, y: float, text: str) -> None:
    """Write to the right of a bar."""
    axes.annotate(text, (x, y), (8, 0), textcoords="offset points", va="center", color=INK)


def _no_ticks(axes: Axes) -> None:
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)


def _seconds_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))


def _log_ticks(axis: Any, low: float, high: float, text: Callable[[float], str]) -> None:
    """Label a logarithmic axis: by powers of ten, with 2 and 5 where these would be too few."""
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _unit(largest: float) -> tuple[str, float]:
    """Return the unit that suits times up to ``largest`` seconds, and its size."""
    return ("s", 1.0) if largest >= 1 else ("ms", 1e-3) if largest >= 1e-3 else ("µs", 1e-6)


def _errors(values: Sequence[Estimate], size: float = 1.0) -> Any:
    """Return what ``errorbar`` takes; a bootstrap may put the median a rounding outside."""
    low = [max(0.0, v.median - v.low) / size for v in values]
    high = [max(0.0, v.high - v.median) / size for v in values]
    return [low, high]


# -- cost


def _cost(comparison: Comparison) -> Drawing:
    rows = data.cost(comparison)
    drawn = _figure(1.35 + _BAR * len(rows))
    cold, warm = drawn.subplots(1, 2, sharey=True)
    _draw_cold(cold, rows)
    _draw_warm(warm, rows)
    cold.set_yticks(range(len(rows)), [_named(row) for row in rows])
    cold.invert_yaxis()
    drawn.legend(*cold.get_legend_handles_labels(), loc="outside upper left", ncols=len(_STACK))
    return drawn


def _named(row: Measured) -> str:
    return row.backend if row.status != "diverged" else f"{row.backend}\n(diverged)"


def _draw_cold(axes: Axes, rows: Sequence[Measured]) -> None:
    unit, size = _unit(max(row.cold_fit.median for row in rows))
    stacks = (
        [row.import_time.median for row in rows],
        [row.compile_time.median for row in rows],
        [max(0.0, row.first_fit.median - row.compile_time.median) for row in rows],
    )
    left = np.zeros(len(rows))
    for (label, color, hatch), stack in zip(_STACK, stacks, strict=True):
        width = np.array(stack) / size
        axes.barh(
            range(len(rows)),
            width,
            left=left,
            height=0.62,
            label=label,
            color=color,
            hatch=hatch,
            edgecolor=PAPER,
            linewidth=0.8,
        )
        left += width
    for k, (end, row) in enumerate(zip(left, rows, strict=True)):
        _beside(axes, end, k, seconds(row.cold_fit.median))
    _dress(axes, "One fit in a fresh process", grid="x")
    _no_ticks(axes)
    axes.set_xlabel(f"{unit}, median of the processes")
    axes.set_xlim(0, 1.22 * left.max())


def _draw_warm(axes: Axes, rows: Sequence[Measured]) -> None:
    found = [row.warm_fit.estimate for row in rows]
    unit, size = _unit(max(e.median for e in found))
    axes.barh(range(len(rows)), [e.median / size for e in found], height=0.62, color=ACCENT)
    axes.errorbar(
        [e.median / size for e in found],
        range(len(rows)),
        xerr=_errors(found, size),
        fmt="none",
        color=INK,
        elinewidth=1.4,
        capsize=3.5,
    )
    ends = [max(e.median, e.high) / size for e in found]
    for k, (end, e) in enumerate(zip(ends, found, strict=True)):
        _beside(axes, end, k, seconds(e.median))
    _dress(axes, "The same fit again", grid="x")
    _no_ticks(axes)
    axes.set_xlabel(f"{unit}, median and its 95 % interval")
    axes.set_xlim(0, 1.22 * max(ends))


# -- against rows


def _sizes(comparison: Comparison) -> Drawing:
    found = {cold: data.sizes(comparison, cold=cold) for cold in (False, True)}
    drawn = _figure(4.3)
    panels = drawn.subplots(1, 2, sharey=True)
    titles = "Warm: again in the same process", "Cold: import and first fit"
    for axes, cold, title in zip(panels, (False, True), titles, strict=True):
        _draw_curves(axes, comparison, found[cold].curves)
        for crossing in found[cold].crossings:
            axes.axvspan(crossing.low, crossing.high, color=LINE, alpha=0.6, linewidth=0, zorder=0)
            axes.axvline(crossing.n, color=INK, linewidth=1.2, linestyle=(0, (3, 2)), zorder=1)
        _dress(axes, title, _crossed(found[cold]))
    values = [v for of in found.values() for c in of.curves for v in c.values]
    low, high = min(v.low for v in values), max(v.high for v in values)
    _log_ticks(panels[0].yaxis, low, high, seconds)
    epochs = comparison.settings.epochs
    what = f"a fit of {epochs:,} epochs" if comparison.settings.first_order else "a fit"
    panels[0].set_ylabel(f"time of {what}")
    drawn.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5, handlelength=3.2
    )
    return drawn


def _crossed(of: data.Sizes) -> str:
    """Return the crossovers in words, for the line below a panel's title."""
    if not of.crossings:
        return "No crossover between these sizes."
    text = f"Fastest: {of.crossings[0].below}"
    for c in of.crossings:
        text += f", {c.above} from {count(c.n)} rows ({count(c.low)}–{count(c.high)})"
    return text


def _draw_curves(axes: Axes, comparison: Comparison, curves: Sequence[data.Curve]) -> None:
    drawn_as = looks(data.names(comparison))
    for curve in curves:
        look = drawn_as[curve.backend]
        style = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}
        middle = [v.median for v in curve.values]
        low, high = [v.low for v in curve.values], [v.high for v in curve.values]
        if len(middle) > 1:
            axes.fill_between(curve.n_samples, low, high, color=look.color, alpha=0.16, linewidth=0)
        else:
            axes.errorbar(
                curve.n_samples,
                middle,
                yerr=_errors(curve.values),
                fmt="none",
                color=look.color,
                capsize=3,
            )
        axes.plot(curve.n_samples, middle, label=curve.backend, **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_yscale("log")
    _rows_axis(axes, comparison, {n for curve in curves for n in curve.n_samples})


def _rows_axis(axes: Axes, comparison: Comparison, sizes: set[int]) -> None:
    """Label those sizes that have the room, the data's own for certain."""
    ordered = sorted(sizes)
    room = 0.11 * np.log(ordered[-1] / ordered[0])
    kept = [comparison.n_samples] if comparison.n_samples in sizes else []
    for n in (ordered[0], ordered[-1], *ordered):
        if all(abs(np.log(n / other)) >= max(room, 1e-9) for other in kept):
            kept.append(n)
    texts = {n: f"{n:,}" + "\n(yours)" * (n == comparison.n_samples) for n in sorted(kept)}
    axes.xaxis.set_major_locator(FixedLocator(list(texts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: texts.get(round(n), "")))
    axes.set_xlabel("rows")


def _passes(comparison: Comparison) -> Drawing:
    curves = data.passes(comparison)
    drawn = _figure(4.0)
    axes = drawn.subplots()
    _draw_curves(axes, comparison, curves)
    axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    values = [v for curve in curves for v in curve.values]
    low, high = min(1.0, *(v.low for v in values)), max(1.0, *(v.high for v in values))
    axes.set_ylim(low / 1.5, high * 1.4)
    axes.annotate(
        "the limit: X read once",
        (1, 1),
        (-4, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=_SMALL,
    )
    _log_ticks(axes.yaxis, low, high, lambda v: f"{v:,.4g} ×")
    _dress(axes, "An epoch, in units of reading X once")
    axes.set_ylabel("epoch over reading X")
    drawn.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=5, handlelength=3.2
    )
    return drawn


# -- loss


def _loss(comparison: Comparison) -> Drawing:
    found = data.loss(comparison)
    below = 0.9 + 0.3 * len(found.finishes) if found.finishes else 0.0
    drawn = _figure(3.6 + below)
    if found.finishes:
        top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=[3.2, below])
        _draw_finishes(bottom, comparison, found.finishes)
        last = bottom
    else:
        top = last = drawn.subplots()
    _draw_courses(top, comparison, found)
    times = [t for c in found.courses for t in c.seconds if t > 0]
    times += [e for c in found.courses if c.end is not None for e in (c.end.low, c.end.high)]
    times += [e for f in found.finishes for e in (f.seconds.low, f.seconds.high)]
    _log_ticks(last.xaxis, min(times), max(times), seconds)
    last.set_xlim(min(times) / 1.3, max(times) * 1.5)
    last.set_xlabel("time of a warm fit")
    drawn.legend(
        *top.get_legend_handles_labels(), loc="outside upper left", ncols=5, handlelength=3.2
    )
    return drawn


def _draw_courses(axes: Axes, comparison: Comparison, found: data.Loss) -> None:
    drawn_as = looks(data.names(comparison))
    for course in found.courses:
        look = drawn_as[course.backend]
        axes.plot(
            course.seconds,
            course.above,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markevery=[len(course.above) - 1] if course.above else [],
            label=course.backend,
        )
        if course.end is not None:
            axes.errorbar(
                course.seconds[-1],
                course.above[-1],
                xerr=_errors([course.end]),
                fmt="none",
                color=look.color,
                capsize=3,
            )
    axes.set_xscale("log")
    above = [value for course in found.courses for value in course.above]
    if above:
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, min(above), max(above), _share)
    best = "optimum" if found.optimal else "best of them"
    _dress(
        axes,
        f"{comparison.settings.solver}: objective above the {best}",
        f"(F − F*) / F*, F* = {found.best:.6g}",
    )
    axes.set_ylabel(f"above the {best}")


def _share(value: float) -> str:
    if value >= 0.1:
        return f"{100 * value:,.0f} %"
    return f"{100 * value:.2g} %" if value > 0.5e-4 else f"$10^{{{round(np.log10(value))}}}$"


def _draw_finishes(axes: Axes, comparison: Comparison, finishes: Sequence[data.Finish]) -> None:
    drawn_as = looks(data.names(comparison))
    for k, finish in enumerate(finishes):
        look = drawn_as[finish.name]
        axes.errorbar(
            finish.seconds.median,
            k,
            xerr=_errors([finish.seconds]),
            color=look.color,
            marker=look.marker,
            capsize=3.5,
            elinewidth=1.4,
            markersize=7,
            markerfacecolor=look.color if finish.reached else PAPER,
        )
    texts = [
        f"{finish.name}, " + (seconds(finish.seconds.median) if finish.reached else "not reached")
        for finish in finishes
    ]
    axes.set_yticks(range(len(finishes)), texts)
    axes.set_ylim(len(finishes) - 0.4, -0.6)
    _dress(axes, f"Whole fits to within {GAP:g} of the optimum", grid="x")
    _no_ticks(axes)


# -- agreement


def _agreement(comparison: Comparison) -> Drawing:
    heat = data.agreement(comparison)
    wide = max(WIDTH, 2.4 + 0.95 * len(heat.columns))
    drawn = _figure(1.5 + 0.46 * len(heat.tasks), wide)
    axes = drawn.subplots()
    for i, (task, agreement) in enumerate(zip(heat.tasks, heat.agreements, strict=True)):
        for j, column in enumerate(heat.columns):
            if (task, column) in heat.cells:
                _draw_distance(axes, j, i, agreement, heat.cells[task, column])
            else:
                axes.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=MUTED)
    axes.set_xlim(0, len(heat.columns))
    axes.set_ylim(len(heat.tasks), 0)
    _dress(axes, "")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(heat.columns)) + 0.5, [_pair(*c) for c in heat.columns])
    axes.set_yticks(np.arange(len(heat.tasks)) + 0.5, heat.tasks)
    axes.xaxis.set_ticks_position("top")
    axes.tick_params(length=0, labelcolor=INK)
    between = next((k for k, c in enumerate(heat.columns) if c[1] == REFERENCE), 0)
    if between:
        axes.axvline(between, color=INK, linewidth=1.2)
    axes.set_xlabel(
        "ULP: the median over the parameters, and the largest. ✗ and a frame: beyond the contract.",
        loc="left",
        labelpad=8,
    )
    return drawn


def _pair(a: str, b: str) -> str:
    return f"{a} to\nthe reference" if b == REFERENCE else f"{a}\n– {b}"


def _draw_distance(axes: Axes, x: int, y: int, agreement: Any, distance: Any) -> None:
    shade = data.heat(agreement, distance)
    beyond = shade == data.HEATS - 1
    axes.add_patch(
        Rectangle(
            (x + 0.03, y + 0.06),
            0.94,
            0.88,
            facecolor=_HEAT[shade],
            edgecolor=BAD if beyond else _HEAT[shade],
            linewidth=1.8 if beyond else 0.0,
        )
    )
    middle, further = data.apart(agreement, distance)
    weight = "bold" if beyond else "normal"
    axes.text(
        x + 0.44,
        y + 0.5,
        f"✗ {middle}" if beyond else middle,
        ha="right",
        va="center",
        weight=weight,
    )
    axes.text(x + 0.52, y + 0.5, further, ha="left", va="center", fontsize=_SMALL - 1, color=INK)


# -- the two arithmetics


def _reproducible(comparison: Comparison) -> Drawing:
    found = data.reproducible(comparison)
    drawn_as = looks(data.names(comparison))
    drawn = _figure(1.3 + _BAR * len(found))
    axes = drawn.subplots()
    for k, (name, over) in enumerate(found.items()):
        look = drawn_as[name]
        axes.hlines(k, 1, over.median, color=look.color, linewidth=1.2)
        axes.errorbar(
            over.median,
            k,
            xerr=_errors([over]),
            color=look.color,
            marker=look.marker,
            markersize=8,
            capsize=4,
            elinewidth=2,
        )
        text = f"{over.median:.3g} ({over.low:.3g}–{over.high:.3g})"
        _beside(axes, max(over.high, 1.0), k, text)
    ends = [value for over in found.values() for value in (over.low, over.high)]
    axes.axvline(1, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.set_xlim(min(0.0, *ends), 1.25 * max(1.0, *ends))
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.4, -0.6)
    _dress(axes, "An epoch in the reproducible arithmetic, over one in the fast", grid="x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} ×"))
    axes.set_xlabel("median ratio and its 95 % interval; 1: costs nothing")
    _no_ticks(axes)
    return drawn


_DRAWN: dict[str, Callable[[Comparison], Drawing]] = {
    "cost": _cost,
    "sizes": _sizes,
    "loss": _loss,
    "agreement": _agreement,
    "reproducible": _reproducible,
    "passes": _passes,
}
KINDS = tuple(_DRAWN)
