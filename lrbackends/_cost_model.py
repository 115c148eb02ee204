"""How long a fit takes on each backend, predicted from what was measured on this machine.

The time of a fit is what it takes to get going, where this process has not got going yet, plus a
part that is done once, plus the steps:

    [import] + [wake] + [load] + [compile]  +  fixed(n, p, K)  +  steps * step(n, p, K)

**import** is that of the engine, free where its package is in `sys.modules`. **wake** is what the
first fit of a backend in a process costs beyond that, **load** what the first one of a `Work.kind`
does (reading its kernels from disk, or compiling them), and **compile** what a new shape does: they
are free where this process has trained such a fit before, which `note` is told.

``fixed`` and ``step`` are sums of a few terms with coefficients >= 0 (a constant, rows, entries,
squares of entries where Hessians are made, ...), times a correction: the geometric mean of what was
measured over what the sum says, of the shapes measured, weighted by nearness. Caches and threads
put bends into a curve that sums of terms do not have.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import Any, NamedTuple

from lrbackends.solvers import FIRST_ORDER, choose

RULE, BATCHES, MANY = "rule", "batches", "many"  # families beside the solvers of the optimum
HESSIANS = ("newton", "proximal-newton", MANY)  # families that make whole Hessians


@dataclass(frozen=True)
class Work:
    """What is to be fitted.

    Attributes
    ----------
    n_samples, n_features : int
    n_outputs : int
        One for two classes, K for K > 2.
    n_entries : int
        Entries of X, stored ones where it is sparse.
    dtype : {"float64", "float32"}
        What is computed in.
    sparse : bool
    family : str
        "rule" (an update rule on all rows), "batches" (on mini-batches), "many" (a batch of many
        fits), or the name of a solver that seeks the optimum.
    steps : int
        Epochs of a rule, most steps of a solver that seeks the optimum, fits of "many".
    batch_size : int
        Rows in a mini-batch; 0 for none.
    fits : int
        How often that is fitted, one after the other.
    """

    n_samples: int
    n_features: int
    n_outputs: int = 1
    n_entries: int = 0
    dtype: str = "float64"
    sparse: bool = False
    family: str = RULE
    steps: int = 1
    batch_size: int = 0
    fits: int = 1

    @property
    def kind(self) -> str:
        """What shares kernels, and coefficients of costs."""
        storage = "sparse" if self.sparse else "dense"
        outputs = "softmax" if self.n_outputs > 1 else "binary"
        return f"{self.family} {storage} {outputs} {self.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        """What engines that compile for a shape compile anew for."""
        return self.n_samples, self.n_features, self.n_outputs, self.batch_size

    def terms(self) -> tuple[float, ...]:
        """Return what the time of a step grows with."""
        n, p, K, entries = self.n_samples, self.n_features, self.n_outputs, self.n_entries
        size = float(K * p)
        rows, read = float(n * K), float(entries * K)
        if self.family == BATCHES:
            batches = float(-(-n // max(1, self.batch_size)))
            return batches, rows, read, batches * size
        if self.family in HESSIANS:  # each row's entries squared, for each pair of outputs
            return 1.0, rows, read, entries * entries / n * (K * (K + 1) / 2), size**3
        if self.family == "sampled-newton":  # of samples as large as there are features
            return 1.0, rows, read, size, size * p * p
        return 1.0, rows, read, size

    def place(self) -> tuple[float, ...]:
        """Return where a shape lies, in decades, to tell which ones are near."""
        rows = self.batch_size or self.n_samples
        return tuple(map(math.log10, (rows, self.n_entries / self.n_samples + 1, self.n_outputs)))


def work_of(
    shape: tuple[int, int],
    n_outputs: int,
    n_entries: int,
    dtype: str,
    sparse: bool,
    solver: str,
    steps: int,
    *,
    batch_size: int | None = None,
    l1: float = 0.0,
    fits: int = 1,
) -> Work:
    """Return the work of fitting X of that shape with a solver; "auto" is resolved.

    Parameters
    ----------
    shape : (n_samples, n_features)
    batch_size : int, optional
    l1 : float, default 0
        Any value > 0 for an L1 penalty.
    """
    n, p = max(1, shape[0]), shape[1]
    batch = batch_size if batch_size is not None and batch_size < n else 0
    family = solver
    if solver in FIRST_ORDER:
        family = BATCHES if batch else RULE
    elif solver == "auto":
        family = choose(_Shape(_Matrix((n, p)), n_outputs, sparse), l1)  # type: ignore[arg-type]
    return Work(n, p, n_outputs, n_entries, dtype, sparse, family, steps, batch, fits)


class _Matrix(NamedTuple):
    shape: tuple[int, int]


class _Shape(NamedTuple):
    """What `choose` looks at, of a problem that is not made yet."""

    X: _Matrix
    n_outputs: int
    sparse: bool


@dataclass(frozen=True)
class Curve:
    """Seconds as a function of the shape.

    Attributes
    ----------
    coefficients : tuple of float
        Seconds of each of `Work.terms`, >= 0.
    places : tuple of tuple of float
        Of the shapes that were measured.
    corrections : tuple of float
        Logarithm of what was measured there over what the terms say.
    """

    coefficients: tuple[float, ...]
    places: tuple[tuple[float, ...], ...] = ()
    corrections: tuple[float, ...] = ()

    def plain(self, work: Work) -> float:
        """Return what the terms say."""
        return float(sum(map(mul, self.coefficients, work.terms())))

    def seconds(self, work: Work) -> float:
        """Return the prediction."""
        here, total, weights = work.place(), 0.0, 0.0
        for place, correction in zip(self.places, self.corrections, strict=True):
            weight = 1 / (math.dist(here, place) ** 2 + 1e-3)
            total, weights = total + weight * correction, weights + weight
        return self.plain(work) * math.exp(total / weights if weights else 0.0)


@dataclass(frozen=True)
class Cost:
    """What one kind of work costs on one backend, in seconds.

    Attributes
    ----------
    fixed, step : Curve
    steps : float
        That a solver of the optimum takes, as a rule; infinite where the work says how many.
    load, compile : float
        Of the first fit of this kind in a process, and of a new shape.
    """

    fixed: Curve
    step: Curve
    steps: float
    load: float
    compile: float

    def warm(self, work: Work) -> float:
        """Return the seconds of a fit that has nothing to load or to compile."""
        one = self.fixed.seconds(work) + self.step.seconds(work) * min(work.steps, self.steps)
        return one * work.fits


@dataclass(frozen=True)
class EngineCosts:
    """All costs of one backend.

    Attributes
    ----------
    module : str
        Whose presence in `sys.modules` says that the engine is imported.
    imported, wake : float
        Seconds of importing it, and of what else the first fit in a process does once.
    costs : mapping of str to Cost
        By `Work.kind`; one that the backend does not cover is not there.
    """

    module: str
    imported: float
    wake: float
    costs: Mapping[str, Cost]


class Predicted(NamedTuple):
    """Seconds of a fit: to get going, and then."""

    start: float
    warm: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.start + self.warm


@dataclass(frozen=True)
class CostModel:
    """What was measured on this machine.

    Attributes
    ----------
    engines : mapping of str to EngineCosts
        By the name of the backend.
    """

    engines: Mapping[str, EngineCosts]

    def predict(self, works: Sequence[Work]) -> dict[str, Predicted]:
        """Return the seconds of fits in this process, for each backend that covers them all.

        Parameters
        ----------
        works : sequence of Work
            Done one after the other.
        """
        found = {}
        for name, engine in self.engines.items():
            if all(work.kind in engine.costs for work in works):
                warm = sum(engine.costs[work.kind].warm(work) for work in works)
                found[name] = Predicted(_start(name, engine, works), warm)
        return found


# -- what this process has done already

_done: set[tuple[Any, ...]] = set()


def note(backend: str, work: Work) -> None:
    """Remember that this process has trained such a fit."""
    _done.update({(backend,), (backend, work.kind), (backend, work.kind, work.shape)})


def forget() -> None:
    """Forget all of that; for tests."""
    _done.clear()


def _start(name: str, engine: EngineCosts, works: Sequence[Work]) -> float:
    seconds = 0.0 if sys.modules.get(engine.module) is not None else engine.imported
    if (name,) not in _done:
        seconds += engine.wake
    for kind in {work.kind for work in works}:
        if (name, kind) not in _done:
            seconds += engine.costs[kind].load
    for kind, shape in {(work.kind, work.shape) for work in works}:
        if (name, kind, shape) not in _done:
            seconds += engine.costs[kind].compile
    return seconds


# -- as JSON


def as_document(model: CostModel) -> dict[str, Any]:
    """Return the model in JSON's types."""

    def curve(c: Curve) -> dict[str, Any]:
        return {"coefficients": c.coefficients, "places": c.places, "corrections": c.corrections}

    return {
        name: {
            "module": engine.module,
            "import": engine.imported,
            "wake": engine.wake,
            "kinds": {
                kind: {
                    "fixed": curve(cost.fixed),
                    "step": curve(cost.step),
                    "steps": cost.steps if math.isfinite(cost.steps) else None,
                    "load": cost.load,
                    "compile": cost.compile,
                }
                for kind, cost in engine.costs.items()
            },
        }
        for name, engine in model.engines.items()
    }


