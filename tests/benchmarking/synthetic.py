"""Comparisons made up for tests, and answers as a measuring process would give them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lrbackends.benchmarking.agreement import Agreement
from lrbackends.benchmarking.cells import Cell, Settings, Shape, base_cells, variations
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import Distance
from lrbackends.benchmarking.machine import Machine
from lrbackends.benchmarking.peers import PEERS
from lrbackends.benchmarking.rows import Measured, Row, Times

EPOCHS = 1000
N_SAMPLES = 48
BASE = Settings(epochs=EPOCHS)
MACHINE = Machine(
    cpu="Made-up CPU",
    cores=2,
    system="Linux 6",
    python="3.11.0",
    versions={"lrbackends": "0.1.0", "numpy": "2.0.0"},
    blas=("openblas 0.3 (Haswell), 2 threads",),
    environment={"OMP_NUM_THREADS": "1"},
)


def around(
    median: float, spread: float = 0.01, drift: Sequence[float] = (-1, 0, 1), n: int = 3
) -> Times:
    """Times of a process for each entry of ``drift``, which says how many spreads off it is."""
    within = (1.0,) if n == 1 else (1 - spread / 10, 1.0, 1 + spread / 20)
    return Times(tuple(tuple(median * (1 + spread * off) * f for f in within) for off in drift))


def measured(
    backend: str,
    *,
    n_samples: int = N_SAMPLES,
    settings: Settings = BASE,
    threads: int | None = None,
    cache: str = "usual",
    imported: float = 0.1,
    transferred: float = 0.0,
    compiled: float = 0.0,
    warm: float = 0.03,
    spread: float = 0.01,
    drift: Sequence[float] = (-1, 0, 1),
    **fields: Any,
) -> Measured:
    """A row whose first fit is a warm one and compiling, and whose fits are all epochs."""

    def times(seconds: float, n: int = 1) -> Times:
        return around(seconds, spread, drift, n)

    epochs = fields.get("n_epochs", settings.epochs)
    values: dict[str, Any] = {
        "status": "completed" if settings.first_order else "converged",
        "reason": f"all {epochs} epochs done",
        "engine": f"{backend} 1.0",
        "rounds": tuple(range(len(drift))),
        "import_time": times(imported),
        "transfer_time": times(transferred),
        "compile_time": times(compiled),
        "first_fit": times(transferred + compiled + warm),
        "warm_fit": times(warm, 3),
        "epoch_time": times(warm / epochs, 3),
        "new_shape_fit": times(warm + compiled),
        "read_once": 1e-6,
        "loss": 0.25,
        "gradient_norm": 1e-4,
        "step_size": 0.5,
        "n_epochs": epochs,
        "n_steps": epochs,
        "n_passes": float(epochs),
        "curve": ((0, 0.75), (epochs // 2, 0.252), (epochs, 0.25)),
        "coef": ((0.5, -0.25),),
        "intercept": (0.125,),
        "test_accuracy": 0.9375,
        "repeatable": True,
        "peak_memory": 150_000_000,
        "fit_memory": 20_000_000,
        "cores_busy": 1.0,
    }
    return Measured(Cell(backend, n_samples, settings, threads, cache), **(values | fields))


def failed(
    backend: str,
    reason: str = "the process was killed by SIGKILL",
    *,
    status: str = "failed",
    n_samples: int = N_SAMPLES,
    settings: Settings = BASE,
    **conditions: Any,
) -> Row:
    """A row of a backend that gave no measurements."""
    cell = Cell(backend, n_samples, settings, **conditions)
    return Row(cell, status, reason, f"{backend} 1.0")


def agreement(
    *distances: Distance,
    n_samples: int = N_SAMPLES,
    settings: Settings = BASE,
    reference: str = "skipped, it is made up",
) -> Agreement:
    """What was found of one task."""
    return Agreement(n_samples, settings, reference, distances)


def comparison(
    *rows: Row,
    distances: Sequence[Distance] = (),
    further: Sequence[Agreement] = (),
    settings: Settings | None = None,
    n_test: int = 16,
    **fields: Any,
) -> Comparison:
    """A comparison of these rows, whose base task is the first one's; ``distances`` are its own."""
    base = rows[0].cell.settings if settings is None else settings
    values: dict[str, Any] = {
        "name": "made-up",
        "n_samples": N_SAMPLES,
        "n_features": 2,
        "n_classes": 2,
        "n_test": n_test,
        "entries": 2 * N_SAMPLES,
        "data_bytes": 16 * N_SAMPLES,
        "settings": base,
        "rounds": 3,
        "rows": rows,
        "agreements": (agreement(*distances, settings=base), *further),
        "machine": MACHINE,
        "lines_of_code": {"numpy": 1_200, "numba": 345},
        "seconds": 100.0,
    }
    return Comparison(**(values | fields))


