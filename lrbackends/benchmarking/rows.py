"""Rows of a comparison: a cell, and what was measured of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from lrbackends.benchmarking.cells import Cell
from lrbackends.benchmarking.statistics import Estimate, estimate, ratio, unpaired_ratio
from lrbackends.objective import Params

PEER = "peer:"
TIMES = (
    "import_time",
    "transfer_time",
    "compile_time",
    "first_fit",
    "warm_fit",
    "epoch_time",
    "new_shape_fit",
)
FINE = ("completed", "converged", "stalled", "early_stopped")  # statuses of a training that went on


@dataclass(frozen=True)
class Times:
    """Seconds, measured once or several times in each of several processes.

    Measurements of one process share its luck (where its memory lies, who else was running), so it
    is the processes that show how far a time can be trusted.

    Parameters
    ----------
    samples : tuple of tuple of float
        One inner tuple for each process.
    """

    samples: tuple[tuple[float, ...], ...]

    @cached_property
    def per_process(self) -> tuple[float, ...]:
        """Each process's median."""
        return tuple(statistics.median(process) for process in self.samples)

    @cached_property
    def estimate(self) -> Estimate:
        """The median of the processes' medians, with its bootstrap interval.

        With one process the interval is that of its own measurements.
        """
        return estimate(self.per_process if len(self.samples) > 1 else self.samples[0])

    @property
    def median(self) -> float:
        """The median over the processes of each one's median."""
        return self.estimate.median

    @property
    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of the median, 95 %."""
        return self.estimate.low, self.estimate.high

    @property
    def fastest(self) -> float:
        """The least of all measurements."""
        return min(map(min, self.samples))

    @property
    def slowest(self) -> float:
        """The greatest of all measurements."""
        return max(map(max, self.samples))


@dataclass(frozen=True)
class Row:
    """A cell and what became of it.

    Attributes
    ----------
    cell : Cell
    status : str
        One of `TrainingResult`'s, or "unavailable", "unsupported" (the backend does not cover the
        task) or "failed" (it raised, crashed or took too long).
    reason : str
        The status in a sentence.
    engine : str
        Engine and version, where known.
    """

    cell: Cell
    status: str
    reason: str
    engine: str

    @property
    def backend(self) -> str:
        """Name of the backend, or of the other library."""
        return self.cell.backend.removeprefix(PEER)

    @property
    def peer(self) -> bool:
        """Whether this is another library."""
        return self.cell.backend.startswith(PEER)


@dataclass(frozen=True)
class Measured(Row):
    """A cell that did all its fits, and what was measured.

    Attributes
    ----------
    rounds : tuple of int
        Number of the round that each process belonged to: processes of one round ran shortly after
        one another.
    import_time, transfer_time, compile_time, first_fit : Times
        Loading the engine in a fresh process, right after ``import lrbackends``; bringing the data
        to the engine and compiling, both within the first fit; that whole fit, checking of the data
        included. See `worker` for solvers that seek the optimum.
    warm_fit, epoch_time : Times
        The whole fit again, in the same process; its native steps alone, divided by its epochs.
    new_shape_fit : Times or None
        The first fit of one row less, after that: with what another shape costs.
    read_once : float
        Seconds to read X once, at best.
    loss, gradient_norm : float
        See `TrainingResult`; NaN where it was not computed.
    step_size : float
        The learning rate that was used; NaN where there is none.
    n_epochs, n_steps : int
    n_passes : float
        How often the rows were read; NaN where unknown.
    curve : tuple of (int, float)
        Epochs done and the objective then, the start included, thinned out.
    coef, intercept : tuples of shape (n_outputs, n_features) and (n_outputs,)
    test_accuracy : float or None
        On the rows set aside, if there are any.
    repeatable : bool
        Whether all fits, in all processes, gave the same bits.
    peak_memory, fit_memory : int or None
        Bytes, the largest over the processes: the most that was resident at a time; how much of it
        came during the first fit. None where the system does not tell.
    cores_busy : float
        Processor time over wall time of the warm fits.
    warnings : tuple of str
        What the trainer or the backend warned of.
    """

    rounds: tuple[int, ...]
    import_time: Times
    transfer_time: Times
    compile_time: Times
    first_fit: Times
    warm_fit: Times
    epoch_time: Times
    new_shape_fit: Times | None
    read_once: float
    loss: float
    gradient_norm: float
    step_size: float
    n_epochs: int
    n_steps: int
    n_passes: float
    curve: tuple[tuple[int, float], ...]
    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]
    test_accuracy: float | None
    repeatable: bool
    peak_memory: int | None
    fit_memory: int | None
    cores_busy: float
    warnings: tuple[str, ...] = ()

    @property
    def params(self) -> Params:
        """What was learnt, in float64."""
        return Params(np.array(self.coef), np.array(self.intercept))

    @cached_property
    def cold_fit(self) -> Times:
        """One fit in a fresh process: import and first fit."""
        pairs = zip(self.import_time.samples, self.first_fit.samples, strict=True)
        return Times(tuple((imported[0] + first[0],) for imported, first in pairs))

    def over(self, base: Measured, times: str = "warm_fit") -> Estimate | None:
        """Return the ratio of this row's times to another's, paired by rounds; None if none match.

        With one common round it is that of the processes' own measurements.

        Parameters
        ----------
        base : Measured
        times : str
            One of `TIMES`, or "cold_fit".
        """
        mine = dict(zip(self.rounds, getattr(self, times).per_process, strict=True))
        other = dict(zip(base.rounds, getattr(base, times).per_process, strict=True))
        both = sorted(mine.keys() & other.keys())
        if len(both) == 1:
            samples = (
                getattr(row, times).samples[row.rounds.index(both[0])] for row in (self, base)
            )
            return unpaired_ratio(*samples)
        return ratio([mine[r] for r in both], [other[r] for r in both]) if both else None


Answer = Mapping[str, Any]


def row_of(cell: Cell, engine: str, answers: Sequence[tuple[int, Answer]]) -> Row:
    """Put the answers of a cell's processes together.

    Parameters
    ----------
    cell : Cell
    engine : str
    answers : sequence of (round, answer), at least one
        In the order in which they were given; see `worker`.
    """
    found = [answer for _, answer in answers]
    last = found[-1]
    if "warm" not in last:
        late = f" (in round {len(found)})" if len(found) > 1 else ""
        return Row(cell, last["status"], last["reason"] + late, engine)

    def times(key: str) -> Times:
        return Times(
            tuple(tuple(v) if isinstance(v := a[key], list) else (float(v),) for a in found)
        )

    def greatest(key: str) -> int | None:
        return max((a[key] for a in found if a[key] is not None), default=None)

    return Measured(
        cell=cell,
        status=last["status"],
        reason=last["reason"],
        engine=engine,
        rounds=tuple(r for r, _ in answers),
        import_time=times("import"),
        transfer_time=times("transfer"),
        compile_time=times("compile"),
        first_fit=times("first"),
        warm_fit=times("warm"),
        epoch_time=times("epoch"),
        new_shape_fit=None if any(a["new_shape"] is None for a in found) else times("new_shape"),
        read_once=min(a["read_once"] for a in found),
        loss=last["loss"],
        gradient_norm=last["gradient_norm"],
        step_size=last["learning_rate"],
        n_epochs=last["n_epochs"],
        n_steps=last["n_steps"],
        n_passes=last["n_passes"],
        curve=tuple((int(k), float(loss)) for k, loss in last["curve"]),
        coef=tuple(tuple(map(float.fromhex, values)) for values in last["coef"]),
        intercept=tuple(map(float.fromhex, last["intercept"])),
        test_accuracy=None,
        repeatable=all(
            a["repeatable"] and (a["coef"], a["intercept"]) == (last["coef"], last["intercept"])
            for a in found
        ),
        peak_memory=greatest("peak_memory"),
        fit_memory=greatest("fit_memory"),
        cores_busy=float(np.median([a["cores_busy"] for a in found])),
        warnings=tuple(last["warnings"]),
    )


_CELL = tuple(field.name for field in fields(Cell) if field.name != "settings")


def flat(row: Row) -> dict[str, Any]:
    """Return the row as one flat record: cell, settings, figures; times as `Times` summaries."""
    cell = asdict(row.cell)
    record = {**cell, **cell.pop("settings")}
    del record["settings"]
    rest = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "cell"}
    for name in TIMES:
        value = rest.get(name)
        if isinstance(value, Times):
            e = value.estimate
            rest[name] = {
                "median": e.median,
                "low": e.low,
                "high": e.high,
                "samples": value.samples,
            }
    return record | rest
