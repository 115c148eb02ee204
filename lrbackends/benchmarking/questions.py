"""The fifteen questions that a comparison has to answer, in words and in data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lrbackends._units import seconds
from lrbackends.benchmarking.advice import (
    candidates,
    count,
    level,
    ranked,
    ranking,
    unsteady,
    words,
)
from lrbackends.benchmarking.agreement import allowance, worse
from lrbackends.benchmarking.cells import CACHES, COMPILES, GAP
from lrbackends.benchmarking.crossover import Crossing, Payback, crossings, paybacks, totals
from lrbackends.benchmarking.rows import Measured
from lrbackends.benchmarking.statistics import MARGIN, Estimate

if TYPE_CHECKING:
    from lrbackends.benchmarking.comparison import Comparison

_MB = 1e6
_LARGE = 20 * _MB  # below this a process's own buffers and code hide what a fit copies
_NEAR_FINAL = 1.01  # of the objective: when training is as good as done


@dataclass(frozen=True)
class Answer:
    """A question and what was found.

    Attributes
    ----------
    number : int
    question : str
    text : str
        The answer in words; says which variation measures it where none did.
    data : mapping
        The figures behind it, as plain values; empty where nothing was measured.
    """

    number: int
    question: str
    text: str
    data: Mapping[str, Any]


def answers(comparison: Comparison) -> tuple[Answer, ...]:
    """Return the answers to all fifteen questions, in order."""
    found = []
    for number, (question, answer) in enumerate(_QUESTIONS, 1):
        text, data = answer(comparison) if comparison.measured else ("No backend trained.", {})
        found.append(Answer(number, question, text, data))
    return tuple(found)


_Found = tuple[str, dict[str, Any]]


def _not_measured(variation: str) -> _Found:
    return f"Not measured; vary={variation!r} measures it.", {}


def _numbers(of: Estimate) -> dict[str, float]:
    return {"median": of.median, "low": of.low, "high": of.high}


def _ratio(of: Estimate) -> str:
    """Return a ratio with its interval, as few digits as say it."""
    if of.n == 1:
        return f"{of.median:.3g}"
    return f"{of.median:.3g} ({of.low:.3g}–{of.high:.3g})"


# -- 1, 2: the fastest backend, and where that changes


def _fastest(comparison: Comparison) -> _Found:
    rows, left_out = candidates(comparison)
    if not rows:
        return f"None: {'; '.join(left_out)}.", {}
    data = {
        times: {
            row.backend: {
                "seconds": getattr(row, times).median,
                "over_fastest": _numbers(over),
                "verdict": over.verdict,
            }
            for row, over in ranked(rows, times)
        }
        for times in ("warm_fit", "cold_fit")
    }
    text = (
        f"For {comparison.n_samples:,} rows of {comparison.n_features:,} features "
        f"({comparison.settings.line()}): {ranking(rows, 'warm_fit')}. In a fresh process: "
        f"{ranking(rows, 'cold_fit')}."
    )
    return text + (f" Left out: {'; '.join(left_out)}." if left_out else ""), data


def of_sizes(comparison: Comparison) -> list[Measured]:
    """Return the rows of all sizes, the data's own included, one task each but for its epochs."""
    wanted = replace(comparison.varied, epochs=0)
    rows = [
        row
        for row in comparison.rows
        if isinstance(row, Measured)
        and row.cell.threads is None
        and row.cell.cache == "usual"
        and replace(row.cell.settings, epochs=0) == wanted
        # Large data have two base tasks: as asked, and with fewer epochs.
        and (row.cell.n_samples != comparison.n_samples or row.cell.settings == comparison.varied)
    ]
    return sorted(rows, key=lambda row: row.cell.n_samples)


def _crossovers(comparison: Comparison) -> _Found:
    rows, left_out = _of_all_sizes(of_sizes(comparison))
    sizes = sorted({row.cell.n_samples for row in rows})
    if len(sizes) < 2:
        return _not_measured("size")
    epochs = comparison.settings.epochs
    data: dict[str, Any] = {"sizes": sizes, "epochs": epochs}
    parts = []
    for what, cold in (("Warm", False), ("In a fresh process", True)):
        found = crossings(rows, epochs, cold=cold)
        data["cold" if cold else "warm"] = [asdict(c) for c in found]
        parts.append(f"{what}: {_crossing_words(found, rows, epochs, cold)}.")
    what = f"{epochs:,} epochs" if comparison.settings.first_order else "whole fits"
    between = f"Measured from {sizes[0]:,} to {sizes[-1]:,} rows, for {what}."
    tail = f" Left out, not trained as well at every size: {words(left_out)}." if left_out else ""
    return f"{' '.join(parts)} {between}{tail}", data


def _of_all_sizes(rows: Sequence[Measured]) -> tuple[list[Measured], list[str]]:
    """Return the rows of the backends that are right at every size, and the others' names."""
    groups: dict[int, list[Measured]] = {}
    for row in rows:
        if row.status != "diverged":
            groups.setdefault(row.cell.n_samples, []).append(row)
    names = {row.backend for row in rows}
    right = {n: [row for row in of if row not in worse(of)] for n, of in groups.items()}
    everywhere = names.intersection(*({row.backend for row in of} for of in right.values()))
    kept = [row for of in right.values() for row in of if row.backend in everywhere]
    return kept, sorted(names - everywhere)


def _crossing_words(
    found: Sequence[Crossing], rows: Sequence[Measured], epochs: int, cold: bool
) -> str:
    if not found:
        smallest = min(row.cell.n_samples for row in rows)
        here = [row for row in rows if row.cell.n_samples == smallest]
        best = min(here, key=lambda row: statistics.median(totals(row, epochs, cold)))
        return f"{best.backend} at every size" if len(here) > 1 else f"only {best.backend} trained"
    text = found[0].below
    for c in found:
        text += f", {c.above} from {count(c.n)} rows on ({count(c.low)}–{count(c.high)})"
    return text


# -- 3 to 6: what the first time costs


def _parts(comparison: Comparison) -> _Found:
    data = {
        row.backend: {
            name: _numbers(getattr(row, f"{name}_{kind}").estimate) for name, kind in _PARTS
        }
        for row in comparison.measured
    }
    text = "; ".join(
        f"{row.backend}: import {seconds(row.import_time.median)}, data to the engine "
        f"{seconds(row.transfer_time.median)}, compile {seconds(row.compile_time.median)}, first "
        f"fit {seconds(row.first_fit.median)}, warm fit {seconds(row.warm_fit.median)}"
        for row in comparison.measured
    )
    return f"{text}.", data


_PARTS = (
    ("import", "time"),
    ("transfer", "time"),
    ("compile", "time"),
    ("first", "fit"),
    ("warm", "fit"),
    ("epoch", "time"),
)


def _paybacks(comparison: Comparison) -> _Found:
    found = paybacks(candidates(comparison)[0])
    if not found:
        return "It takes two backends to tell.", {}
    text = "; ".join(_payback_words(p) for p in found)
    return f"{text}.", {p.dear: asdict(p) for p in found}


def _payback_words(p: Payback) -> str:
    if p.extra <= 0:
        return f"{p.dear} costs no more to start than {p.cheap}"
    if not p.first_order:
        then = "never pays back"
        if math.isfinite(p.fits):
            then = f"pays back after {count(p.fits)} fits like this one"
        return f"{p.dear} costs {seconds(p.extra)} more to start than {p.cheap}: {then}"
    costs = f"{p.dear} costs {seconds(p.extra)} more to start than {p.cheap}"
    after = []
    if math.isfinite(p.epochs):
        interval = f"({count(p.epochs_low)}–{count(p.epochs_high)})"
        after.append(f"{count(p.epochs)} epochs {interval} of one fit")
    if math.isfinite(p.fits):
        after.append(f"{count(p.fits)} fits like this one")
    if not after:
        return f"{costs} and saves nothing per epoch: never"
    return f"{costs}: pays back after about {', or '.join(after)}"


