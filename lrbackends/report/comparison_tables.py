"""The tables of a comparison's page: all cells, agreement, and the figures behind each drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from lrbackends._units import seconds
from lrbackends.benchmarking.agreement import Agreement, worse
from lrbackends.benchmarking.cells import Cell as Task
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import REFERENCE, Distance
from lrbackends.benchmarking.rows import FINE, Measured, Row, Times
from lrbackends.benchmarking.statistics import Estimate
from lrbackends.report import figure_data as data
from lrbackends.report.page import Cell, Column, Table

_MB = 1e6
_NONE = Cell("–")


def _duration(value: float | None) -> Cell:
    return _NONE if value is None else Cell(seconds(value), value)


def _number(value: float | None, form: str = ".3g") -> Cell:
    if value is None or math.isnan(value):
        return _NONE
    return Cell("0" if value == 0 else format(value, form), value)


def _span(low: float, high: float) -> Cell:
    """Return an interval of seconds, sorted by its lower end."""
    (a, unit), (b, other) = seconds(low).split(), seconds(high).split()
    return Cell(f"{a}–{b} {unit}" if unit == other else f"{a} {unit} – {b} {other}", low)


def _interval(e: Estimate) -> Cell:
    return _span(e.low, e.high) if e.n > 1 else _NONE


def _named(comparison: Comparison, row: Row) -> Cell:
    return Cell(row.backend, note=data.label(comparison, row.cell))


def _memory(row: Measured) -> Cell:
    if row.peak_memory is None:
        return _NONE
    fit = "" if row.fit_memory is None else f"{row.fit_memory / _MB:,.0f} in the fit"
    return Cell(f"{row.peak_memory / _MB:,.0f} MB", row.peak_memory, note=fit)


# -- all cells


def times(comparison: Comparison) -> Table:
    """Return the times of all cells that were measured, apart."""
    columns = (
        Column("cell", "A backend, or another library, and what it did."),
        Column("import", "Loading the engine in a fresh process, after lrbackends.", "right"),
        Column("data", "Bringing the data to the engine, within the first fit.", "right"),
        Column("compile", "Compiling, within the first fit.", "right"),
        Column("first fit", "The whole first fit, data and compile included.", "right"),
        Column("warm fit", "The whole fit again, in the same process.", "right"),
        Column("interval", "Holds the median of the warm fit with 95 %.", "right"),
        Column("epoch", "The native steps of a warm fit, divided by its epochs.", "right"),
        Column("new shape", "The first fit of one row less, after that.", "right"),
    )
    rows = [_time_cells(comparison, r) for r in _sorted(comparison) if isinstance(r, Measured)]
    note = "Medians over processes. Select a column's name to sort by it."
    return Table("times", "Times of all cells", columns, rows, note=note)


def _time_cells(comparison: Comparison, row: Measured) -> list[Cell]:
    def median(of: Times | None) -> Cell:
        return _duration(None if of is None else of.median)

    return [
        _named(comparison, row),
        median(row.import_time),
        median(None if row.peer else row.transfer_time),
        *map(median, (row.compile_time, row.first_fit, row.warm_fit)),
        _interval(row.warm_fit.estimate),
        median(row.epoch_time),
        median(row.new_shape_fit),
    ]


def results(comparison: Comparison) -> Table:
    """Return what came out of all cells, those that failed included."""
    columns = (
        Column("cell", "A backend, or another library, and what it did."),
        Column("status", "How the training ended; the reason where it did not end well."),
        Column("loss", "The objective at the end: weighted mean log-loss and penalty.", "right"),
        Column("gradient", "The largest entry of the objective's gradient at the end.", "right"),
        Column(
            "ULP", "To the reference: median over the parameters, then the farthest one.", "right"
        ),
        Column("epochs", "Passes, or iterations of a solver that seeks the optimum.", "right"),
        Column("accuracy", "On the rows set aside.", "right"),
        Column(
            "memory", "The most that a process held, and what of it the first fit took.", "right"
        ),
        Column("cores", "Kept busy by a warm fit.", "right"),
    )
    losers: dict[Measured, float] = {}
    for of in _by_task(comparison):
        losers |= worse(of)
    rows = [_result_cells(comparison, row, losers) for row in _sorted(comparison)]
    return Table("results", "Results of all cells", columns, rows)


def _sorted(comparison: Comparison) -> list[Row]:
    return sorted(comparison.rows, key=lambda row: data.order(comparison, row.cell))


def _by_task(comparison: Comparison) -> list[list[Measured]]:
    found: dict[object, list[Measured]] = {}
    for row in comparison.rows:
        if isinstance(row, Measured) and row.status != "diverged":
            found.setdefault(row.cell.task, []).append(row)
    return list(found.values())


def _result_cells(comparison: Comparison, row: Row, losers: Mapping[Measured, float]) -> list[Cell]:
    name = _named(comparison, row)
    if not isinstance(row, Measured):
        return [name, Cell(row.status, tone="bad", note=row.reason), *[_NONE] * 7]
    status = Cell(row.status, tone="" if row.status in FINE else "bad")
    if row.status not in ("completed", "converged"):
        status = Cell(row.status, tone=status.tone or "warn", note=row.reason)
    loss = _number(row.loss, ".9g")
    if row in losers:
        loss = Cell(loss.text, loss.key, "bad", "worse than the best")
    if not row.repeatable:
        status = Cell(status.text, tone="warn", note="other bits from fit to fit")
    far = _to_reference(comparison, row)
    accuracy = row.test_accuracy
    return [
        name,
        status,
        loss,
        _number(row.gradient_norm, ".2g"),
        Cell(f"{far.median_ulp:.2g}", far.median_ulp, note=f"max {far.max_ulp:.3g}")
        if far
        else _NONE,
        _number(row.n_epochs, ","),
        _NONE if accuracy is None else Cell(f"{100 * accuracy:.2f} %", accuracy),
        _memory(row),
        _number(row.cores_busy, ".1f"),
    ]


def _to_reference(comparison: Comparison, row: Row) -> Distance | None:
    found = comparison.agreement(row)
    for d in found.to_reference() if found is not None else ():
        if d.a == row.cell.backend:
            return d
    return None


# -- agreement


def agreement(comparison: Comparison) -> Table:
    """Return how far results are apart, a row for each task."""
    columns = (
        Column("task", "What all of them did."),
        Column("verdict", "Whether the contract is kept."),
        Column("ULP", "Between backends, the largest of the medians over parameters.", "right"),
        Column("max ULP", "Between backends, the parameter that is farthest apart.", "right"),
        Column("relative", "Between backends, norm of the difference over the norm.", "right"),
        Column("labels", "Rows whose predicted label differs.", "right"),
        Column("to reference", "The largest of the medians over parameters, in ULP.", "right"),
    )
    by_task = {of[0].cell.task: of for of in _by_task(comparison)}
    tasks = sorted(
        comparison.agreements,
        key=lambda a: data.order(comparison, Task("", a.n_samples, a.settings)),
    )
    rows = [
        _agreement_cells(comparison, a, by_task.get((a.n_samples, a.settings), [])) for a in tasks
    ]
    return Table("by-task", "Agreement by task", columns, rows, note=_references(comparison, tasks))


def _references(comparison: Comparison, tasks: Sequence[Agreement]) -> str:
    """Return what the references were computed in, or why there are none."""
    found: dict[str, list[str]] = {}
    for a in (a for a in tasks if a.settings.first_order):
        found.setdefault(a.reference, []).append(_task(comparison, a))
    if not found:
        return ""
    if len(found) == 1:
        return f"Reference: {next(iter(found))}."
    told = [f"{how} ({'; '.join(where)})" for how, where in found.items()]
    return f"Reference: {', and '.join(told)}."


def _agreement_cells(comparison: Comparison, a: Agreement, rows: Sequence[Measured]) -> list[Cell]:
    task = Cell(_task(comparison, a))
    if not a.settings.first_order:
        best = min((row.loss for row in rows), default=math.nan)
        spread = max((row.loss - best for row in rows), default=0.0) / (abs(best) or 1.0)
        note = f"objectives within {spread:.1g}, relatively"
        verdict = (
            Cell("worse", tone="bad", note=note)
            if worse(rows)
            else Cell("same optimum", tone="good", note=note)
        )
        return [task, verdict, *[_NONE] * 5]
    beyond = a.disagreements()
    between, exact = a.between(), a.to_reference()
    if not a.distances:
        verdict = Cell("nothing to compare", tone="muted")
    else:
        verdict = Cell("beyond" if beyond else "within", tone="bad" if beyond else "good")

    def largest(of: Sequence[Distance], measure: str, form: str) -> Cell:
        return _number(max((getattr(d, measure) for d in of), default=None), form)

    return [
        task,
        verdict,
        largest(between, "median_ulp", ".2g"),
        largest(between, "max_ulp", ".3g"),
        largest(between, "relative", ".1e"),
        largest(between, "labels", ","),
        largest(exact, "median_ulp", ".2g"),
    ]


def _task(comparison: Comparison, a: Agreement) -> str:
    return data.label(comparison, Task("", a.n_samples, a.settings))


# -- the figures behind each drawing


def _cost_table(comparison: Comparison) -> Table:
    columns = [Column("backend"), *(Column(name, align="right") for name in _COST)]
    rows = []
    for row in data.cost(comparison):
        rest = max(0.0, row.first_fit.median - row.compile_time.median)
        cold = (row.import_time.median, row.compile_time.median, rest, row.cold_fit.median)
        warm = row.warm_fit.estimate
        rows.append([Cell(row.backend), *map(_duration, (*cold, warm.median)), _interval(warm)])
    return Table("data-cost", "Cold and warm fits", columns, rows)


_COST = ("import", "compile", "rest of the first fit", "cold, in all", "warm", "interval")


def _sizes_table(comparison: Comparison) -> Table:
    warm, cold = (data.sizes(comparison, cold=cold).curves for cold in (False, True))
    columns = [
        Column("backend"),
        Column("rows", align="right"),
        *(Column(name, align="right") for name in ("warm", "interval", "cold", "interval")),
    ]
    rows = [
        [Cell(a.backend), _number(n, ","), *_measured(u), *_measured(v)]
        for a, b in zip(warm, cold, strict=True)
        for n, u, v in zip(a.n_samples, a.values, b.values, strict=True)
    ]
    return Table("data-sizes", "Time of a fit against rows", columns, rows)


def _measured(e: Estimate) -> list[Cell]:
    return [_duration(e.median), _interval(e)]


def _passes_table(comparison: Comparison) -> Table:
    columns = [
        Column("backend"),
        *(Column(name, align="right") for name in ("rows", "times reading X", "interval")),
    ]
    rows = [
        [Cell(curve.backend), _number(n, ","), *_ratio(e)]
        for curve in data.passes(comparison)
        for n, e in zip(curve.n_samples, curve.values, strict=True)
    ]
    return Table("data-passes", "An epoch in units of reading X once", columns, rows)


def _ratio(e: Estimate) -> list[Cell]:
    interval = Cell(f"{e.low:.3g}–{e.high:.3g}", e.low) if e.n > 1 else _NONE
    return [_number(e.median), interval]


def _loss_table(comparison: Comparison) -> Table:
    found = data.loss(comparison)
    columns = [
        Column("who"),
        Column("what"),
        *(Column(name, align="right") for name in ("time", "interval", "above the best")),
    ]
    solver = comparison.settings.solver
    rows = [
        [Cell(c.backend), Cell(solver), _duration(t), _NONE, _number(above, ".2e")]
        for c in found.courses
        for t, above in _some(list(zip(c.seconds, c.above, strict=True)))
    ] + [
        [
            Cell(f.name),
            Cell("to the optimum" if f.reached else "optimum not reached"),
            *_measured(f.seconds),
            _number(f.above, ".1e"),
        ]
        for f in found.finishes
    ]
    return Table("data-loss", f"Objective above {found.best:.9g}, over it", columns, rows)


def _some(points: Sequence[tuple[float, float]], most: int = 9) -> list[tuple[float, float]]:
    """Return a few points of a curve, both ends included."""
    if len(points) <= most:
        return list(points)
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


def _agreement_table(comparison: Comparison) -> Table:
    heat = data.agreement(comparison)
    columns = [
        Column("task"),
        Column("pair"),
        *(Column(name, align="right") for name in ("ULP", "max ULP", "relative", "labels")),
        Column("farthest at"),
        Column("contract"),
    ]
    rows = []
    for name, a in zip(heat.tasks, heat.agreements, strict=True):
        for d in a.distances:
            beyond = data.heat(a, d) == data.HEATS - 1
            rows.append(
                [
                    Cell(name),
                    Cell(f"{d.a}, {'the reference' if d.b == REFERENCE else d.b}"),
                    Cell(f"{d.median_ulp:.2g}", d.median_ulp, f"heat-{data.heat(a, d)}"),
                    _number(d.max_ulp),
                    _number(d.relative, ".1e"),
                    _number(d.labels, ","),
                    Cell(d.where or "–"),
                    Cell("beyond" if beyond else "within", tone="bad" if beyond else "good"),
                ]
            )
    return Table("data-agreement", "Distances of all tasks", columns, rows)


def _reproducible_table(comparison: Comparison) -> Table:
    columns = [
        Column("backend"),
        *(Column(name, align="right") for name in ("reproducible / fast", "interval")),
    ]
    rows = [[Cell(name), *_ratio(e)] for name, e in data.reproducible(comparison).items()]
    return Table("data-reproducible", "Epoch, reproducible over fast", columns, rows)


BEHIND: dict[str, Callable[[Comparison], Table]] = {
    "cost": _cost_table,
    "sizes": _sizes_table,
    "loss": _loss_table,
    "agreement": _agreement_table,
    "reproducible": _reproducible_table,
    "passes": _passes_table,
}
