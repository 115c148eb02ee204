"""What the figures of a comparison show, as values; `figures` draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lrbackends.benchmarking.agreement import Agreement, allowance
from lrbackends.benchmarking.cells import CACHES, Cell
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.crossover import Crossing, crossings, totals
from lrbackends.benchmarking.distance import REFERENCE, Distance, limits
from lrbackends.benchmarking.questions import of_sizes, optimal
from lrbackends.benchmarking.rows import PEER, Measured
from lrbackends.benchmarking.statistics import Estimate, estimate
from lrbackends.equivalence.trajectory import BETWEEN_BACKENDS, TO_REFERENCE, Limits

HEATS = 5  # shades of a heat map; the last is for what is beyond the contract


def backends(comparison: Comparison) -> tuple[str, ...]:
    """Return the backends of the base task, in its order."""
    return tuple(row.backend for row in comparison.base)


def label(comparison: Comparison, cell: Cell) -> str:
    """Return what is different about a cell, in a few words; its rows where nothing is."""
    usual, settings = comparison.varied, cell.settings
    parts = [f"{cell.n_samples:,} rows"] if cell.n_samples != comparison.n_samples else []
    if settings.solver != usual.solver:
        parts.append("to the optimum" if settings.solver == "auto" else settings.solver)
    parts += [
        getattr(settings, name)
        for name in ("arithmetic", "dtype")
        if getattr(settings, name) != getattr(usual, name)
    ]
    if cell.threads is not None:
        parts.append(f"{cell.threads} thread{'s' * (cell.threads != 1)}")
    if cell.cache != "usual":
        parts.append(f"{cell.cache} cache")
    if settings.first_order and settings.epochs != usual.epochs:
        parts.append(f"{settings.epochs:,} epochs")
    return ", ".join(parts) or f"as asked, {cell.n_samples:,} rows"


def order(comparison: Comparison, cell: Cell) -> tuple[object, ...]:
    """Return what cells are sorted by for readers: the base, other sizes, then other conditions."""
    usual, settings, names = comparison.varied, cell.settings, backends(comparison)
    return (
        cell.conditions != (comparison.n_samples, comparison.settings, None, "usual"),
        settings.solver != usual.solver,
        CACHES.index(cell.cache),
        cell.threads is not None,
        settings.arithmetic != usual.arithmetic,
        settings.dtype != usual.dtype,
        cell.n_samples,
        settings.epochs,
        names.index(cell.backend) if cell.backend in names else len(names),
    )


def _not_measured(what: str, variation: str) -> ValueError:
    return ValueError(f"{what}; vary=[{variation!r}] measures it")


def cost(comparison: Comparison) -> tuple[Measured, ...]:
    """Return the rows whose cold and warm fits are compared.

    Raises
    ------
    ValueError
        There are none.
    """
    if not comparison.measured:
        raise ValueError("no backend was measured, so there is no cost to show")
    return comparison.measured


# -- against rows


def _trained_at_sizes(comparison: Comparison) -> list[Measured]:
    return [row for row in of_sizes(comparison) if row.status != "diverged"]


@dataclass(frozen=True)
class Curve:
    """A backend's figure at several numbers of rows."""

    backend: str
    n_samples: tuple[int, ...]
    values: tuple[Estimate, ...]


def _curves(
    comparison: Comparison, values: Sequence[tuple[Measured, Estimate]]
) -> tuple[Curve, ...]:
    found: dict[str, dict[int, Estimate]] = {name: {} for name in backends(comparison)}
    for row, value in values:
        found[row.backend][row.cell.n_samples] = value
    return tuple(Curve(b, tuple(at), tuple(at.values())) for b, at in found.items() if at)


@dataclass(frozen=True)
class Sizes:
    """Seconds of a fit against rows, and where the fastest backend changes."""

    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...]


def sizes(comparison: Comparison, *, cold: bool) -> Sizes:
    """Return the time of a fit, of as many epochs as were asked for, at all sizes.

    Parameters
    ----------
    comparison : Comparison
    cold : bool
        Whether the fit is the first in a fresh process.

    Raises
    ------
    ValueError
        Fewer than two sizes were measured.
    """
    rows = _trained_at_sizes(comparison)
    if len({row.cell.n_samples for row in rows}) < 2:
        raise _not_measured("fewer than two numbers of rows were measured", "size")
    epochs, steps_are_given = comparison.settings.epochs, comparison.settings.first_order

    def fit(row: Measured) -> Estimate:
        if steps_are_given:
            return estimate(totals(row, epochs, cold))
        return (row.cold_fit if cold else row.warm_fit).estimate

    crossed = crossings(rows, epochs, cold=cold) if steps_are_given else ()
    return Sizes(_curves(comparison, [(row, fit(row)) for row in rows]), crossed)


def passes(comparison: Comparison) -> tuple[Curve, ...]:
    """Return an epoch's time over that of reading X once, at all sizes.

    Reading is what a process at its best did with as many rows: others may have disturbed it.

    Raises
    ------
    ValueError
        No backend trained.
    """
    rows = _trained_at_sizes(comparison)
    if not rows:
        raise ValueError("no backend trained, so there is no epoch to show")
    once: dict[int, float] = {}
    for row in rows:
        n = row.cell.n_samples
        once[n] = min(once.get(n, math.inf), row.read_once)

    def over(row: Measured) -> Estimate:
        e, unit = row.epoch_time.estimate, once[row.cell.n_samples]
        return Estimate(e.median / unit, e.low / unit, e.high / unit, e.n)

    return _curves(comparison, [(row, over(row)) for row in rows])


# -- loss against time


@dataclass(frozen=True)
class Course:
    """How a warm fit's objective falls.

    Attributes
    ----------
    backend : str
    seconds, above : tuple of float
        Since the fit began; the objective above the best one, over it. Points that rounding hides
        are left out.
    end : Estimate or None
        Seconds of the whole fit, which the last point stands for; None where that is left out.
    """

    backend: str
    seconds: tuple[float, ...]
    above: tuple[float, ...]
    end: Estimate | None


@dataclass(frozen=True)
class Finish:
    """When one was at the optimum.

    Attributes
    ----------
    name : str
        A backend or another library.
    seconds : Estimate
        Of a warm fit.
    above : float
        How far above the best objective, over it.
    reached : bool
    """

    name: str
    seconds: Estimate
    above: float
    reached: bool


@dataclass(frozen=True)
class Loss:
    """The objective against time.

    Attributes
    ----------
    best : float
        The least objective that was found.
    optimal : bool
        Whether that is the optimum's, or only the best of the base task.
    courses : tuple of Course
    finishes : tuple of Finish
        Of solvers that seek the optimum, the fastest first.
    """

    best: float
    optimal: bool
    courses: tuple[Course, ...]
    finishes: tuple[Finish, ...]


def loss(comparison: Comparison) -> Loss:
    """Return the objective of the base task against time, and when others were at the optimum.

    Raises
    ------
    ValueError
        No backend trained.
    """
    rows = comparison.trained
    if not rows:
        raise ValueError("no backend trained, so there is no loss to show")
    same_type = [
        row
        for row in optimal(comparison)
        if row.cell.settings.dtype == comparison.settings.dtype and math.isfinite(row.loss)
    ]
    best = min(row.loss for row in (*rows, *same_type))
    return Loss(
        best,
        any(row.status == "converged" for row in same_type) or not comparison.settings.first_order,
        tuple(_course(row, best) for row in rows),
        tuple(
            Finish(
                row.backend,
                row.warm_fit.estimate,
                _above(row.loss, best),
                row.status == "converged",
            )
            for row in sorted(same_type, key=lambda row: row.warm_fit.median)
        ),
    )


def _above(objective: float, best: float) -> float:
    return (objective - best) / (abs(best) or 1.0)


def _course(row: Measured, best: float) -> Course:
    hidden = allowance(replace(row.cell.settings, gap=0.0, solver="gd"))  # that of rounding alone
    start = max(0.0, row.warm_fit.median - row.n_epochs * row.epoch_time.median)
    points = [(start + k * row.epoch_time.median, _above(f, best)) for k, f in row.curve]
    seen = [(t, above) for t, above in points if above > hidden]
    return Course(
        row.backend,
        tuple(t for t, _ in seen),
        tuple(above for _, above in seen),
        row.warm_fit.estimate if seen and seen[-1] == points[-1] else None,
    )


