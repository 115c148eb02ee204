"""A comparison in words: do the backends agree, and which one should be used for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrbackends._units import seconds
from lrbackends.benchmarking.agreement import Agreement, worse
from lrbackends.benchmarking.crossover import payback
from lrbackends.benchmarking.distance import limits

if TYPE_CHECKING:
    from lrbackends.benchmarking.comparison import Comparison
    from lrbackends.benchmarking.rows import Measured
    from lrbackends.benchmarking.statistics import Estimate


def words(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def unsteady(comparison: Comparison) -> list[str]:
    """Return the backends that gave different bits from fit to fit, or on other threads."""
    found: dict[str, None] = {}
    seen: dict[object, Measured] = {}
    for row in comparison.rows:
        coef = getattr(row, "coef", None)
        if coef is None:
            continue
        measured: Measured = row  # type: ignore[assignment]
        first = seen.setdefault((measured.cell.task, measured.backend), measured)
        same = (first.coef, first.intercept) == (coef, measured.intercept)
        if not measured.repeatable or not same:
            found[measured.backend] = None
    return list(found)


def verdict(comparison: Comparison) -> str:
    """Return whether the trained backends agree, with the figures that say so."""
    names = [row.backend for row in comparison.trained]
    spread = unsteady(comparison)
    tail = f" {words(spread)} gave different bits from fit to fit." if spread else ""
    if not comparison.distances:
        what = f"only {names[0]} trained" if names else "no backend trained"
        return f"Nothing to compare: {what} (reference: {comparison.reference}).{tail}"
    failing = [a for a in comparison.agreements if a.disagreements()]
    if not comparison.settings.first_order and not failing:
        return f"{_of_objectives(comparison)}{tail}"
    if failing:
        return f"The backends do NOT agree: {'; '.join(map(_disagreement, failing))}.{tail}"
    base = comparison.agreements[0]
    parts = []
    if base.between():
        labels = max(d.labels for d in base.between())
        differing = f"{labels:,} label{'s' * (labels != 1)}" if labels else "no label"
        parts.append(
            f"{words(names)} agree: at most {max(d.median_ulp for d in base.between()):.3g} ULP "
            f"(median) and {max(d.relative for d in base.between()):.2g} (relative) apart, "
            f"{differing} differ{'s' * (labels <= 1)}"
        )
    if base.to_reference():
        nearest = max(d.median_ulp for d in base.to_reference())
        parts.append(f"at most {nearest:.3g} ULP (median) from the reference")
    lead = "" if base.between() else f"{names[0]} is "
    return f"{lead}{'; '.join(parts)}.{_of_others(comparison)}{tail}"


def _of_objectives(comparison: Comparison) -> str:
    """Return whether solvers that seek the optimum found it, which they do at different points."""
    rows = comparison.trained
    losers = worse(rows)
    names = words([row.backend for row in rows])
    if losers:
        return f"{words([row.backend for row in losers])} ended above the others' objective."
    if len(rows) == 1:
        return f"Nothing to compare: only {names} trained."
    spread = max(d.relative for d in comparison.agreements[0].between())
    return f"{names} agree: equal objectives, parameters within {spread:.2g} (relative) of another."


def _disagreement(agreement: Agreement) -> str:
    allowed = limits(agreement.settings.dtype)
    found = "; ".join(
        f"{d.a} and {d.b} are {d.median_ulp:.3g} ULP (median) and {d.relative:.2g} (relative) "
        f"apart, {d.labels:,} label{'s' * (d.labels != 1)} differ{'s' * (d.labels == 1)}"
        for d in agreement.disagreements()
    )
    if agreement.settings.arithmetic == "reproducible":
        return f"{found} in the reproducible arithmetic (allowed: no bit)"
    return (
        f"{found} with {agreement.n_samples:,} rows in {agreement.settings.dtype} (allowed: "
        f"{allowed.median_ulp:g} ULP, {allowed.relative:.2g}, no label)"
    )


def _of_others(comparison: Comparison) -> str:
    """Return what is to be said of the variations' agreement."""
    rest = [a for a in comparison.agreements[1:] if a.settings.first_order and a.between()]
    if not rest:
        return ""
    exact = any(a.settings.arithmetic == "reproducible" for a in rest)
    also = f" So do they in {f'all {len(rest)} variations' if len(rest) > 1 else 'the variation'}"
    return also + ("; reproducible, bit for bit." if exact else ".")