def _disk_cache(comparison: Comparison) -> _Found:
    rows = {
        (row.backend, cache): row
        for cache in CACHES
        for row in comparison.select(settings=comparison.varied, cache=cache)
    }
    cached = list(dict.fromkeys(name for name, cache in rows if cache != "usual"))
    if not cached:
        compiling = [row for row in comparison.measured if row.compile_time.median > COMPILES]
        return _not_measured("cache") if compiling else ("No backend compiles here.", {})
    cheap = [row for (name, cache), row in rows.items() if cache == "usual" and name not in cached]
    data: dict[str, Any] = {}
    parts = []
    for name in cached:
        of = {cache: rows[name, cache] for cache in CACHES if (name, cache) in rows}
        paid = {
            cache: p for cache, row in of.items() for p in paybacks([row, *cheap]) if p.dear == name
        }
        data[name] = {
            "compile": {cache: _numbers(row.compile_time.estimate) for cache, row in of.items()},
            "payback": {cache: asdict(p) for cache, p in paid.items()},
        }
        took = {cache: seconds(row.compile_time.median) for cache, row in of.items()}
        text = ", ".join(f"{took[cache]} {how}" for cache, how in _CACHED.items() if cache in took)
        if "empty" in paid and "filled" in paid:
            text += (
                f"; against {paid['empty'].cheap} it pays back after {count(paid['empty'].epochs)} "
                f"epochs without, {count(paid['filled'].epochs)} with a cache"
            )
        parts.append(f"{name} compiles {text}.")
    return " ".join(parts), data


_CACHED = {
    "empty": "without a cache",
    "filled": "with a filled one",
    "usual": "as it is set here",
}


def _new_shape(comparison: Comparison) -> _Found:
    rows = [row for row in comparison.measured if row.new_shape_fit is not None]
    if not rows:
        return "Not measured: there are too few rows to leave one out.", {}
    data: dict[str, Any] = {}
    parts = []
    for row in rows:
        assert row.new_shape_fit is not None
        extra = row.new_shape_fit.median - row.warm_fit.median
        data[row.backend] = {
            "fit": _numbers(row.new_shape_fit.estimate),
            "extra": max(0.0, extra),
        }
        costs = extra > max(row.warm_fit.interval[1] - row.warm_fit.interval[0], 0) and (
            extra > MARGIN * row.warm_fit.median
        )
        parts.append(f"{row.backend} {seconds(extra) if costs else 'nothing'}")
    return f"One row less, in a process that has trained, costs more by: {', '.join(parts)}.", data


# -- 7 to 9: threads, memory, types


def _changed(
    comparison: Comparison, rows: Sequence[Measured]
) -> list[tuple[Measured, Measured, Estimate]]:
    """Return (row, its base, ratio of times) for rows that vary the base."""
    times = "epoch_time" if comparison.settings.first_order else "warm_fit"
    base = {row.backend: row for row in comparison.select(settings=comparison.varied)}
    found = []
    for row in rows:
        over = row.over(base[row.backend], times) if row.backend in base else None
        if over is not None:
            found.append((row, base[row.backend], over))
    return found


def _what(comparison: Comparison) -> str:
    return "An epoch" if comparison.settings.first_order else "A warm fit"


def _threads(comparison: Comparison) -> _Found:
    one = comparison.select(settings=comparison.varied, threads=1)
    if not one:
        cores = comparison.machine.cores
        only = "This process may use one core only."
        return (only, {}) if cores == 1 else _not_measured("threads")
    data: dict[str, Any] = {}
    parts = []
    for row, base, over in _changed(comparison, one):
        same = (row.coef, row.intercept) == (base.coef, base.intercept)
        data[row.backend] = {
            "one_over_all": _numbers(over),
            "verdict": over.verdict,
            "cores_busy": base.cores_busy,
            "same_bits": same,
        }
        what = {"tie": "no difference", "slower": "slower", "faster": "faster"}[over.verdict]
        parts.append(
            f"{row.backend} {what}" + ("" if what == "no difference" else f", {_ratio(over)} times")
        )
    if not data:
        return "One core was not measured beside all of them.", {}
    bits = all(d["same_bits"] for d in data.values())
    return (
        f"{_what(comparison)} on one core against all {comparison.machine.cores}: "
        f"{'; '.join(parts)}. "
        f"{'The same bits' if bits else 'NOT the same bits'} on one core and on all.",
        data,
    )


def _memory(comparison: Comparison) -> _Found:
    size = comparison.data_bytes
    data: dict[str, Any] = {}
    parts = []
    for row in comparison.measured:
        if row.peak_memory is None or row.fit_memory is None:
            continue
        data[row.backend] = {
            "peak": row.peak_memory,
            "fit": row.fit_memory,
            "data": size,
            "fit_over_data": row.fit_memory / max(1, size),
        }
        parts.append(
            f"{row.backend} {row.peak_memory / _MB:.0f} MB, {row.fit_memory / _MB:.0f} of them "
            "during the first fit"
        )
    if not data:
        return "This system does not tell.", {}
    largest = max((row.cell.n_samples for row in of_sizes(comparison)), default=0)
    tail = ""
    if largest > comparison.n_samples:
        tail, found = _copies(comparison, largest)
        data |= {"largest": found} if found else {}
    return f"{'; '.join(parts)} (X has {size / _MB:.3g} MB).{tail}", data


def _copies(comparison: Comparison, n: int) -> tuple[str, dict[str, Any]]:
    """Return how much a fit takes on top of X where X is largest: code no longer hides copies."""
    size = comparison.data_bytes / comparison.n_samples * n
    if size < _LARGE:
        return "", {}
    rows = [row for row in of_sizes(comparison) if row.cell.n_samples == n]
    times = {row.backend: (row.fit_memory or 0) / size for row in rows}
    shown = ", ".join(f"{name} {value:.2g}" for name, value in times.items())
    return (
        f" With {n:,} rows ({size / _MB:.3g} MB) the first fit takes so many times X: {shown}.",
        {"n_samples": n, "data": size, "fit_over_data": times},
    )


def _types(comparison: Comparison) -> _Found:
    wide = comparison.settings.dtype == "float64"
    other = "float32" if wide else "float64"
    wanted = replace(comparison.varied, dtype=other)
    rows = comparison.select(settings=wanted)
    if not rows:
        tried = {row.reason for row in comparison.rows if row.cell.settings == wanted}
        return (f"None in {other}: {'; '.join(tried)}.", {}) if tried else _not_measured("dtype")
    data: dict[str, Any] = {}
    parts = []
    for row, base, over in _changed(comparison, rows):
        narrow, full = (row, base) if wide else (base, row)
        loss = abs(narrow.loss - full.loss) / abs(full.loss) if full.loss else math.nan
        apart = _relative(narrow, full)
        data[row.backend] = {
            f"{other}_over_{comparison.settings.dtype}": _numbers(over),
            "verdict": over.verdict,
            "loss_relative_difference": loss,
            "params_relative_difference": apart,
            "test_accuracy": [narrow.test_accuracy, full.test_accuracy],
        }
        gain = "no difference in time" if over.verdict == "tie" else f"{_ratio(over)} of the time"
        parts.append(
            f"{row.backend} {gain}, loss off by {loss:.1g}, parameters by {apart:.1g} (relative)"
        )
    return (
        f"{_what(comparison)} in {other} against {comparison.settings.dtype}: {'; '.join(parts)}.",
        data,
    )