def from_document(document: Any) -> CostModel:
    """Return the model that `as_document` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is no such document.
    """

    def number(value: Any) -> float:
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"{value!r} is not a finite number")
        return float(value)

    def positive(value: Any) -> float:
        if number(value) < 0:
            raise ValueError(f"{value!r} is negative")
        return float(value)

    def curve(entry: Any) -> Curve:
        places = tuple(tuple(map(number, place)) for place in entry["places"])
        corrections = tuple(map(number, entry["corrections"]))
        if len(places) != len(corrections) or any(len(place) != 3 for place in places):
            raise ValueError("a curve needs a correction for each place")
        coefficients = tuple(map(positive, entry["coefficients"]))
        return Curve(coefficients, places, corrections)

    def cost(kind: str, entry: Any) -> Cost:
        steps = math.inf if entry["steps"] is None else positive(entry["steps"])
        made = Cost(
            curve(entry["fixed"]),
            curve(entry["step"]),
            steps,
            positive(entry["load"]),
            positive(entry["compile"]),
        )
        n_terms = len(replace(_ANY, family=kind.split()[0]).terms())
        if {len(c.coefficients) for c in (made.fixed, made.step)} != {n_terms}:
            raise ValueError(f"the curves of {kind!r} need {n_terms} coefficients")
        return made

    return CostModel(
        {
            str(name): EngineCosts(
                str(entry["module"]),
                positive(entry["import"]),
                positive(entry["wake"]),
                {kind: cost(kind, found) for kind, found in entry["kinds"].items()},
            )
            for name, entry in document.items()
        }
    )


_ANY = Work(1, 1)
