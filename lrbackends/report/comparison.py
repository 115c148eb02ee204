"""A comparison for people: text for the terminal, Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.padding import Padding
from rich.text import Text

from lrbackends._units import seconds
from lrbackends.benchmarking.advice import ranked
from lrbackends.benchmarking.agreement import worse
from lrbackends.benchmarking.cells import GAP
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import Distance
from lrbackends.benchmarking.questions import optimal
from lrbackends.benchmarking.rows import Measured, Times
from lrbackends.report.figure_data import label
from lrbackends.report.tables import WIDTH, table, to_text

_MB = 1e6
_MEASURED_NOTE = (
    "import, data (to the engine), compile, first: in a fresh process; first is a whole fit, data "
    "and compile included. warm: the whole fit again; ± half of its median's 95 % interval. epoch: "
    "the native steps of a warm fit, per epoch."
)
_RESULT_NOTE = (
    "MB: the most memory that a process held, and how much of it came with the first fit. cores: "
    "kept busy by a warm fit. ULP: units in the last place, median / maximum over the parameters, "
    "to the other backends and to exact arithmetic."
)
_OPTIMUM_NOTE = (
    f"Whole fits to within {GAP:g} of the least objective, relatively; scikit-learn with the "
    "loosest tolerance that gets there. cold: import and first fit in a fresh process."
)
_VARIED_NOTE = "* fastest, or level with the fastest; a worse result, marked !, is never that."


@dataclass(frozen=True)
class Grid:
    """A table as text: the first column is left-aligned, the others right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def costs(comparison: Comparison) -> Grid:
    """Return what the base task costs, a row for each backend."""
    rows = tuple(
        (
            row.backend,
            seconds(row.import_time.median),
            seconds(row.transfer_time.median),
            seconds(row.compile_time.median),
            seconds(row.first_fit.median),
            seconds(row.warm_fit.median),
            _half_width(row.warm_fit),
            seconds(row.epoch_time.median),
        )
        for row in comparison.measured
    )
    columns = ("", "import", "data", "compile", "first", "warm", "±", "epoch")
    return Grid("What it costs", columns, rows, _MEASURED_NOTE)


def _half_width(times: Times) -> str:
    """Return half of the median's interval, in percent of it."""
    low, high = times.interval
    return f"{100 * (high - low) / (2 * times.median):.2g} %"


def _ulp(distance: Distance | None) -> str:
    return "" if distance is None else f"{distance.median_ulp:.2g} / {distance.max_ulp:.2g}"


def results(comparison: Comparison) -> Grid:
    """Return what comes out of the base task, a row for each backend."""
    rows = comparison.measured
    columns: list[str] = ["", "loss"]
    cells: list[list[str]] = [[r.backend, f"{r.loss:.9g}"] for r in rows]

    def add(name: str, values: Sequence[str]) -> None:
        if any(values):
            columns.append(name)
            for line, value in zip(cells, values, strict=True):
                line.append(value)

    add("accuracy", [_percent(r.test_accuracy) for r in rows])
    add("MB (fit)", [_memory(r) for r in rows])
    add("cores", [f"{r.cores_busy:.1f}" for r in rows])
    add("others, ULP", [_ulp(comparison.to_others(r.backend)) for r in rows])
    add("exact, ULP", [_ulp(comparison.to_reference(r.backend)) for r in rows])
    return Grid("What comes out", tuple(columns), tuple(map(tuple, cells)), _RESULT_NOTE)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _memory(row: Measured) -> str:
    if row.peak_memory is None or row.fit_memory is None:
        return ""
    return f"{row.peak_memory / _MB:.0f} ({row.fit_memory / _MB:.0f})"


def varied(comparison: Comparison) -> Grid | None:
    """Return the variations of the base task, a column for each backend; None without any."""
    rows = [
        row
        for row in comparison.rows
        if isinstance(row, Measured)
        and row.cell.cache == "usual"
        and row.cell.settings.solver == comparison.settings.solver
        and row.cell.settings.gap == comparison.settings.gap
    ]
    names = list(dict.fromkeys(row.backend for row in rows))
    groups: dict[object, list[Measured]] = {}
    for row in rows:
        groups.setdefault(row.cell.conditions, []).append(row)
    if len(groups) < 2:
        return None
    lines = [
        (label(comparison, of[0].cell), *(_entries(of).get(name, "–") for name in names))
        for of in groups.values()
    ]
    what = "time per epoch" if comparison.settings.first_order else "whole warm fit"
    return Grid(f"Varied: {what}", ("", *names), tuple(lines), _VARIED_NOTE)


