"""Measure the cost model by which ``backend="auto"`` chooses; see `_cost_model`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from lrbackends import _cost_store
from lrbackends._cost_model import (
    BATCHES,
    HESSIANS,
    MANY,
    RULE,
    Cost,
    CostModel,
    Curve,
    EngineCosts,
    Work,
    work_of,
)
from lrbackends._validation import check_number
from lrbackends.backends.registry import Available, available_backends
from lrbackends.benchmarking.processes import run_worker
from lrbackends.errors import BackendUnavailableError
from lrbackends.solvers import FIRST_ORDER

WORKER = "lrbackends.benchmarking.calibration_worker"
DTYPES = ("float64", "float32")
_SHARE = {"float64": 2.0, "float32": 1.0}  # of the time; fewer shapes are measured in float32
_SHAPES = {"float64": 99, "float32": 1}
_COMPILING = 0.2  # seconds of a first fit for which an engine gets as much time again
_MOST_MORE = 2.0  # times as much
_GRACE = 30.0  # seconds that a process may take beyond its share, for the case that it is at
_DRAWN = 0.15  # error of a measurement over that of the usual proportions of coefficients

_FIXED = (3e-4, 1e-8, 1e-9)  # of a fit anywhere, in seconds, the first of `Work.terms`


def usual(family: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return about what a fit and a step cost anywhere: seconds of each of `Work.terms`."""
    if family == RULE:
        return (*_FIXED, 0.0), (3e-6, 5e-9, 5e-10, 5e-9)
    if family == BATCHES:
        return (0.0, 3e-8, 1e-9, 0.0), (5e-6, 1e-8, 1e-9, 5e-9)
    if family == MANY:
        return (*_FIXED, 0.0, 0.0), (2e-5, 2e-8, 2e-9, 1e-9, 1e-9)
    if family in HESSIANS:
        return (*_FIXED, 0.0, 0.0), (2e-4, 3e-8, 3e-9, 3e-10, 1e-10)
    if family == "sampled-newton":
        return (*_FIXED, 0.0, 0.0), (2e-4, 1e-8, 1e-9, 1e-8, 1e-9)
    return (*_FIXED, 0.0), (1e-4, 2e-8, 2e-9, 1e-8)


Progress = Callable[[int, int, str], object]


@dataclass(frozen=True)
class Case:
    """A fit that is measured.

    Attributes
    ----------
    solver : str
        An update rule, a solver that seeks the optimum, or "many".
    n_samples, n_features, n_classes : int
    density : float
        Share of entries of X that are stored; 1 for dense X.
    steps : int
        Epochs of an update rule, fits of "many".
    batch_size : int
        0 for none.
    l1 : bool
        Whether half of the penalty is L1.
    """

    solver: str
    n_samples: int
    n_features: int
    n_classes: int = 2
    density: float = 1.0
    steps: int = 1000
    batch_size: int = 0

    @property
    def l1(self) -> bool:
        """Whether half of the penalty is L1."""
        return self.solver == "proximal-newton"

    @property
    def seeks(self) -> bool:
        """Whether the optimum is sought."""
        return self.solver not in (*FIRST_ORDER, RULE, BATCHES, MANY)

    def work(self, dtype: str) -> Work:
        """Return the same as what the model predicts for."""
        n, p, sparse = self.n_samples, self.n_features, self.density < 1
        return work_of(
            (n, p),
            1 if self.n_classes == 2 else self.n_classes,
            max(n, round(self.density * n * p)) if sparse else n * p,
            dtype,
            sparse,
            self.solver,
            self.steps,
            batch_size=self.batch_size or None,
        )

    def job(self) -> dict[str, Any]:
        """Return it as the worker takes it."""
        return asdict(self) | {"l1": self.l1, "seeks": self.seeks}


def _rule(n: int, p: int, n_classes: int = 2, density: float = 1.0, batch: int = 0) -> Case:
    """Return some milliseconds of gradient descent."""
    work = n * (density * p + 10) * (n_classes if n_classes > 2 else 1)
    return Case("gd", n, p, n_classes, density, int(np.clip(2e6 / work, 4, 150)), batch)