def candidates(comparison: Comparison) -> tuple[list[Measured], list[str]]:
    """Return the base rows that may be recommended, and for each other one why not."""
    usable = {r.backend: r for r in comparison.trained if math.isfinite(r.loss)}
    losers = {r.backend: best for r, best in worse(list(usable.values())).items()}
    kept, left_out = [], []
    for row in comparison.base:
        measured = usable.get(row.backend)
        if measured is None:
            left_out.append(f"{row.backend} ({row.status}: {row.reason})")
        elif row.backend in losers:
            best = losers[row.backend]
            left_out.append(f"{row.backend} (worse loss: {measured.loss:.9g} against {best:.9g})")
        else:
            kept.append(measured)
    return kept, left_out


def ranked(rows: Sequence[Measured], times: str) -> list[tuple[Measured, Estimate]]:
    """Return the rows by their median, each with its ratio to the first one's times."""
    ordered = sorted(rows, key=lambda row: getattr(row, times).median)
    found = []
    for row in ordered:
        over = row.over(ordered[0], times)
        if over is not None:
            found.append((row, over))
    return found


def level(rows: Sequence[Measured], times: str) -> list[Measured]:
    """Return the rows that are not slower than the fastest by more than the noise."""
    return [row for row, over in ranked(rows, times) if over.verdict != "slower"]


def ranking(rows: Sequence[Measured], times: str) -> str:
    """Return all times in words, the fastest first, ties named."""
    order = ranked(rows, times)
    leaders = [row.backend for row, over in order if over.verdict != "slower"]
    shown = {row.backend: seconds(getattr(row, times).median) for row, _ in order}
    text = f"{words(leaders)}, {words([shown.pop(b) for b in leaders])}"
    if len(leaders) > 1:
        text += " (a tie: the difference is within the noise)"
    if shown:
        text += "; " + ", ".join(f"{b} {time}" for b, time in shown.items())
    return text


def count(value: float) -> str:
    """Return a number of epochs, fits or rows for people: two or three digits."""
    if not math.isfinite(value):
        return "never"
    if value < 100:
        return f"{math.ceil(value):,}"
    digits = 10 ** (math.floor(math.log10(value)) - 1)
    return f"{round(value / digits) * digits:,}"


def recommend(comparison: Comparison) -> str:
    """Return which backend to use for one fit, which for many, and when compiling pays back."""
    rows, left_out = candidates(comparison)
    tail = f" Left out: {'; '.join(left_out)}." if left_out else ""
    if not rows:
        return f"No backend can be recommended.{tail}"
    text = (
        f"One fit in a fresh process: {ranking(rows, 'cold_fit')}. Many fits in one process: "
        f"{ranking(rows, 'warm_fit')}."
    )
    for_one, for_many = level(rows, "cold_fit"), level(rows, "warm_fit")
    both = [row.backend for row in for_many if row in for_one]
    if both and len(rows) > 1:
        text += f" So {both[0]} suits both."
    elif not both:
        quicker = [r for r in for_many if r.warm_fit.median < for_one[0].warm_fit.median]
        soonest = min(quicker, key=lambda row: row.cold_fit.median)
        text += _payback_line(soonest, for_one[0])
    return text + tail


def _payback_line(warm: Measured, cold: Measured) -> str:
    paid = payback(warm, cold)
    text = (
        f" Importing and compiling {warm.backend} instead pays back after {count(paid.fits)} such "
        "fits"
    )
    if warm.cell.settings.first_order and math.isfinite(paid.epochs):
        text += f", or in one fit of about {count(paid.epochs)} epochs"
    return text + "."
