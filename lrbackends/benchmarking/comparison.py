"""What a comparison found: each cell's measurements, and how far the results are apart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrbackends.benchmarking.agreement import Agreement, worse
from lrbackends.benchmarking.cells import Cell, Settings
from lrbackends.benchmarking.distance import MEASURES, REFERENCE, Distance
from lrbackends.benchmarking.machine import Machine
from lrbackends.benchmarking.rows import TIMES, Measured, Row, Times, flat

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lrbackends.benchmarking.questions import Answer

SCHEMA = 2


@dataclass(frozen=True)
class Comparison:
    """Several backends doing the same training: what it cost, and whether they agree.

    Attributes
    ----------
    name : str
        What the data are called.
    n_samples, n_features, n_classes, n_test : int
        Training rows, features, classes, rows set aside.
    entries, data_bytes : int
        Entries of X that are stored, fewer than rows x features where it is sparse, and bytes that
        they take, indices included.
    settings : Settings
        The base task.
    rounds : int
        Processes of each cell of the base task.
    rows : tuple of Row
        Cells in the order in which they were planned, those of the base task first; `Measured`
        where the backend did its fits.
    agreements : tuple of Agreement
        One for each task that was done by anyone, the base task first.
    machine : Machine
    lines_of_code : mapping of str to int
        What each backend is written in; see `source.lines_of_code`.
    seconds : float
        That the comparison took.
    """

    name: str
    n_samples: int
    n_features: int
    n_classes: int
    n_test: int
    entries: int
    data_bytes: int
    settings: Settings
    rounds: int
    rows: tuple[Row, ...]
    agreements: tuple[Agreement, ...]
    machine: Machine
    lines_of_code: Mapping[str, int]
    seconds: float

    # -- rows

    def __getitem__(self, backend: str) -> Row:
        """Return the row of a backend's base task."""
        for row in self.base:
            if row.backend == backend:
                return row
        raise KeyError(backend)

    def select(
        self,
        *,
        n_samples: int | None = None,
        settings: Settings | None = None,
        threads: int | None = None,
        cache: str = "usual",
    ) -> tuple[Measured, ...]:
        """Return the rows measured under these conditions; default: those of the base task."""
        wanted = (n_samples or self.n_samples, settings or self.settings, threads, cache)
        return tuple(
            row for row in self.rows if isinstance(row, Measured) and row.cell.conditions == wanted
        )

    @cached_property
    def base(self) -> tuple[Row, ...]:
        """The rows of the base task, also of backends that did not do it."""
        wanted = self.n_samples, self.settings, None, "usual"
        return tuple(row for row in self.rows if row.cell.conditions == wanted)

    @cached_property
    def measured(self) -> tuple[Measured, ...]:
        """The rows of the base task of all backends that did it, diverged or not."""
        return tuple(row for row in self.base if isinstance(row, Measured))

    @cached_property
    def trained(self) -> tuple[Measured, ...]:
        """The same without those that diverged."""
        return tuple(row for row in self.measured if row.status != "diverged")

    @cached_property
    def varied(self) -> Settings:
        """The settings that variations start from: the base with fewer epochs where it is large."""
        tasks = (row.cell for row in self.rows if row.cell.cache == "usual")
        same = [
            cell.settings
            for cell in tasks
            if cell.n_samples == self.n_samples
            and _but_epochs(cell.settings) == _but_epochs(self.settings)
        ]
        return same[-1] if same else self.settings

    # -- agreement

    def agreement(self, row: Row) -> Agreement | None:
        """Return the agreement on the task of a row."""
        return next(
            (a for a in self.agreements if (a.n_samples, a.settings) == row.cell.task), None
        )

    @property
    def distances(self) -> tuple[Distance, ...]:
        """The distances in the base task."""
        return self.agreements[0].distances if self.agreements else ()

    @property
    def reference(self) -> str:
        """What the base task's reference was computed in, or why there is none."""
        return self.agreements[0].reference if self.agreements else "skipped, no backend trained"

    def to_reference(self, backend: str) -> Distance | None:
        """Return how far the backend is from the reference in the base task, None without one."""
        for d in self.distances:
            if (d.a, d.b) == (backend, REFERENCE):
                return d
        return None

    def to_others(self, backend: str) -> Distance | None:
        """Return the worst of each distance between the backend and the others, None if alone."""
        found = [d for d in self.distances if backend in (d.a, d.b) and d.b != REFERENCE]
        if not found:
            return None
        worst = max(found, key=lambda d: d.max_ulp)
        return Distance(
            backend,
            "the others",
            max(d.median_ulp for d in found),
            worst.max_ulp,
            max(d.relative for d in found),
            max(d.labels for d in found),
            worst.where,
        )

    @property
    def agree(self) -> bool:
        """Whether all tasks came out the same: no `disagreements` and nobody `outdone`.

        False if there was nothing to compare.
        """
        return bool(self.distances) and not self.disagreements() and not self.outdone()

    def outdone(self) -> tuple[Measured, ...]:
        """Return the backends' rows whose objective is worse than another's of the same task."""
        tasks: dict[object, list[Measured]] = {}
        for row in self.rows:
            if isinstance(row, Measured) and row.status != "diverged":
                tasks.setdefault(row.cell.task, []).append(row)
        return tuple(row for rows in tasks.values() for row in worse(rows) if not row.peer)

    def disagreements(self) -> tuple[Distance, ...]:
        """Return the distances that exceed the contract, of all tasks."""
        return tuple(d for a in self.agreements for d in a.disagreements())

    # -- words

    def verdict(self) -> str:
        """Return in words whether the backends agree."""
        from lrbackends.benchmarking.advice import verdict

        return verdict(self)

    def recommend(self) -> str:
        """Return in words which backend to use for one fit, which for many, and why.

        A backend that failed, or whose final loss is worse than another's, is never recommended.
        Backends whose difference is within the noise, or below 3 %, are called a tie.
        """
        from lrbackends.benchmarking.advice import recommend

        return recommend(self)

    def answers(self) -> tuple[Answer, ...]:
        """Return the fifteen answers: what each question asks, in words and in data."""
        from lrbackends.benchmarking.questions import answers

        return answers(self)

    # -- forms

    def plot(self, kind: str = "cost") -> Figure:
        """Return a matplotlib figure.

        Parameters
        ----------
        kind : str
            "cost" (cold and warm fits of the base task), "sizes" (time against rows), "loss"
            (objective against time), "agreement" (a heat map in ULP), "reproducible" (what the
            reproducible arithmetic costs) or "passes" (epochs against reading X once).

        Raises
        ------
        ValueError
            The kind is unknown, or nothing was measured that it shows.
        """
        from lrbackends.report.figures import figure

        return figure(self, kind)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the comparison as one self-contained page, and write it to ``path`` if given."""
        from lrbackends.report.comparison_page import as_html

        return _written(as_html(self), path)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row per cell; times in seconds, memory in bytes."""
        import pandas as pd

        return pd.DataFrame([self._record(row) for row in self.rows])

    def _record(self, row: Row) -> dict[str, Any]:
        record = flat(row)
        for name in ("coef", "intercept", "curve", "rounds", "warnings"):
            record.pop(name, None)
        for name in TIMES:
            if isinstance(value := record.get(name), dict):
                record[name] = value["median"]
                record |= {f"{name}_low": value["low"], f"{name}_high": value["high"]}
        found = self.agreement(row)
        for d in found.distances if found is not None else ():
            if d.a == row.cell.backend and d.b == REFERENCE:
                record |= {f"{m}_to_reference": getattr(d, m) for m in MEASURES}
        return record

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the comparison as JSON, and write it to ``path`` if given.

        The schema is documented in docs/comparison-schema.md. All numbers are exact; null stands
        for what was not measured or is not finite.
        """
        text = json.dumps(_plain(self._as_dict()), indent=1, allow_nan=False)
        _written(text + "\n", path)
        return text

    def _as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {"schema": SCHEMA}
        document |= {f.name: getattr(self, f.name) for f in fields(self)}
        return document | {
            "settings": asdict(self.settings),
            "rows": [flat(row) for row in self.rows],
            "agreements": [asdict(a) for a in self.agreements],
            "machine": asdict(self.machine),
            "agree": self.agree,
            "verdict": self.verdict(),
            "recommendation": self.recommend(),
            "answers": [asdict(answer) for answer in self.answers()],
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
        plain = {f.name: document[f.name] for f in fields(cls)}
        machine = plain["machine"]
        return cls(
            **plain
            | {
                "settings": Settings(**plain["settings"]),
                "rows": tuple(_row(record) for record in plain["rows"]),
                "agreements": tuple(_agreement(a) for a in plain["agreements"]),
                "machine": Machine(**{**machine, "blas": tuple(machine["blas"])}),
            }
        )

    def _repr_html_(self) -> str:
        """Return the rows as a table, for notebooks."""
        html: str = self.to_frame().to_html(notebook=True)
        return html


def _but_epochs(settings: Settings) -> dict[str, Any]:
    return {k: v for k, v in asdict(settings).items() if k != "epochs"}


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


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


def _agreement(plain: Mapping[str, Any]) -> Agreement:
    return Agreement(
        plain["n_samples"],
        Settings(**plain["settings"]),
        plain["reference"],
        tuple(map(_distance, plain["distances"])),
    )


def _distance(plain: Mapping[str, Any]) -> Distance:
    values: dict[str, Any] = {k: math.inf if v is None else v for k, v in plain.items()}
    return Distance(**values)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _taken(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: record[name] for name in names}


def _row(record: Mapping[str, Any]) -> Row:
    names = [f.name for f in fields(Cell) if f.name != "settings"]
    settings = Settings(**_taken(record, (f.name for f in fields(Settings))))
    cell = Cell(**_taken(record, names), settings=settings)
    if "warm_fit" not in record:
        return Row(cell, record["status"], record["reason"], record["engine"])
    values = {f.name: _tuples(record[f.name]) for f in fields(Measured) if f.name != "cell"}
    for name in TIMES:
        if record[name] is not None:
            values[name] = Times(_tuples(record[name]["samples"]))
    for name in ("loss", "gradient_norm", "step_size", "n_passes"):
        values[name] = _number(values[name])
    values["curve"] = tuple((k, _number(loss)) for k, loss in values["curve"])
    return Measured(cell=cell, **values)
