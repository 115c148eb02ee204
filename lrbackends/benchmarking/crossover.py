"""From measured sizes to other ones: where backends cross over, and when compiling has paid back.

A fit of E epochs of an update rule takes ``start + E * epoch``, where ``start`` is import and all
of the first fit but its epochs (cold), or a warm fit without its epochs (warm). Between two
measured numbers of rows times are interpolated linearly in logarithms. Intervals are bootstrapped
over rounds: whole rounds are drawn anew, so that what is compared was measured together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrbackends.benchmarking.rows import Measured, Times
from lrbackends.benchmarking.statistics import CONFIDENCE

_RESAMPLES = 500


@dataclass(frozen=True)
class Crossing:
    """The number of rows from which another backend is faster.

    Attributes
    ----------
    below, above : str
        The faster backend with fewer rows, and with more.
    n : float
        Rows; ``low`` and ``high`` bound them with a confidence of 95 %. They end where the sizes
        that were measured end.
    """

    below: str
    above: str
    n: float
    low: float
    high: float


@dataclass(frozen=True)
class Payback:
    """From when on a backend with a dearer start is cheaper in all.

    Attributes
    ----------
    dear, cheap : str
        The backend with the dearer start and that with the cheapest one.
    extra : float
        Seconds that its start costs more.
    first_order : bool
        Whether the solver is an update rule, whose epochs can be counted on.
    epochs, fits : float
        Epochs of one fit, and fits like the base task in one process, from which on it has paid
        back; infinite where it never does. ``epochs_low``, ``epochs_high`` bound the epochs.
    """

    dear: str
    cheap: str
    extra: float
    first_order: bool
    epochs: float
    epochs_low: float
    epochs_high: float
    fits: float


def starts(row: Measured, cold: bool) -> NDArray[np.float64]:
    """Return, for each process, the seconds that do not grow with epochs."""
    whole = row.cold_fit if cold else row.warm_fit
    epochs = np.float64(row.n_epochs) * _array(row.epoch_time)
    return np.maximum(_array(whole) - epochs, 0.0)


def _array(times: Times) -> NDArray[np.float64]:
    return np.array(times.per_process, np.float64)


def totals(row: Measured, epochs: int, cold: bool) -> NDArray[np.float64]:
    """Return, for each process, the seconds that a fit of so many epochs takes.

    Of a solver that seeks the optimum: that a fit took, which chooses the number of its steps.
    """
    if not row.cell.settings.first_order:
        return _array(row.cold_fit if cold else row.warm_fit)
    return starts(row, cold) + np.float64(epochs) * _array(row.epoch_time)


def _by_round(
    rows: Sequence[Measured], epochs: int, cold: bool
) -> dict[str, dict[int, dict[int, float]]]:
    """Return seconds by backend, rows and round."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        times = totals(row, epochs, cold).tolist()
        found.setdefault(row.backend, {})[row.cell.n_samples] = dict(
            zip(row.rounds, times, strict=True)
        )
    return found


def crossings(rows: Sequence[Measured], epochs: int, *, cold: bool) -> tuple[Crossing, ...]:
    """Return where the fastest backend changes as rows grow, in order.

    Parameters
    ----------
    rows : sequence of Measured
        Of several sizes.
    epochs : int
        Of the fit that is asked about, where the solver is an update rule.
    cold : bool
        Whether the fit is the first in a fresh process.
    """
    found = _by_round(rows, epochs, cold)
    sizes = sorted(set.intersection(*(set(times) for times in found.values()))) if found else []
    if len(found) < 2 or len(sizes) < 2:
        return ()
    names = list(found)
    shared = sorted(set.intersection(*(set(found[b][n]) for b in names for n in sizes)))
    if not shared:
        return ()
    # times[backend, size, round]
    times = np.array([[[found[b][n][r] for r in shared] for n in sizes] for b in names])
    log_sizes = np.log(sizes)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(shared), size=(_RESAMPLES, len(shared)))
    curves = np.log(np.median(times[:, :, draws], axis=-1))  # backend, size, draw
    centre = np.log(np.median(times, axis=-1))
    crossed = []
    for below, above, near in _changes(centre, log_sizes):
        at = _nearest(centre[below] - centre[above], log_sizes, near)
        drawn = [
            _nearest(curves[below, :, d] - curves[above, :, d], log_sizes, at)
            for d in range(_RESAMPLES)
        ]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        crossed.append(
            Crossing(names[below], names[above], math.exp(at), math.exp(low), math.exp(high))
        )
    return tuple(crossed)


def _changes(
    curves: NDArray[np.float64], log_sizes: NDArray[np.float64]
) -> list[tuple[int, int, float]]:
    """Return (fastest below, fastest above, log of rows) of each change of the fastest."""
    fine = np.linspace(log_sizes[0], log_sizes[-1], 2001)
    lines = np.array([np.interp(fine, log_sizes, curve) for curve in curves])
    best = lines.argmin(axis=0)
    where = np.flatnonzero(np.diff(best))
    return [(int(best[k]), int(best[k + 1]), float(fine[k : k + 2].mean())) for k in where]


def _nearest(difference: NDArray[np.float64], log_sizes: NDArray[np.float64], at: float) -> float:
    """Return the zero of a broken line nearest to ``at``; an end where it has none."""
    zeros = []
    for k in range(len(log_sizes) - 1):
        a, b = difference[k], difference[k + 1]
        if a * b < 0 or a == 0:
            share = a / (a - b) if a != b else 0.0
            zeros.append(log_sizes[k] + share * (log_sizes[k + 1] - log_sizes[k]))
    if zeros:
        return float(min(zeros, key=lambda zero: abs(zero - at)))
    # The one that is faster below is so everywhere, or nowhere.
    return float(log_sizes[-1] if difference[-1] < 0 else log_sizes[0])


def paybacks(rows: Sequence[Measured]) -> tuple[Payback, ...]:
    """Return when each backend's start has paid back against that of the cheapest start.

    Parameters
    ----------
    rows : sequence of Measured
        Of one task under the same conditions, one row a backend.
    """
    if len(rows) < 2:
        return ()
    cheap = min(rows, key=lambda row: float(np.median(starts(row, cold=True))))
    return tuple(payback(row, cheap) for row in rows if row is not cheap)


def payback(dear: Measured, cheap: Measured) -> Payback:
    """Return when the start of one backend has paid back against that of another."""
    draws = [_paid(dear, cheap, pick) for pick in _draws(len(dear.rounds), len(cheap.rounds))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], method="nearest")
    extra = float(np.median(starts(dear, True)) - np.median(starts(cheap, True)))
    saved = cheap.warm_fit.median - dear.warm_fit.median
    first = dear.cold_fit.median - cheap.cold_fit.median
    fits = (max(1, 1 + math.ceil(first / saved)) if saved > 0 else math.inf) if first > 0 else 1
    everyone = np.arange(len(dear.rounds)), np.arange(len(cheap.rounds))
    return Payback(
        dear.backend,
        cheap.backend,
        extra,
        dear.cell.settings.first_order,
        _paid(dear, cheap, everyone),
        float(low),
        float(high),
        float(fits),
    )


def _draws(n: int, m: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(_RESAMPLES)]


def _paid(
    dear: Measured, cheap: Measured, pick: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> float:
    """Return the epochs after which the start has paid back, by the processes picked of each."""

    def less(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.median(a[pick[0]]) - np.median(b[pick[1]]))

    extra = less(starts(dear, True), starts(cheap, True))
    saved = -less(_array(dear.epoch_time), _array(cheap.epoch_time))
    if extra <= 0:
        return 0.0
    return extra / saved if saved > 0 else math.inf