def _relative(a: Measured, b: Measured) -> float:
    from lrbackends.backends.protocol import pack
    from lrbackends.equivalence.figures import relative_norm

    return relative_norm(pack(a.params), pack(b.params))


# -- 10, 11: agreement and accuracy


def _apart(comparison: Comparison) -> _Found:
    data: dict[str, Any] = {
        "tasks": [
            {
                "n_samples": a.n_samples,
                "settings": a.settings.line(),
                "distances": [asdict(d) for d in a.distances],
                "within_contract": not a.disagreements(),
            }
            for a in comparison.agreements
        ],
        "unsteady": unsteady(comparison),
    }
    if not any(a.between() for a in comparison.agreements):
        return "There is nothing to compare.", data
    pairs = [(d, a) for a in comparison.agreements if a.settings.first_order for d in a.between()]
    if not pairs:
        spread = max(d.relative for a in comparison.agreements for d in a.between())
        return (
            f"Parameters by at most {spread:.1g} (relative norm): solvers that seek the optimum "
            "stop at different points near it, and are judged by the objective.",
            data,
        )
    worst, task = max(pairs, key=lambda pair: pair[0].max_ulp)
    if worst.max_ulp == 0:
        return "Not at all: every parameter has the same bits on all backends.", data
    exact = [a for a in comparison.agreements if a.settings.arithmetic == "reproducible"]
    tail = (
        " In the reproducible arithmetic: by no bit."
        if exact and all(d.max_ulp == 0 for a in exact for d in a.between())
        else ""
    )
    return (
        f"Farthest at {worst.where}, {worst.max_ulp:.3g} ULP between {worst.a} and {worst.b} "
        f"({task.n_samples:,} rows, {task.settings.dtype}); medians at most "
        f"{max(d.median_ulp for d, _ in pairs):.3g} ULP. Sums are taken in another order and "
        f"rounded on the way; small parameters show it most.{tail}",
        data,
    )


def _reached(comparison: Comparison) -> _Found:
    rows = comparison.trained
    if not rows:
        return "No backend trained to the end.", {}
    losers = worse(rows)
    spread = allowance(comparison.settings)
    data: dict[str, Any] = {
        "loss": {row.backend: row.loss for row in rows},
        "status": {row.backend: row.status for row in comparison.measured},
        "allowed_relative_difference": spread,
        "seconds_to_loss": {},
    }
    final = min((row.loss for row in rows if math.isfinite(row.loss)), default=math.nan)
    text = (
        f"No: {words([row.backend for row in losers])} ended higher than {final:.9g}. "
        if losers
        else f"Yes: {final:.9g}, equal within rounding. "
        if comparison.settings.first_order
        else f"Yes: {final:.9g}, within the gap that was asked for. "
    )
    for row in rows:
        steps = next((k for k, loss in row.curve if loss <= _NEAR_FINAL * final), None)
        if steps is not None and row.n_epochs:
            data["seconds_to_loss"][row.backend] = (
                float(row.warm_fit.median - row.n_epochs * row.epoch_time.median)
                + steps * row.epoch_time.median
            )
    if data["seconds_to_loss"]:
        shown = ", ".join(f"{b} {seconds(max(0.0, t))}" for b, t in data["seconds_to_loss"].items())
        text += f"Warm, to within 1 % of it: {shown}. "
    optimum = [r for r in optimal(comparison) if not r.peer and r.status == "converged"]
    if optimum:
        data["seconds_to_optimum"] = {row.backend: row.warm_fit.median for row in optimum}
        shown = ", ".join(f"{row.backend} {seconds(row.warm_fit.median)}" for row in optimum)
        text += f"To within {GAP:g} of the optimum by solver auto: {shown}."
    return text.strip(), data


def optimal(comparison: Comparison) -> list[Measured]:
    """Return the rows of whole fits to the optimum, other libraries' included."""
    return [
        row
        for row in comparison.rows
        if isinstance(row, Measured)
        and row.cell.settings.solver == "auto"
        and row.cell.settings.gap == GAP
    ]


