"""Timing in turns: what is compared is called alternately, so that drift of the machine hits all.

The times are handed to pytest-benchmark afterwards, by `replay`, under the clock `replayed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrbackends.benchmarking.statistics import ratio

Turn = Callable[[], float]  # does something and returns its seconds
PAUSE = 0.1  # until the threads of the one before, of BLAS or of OpenMP, no longer spin
_BURST = 5e-3
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
    """Return the median ratio of times measured in turn, between the bounds of its interval."""
    found = ratio(times, base)
    return [float(f"{v:.4g}") for v in (found.low, found.median, found.high)]


def rounds_for(seconds: float, *, smoke: bool, least: int = 3, most: int = 15) -> int:
    """Return rounds that take about a second."""
    return 2 if smoke else int(min(most, max(least, 1 / max(seconds, 1e-9))))


def repeats_for(seconds: float, burst: float) -> int:
    """Return how often to call in a row, so that it takes ``burst`` seconds."""
    return int(min(1_000, max(1, burst / max(seconds, 1e-9))))


def once(call: Callable[[], object]) -> Turn:
    """Return the turn of calling once."""
    return lambda: _seconds(call, 1)


def take_turns(
    turns: Mapping[str, Turn], rounds: int, *, pause: float = 0.0
) -> dict[str, list[float]]:
    """Return the seconds of each turn in each of the rounds, with a pause before each."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            time.sleep(pause)
            times[name].append(turn())
    return times


def in_turn(
    calls: Mapping[str, Callable[[], object]], *, smoke: bool, pause: float = 0.0
) -> dict[str, list[float]]:
    """Return the seconds of each call, warm, in each of the rounds.

    In its turn each is called once untimed, for the caches, and then timed for five milliseconds.
    """
    first = {name: _seconds(call, 1) for name, call in calls.items()}
    first = {name: min(first[name], _seconds(call, 1)) for name, call in calls.items()}
    repeats = {name: repeats_for(first[name], _BURST) for name in calls}
    spent = sum(first[name] * (repeats[name] + 1) for name in calls)

    def turn(name: str) -> float:
        calls[name]()
        return _seconds(calls[name], repeats[name])

    turns = {name: lambda name=name: turn(name) for name in calls}
    return take_turns(turns, rounds_for(spent, smoke=smoke, least=5), pause=pause)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats
