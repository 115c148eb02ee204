"""Comparisons made up for tests, and answers as a measuring process would give them."""

from collections.abc import Sequence
from typing import Any

from lrbackends.benchmarking.comparison import Comparison, Measured, Row, Settings, Times
from lrbackends.benchmarking.distance import Distance
from lrbackends.benchmarking.machine import Machine

EPOCHS = 1000
MACHINE = Machine(
    cpu="Made-up CPU",
    cores=2,
    system="Linux 6",
    python="3.11.0",
    versions={"lrbackends": "0.1.0", "numpy": "2.0.0"},
    blas=("openblas 0.3 (Haswell), 2 threads",),
    environment={"OMP_NUM_THREADS": "1"},
)


def around(median: float, spread: float = 0.01) -> Times:
    """Times of three processes, three measurements each, at most ``spread`` off, relatively."""
    processes = (1 - spread, 1.0, 1 + spread)
    return Times(tuple((median * f * (1 - spread / 10), median * f, median * f) for f in processes))


def measured(
    backend: str,
    *,
    imported: float = 0.1,
    compiled: float = 0.0,
    warm: float = 0.03,
    spread: float = 0.01,
    **fields: Any,
) -> Measured:
    """A row whose first fit is a warm one and compiling, and whose fits are all epochs."""
    values: dict[str, Any] = {
        "status": "completed",
        "reason": "all 1000 epochs done",
        "engine": f"{backend} 1.0",
        "import_time": around(imported, spread),
        "compile_time": around(compiled, spread),
        "first_fit": around(compiled + warm, spread),
        "warm_fit": around(warm, spread),
        "epoch_time": around(warm / EPOCHS, spread),
        "loss": 0.25,
        "gradient_norm": 1e-4,
        "learning_rate": 0.5,
        "n_epochs": EPOCHS,
        "n_steps": EPOCHS,
        "coef": ((0.5, -0.25),),
        "intercept": (0.125,),
        "test_accuracy": 0.9375,
        "repeatable": True,
        "peak_memory": 150_000_000,
        "memory_growth": 20_000_000,
        "cores_busy": 1.0,
    }
    return Measured(backend, **(values | fields))


def failed(backend: str, reason: str = "the process was killed by SIGKILL") -> Row:
    return Row(backend, "failed", reason, f"{backend} 1.0")


def comparison(
    *rows: Row, distances: Sequence[Distance] = (), dtype: str = "float64", n_test: int = 16
) -> Comparison:
    return Comparison(
        name="made-up",
        n_samples=48,
        n_features=2,
        n_test=n_test,
        settings=Settings(epochs=EPOCHS, dtype=dtype),
        rounds=3,
        rows=rows,
        distances=tuple(distances),
        reference="skipped, it is made up",
        machine=MACHINE,
    )