# -- a whole comparison, of a simple law

ROWS = (100, 1_000, 10_000)
_IMPORT = {"numpy": 0.1, "numba": 0.3}
_COMPILE = {"usual": 0.5, "empty": 2.0, "filled": 0.2}  # of numba
_OVERHEAD = {"numpy": 20e-6, "numba": 1e-6}  # of an epoch
_PER_ROW = {"numpy": 10e-9, "numba": 40e-9}
WARM_CROSSING = 19e-6 / 30e-9  # rows: 633; numba is faster below
_PEER_SECONDS = dict(zip(PEERS, (0.004, 0.002), strict=True))


def _made(cell: Cell) -> Measured:
    if cell.backend in PEERS:
        warm = _PEER_SECONDS[cell.backend]
        return measured(cell.backend, n_samples=cell.n_samples, settings=cell.settings, warm=warm)
    epoch = _OVERHEAD[cell.backend] + _PER_ROW[cell.backend] * cell.n_samples
    epoch *= 0.5 if cell.settings.dtype == "float32" else 1.0
    epoch *= 3.0 if cell.settings.arithmetic == "reproducible" else 1.0
    epoch *= 1.5 if cell.threads == 1 and cell.backend == "numba" else 1.0
    epochs = cell.settings.epochs if cell.settings.first_order else 10
    narrow = {"loss": 0.25 + 1e-7, "coef": ((0.5, -0.25000003),)}
    return measured(
        cell.backend,
        n_samples=cell.n_samples,
        settings=cell.settings,
        threads=cell.threads,
        cache=cell.cache,
        imported=_IMPORT[cell.backend],
        compiled=_COMPILE[cell.cache] if cell.backend == "numba" else 0.0,
        warm=epochs * epoch,
        n_epochs=epochs,
        **(narrow if cell.settings.dtype == "float32" else {}),
    )


def whole() -> Comparison:
    """Every variation of numpy, which starts at once, and numba, which has the quicker small epoch.

    Of numba's epochs 40 ns go into each row, of numpy's 10 ns and 20 µs whatever the rows.
    """
    shape = Shape(N_SAMPLES, 1, 2 * N_SAMPLES)
    names = ("numpy", "numba")
    planned = base_cells(names, BASE, N_SAMPLES) + variations(
        names,
        BASE,
        shape,
        vary=("size", "arithmetic", "dtype", "threads", "cache", "optimum"),
        sizes=ROWS,
        cores=2,
        compiling=("numba",),
        peers=PEERS,
    )
    rows = [_made(cell) for cell in dict.fromkeys(planned)]
    near = Distance("numpy", "numba", 1.0, 3.0, 1e-16, 0, "coef[0, 1]")
    far = replace(near, max_ulp=9.0, where="intercept[0]")
    same = replace(near, median_ulp=0.0, max_ulp=0.0, relative=0.0, where="")
    tasks = dict.fromkeys(row.cell.task for row in rows)
    found = [
        agreement(
            far if n == 100 else same if settings.arithmetic == "reproducible" else near,
            n_samples=n,
            settings=settings,
        )
        for n, settings in tasks
    ]
    return comparison(*rows, agreements=tuple(found))


# -- answers of measuring processes


def answer(
    value: str = "0x1.0p-1", n_features: int = 3, n_outputs: int = 1, **fields: Any
) -> dict[str, Any]:
    """What a process answers whose training gave ``value`` for each weight; see `worker`."""
    return {
        "status": "completed",
        "reason": "all epochs done",
        "import": 0.1,
        "transfer": 0.001,
        "compile": 0.2,
        "first": 0.3,
        "warm": [0.03, 0.02],
        "epoch": [3e-5, 2e-5],
        "new_shape": 0.25,
        "read_once": 1e-6,
        "loss": 0.5,
        "gradient_norm": 1e-3,
        "learning_rate": 0.25,
        "n_epochs": 10,
        "n_steps": 10,
        "n_passes": 11.0,
        "curve": [[0, 0.75], [10, 0.5]],
        "coef": [[value] * n_features] * n_outputs,
        "intercept": ["0x0.0p+0"] * n_outputs,
        "repeatable": True,
        "peak_memory": 10**8,
        "fit_memory": 10**7,
        "cores_busy": 1.0,
        "warnings": [],
    } | fields
