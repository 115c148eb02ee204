"""The measuring process: one backend, from its import to its last warm fit.

``python -m lrbackends.benchmarking.worker`` reads a job as one JSON object from standard input and
prints its answer as one JSON object, the last line of standard output. What a backend itself prints
goes to standard error.

A job has ``backend`` (a name), ``data`` (a file of `save_data`), ``options`` (for
`Trainer`), ``warm_fits`` and ``warm_seconds``: warm fits are repeated until there are that many and
that much time is spent, but no more of them once `MANY_SECONDS` or `MANY_FITS` are reached.

An answer has a ``status`` (one of `TrainingResult`'s, or "unavailable", "unsupported" or "failed")
and a ``reason``. Where the backend trained, it also has

import, compile, first : float
    Seconds: loading the backend module and its engine right after ``import lrbackends`` (NumPy's
    own import is part of it, every backend needs that); `TrainingResult.timings`'s compile of the
    first fit; that whole fit, checking of the data included.
warm, epoch : list of float
    Seconds of each further fit, and its ``timings["run"]`` divided by its epochs.
loss, gradient_norm, learning_rate, n_epochs, n_steps
    As in `TrainingResult`.
coef, intercept : list of list of str, list of str
    As hexadecimal floats, which are exact.
repeatable : bool
    Whether every fit of this process gave the same bits.
peak_memory, memory_growth : int or None
    Bytes: the most that was resident at a time, and by how much that exceeds the most up to the
    point where the engine was imported and the data loaded.
cores_busy : float
    Processor time over wall time of the warm fits.
warnings : list of str
    Messages of the first fit.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lrbackends.result import TrainingResult
    from lrbackends.trainer import Trainer

MANY_FITS = 50
MANY_SECONDS = 10.0


def peak_memory() -> int | None:
    """Return the most bytes that were resident in this process at a time, None if unknown.

    Linux keeps ``ru_maxrss`` across fork and exec, so a small child of a large parent would report
    its parent's peak; the high-water mark in /proc starts afresh with the program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


_CSR = ("data", "indices", "indptr", "shape")


def save_data(path: str | Path, X: Any, y: NDArray[Any]) -> None:
    """Write X, dense or CSR, and y into an .npz file."""
    import numpy as np

    parts = {"X": X} if isinstance(X, np.ndarray) else {name: getattr(X, name) for name in _CSR}
    np.savez(path, y=y, **parts)


def load_data(path: str | Path) -> tuple[Any, NDArray[Any]]:
    """Return X, in the form that it was saved in, and y."""
    import numpy as np

    with np.load(path) as arrays:
        if "X" in arrays:
            return arrays["X"], arrays["y"]
        from scipy import sparse

        data, indices, indptr, shape = (arrays[name] for name in _CSR)
        return sparse.csr_array((data, indices, indptr), shape=tuple(shape)), arrays["y"]


def _fit(trainer: Trainer, X: Any, y: Any) -> tuple[TrainingResult, float]:
    """Return the result of a fit, diverged or not, and its seconds."""
    from lrbackends.errors import DivergenceError

    began = time.perf_counter()
    try:
        result = trainer.fit(X, y)
    except DivergenceError as error:
        result = error.result
    return result, time.perf_counter() - began


def _bits(result: TrainingResult) -> bytes:
    return result.coef.tobytes() + result.intercept.tobytes()


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job and return the answer; raises what the backend raises."""
    began = time.perf_counter()
    from lrbackends.backends.registry import get_backend

    get_backend(job["backend"])
    imported = time.perf_counter() - began

    from lrbackends.trainer import Trainer

    X, y = load_data(job["data"])
    before = peak_memory()
    trainer = Trainer(job["backend"], **job["options"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, first = _fit(trainer, X, y)
    warm: list[float] = []
    epoch: list[float] = []
    repeatable = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began, cpu_began = time.perf_counter(), time.process_time()
        spent = 0.0
        while len(warm) < job["warm_fits"] or spent < job["warm_seconds"]:
            again, seconds = _fit(trainer, X, y)
            warm.append(seconds)
            epoch.append(again.timings["run"] / max(1, again.n_epochs))
            repeatable = repeatable and _bits(again) == _bits(result)
            spent = time.perf_counter() - began
            if spent > MANY_SECONDS or len(warm) == MANY_FITS:
                break
        busy = (time.process_time() - cpu_began) / spent if spent else 1.0
    after = peak_memory()
    return {
        "status": result.status,
        "reason": result.reason,
        "import": imported,
        "compile": result.timings["compile"],
        "first": first,
        "warm": warm,
        "epoch": epoch,
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        "learning_rate": result.learning_rate,
        "n_epochs": result.n_epochs,
        "n_steps": result.n_steps,
        "coef": [[float(v).hex() for v in row] for row in result.coef],
        "intercept": [float(v).hex() for v in result.intercept],
        "repeatable": repeatable,
        "peak_memory": after,
        "memory_growth": None if after is None or before is None else after - before,
        "cores_busy": busy,
        "warnings": list(dict.fromkeys(str(w.message) for w in caught)),
    }


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job and return the answer; a failure becomes a status and its reason."""
    from lrbackends.errors import BackendUnavailableError, UnsupportedError

    try:
        return measure(job)
    except BackendUnavailableError as error:
        return {"status": "unavailable", "reason": str(error)}
    except UnsupportedError as error:
        return {"status": "unsupported", "reason": str(error)}
    except Exception as error:
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Read a job, do it, print the answer."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answered = answer(job)
    print(json.dumps(answered))


if __name__ == "__main__":
    main()