# Of each kind the most telling shape first: where time is short the last ones are left out.
CASES = (
    *(_rule(2000, 40), _rule(150, 8), _rule(40_000, 32), _rule(1200, 400), _rule(120_000, 16)),
    *(Case("newton", 2000, 30), Case("newton", 20_000, 40), Case("newton", 200, 8)),
    *(Case("newton", 1500, 200), Case("newton", 60_000, 12)),
    *(_rule(1500, 40, 5), _rule(20_000, 20, 3), _rule(200, 10, 8), _rule(1000, 300, 10)),
    *(_rule(5000, 200, 2, 0.05), _rule(20_000, 4000, 2, 0.005), _rule(300, 50, 2, 0.1)),
    *(Case("lbfgs", 400, 310), Case("lbfgs", 150, 1000), Case("lbfgs", 2400, 350)),
    *(Case("sampled-newton", 40_000, 40), Case("sampled-newton", 3600, 350)),
    Case("sampled-newton", 120_000, 10),
    *(Case("newton", 1000, 20, 4), Case("newton", 5000, 10, 3), Case("newton", 800, 40, 6)),
    *(Case("newton", 3000, 100, 2, 0.05), Case("newton", 20_000, 60, 2, 0.1)),
    Case("newton", 300, 30, 2, 0.2),
    *(Case("newton-cg", 3000, 1000, 2, 0.02), Case("newton-cg", 12_000, 5000, 2, 0.004)),
    *(_rule(4000, 40, batch=32), _rule(4000, 12, batch=256), _rule(800, 300, batch=64)),
    *(Case("proximal-newton", 2000, 40), Case("proximal-newton", 200, 300)),
    *(Case("sampled-newton", 400, 64, 5), Case("sampled-newton", 1500, 40, 8)),
    *(Case("lbfgs", 200, 80, 4), Case("lbfgs", 500, 150, 3)),
    *(Case(MANY, 100, 10, steps=100), Case(MANY, 500, 30, steps=50)),
    Case(MANY, 1500, 12, steps=30),
    *(_rule(2000, 200, 4, 0.05), _rule(10_000, 1000, 3, 0.01)),
    *(Case("newton", 2000, 50, 4, 0.1), Case("newton", 6000, 20, 3, 0.2)),
    *(Case("lbfgs", 1000, 100, 4, 0.1), Case("lbfgs", 3000, 400, 3, 0.02)),
    *(Case("proximal-newton", 3000, 200, 2, 0.05), Case("proximal-newton", 2000, 600, 2, 0.03)),
    *(Case("proximal-newton", 1000, 30, 4), Case("proximal-newton", 1500, 100, 3, 0.05)),
    *(_rule(2000, 40, 5, batch=32), _rule(1000, 64, 10, batch=256)),
    *(_rule(3000, 100, 2, 0.1, batch=64), _rule(10_000, 1000, 2, 0.01, batch=512)),
)


class Cell(NamedTuple):
    """What was measured of a case, in seconds; see `calibration_worker`."""

    work: Work
    first: float
    warm: float
    slow: float
    run: float
    steps: float

    @property
    def extra(self) -> float:
        """What the first fit costs more than the slowest of the later ones."""
        return max(0.0, self.first - self.slow)


class Measured(NamedTuple):
    """What one process measured of a backend in one dtype."""

    imported: float
    ready: float
    cells: tuple[Cell, ...]


def calibrate(
    *,
    seconds: float = 45.0,
    backends: Sequence[str] | None = None,
    progress: Progress | None = None,
    cases: Sequence[Case] = CASES,
) -> Path:
    """Measure this machine and keep the cost model, by which ``backend="auto"`` then chooses.

    Each backend is measured in fresh processes, one for each dtype. Before, what an engine keeps on
    disk is compiled, two processes at a time. Whether it keeps anything is tried in two
    processes, the second of which is much quicker then. Backends that are not there are left out.

    Parameters
    ----------
    seconds : float, default 45
        About how long it may take. Where that is too short for all shapes, the most telling ones
        are measured.
    backends : sequence of str, optional
        Default: all that are available.
    progress : callable, optional
        Called as ``progress(done, total, label)`` before each process, and once at the end with an
        empty label.
    cases : sequence of Case, optional

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    OSError
        The user's cache directory cannot be written.
    BackendUnavailableError
        No backend could be measured.
    """
    check_number("seconds", seconds, open_low=True)
    _cost_store.writable()
    began = time.perf_counter()
    processes = _Processes(_modules(backends), progress)
    firsts = in_turn(cases, 1)
    needs = _compile_to_disk(processes, firsts, seconds / 2)
    end = max(began + seconds, time.perf_counter() + seconds / 2)
    found, failures = _measure(processes, cases, needs, end)
    model = model_of(found, processes.modules)
    if not model.engines:
        raise BackendUnavailableError(f"no backend could be measured: {'; '.join(failures)}")
    return _cost_store.save(
        model,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - began, 1),
        failures=failures,
    )


class _Processes:
    """Runs measuring processes and tells how many of them are done."""

    def __init__(self, modules: Mapping[str, str], progress: Progress | None) -> None:
        self.modules, self._progress = modules, progress
        self.jobs = [(name, dtype) for name in modules for dtype in DTYPES]
        self._total, self._begun = 2 * len(modules) + 2 * len(self.jobs), 0

    def run(
        self, name: str, dtype: str, cases: Sequence[Case], share: float, what: str = ""
    ) -> dict[str, Any]:
        """Return the answer of a process; ``what`` is done instead of measuring."""
        self.told(f"{name} {dtype} {what}".strip())
        job = {
            "backend": name,
            "module": self.modules[name],
            "dtype": dtype,
            "cases": [case.job() for case in cases],
            "seconds": share,
            "warm": not what,
        }
        return run_worker(job, share + _GRACE, WORKER)

    def told(self, label: str) -> None:
        """Tell of one more process, or with an empty label of the end."""
        if self._progress is not None:
            self._progress(self._begun if label else self._total, self._total, label)
        self._begun += 1

    def skip(self, count: int) -> None:
        """Count processes that are not needed."""
        self._begun += count


def _compile_to_disk(
    processes: _Processes, firsts: Sequence[Case], share: float
) -> dict[str, float]:
    """Let engines that keep compiled code on disk compile all that they will be measured at.

    Returns how much more time than the quickest each backend needs, as it goes on compiling.
    """
    names = list(processes.modules)

    def compiled(name: str) -> float:
        def run(dtype: str, cases: Sequence[Case], what: str) -> Future[dict[str, Any]]:
            return pool.submit(processes.run, name, dtype, cases, share, what)

        before, after = (run(DTYPES[0], firsts[:2], "try").result() for _ in range(2))
        if not _kept(before, after):
            processes.skip(len(DTYPES))
            compiling = max((cell["first"] for cell in after.get("cells", ())[1:]), default=0.0)
            return 1.0 + min(_MOST_MORE, compiling / _COMPILING)
        for ended in [run(dtype, firsts, "compile") for dtype in DTYPES]:
            ended.result()
        return 1.0

    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(len(names)) as waiting:
        return dict(zip(names, waiting.map(compiled, names), strict=True))


def _measure(
    processes: _Processes, cases: Sequence[Case], needs: Mapping[str, float], end: float
) -> tuple[dict[str, dict[str, Measured]], list[str]]:
    """Return what was measured of each backend in each dtype, and what failed."""
    found: dict[str, dict[str, Measured]] = {name: {} for name in processes.modules}
    failures = []
    weights = [needs[name] * _SHARE[dtype] for name, dtype in processes.jobs]
    for k, (name, dtype) in enumerate(processes.jobs):
        left = end - time.perf_counter()
        share = max(1.0, left * weights[k] / sum(weights[k:]))
        some = in_turn(cases, _SHAPES[dtype])
        if dtype != "float64":  # batches of many fits are computed in float64
            some = [case for case in some if case.solver != MANY]
        some = begun_with(some, DTYPES.index(dtype))
        answer = processes.run(name, dtype, some, share)
        if answer["status"] != "completed":
            failures.append(f"{name} in {dtype}: {answer['reason']}")
            continue
        cells = tuple(
            Cell(some[c["number"]].work(dtype), *(c[field] for field in Cell._fields[1:]))
            for c in answer["cells"]
        )
        found[name][dtype] = Measured(answer["import"], answer["ready"], cells)
    processes.told("")
    return found, failures


