"""A comparison for people: text for the terminal, Markdown for a page, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrbackends._units import seconds
from lrbackends.benchmarking.comparison import Comparison, Measured, Times
from lrbackends.benchmarking.distance import Distance
from lrbackends.report.tables import WIDTH, table, to_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MB = 1e6
_MEASURED_NOTE = (
    "import, compile, first: in a fresh process; first is a whole fit, compile included. warm: the "
    "whole fit again, median and range. epoch: the native steps of a warm fit, per epoch. cores: "
    "kept busy by a warm fit."
)
_RESULT_NOTE = (
    "peak MB: the most memory that a process held, and how much of it came with training. ULP: "
    "units in the last place, median / maximum over the parameters."
)


@dataclass(frozen=True)
class _Grid:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def _measured(comparison: Comparison) -> list[Measured]:
    return [row for row in comparison.rows if isinstance(row, Measured)]


def _times(comparison: Comparison) -> _Grid:
    rows = tuple(
        (
            row.backend,
            seconds(row.import_time.median),
            seconds(row.compile_time.median),
            seconds(row.first_fit.median),
            seconds(row.warm_fit.median),
            _range(row.warm_fit),
            seconds(row.epoch_time.median),
            f"{row.cores_busy:.1f}",
        )
        for row in _measured(comparison)
    )
    columns = ("", "import", "compile", "first", "warm", "range", "epoch", "cores")
    return _Grid("What it costs", columns, rows, _MEASURED_NOTE)


def _range(times: Times) -> str:
    """Return the range of all measurements, in one unit."""
    unit, size = _unit(times.slowest)
    return f"{times.fastest / size:.3g}–{times.slowest / size:.3g} {unit}"


def _unit(largest: float) -> tuple[str, float]:
    """Return the unit that suits times up to ``largest`` seconds, and its size."""
    return ("s", 1.0) if largest >= 1 else ("ms", 1e-3) if largest >= 1e-3 else ("µs", 1e-6)


def _ulp(distance: Distance | None) -> str:
    return "" if distance is None else f"{distance.median_ulp:.2g} / {distance.max_ulp:.2g}"


def _results(comparison: Comparison) -> _Grid:
    columns: list[str] = ["", "loss"]
    cells: list[list[str]] = [[r.backend, f"{r.loss:.9g}"] for r in _measured(comparison)]

    def add(name: str, values: Sequence[str]) -> None:
        if any(values):
            columns.append(name)
            for line, value in zip(cells, values, strict=True):
                line.append(value)

    rows = _measured(comparison)
    add("accuracy", [_percent(r.test_accuracy) for r in rows])
    add("peak MB (growth)", [_memory(r) for r in rows])
    add("ULP to others", [_ulp(comparison.to_others(r.backend)) for r in rows])
    add("ULP to reference", [_ulp(comparison.to_reference(r.backend)) for r in rows])
    return _Grid("What comes out", tuple(columns), tuple(map(tuple, cells)), _RESULT_NOTE)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _memory(row: Measured) -> str:
    if row.peak_memory is None or row.memory_growth is None:
        return ""
    return f"{row.peak_memory / _MB:.0f} ({row.memory_growth / _MB:.0f})"


def _head(comparison: Comparison) -> str:
    test = f", tested on {comparison.n_test:,} more rows" if comparison.n_test else ""
    return (
        f"{comparison.name}: {comparison.n_samples:,} rows of {comparison.n_features:,} features"
        f"{test}. {comparison.settings.line()}; {comparison.rounds} "
        f"process{'es' if comparison.rounds != 1 else ''} per backend."
    )


def _remarks(comparison: Comparison) -> list[str]:
    """Return what the tables do not show: failures, early ends, warnings."""
    remarks: dict[str, list[str]] = {}
    for row in comparison.rows:
        said = [] if row.status == "completed" else [f"{row.status}: {row.reason}"]
        if isinstance(row, Measured):
            said += [f"warned: {text}" for text in row.warnings if text != row.reason]
        for remark in said:
            remarks.setdefault(remark, []).append(row.backend)
    return [f"{', '.join(backends)}: {remark}." for remark, backends in remarks.items()]


def _reference_line(comparison: Comparison) -> str:
    return f"Reference: {comparison.reference}."


def as_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Return the comparison as text: tables of costs and results, verdict, recommendation.

    Parameters
    ----------
    comparison : Comparison
    width : int, default 80
        Columns; no line is longer.

    Returns
    -------
    str
    """
    parts: list[str] = [to_text(_head(comparison), width=width)]
    if _measured(comparison):
        for grid in (_times(comparison), _results(comparison)):
            drawn = table(grid.columns, grid.rows, title=grid.title)
            parts.append(to_text(drawn, grid.note, width=width))
    parts += [to_text(remark, width=width) for remark in _remarks(comparison)]
    parts.append(to_text(comparison.verdict(), _reference_line(comparison), width=width))
    parts.append(to_text(comparison.recommend(), width=width))
    parts.append(to_text(comparison.machine.line(), width=width))
    return "\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    """Return the comparison as GitHub-flavoured Markdown."""
    parts = [_head(comparison)]
    if _measured(comparison):
        for grid in (_times(comparison), _results(comparison)):
            lines = [grid.columns, ("---", *("---:",) * (len(grid.columns) - 1)), *grid.rows]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
            parts.append(f"*{grid.note}*")
    parts += _remarks(comparison)
    parts += [
        comparison.verdict(),
        _reference_line(comparison),
        comparison.recommend(),
        comparison.machine.line(),
    ]
    return "\n\n".join(parts) + "\n"


_STACK = (  # of the cold bar: name and colour (Okabe and Ito's palette for the colour-blind)
    ("import", "#999999"),
    ("compile", "#E69F00"),
    ("the rest of the first fit", "#0072B2"),
)


def figure(comparison: Comparison) -> Figure:
    """Draw cold and warm times side by side.

    Left, one fit in a fresh process: import, compile and the rest, stacked. Right, the same fit
    again, with the range over all measurements. Backends that were not measured are left out.

    Raises
    ------
    ValueError
        No backend was measured.
    """
    from matplotlib.figure import Figure

    rows = _measured(comparison)
    if not rows:
        raise ValueError("no backend was measured, so there is nothing to draw")
    drawn = Figure(figsize=(9, 1.7 + 0.45 * len(rows)), layout="constrained", dpi=150)
    cold, warm = drawn.subplots(1, 2, sharey=True)
    _draw_cold(cold, rows)
    _draw_warm(warm, rows)
    drawn.legend(
        *cold.get_legend_handles_labels(),
        loc="outside lower left",
        ncols=len(_STACK),
        frameon=False,
        fontsize="small",
    )
    drawn.suptitle(
        f"{comparison.name}, {comparison.n_samples:,} × {comparison.n_features:,}: "
        f"{comparison.settings.line()}",
        x=0.01,
        ha="left",
        fontsize="medium",
    )
    return drawn


def _dress(axes: Axes, title: str, unit: str, limit: float) -> None:
    axes.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    axes.set_xlabel(unit)
    axes.set_xlim(0, limit)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _draw_cold(axes: Axes, rows: list[Measured]) -> None:
    total = [row.cold_fit.median for row in rows]
    unit, size = _unit(max(total))
    names = [row.backend for row in rows]
    stacks = (
        [row.import_time.median for row in rows],
        [row.compile_time.median for row in rows],
        [max(0.0, row.first_fit.median - row.compile_time.median) for row in rows],
    )
    left = [0.0] * len(rows)
    for (label, colour), values in zip(_STACK, stacks, strict=True):
        axes.barh(
            names, [v / size for v in values], left=left, color=colour, label=label, height=0.6
        )
        left = [start + v / size for start, v in zip(left, values, strict=True)]
    for k, (end, value) in enumerate(zip(left, total, strict=True)):
        axes.text(end, k, f" {seconds(value)}", va="center", ha="left")
    axes.invert_yaxis()
    _dress(axes, "One fit in a fresh process", f"{unit} (median of the processes)", 1.2 * max(left))


def _draw_warm(axes: Axes, rows: list[Measured]) -> None:
    values = [row.warm_fit.median for row in rows]
    ends = [row.warm_fit.slowest for row in rows]
    unit, size = _unit(max(values))
    errors = [
        [(row.warm_fit.median - row.warm_fit.fastest) / size for row in rows],
        [(row.warm_fit.slowest - row.warm_fit.median) / size for row in rows],
    ]
    names = [row.backend for row in rows]
    axes.barh(
        names,
        [v / size for v in values],
        xerr=errors,
        color=_STACK[-1][1],
        ecolor="0.3",
        capsize=3,
        height=0.6,
    )
    for k, (end, value) in enumerate(zip(ends, values, strict=True)):
        axes.text(end / size, k, f" {seconds(value)}", va="center", ha="left")
    _dress(
        axes,
        "The same fit again",
        f"{unit} (median, and range of all fits)",
        1.2 * max(ends) / size,
    )