# -- agreement


@dataclass(frozen=True)
class Heat:
    """Distances of all tasks that were done step by step.

    Attributes
    ----------
    tasks : tuple of str
        Rows.
    columns : tuple of (str, str)
        Pairs of backends, and each backend and "reference".
    cells : mapping of (task, column) to Distance
        None where there is none.
    agreements : tuple of Agreement
        Of each task.
    """

    tasks: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    cells: Mapping[tuple[str, tuple[str, str]], Distance]
    agreements: tuple[Agreement, ...]


def agreement(comparison: Comparison) -> Heat:
    """Return how far results are apart, in all tasks whose steps are given.

    Raises
    ------
    ValueError
        There is no such task, or no two results of one.
    """
    found = [a for a in comparison.agreements if a.settings.first_order and a.distances]
    if not found:
        raise ValueError(
            "nothing was done twice step by step: it takes an update rule such as solver='gd', and "
            "two backends or a reference"
        )
    found.sort(key=lambda a: order(comparison, Cell("", a.n_samples, a.settings)))
    places = {name: k for k, name in enumerate((*backends(comparison), REFERENCE))}
    pairs = {_ordered(d, places) for a in found for d in a.distances}
    columns = tuple(sorted(pairs, key=lambda p: (p[1] == REFERENCE, places[p[0]], places[p[1]])))
    names = [label(comparison, Cell("", a.n_samples, a.settings)) for a in found]
    return Heat(
        tuple(names),
        columns,
        {
            (name, _ordered(d, places)): d
            for name, a in zip(names, found, strict=True)
            for d in a.distances
        },
        tuple(found),
    )


def _ordered(d: Distance, places: Mapping[str, int]) -> tuple[str, str]:
    a, b = sorted((d.a, d.b), key=lambda name: places[name])
    return a, b


def contract(a: Agreement, d: Distance) -> Limits:
    """Return the limits that hold for a distance of a task."""
    kind = TO_REFERENCE if d.b == REFERENCE else BETWEEN_BACKENDS[a.settings.arithmetic]
    return limits(a.settings.dtype, kind)


def heat(a: Agreement, d: Distance) -> int:
    """Return the shade of a distance: 0 for none, 4 for one beyond the contract."""
    if not d.within(a.settings.dtype, a.settings.arithmetic):
        return HEATS - 1
    limit = contract(a, d).median_ulp
    if d.median_ulp == 0 or limit == 0:
        return 0
    return min(HEATS - 2, 1 + int(3 * d.median_ulp / limit))


def apart(a: Agreement, d: Distance) -> tuple[str, str]:
    """Return the numbers of a distance: the median, and the largest or what is out of bounds."""
    median = f"{d.median_ulp:.2g}" if d.median_ulp < 1000 else f"{d.median_ulp:.0e}"
    limit = contract(a, d).relative
    if d.labels:
        return median, f"{d.labels:,} label{'s' * (d.labels != 1)}"
    if limit is not None and not d.relative <= limit and d.max_ulp:
        return median, f"rel. {d.relative:.1g}"
    return median, f"max {d.max_ulp:.2g}" if d.max_ulp < 1000 else f"max {d.max_ulp:.0e}"


# -- the two arithmetics


def reproducible(comparison: Comparison) -> dict[str, Estimate]:
    """Return each backend's epoch in the reproducible arithmetic over that in the fast one.

    Raises
    ------
    ValueError
        They were not both measured.
    """
    both = {
        arithmetic: {
            row.backend: row
            for row in comparison.select(settings=replace(comparison.varied, arithmetic=arithmetic))
            if row.status != "diverged"
        }
        for arithmetic in ("fast", "reproducible")
    }
    found = {
        name: over
        for name, row in both["reproducible"].items()
        if name in both["fast"] and (over := row.over(both["fast"][name], "epoch_time")) is not None
    }
    if not found:
        raise _not_measured("the two arithmetics were not both measured", "arithmetic")
    return found


def names(comparison: Comparison) -> tuple[str, ...]:
    """Return all who are drawn, backends first; for `palette.looks`."""
    everyone = [*backends(comparison), *(row.backend for row in optimal(comparison))]
    return tuple(dict.fromkeys(name.removeprefix(PEER) for name in everyone))