# -- 12 to 15


def _peers(comparison: Comparison) -> _Found:
    rows = optimal(comparison)
    theirs = [row for row in rows if row.peer and row.status == "converged"]
    ours = [row for row in rows if not row.peer and row.status == "converged"]
    if not any(row.peer for row in rows):
        if not comparison.settings.l2:
            return "Without a penalty there is no optimum to reach for certain: give an l2.", {}
        return _not_measured("optimum")
    if not theirs or not ours:
        return "Not all reached the optimum, so times cannot be compared.", {}
    best = min(theirs, key=lambda row: row.warm_fit.median)
    data: dict[str, Any] = {}
    parts = []
    for row in ours:
        over = row.over(best)
        if over is None:
            continue
        data[row.backend] = {"over_peer": _numbers(over), "verdict": over.verdict}
        parts.append(
            f"{row.backend} a tie"
            if over.verdict == "tie"
            else f"{row.backend} {_ratio(over)} of its time"
        )
    data["peers"] = {row.backend: row.warm_fit.median for row in theirs}
    return (
        f"To within {GAP:g} of the same optimum, warm, its best ({best.backend.split()[-1]}, with "
        "the loosest tolerance that gets there) takes "
        f"{seconds(best.warm_fit.median)}: {', '.join(parts)}.",
        data,
    )


def _noise(comparison: Comparison) -> _Found:
    rows, _ = candidates(comparison)
    processes = min(len(row.rounds) for row in comparison.measured)
    spread = [
        (row.warm_fit.interval[1] - row.warm_fit.interval[0]) / (2 * row.warm_fit.median)
        for row in comparison.measured
    ]
    data: dict[str, Any] = {
        "relative_half_width": {
            row.backend: s for row, s in zip(comparison.measured, spread, strict=True)
        },
        "processes": processes,
        "margin": MARGIN,
    }
    if len(rows) < 2:
        return "There is no difference to judge.", data
    verdicts = []
    for times, what in (("warm_fit", "Warm"), ("cold_fit", "cold")):
        tied = [row.backend for row in level(rows, times)]
        verdicts.append(
            f"{what}, {words(tied)} are level" if len(tied) > 1 else f"{what}, {tied[0]} is ahead"
        )
    return (
        f"{'; '.join(verdicts)}. The median of {processes} processes is known "
        f"to within {100 * max(spread):.2g} % at worst; a difference inside the interval, or below "
        f"{100 * MARGIN:g} %, is called a tie.",
        data,
    )


def _machine(comparison: Comparison) -> _Found:
    return f"{comparison.machine.line()}.", asdict(comparison.machine)


def _code(comparison: Comparison) -> _Found:
    lines = dict(comparison.lines_of_code)
    if not lines:
        return "The source is not at hand.", {}
    shown = ", ".join(f"{name} {n:,} lines" for name, n in lines.items())
    return f"{shown} of its own, without comments and docstrings.", lines


_QUESTIONS: tuple[tuple[str, Callable[[Comparison], _Found]], ...] = (
    ("Which backend is fastest for this work?", _fastest),
    ("Where do they cross over, and how sure is that?", _crossovers),
    ("What do import, compile, first and warm fit cost, apart?", _parts),
    ("After how many epochs or fits does compiling pay back?", _paybacks),
    ("Does that change with a disk cache?", _disk_cache),
    ("What does a new shape cost?", _new_shape),
    ("One thread against all?", _threads),
    ("How much memory, and how many copies?", _memory),
    ("What does float32 gain and lose?", _types),
    ("How far do backends disagree, where, and why?", _apart),
    ("Did all reach the same loss, and how soon?", _reached),
    ("And against scikit-learn?", _peers),
    ("Is the difference above the noise?", _noise),
    ("On which machine, BLAS and versions?", _machine),
    ("How much code is each?", _code),
)
