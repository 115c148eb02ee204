"""A comparison in words: do the backends agree, and which one should be used for what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrbackends._units import seconds
from lrbackends.benchmarking.distance import REFERENCE, limits

if TYPE_CHECKING:
    from lrbackends.benchmarking.comparison import Comparison, Measured, Settings, Times

# Losses are sums over samples, so equal trainings may differ by some eps; more is a worse result.
_LOSS_TOLERANCE = 256


def words(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def verdict(comparison: Comparison) -> str:
    """Return whether the trained backends agree, with the figures that say so."""
    names = [row.backend for row in comparison.trained]
    pairs = [d for d in comparison.distances if d.b != REFERENCE]
    exact = [d for d in comparison.distances if d.b == REFERENCE]
    unsteady = [row.backend for row in comparison.trained if row.repeatable is False]
    tail = f" {words(unsteady)} gave different bits from fit to fit." if unsteady else ""
    if not comparison.distances:
        what = f"only {names[0]} trained" if names else "no backend trained"
        return f"Nothing to compare: {what} (reference: {comparison.reference}).{tail}"
    if comparison.disagreements():
        allowed = limits(comparison.settings.dtype)
        found = "; ".join(
            f"{d.a} and {d.b} are {d.median_ulp:.3g} ULP (median) and {d.relative:.2g} (relative) "
            f"apart, {d.labels:,} label{'s' if d.labels != 1 else ''} differ{'s' * (d.labels == 1)}"
            for d in comparison.disagreements()
        )
        return (
            f"The backends do NOT agree: {found} "
            f"(allowed: {allowed.median_ulp:g} ULP, {allowed.relative:.2g}, no label).{tail}"
        )
    parts = []
    if pairs:
        parts.append(
            f"{words(names)} agree: at most {max(d.median_ulp for d in pairs):.3g} ULP (median) "
            f"and {max(d.relative for d in pairs):.2g} (relative) apart, no label differs"
        )
    if exact:
        parts.append(
            f"at most {max(d.median_ulp for d in exact):.3g} ULP (median) from the reference"
        )
    lead = "" if pairs else f"{names[0]} is "
    return f"{lead}{'; '.join(parts)}.{tail}"


def candidates(comparison: Comparison) -> tuple[list[Measured], list[str]]:
    """Return the rows that may be recommended, and for each other one why not."""
    usable = {r.backend: r for r in comparison.trained if math.isfinite(r.loss)}
    best = min((row.loss for row in usable.values()), default=math.nan)
    eps = float(np.finfo(comparison.settings.dtype).eps)
    kept, left_out = [], []
    for row in comparison.rows:
        measured = usable.get(row.backend)
        if measured is None:
            left_out.append(f"{row.backend} ({row.status}: {row.reason})")
        elif measured.loss > best + _LOSS_TOLERANCE * eps * abs(best):
            left_out.append(f"{row.backend} (worse loss: {measured.loss:.9g} against {best:.9g})")
        else:
            kept.append(measured)
    return kept, left_out


def _ranking(
    rows: Sequence[Measured], times_of: Callable[[Measured], Times]
) -> tuple[list[Measured], str]:
    """Return the rows that are level with the fastest, and all times in words."""
    ordered = sorted(rows, key=lambda row: times_of(row).median)
    shown = {row.backend: seconds(times_of(row).median) for row in ordered}
    best = times_of(ordered[0])
    level = [row for row in ordered if times_of(row).interval[0] <= best.interval[1]]
    leaders = [row.backend for row in level]
    text = f"{words(leaders)}, {words([shown.pop(b) for b in leaders])}"
    if len(level) > 1:
        text += " (a tie: the intervals overlap)"
    if shown:
        text += "; " + ", ".join(f"{b} {time}" for b, time in shown.items())
    return level, text


def _payback(settings: Settings, cold: Measured, warm: Measured) -> str:
    """Return after how many fits, or epochs of one fit, ``warm``'s dearer start has paid back."""
    extra = warm.cold_fit.median - cold.cold_fit.median
    fits = 1 + math.ceil(extra / (cold.warm_fit.median - warm.warm_fit.median))
    text = f"Importing and compiling {warm.backend} instead pays back after {fits:,} such fits"
    saved = cold.epoch_time.median - warm.epoch_time.median
    if saved > 0:
        epochs = settings.epochs + math.ceil(extra / saved)
        text += f", or in one fit of about {epochs:,} epochs"
    return text + "."


def recommend(comparison: Comparison) -> str:
    """Return which backend to use for one fit, which for many, and when compiling pays back."""
    rows, left_out = candidates(comparison)
    tail = f" Left out: {'; '.join(left_out)}." if left_out else ""
    if not rows:
        return f"No backend can be recommended.{tail}"
    for_one, one = _ranking(rows, lambda row: row.cold_fit)
    for_many, many = _ranking(rows, lambda row: row.warm_fit)
    text = f"One fit in a fresh process: {one}. Many fits in one process: {many}."
    both = [row.backend for row in for_many if row in for_one]
    if both and len(rows) > 1:
        text += f" So {both[0]} suits both."
    elif not both:
        soonest = min(for_many, key=lambda row: row.cold_fit.median)
        text += " " + _payback(comparison.settings, for_one[0], soonest)
    return text + tail
