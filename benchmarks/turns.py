"""Timing in turns: what is compared is called alternately, so that drift of the machine hits all.

The times are handed to pytest-benchmark afterwards, by `replay`, under the clock `replayed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

_now = 0.0


def replayed() -> float:
    """Return the time that `replay` has come to: a clock for ``benchmark(timer=...)``."""
    return _now


def replay(benchmark: Any, seconds: Sequence[float]) -> None:
    """Give pytest-benchmark times that have been measured; its clock has to be `replayed`."""
    rest = iter(seconds)

    def one_round() -> None:
        global _now
        _now += next(rest)

    benchmark.pedantic(one_round, rounds=len(seconds), iterations=1)


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return eighth, half and seven eighths of the ratios of times measured in turn."""
    each = [a / b for a, b in zip(times, base, strict=True)]
    if len(each) == 1:
        each *= 2
    low, *_, high = quantiles(each, n=8)
    return [float(f"{v:.4g}") for v in (low, median(each), high)]


def rounds_for(seconds: float, *, smoke: bool, least: int = 3, most: int = 15) -> int:
    """Return rounds that take about a second."""
    return 2 if smoke else int(min(most, max(least, 1 / max(seconds, 1e-9))))


def repeats_for(seconds: float, burst: float) -> int:
    """Return how often to call in a row, so that it takes ``burst`` seconds."""
    return int(min(1_000, max(1, burst / max(seconds, 1e-9))))


_BURST = 5e-3


def in_turn(calls: Mapping[str, Callable[[], object]], *, smoke: bool) -> dict[str, list[float]]:
    """Return the seconds of each call, warm, in each of the rounds.

    In its turn each is called once untimed, for the caches, and then timed for five milliseconds.
    """
    first = {name: _seconds(call, 1) for name, call in calls.items()}
    first = {name: min(first[name], _seconds(call, 1)) for name, call in calls.items()}
    repeats = {name: repeats_for(first[name], _BURST) for name in calls}
    spent = sum(first[name] * (repeats[name] + 1) for name in calls)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds_for(spent, smoke=smoke, least=5)):
        for name, call in calls.items():
            call()
            times[name].append(_seconds(call, repeats[name]))
    return times


def _seconds(call: Callable[[], object], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats
