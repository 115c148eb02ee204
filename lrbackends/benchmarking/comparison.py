"""What a comparison found: each backend's measurements, and how far the results are apart."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrbackends.benchmarking.distance import MEASURES, REFERENCE, Distance
from lrbackends.benchmarking.machine import Machine

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
TIMES = ("import_time", "compile_time", "first_fit", "warm_fit", "epoch_time")
_DERIVED = ("median", "interval", "fastest", "slowest")
_FIGURES = (
    "loss",
    "gradient_norm",
    "test_accuracy",
    "peak_memory",
    "memory_growth",
    "cores_busy",
    "repeatable",
)


@dataclass(frozen=True)
class Times:
    """Seconds, measured once or several times in each of several processes.

    Parameters
    ----------
    samples : tuple of tuple of float
        One inner tuple for each process.
    """

    samples: tuple[tuple[float, ...], ...]

    @property
    def _per_process(self) -> list[float]:
        return [statistics.median(process) for process in self.samples]

    @property
    def median(self) -> float:
        """The median over the processes of each one's median."""
        return statistics.median(self._per_process)

    @property
    def interval(self) -> tuple[float, float]:
        """The range of the processes' medians; with one process that of its middle half.

        Measurements of one process share its luck (where its memory lies, who else was running),
        so it is the processes that show how far a time can be trusted.
        """
        if len(self.samples) > 1:
            return min(self._per_process), max(self._per_process)
        low, high = np.quantile(self.samples[0], [0.25, 0.75]).tolist()
        return low, high

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
    """A backend and what became of it.

    Attributes
    ----------
    backend : str
    status : str
        One of `TrainingResult`'s, or "unavailable", "unsupported" (it does not cover the problem)
        or "failed" (it raised, crashed or took too long).
    reason : str
        The status in a sentence.
    engine : str
        Engine and version, where known.
    """

    backend: str
    status: str
    reason: str
    engine: str


@dataclass(frozen=True)
class Measured(Row):
    """A backend that did all its fits, and what was measured.

    Attributes
    ----------
    import_time, compile_time, first_fit : Times
        Loading the engine in a fresh process, right after ``import lrbackends``; compiling within
        the first fit; that whole fit, checking of the data and compiling included.
    warm_fit, epoch_time : Times
        The whole fit again, in the same process; its native steps alone, divided by its epochs.
    loss, gradient_norm : float
        See `TrainingResult`; NaN where it was not computed.
    learning_rate : float
    n_epochs, n_steps : int
    coef, intercept : tuples of shape (n_outputs, n_features) and (n_outputs,)
    test_accuracy : float or None
        On the rows set aside, if there are any.
    repeatable : bool
        Whether all fits, in all processes, gave the same bits.
    peak_memory, memory_growth : int or None
        Bytes, the largest over the processes: the most that was resident at a time, and by how much
        that exceeds the most up to the point where the engine was imported and the data loaded.
        None where the system does not tell.
    cores_busy : float
        Processor time over wall time of the warm fits.
    warnings : tuple of str
        What the trainer or the backend warned of.
    """

    import_time: Times
    compile_time: Times
    first_fit: Times
    warm_fit: Times
    epoch_time: Times
    loss: float
    gradient_norm: float
    learning_rate: float
    n_epochs: int
    n_steps: int
    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]
    test_accuracy: float | None
    repeatable: bool
    peak_memory: int | None
    memory_growth: int | None
    cores_busy: float
    warnings: tuple[str, ...] = ()

    @property
    def cold_fit(self) -> Times:
        """One fit in a fresh process: import and first fit."""
        pairs = zip(self.import_time.samples, self.first_fit.samples, strict=True)
        return Times(tuple((imported[0] + first[0],) for imported, first in pairs))


@dataclass(frozen=True)
class Settings:
    """What each backend was asked to do; see `Trainer`."""

    solver: str = "gd"
    epochs: int = 1000
    l2: float = 1e-3
    batch_size: int | None = None
    learning_rate: float | None = None
    dtype: str = "float64"
    random_state: int = 0

    def line(self) -> str:
        """Return the settings in one line."""
        batches = "full batch" if self.batch_size is None else f"batches of {self.batch_size}"
        rate = "1/L" if self.learning_rate is None else f"{self.learning_rate:g}"
        if self.learning_rate is None and self.solver == "adam":
            rate = "adam's default"
        return (
            f"{self.solver}, {self.epochs:,} epochs, {batches}, step {rate}, l2 {self.l2:g}, "
            f"{self.dtype}"
        )


@dataclass(frozen=True)
class Comparison:
    """Several backends doing the same training: what it cost, and whether they agree.

    Attributes
    ----------
    name : str
        Of the data.
    n_samples, n_features, n_test : int
    settings : Settings
    rounds : int
        Fresh processes per backend.
    rows : tuple of Row
        One for each backend.
    distances : tuple of Distance
        Of each pair of trained backends, and of each one to the reference if there is one.
    reference : str
        How the reference was computed, or why there is none.
    machine : Machine
    """

    name: str
    n_samples: int
    n_features: int
    n_test: int
    settings: Settings
    rounds: int
    rows: tuple[Row, ...]
    distances: tuple[Distance, ...]
    reference: str
    machine: Machine

    def __getitem__(self, backend: str) -> Row:
        """Return the row of that backend."""
        for row in self.rows:
            if row.backend == backend:
                return row
        raise KeyError(backend)

    @property
    def trained(self) -> tuple[Measured, ...]:
        """The rows of the backends that trained a model."""
        return tuple(r for r in self.rows if isinstance(r, Measured) and r.status != "diverged")

    def to_reference(self, backend: str) -> Distance | None:
        """Return how far the backend is from the reference, None without one."""
        for d in self.distances:
            if (d.a, d.b) == (backend, REFERENCE):
                return d
        return None

    def to_others(self, backend: str) -> Distance | None:
        """Return the worst of each distance between the backend and the others, None if alone."""
        found = [d for d in self.distances if backend in (d.a, d.b) and d.b != REFERENCE]
        if not found:
            return None
        return Distance(
            backend,
            "the others",
            max(d.median_ulp for d in found),
            max(d.max_ulp for d in found),
            max(d.relative for d in found),
            max(d.labels for d in found),
        )

    @property
    def agree(self) -> bool:
        """Whether all trained backends are within the contract of the fast arithmetic.

        Each pair of them, and each of them and the reference, must be at most 4 ULP (median over
        the parameters) and 2e-15 relative (norm) apart, and no predicted label may differ. ULP are
        those of the type computed in, and the relative limit grows with its eps: in float32 it is
        2e-15 * 2**29 = 1.07e-6. False if there was nothing to compare.
        """
        return bool(self.distances) and not self.disagreements()

    def disagreements(self) -> tuple[Distance, ...]:
        """Return the distances that exceed the contract of `agree`."""
        return tuple(d for d in self.distances if not d.within(self.settings.dtype))

    def verdict(self) -> str:
        """Return in words whether the backends agree."""
        from lrbackends.benchmarking.advice import verdict

        return verdict(self)

    def recommend(self) -> str:
        """Return in words which backend to use for one fit, which for many, and why.

        A backend that failed, or whose final loss is worse than another's, is never recommended.
        Backends whose intervals (see `Times.interval`) overlap the fastest one's are called level.
        """
        from lrbackends.benchmarking.advice import recommend

        return recommend(self)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row per backend; times in seconds, memory in bytes."""
        import pandas as pd

        return pd.DataFrame([self._flat(row) for row in self.rows]).set_index("backend")

    def _flat(self, row: Row) -> dict[str, Any]:
        flat: dict[str, Any] = {"backend": row.backend, "status": row.status}
        if isinstance(row, Measured):
            flat |= {field: getattr(row, field).median for field in TIMES}
            flat |= {"warm_fit_min": row.warm_fit.fastest, "warm_fit_max": row.warm_fit.slowest}
            flat |= {field: getattr(row, field) for field in _FIGURES}
        for label, distance in (
            ("others", self.to_others(row.backend)),
            ("reference", self.to_reference(row.backend)),
        ):
            if distance is not None:
                flat |= {f"{m}_to_{label}": getattr(distance, m) for m in MEASURES}
        return flat | {"engine": row.engine, "reason": row.reason}

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the comparison as JSON, and write it to ``path`` if given.

        The object has the attributes of `Comparison` under their names, nested as they are; all
        numbers are exact, and null stands for what was not measured or is not finite::

            schema       1
            name, n_samples, n_features, n_test, rounds, reference
            settings     solver, epochs, l2, batch_size, learning_rate, dtype, random_state
            rows         list of objects with the attributes of `Row` or, where the backend did
                         its fits, of `Measured`; each of import_time, compile_time, first_fit,
                         warm_fit, epoch_time is then an object:
                           samples   list (a process) of lists (a measurement) of seconds
                           median, interval [low, high], fastest, slowest
            distances    list of {a, b, median_ulp, max_ulp, relative, labels}; b may be "reference"
            machine      cpu, cores, system, python, versions, blas, environment
            agree, verdict, recommendation    derived, for readers of the file
        """
        text = json.dumps(_plain(self._as_dict()), indent=1, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def _as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {"schema": SCHEMA} | asdict(self)
        for row, plain in zip(self.rows, document["rows"], strict=True):
            for field in TIMES if isinstance(row, Measured) else ():
                times: Times = getattr(row, field)
                plain[field] |= {name: getattr(times, name) for name in _DERIVED}
        return document | {
            "agree": self.agree,
            "verdict": self.verdict(),
            "recommendation": self.recommend(),
        }

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Return the comparison that `to_json` wrote.

        Raises
        ------
        ValueError
            The text is not such a document, or of another schema.
        """
        document = json.loads(text)
        if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
            raise ValueError(f"not a comparison of schema {SCHEMA}, as Comparison.to_json writes")
        machine = document["machine"]
        return cls(
            **{k: document[k] for k in ("name", "n_samples", "n_features", "n_test", "rounds")},
            settings=Settings(**document["settings"]),
            rows=tuple(_row(plain) for plain in document["rows"]),
            distances=tuple(_distance(plain) for plain in document["distances"]),
            reference=document["reference"],
            machine=Machine(**{**machine, "blas": tuple(machine["blas"])}),
        )


def _plain(value: Any) -> Any:
    """Return ``value`` with null for numbers that are not finite, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _distance(plain: Mapping[str, Any]) -> Distance:
    fields: dict[str, Any] = {k: math.inf if v is None else v for k, v in plain.items()}
    return Distance(**fields)


def _row(plain: Mapping[str, Any]) -> Row:
    if "warm_fit" not in plain:
        return Row(**plain)
    fields = {key: _tuples(value) for key, value in plain.items()}
    fields |= {field: Times(_tuples(plain[field]["samples"])) for field in TIMES}
    fields |= {f: math.nan for f in ("loss", "gradient_norm") if fields[f] is None}
    return Measured(**fields)
