"""Medians, ratios and intervals of measured times, and what may be said of a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
MARGIN = 0.03  # below this a difference is of no interest to anyone who picks a backend
_RESAMPLES = 4999
_ENOUGH = 6  # values that a bootstrap can be made of
_ENTRIES = 1_000_000  # drawn at a time
_SEED = 0  # equal measurements give equal intervals


@dataclass(frozen=True)
class Estimate:
    """A median with its bootstrap interval.

    Attributes
    ----------
    median, low, high : float
        In the unit of what was measured; ``low`` and ``high`` bound the median with a confidence of
        95 %; see `estimate`.
    n : int
        Measurements.
    """

    median: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """For a ratio of times: "faster", "slower" or "tie".

        A tie is a ratio whose interval holds 1, or which is nearer to 1 than 3 %, or not a number.
        """
        apart = self.high < 1 or self.low > 1
        if not apart or abs(np.log(self.median)) < np.log1p(MARGIN):
            return "tie"
        return "slower" if self.median > 1 else "faster"


def estimate(values: Sequence[float] | NDArray[np.float64]) -> Estimate:
    """Return the median of independent measurements and its bootstrap interval.

    The interval is the percentile bootstrap's (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). It cannot leave the range of the values, which holds the median of
    five with 94 % and that of three with 75 % only: for fewer than six positive values it is
    Student's of their logarithms. One value has no interval but itself.

    Parameters
    ----------
    values : sequence of float
        At least one.
    """
    x = np.asarray(values, np.float64)
    if x.size == 0:
        raise ValueError("there are no measurements to take the median of")
    if 1 < x.size < _ENOUGH and (x > 0).all():
        low, high = _student(x)
    else:
        low, high = _bounds(_medians(x, np.random.default_rng(_SEED)))
    return Estimate(float(np.median(x)), low, high, x.size)


def _student(x: NDArray[np.float64]) -> tuple[float, float]:
    """Return Student's interval of the logarithms' mean, as values; it holds the median."""
    logs = np.log(x)
    wide = stdtrit(x.size - 1, (1 + CONFIDENCE) / 2) * logs.std(ddof=1) / np.sqrt(x.size)
    middle = np.median(x)
    low, high = np.exp([logs.mean() - wide, logs.mean() + wide])
    return float(min(low, middle)), float(max(high, middle))


def _medians(x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the medians of `_RESAMPLES` samples of x, each as large as x and drawn from it."""
    at_once = max(1, _ENTRIES // x.size)
    counts = np.diff([*range(0, _RESAMPLES, at_once), _RESAMPLES])
    return np.concatenate(
        [np.median(x[rng.integers(x.size, size=(count, x.size))], axis=1) for count in counts]
    )


def _bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high


def ratio(
    times: Sequence[float] | NDArray[np.float64], base: Sequence[float] | NDArray[np.float64]
) -> Estimate:
    """Return the estimate of ``times / base``, measured in pairs.

    The two of a pair are measured shortly after one another, so that a drift of the machine's speed
    meets both.

    Parameters
    ----------
    times, base : sequences of float, of equal length
        Seconds.
    """
    a, b = np.asarray(times, np.float64), np.asarray(base, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"times are measured in pairs, got {a.size} and {b.size}")
    return estimate(a / b)


def unpaired_ratio(
    times: Sequence[float] | NDArray[np.float64], base: Sequence[float] | NDArray[np.float64]
) -> Estimate:
    """Return the estimate of the ratio of two medians measured apart, as in two runs.

    Both samples are drawn anew, each by itself.
    """
    a, b = np.asarray(times, np.float64), np.asarray(base, np.float64)
    if a.size == 0 or b.size == 0:
        raise ValueError("there are no measurements to take the ratio of")
    rng = np.random.default_rng(_SEED)
    low, high = _bounds(_medians(a, rng) / _medians(b, rng))
    return Estimate(float(np.median(a) / np.median(b)), low, high, min(a.size, b.size))
