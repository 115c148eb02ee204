"""What is measured: cells, each one backend doing one task under one set of conditions.

A comparison has one *base* task, the one that was asked for, and *variations*: the same with one
thing changed. Every variation answers a question (see `questions`); measuring all combinations
would take hours and answer none better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lrbackends.solvers import FIRST_ORDER

CACHES = ("usual", "empty", "filled")
VARIATIONS = ("size", "arithmetic", "dtype", "threads", "cache", "optimum")
GAP = 1e-6  # relative suboptimality at which the optimum counts as reached
COMPILES = 1e-3  # seconds of a first fit from which on it counts as compiling
_SIZES = (100, 1_000, 10_000, 100_000)
_NEAR = 3.0  # sizes nearer to the data's own are left to it
_MOST_ENTRIES = 3e7  # of X in a size that is made up: 240 MB
_COST = 1e8  # entries of X that a variation's fit reads, about; keeps all of them below a minute
_LEAST_EPOCHS = 10


@dataclass(frozen=True)
class Settings:
    """What each backend is asked to do; see `Trainer`."""

    solver: str = "gd"
    epochs: int = 1000
    l2: float = 1e-3
    batch_size: int | None = None
    learning_rate: float | None = None
    dtype: str = "float64"
    random_state: int = 0
    arithmetic: str = "fast"
    gap: float | None = None

    @property
    def first_order(self) -> bool:
        """Whether the solver is an update rule, whose number of steps is given."""
        return self.solver in FIRST_ORDER

    def line(self) -> str:
        """Return the settings in one line."""
        types = f"l2 {self.l2:g}, {self.dtype}" + ", reproducible" * (self.arithmetic != "fast")
        if not self.first_order:
            goal = "to the optimum" if self.gap is None else f"to a relative gap of {self.gap:g}"
            return f"{self.solver}, {goal}, {types}"
        batches = "full batch" if self.batch_size is None else f"batches of {self.batch_size}"
        rate = "1/L" if self.learning_rate is None else f"{self.learning_rate:g}"
        if self.learning_rate is None and self.solver == "adam":
            rate = "adam's default"
        return f"{self.solver}, {self.epochs:,} epochs, {batches}, step {rate}, {types}"


@dataclass(frozen=True)
class Cell:
    """One backend doing one task under one set of conditions, in a fresh process each round.

    Attributes
    ----------
    backend : str
        A backend, or one of `peers.PEERS`.
    n_samples : int
        Rows that are trained on.
    settings : Settings
    threads : int or None
        Logical cores that the process may use; None: all that this process may.
    cache : {"usual", "empty", "filled"}
        Compiled code on disk: as the user's environment has it; none yet; that of an earlier
        process, for engines that can keep it.
    """

    backend: str
    n_samples: int
    settings: Settings
    threads: int | None = None
    cache: str = "usual"

    @property
    def task(self) -> tuple[int, Settings]:
        """What has to come out the same for every backend."""
        return self.n_samples, self.settings

    @property
    def conditions(self) -> tuple[int, Settings, int | None, str]:
        """All but the backend: times of cells with equal conditions are comparable."""
        return self.n_samples, self.settings, self.threads, self.cache

    def label(self) -> str:
        """Return the cell in a few words, for people who wait."""
        extras = [
            f"{self.n_samples:,} rows",
            self.settings.solver,
            *([self.settings.dtype] if self.settings.dtype != "float64" else []),
            *([self.settings.arithmetic] if self.settings.arithmetic != "fast" else []),
            *([f"{self.threads} thread{'s' * (self.threads != 1)}"] if self.threads else []),
            *([f"{self.cache} cache"] if self.cache != "usual" else []),
        ]
        return f"{self.backend}, {', '.join(extras)}"


@dataclass(frozen=True)
class Shape:
    """The data as far as planning needs it: ``entries`` are those of X that are stored."""

    n_samples: int
    n_outputs: int
    entries: int
    n_classes: int = 2

    def reduced(self, settings: Settings, n_samples: int) -> Settings:
        """Return the settings with as many epochs as a variation of that many rows may have."""
        if not settings.first_order:
            return settings
        per_epoch = self.entries / self.n_samples * n_samples * self.n_outputs
        affordable = max(_LEAST_EPOCHS, int(_COST / max(per_epoch, 1)))
        return replace(settings, epochs=min(settings.epochs, affordable))

    def sizes(self) -> tuple[int, ...]:
        """Return numbers of rows, by powers of ten, besides the data's own."""
        per_row = self.entries / self.n_samples
        return tuple(
            n
            for n in _SIZES
            if not self.n_samples / _NEAR < n < self.n_samples * _NEAR
            and n * per_row <= _MOST_ENTRIES
            and n >= self.n_classes  # each keeps a row
        )


def base_cells(backends: Iterable[str], base: Settings, n_samples: int) -> list[Cell]:
    """Return the cells of the task that was asked for."""
    return [Cell(b, n_samples, base) for b in backends]


def variations(
    backends: Sequence[str],
    base: Settings,
    shape: Shape,
    *,
    vary: Sequence[str],
    sizes: Sequence[int] | None = None,
    cores: int = 1,
    compiling: Sequence[str] = (),
    peers: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells that vary the base in the ways named by ``vary``, base cells included.

    Parameters
    ----------
    backends : sequence of str
        Those that did the base task.
    base : Settings
    shape : Shape
    vary : sequence of str, of `VARIATIONS`
    sizes : sequence of int, optional
        Numbers of rows; default: powers of ten.
    cores : int
        Logical cores; with one there are no fewer threads to compare with.
    compiling : sequence of str
        Backends whose first fit compiles: the cache matters to them.
    peers : sequence of str
        Other libraries, for the optimum.
    """
    n = shape.n_samples
    here = shape.reduced(base, n)
    cells = {Cell(b, n, here): None for b in backends}  # a set that keeps its order
    changes: list[Cell] = []
    if "size" in vary:
        for rows in shape.sizes() if sizes is None else sizes:
            changes += [Cell(b, rows, shape.reduced(base, rows)) for b in backends]
    if "arithmetic" in vary and base.first_order:
        other = "reproducible" if base.arithmetic == "fast" else "fast"
        changes += [Cell(b, n, replace(here, arithmetic=other)) for b in backends]
    if "dtype" in vary:
        other = "float32" if base.dtype == "float64" else "float64"
        changes += [Cell(b, n, replace(here, dtype=other)) for b in backends]
    if "threads" in vary and cores > 1:
        changes += [Cell(b, n, here, threads=1) for b in backends]
    if "cache" in vary:
        changes += [Cell(b, n, here, cache=c) for b in compiling for c in ("empty", "filled")]
    if "optimum" in vary and base.l2 > 0:
        optimum = Settings(
            "auto", l2=base.l2, dtype=base.dtype, random_state=base.random_state, gap=GAP
        )
        changes += [Cell(b, n, optimum) for b in (*backends, *peers)]
    return list(cells | dict.fromkeys(changes))