def _kept(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a second process was quick to do what a first one has done.

    Its first fit bears more than kernels, so the second one counts. Loading them takes a small part
    of the time that importing the engine does, compiling them more than that.
    """
    once, again = ([cell["first"] for cell in a.get("cells", ())][1:] for a in (before, after))
    if not once or not again:
        return False
    return bool(again[0] < max(after["import"], once[0]) / 2)


def _modules(backends: Sequence[str] | None) -> dict[str, str]:
    """Return the engine's module of each backend that is to be measured."""
    known = available_backends()
    names = [name for name in known if known[name]] if backends is None else list(backends)
    found = {}
    for name in names:
        entry = known.get(name)
        if not isinstance(entry, Available):
            reason = "it is unknown" if entry is None else entry.reason
            raise ValueError(f"backend {name!r} cannot be calibrated: {reason}")
        found[name] = entry.engine.split()[0].partition(":")[0]
    return found


def in_turn(cases: Sequence[Case], most: int) -> list[Case]:
    """Return the first case of each kind, then the second ones, ..., at most so many of each."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.work("float64").kind, []).append(case)
    rounds = zip_longest(*(group[:most] for group in groups.values()))
    return [case for case in chain.from_iterable(rounds) if case is not None]


def begun_with(cases: Sequence[Case], k: int) -> list[Case]:
    """Return cases in an order in which the k-th begins, and another shape of its kind is next.

    The first fit of a process bears what is done once, and the second one tells what a new shape
    costs, however little time is left for more.
    """
    first = cases[k % len(cases)]
    kind = first.work("float64").kind
    like = [case for case in cases if case.work("float64").kind == kind and case != first][:1]
    return [first, *like, *(case for case in cases if case not in (first, *like))]


# -- from measurements to the model


def model_of(found: Mapping[str, Mapping[str, Measured]], modules: Mapping[str, str]) -> CostModel:
    """Return the model of what was measured.

    Parameters
    ----------
    found : mapping of backend to mapping of dtype to Measured
    modules : mapping of backend to the module of its engine
    """
    typical: dict[str, list[float]] = {}
    for measured in chain.from_iterable(each.values() for each in found.values()):
        for cell in measured.cells:
            typical.setdefault(_untyped(cell.work), []).append(cell.steps)
    engines: dict[str, EngineCosts] = {}
    known: dict[str, Cost] = {}  # of the backend of which most was measured
    for name in sorted(found, key=lambda name: -sum(len(m.cells) for m in found[name].values())):
        if any(measured.cells for measured in found[name].values()):
            engines[name] = _engine(modules[name], found[name], typical, known)
            known = {**engines[name].costs, **known}
    return CostModel({name: engines[name] for name in found if name in engines})


def _untyped(work: Work) -> str:
    return replace(work, dtype="").kind


def _engine(
    module: str,
    each: Mapping[str, Measured],
    typical: dict[str, list[float]],
    known: Mapping[str, Cost],
) -> EngineCosts:
    kinds: dict[str, list[Cell]] = {}
    for measured in each.values():
        for cell in measured.cells:
            kinds.setdefault(cell.work.kind, []).append(cell)
    later = {kind: [cell.extra for cell in cells[1:]] for kind, cells in kinds.items()}
    starts = {kind: cells[0].extra for kind, cells in kinds.items()}
    # The first fit of a process bears what is done once; other kinds, later in it, do not.
    begun = {m.cells[0].work.kind for m in each.values() if m.cells}
    others = [extra for kind, extra in starts.items() if kind not in begun]
    once = [max(0.0, starts[kind] - median(others)) for kind in begun] if others else [0.0]
    for kind in begun if others else ():
        starts[kind] = min(starts[kind], median(others))
    # Some engines compile for each shape, others never: a new shape costs this share of the first.
    seen = [kind for kind in kinds if later[kind]]
    per_shape = 1.0
    if seen and any(starts[kind] for kind in seen):
        again = sum(median(later[kind]) for kind in seen)
        per_shape = min(1.0, again / sum(starts[kind] for kind in seen))
    costs: dict[str, Cost] = {}
    for kind, cells in kinds.items():
        base: Cost | None = next(
            (
                costs[other]
                for dtype in DTYPES
                if (other := replace(cells[0].work, dtype=dtype).kind) in costs
            ),
            known.get(kind),
        )
        rest = [max(1e-9, cell.warm - cell.run) for cell in cells]
        step = [max(1e-9, cell.run / cell.steps) for cell in cells]
        works = [cell.work for cell in cells]
        family = cells[0].work.family
        like = usual(family) if base is None else (base.fixed.coefficients, base.step.coefficients)
        new_shape = median(later[kind]) if later[kind] else per_shape * starts[kind]
        costs[kind] = Cost(
            fixed=curve(works, rest, like[0]),
            step=curve(works, step, like[1]),
            steps=median(typical[_untyped(cells[0].work)])
            if Case(family, 1, 1).seeks
            else math.inf,
            load=max(0.0, starts[kind] - new_shape),
            compile=new_shape,
        )
    return EngineCosts(
        module,
        min(m.imported for m in each.values()),
        min(m.ready for m in each.values()) + min(once),
        costs,
    )


def curve(works: Sequence[Work], seconds: Sequence[float], like: Sequence[float]) -> Curve:
    """Return the curve through times that were measured.

    Coefficients are those >= 0 of the least squared relative error (Lawson and Hanson, Solving
    Least Squares Problems, 1974, chapter 23), drawn a little towards those of a similar curve
    times one factor for all: where few shapes were measured, these say which terms matter.

    Parameters
    ----------
    works : sequence of Work
        At least one.
    seconds : sequence of float
        > 0.
    like : sequence of float
        Coefficients of a similar curve; what is 0 there is left out.
    """
    from scipy.optimize import nnls

    terms = np.array([work.terms() for work in works]) * np.asarray(like)
    shares = terms / np.asarray(seconds)[:, None]
    factor = float(np.exp(-np.mean(np.log(shares.sum(axis=1)))))
    drawn = _DRAWN * np.eye(len(like))
    rows = np.vstack([shares * factor, drawn])
    wanted = np.concatenate([np.ones(len(works)), np.full(len(like), _DRAWN)])
    coefficients = tuple((nnls(rows, wanted)[0] * factor * np.asarray(like)).tolist())
    plain = Curve(coefficients)
    return Curve(
        coefficients,
        tuple(work.place() for work in works),
        tuple(math.log(s / plain.plain(work)) for work, s in zip(works, seconds, strict=True)),
    )