def optimum(comparison: Comparison) -> Grid | None:
    """Return what whole fits to the optimum cost, other libraries' too; None without them."""
    rows = optimal(comparison)
    if not rows:
        return None
    over = dict(ranked([row for row in rows if row.status == "converged"], "warm_fit"))
    lines = [
        (
            row.backend if row.status == "converged" else f"{row.backend} ({row.status})",
            seconds(row.cold_fit.median),
            seconds(row.warm_fit.median),
            _half_width(row.warm_fit),
            f"{over[row].median:.2f}" if row in over else "–",
            ("slower" if over[row].verdict == "slower" else "level") if row in over else "–",
        )
        for row in sorted(rows, key=lambda row: row.warm_fit.median)
    ]
    columns = ("", "cold", "warm", "±", "× fastest", "verdict")
    return Grid("To the optimum", columns, tuple(lines), _OPTIMUM_NOTE)


def _entries(rows: list[Measured]) -> dict[str, str]:
    """Return the time of each backend under the same conditions, with a mark."""
    times = "epoch_time" if rows[0].cell.settings.first_order else "warm_fit"
    losers = worse(rows)
    right = [row for row in rows if row not in losers]
    level = {row.backend for row, over in ranked(right, times) if over.verdict != "slower"}
    return {
        row.backend: seconds(getattr(row, times).median)
        + ("!" if row in losers else "*" if row.backend in level and len(rows) > 1 else " ")
        for row in rows
    }


def head(comparison: Comparison) -> str:
    """Return what was compared, in two sentences."""
    test = f", tested on {comparison.n_test:,} more rows" if comparison.n_test else ""
    classes = f" in {comparison.n_classes} classes" if comparison.n_classes > 2 else ""
    return (
        f"{comparison.name}: {comparison.n_samples:,} rows of {comparison.n_features:,} features"
        f"{classes}{test}. {comparison.settings.line()}; {comparison.rounds} "
        f"process{'es' if comparison.rounds != 1 else ''} per backend."
    )


def remarks(comparison: Comparison) -> list[str]:
    """Return what the tables do not show: failures, early ends, warnings."""
    found: dict[str, list[str]] = {}
    for row in comparison.rows:
        fine = ("completed", "converged") if row not in comparison.base else ("completed",)
        said = [] if row.status in fine else [f"{row.status}: {row.reason}"]
        if isinstance(row, Measured):
            said += [f"warned: {text}" for text in row.warnings if text != row.reason]
        for remark in said:
            names = found.setdefault(remark, [])
            if row.backend not in names:
                names.append(row.backend)
    return [f"{', '.join(backends)}: {remark}." for remark, backends in found.items()]


def _reference_line(comparison: Comparison) -> str:
    return f"Reference: {comparison.reference}."


def base_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Return the base task as text: tables of costs and results, verdict, recommendation.

    Parameters
    ----------
    comparison : Comparison
    width : int, default 80
        Columns; no line is longer.
    """
    parts: list[str] = [to_text(head(comparison), width=width)]
    if comparison.measured:
        for grid in (costs(comparison), results(comparison)):
            parts.append(_drawn(grid, width))
    parts += [to_text(remark, width=width) for remark in remarks(comparison)]
    parts.append(to_text(comparison.verdict(), _reference_line(comparison), width=width))
    parts.append(to_text(comparison.recommend(), width=width))
    return "\n".join(parts)


def _drawn(grid: Grid, width: int) -> str:
    drawn = table(grid.columns, grid.rows, title=grid.title, whole=grid.columns)
    return to_text(drawn, grid.note, width=width)


def further_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Return the rest as text: variations, and the answers to the fifteen questions."""
    grids = [grid for grid in (varied(comparison), optimum(comparison)) if grid is not None]
    parts = [_drawn(grid, width) for grid in grids]
    for answer in comparison.answers():
        body = Padding(Text(answer.text), (0, 0, 0, 4))
        parts.append(to_text(f"{answer.number:2}. {answer.question}", body, width=width))
    if grids:
        parts.append(to_text(comparison.verdict(), width=width))
    return "\n".join(parts)


def as_text(comparison: Comparison, width: int = WIDTH) -> str:
    """Return the whole comparison as text; see `base_text` and `further_text`."""
    return f"{base_text(comparison, width)}\n{further_text(comparison, width)}"


def as_markdown(comparison: Comparison) -> str:
    """Return the comparison as GitHub-flavoured Markdown."""
    parts = [head(comparison)]
    if comparison.measured:
        for grid in (costs(comparison), results(comparison)):
            parts += [_markdown(grid), f"*{grid.note}*"]
    parts += remarks(comparison)
    parts += [comparison.verdict(), _reference_line(comparison), comparison.recommend()]
    for further in (varied(comparison), optimum(comparison)):
        if further is not None:
            title, note = f"**{further.title}**", f"*{_escaped(further.note)}*"
            parts += [title, _markdown(further), note]
    parts.append("\n".join(f"{a.number}. **{a.question}** {a.text}" for a in comparison.answers()))
    return "\n\n".join(parts) + "\n"


def _markdown(grid: Grid) -> str:
    lines = [grid.columns, ("---", *("---:",) * (len(grid.columns) - 1)), *grid.rows]
    return "\n".join(
        "| " + " | ".join(_escaped(cell).strip() for cell in line) + " |" for line in lines
    )


def _escaped(text: str) -> str:
    return text.replace("*", r"\*")
