"""The measuring process: one cell, from its import to its last warm fit.

``python -m lrbackends.benchmarking.worker`` reads a job as one JSON object from standard input and
prints its answer as one JSON object, the last line of standard output. What a backend itself prints
goes to standard error.

A job has

backend : str
    A name, one of `peers.PEERS`, or a pickled `Backend` object in base64 behind ``pickle:``.
data : str
    A file of `save_data`.
options : dict
    For `Trainer`; of a peer for `peers.fitter`.
threads : int or None
    Logical cores to stay on; the process confines itself to them before it imports anything.
warm_fits, warm_seconds : int, float
    Warm fits are repeated until there are that many and that much time is spent, but no more of
    them once `MANY_SECONDS` or `MANY_FITS` are reached.
new_shape : bool
    Whether one row less is trained on at the end, to see what another shape costs.

An answer has a ``status`` (one of `TrainingResult`'s, or "unavailable", "unsupported" or "failed")
and a ``reason``. Where there was a training, it also has

import, transfer, compile, first : float
    Seconds: loading the backend module and its engine right after ``import lrbackends`` (NumPy's
    own import is part of it, every backend needs that); of the first fit, bringing the data to the
    engine and compiling; that whole fit, checking of the data included. Solvers that seek the
    optimum compile while they run: for them compiling is what the first fit took longer than a warm
    one.
warm, epoch : list of float
    Seconds of each further fit, and of its native steps, divided by its epochs.
new_shape : float or None
    Seconds of the first fit of one row less.
read_once : float
    Seconds that it takes to read X once, in as many threads as NumPy's BLAS has.
loss, gradient_norm, learning_rate, n_epochs, n_steps, n_passes
    As in `TrainingResult`.
curve : list of [int, float]
    Epochs and the objective after them, the start included, at most `CURVE_POINTS` of them.
coef, intercept : list of list of str, list of str
    As hexadecimal floats, which are exact.
repeatable : bool
    Whether every fit of this process gave the same bits.
peak_memory, fit_memory : int or None
    Bytes: the most that was resident at a time; how much of it came during the first fit, on top of
    what was resident when the engine was imported and the data loaded.
cores_busy : float
    Processor time over wall time of the warm fits.
warnings : list of str
    Messages of the first fit.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lrbackends.result import TrainingResult

MANY_FITS = 50
MANY_SECONDS = 3.0
CURVE_POINTS = 100
_CACHE_LINE = 64  # bytes
_READS, _READ_SECONDS = 20, 0.01


class Memory:
    """How much memory this process holds, as far as the system tells; None where it does not.

    Linux keeps ``ru_maxrss`` across fork and exec, so a small child of a large parent would report
    its parent's peak; the high-water mark in /proc starts afresh with the program, and can be set
    back to what is resident now.
    """

    def __init__(self) -> None:
        self._earlier = peak_memory()
        self._resident = _proc_status("VmRSS:")
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self._resident = self._earlier  # only what exceeds the earlier peak is seen

    def peak(self) -> int | None:
        """Return the most bytes that were resident at a time since the process started."""
        now = peak_memory()
        return None if now is None else max(now, self._earlier or 0)

    def growth(self) -> int | None:
        """Return the most bytes that were resident at a time on top of those at the beginning."""
        now = peak_memory()
        return None if now is None or self._resident is None else max(0, now - self._resident)


def _proc_status(key: str) -> int | None:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return None


def peak_memory() -> int | None:
    """Return the most bytes that were resident in this process at a time, None if unknown."""
    peak = _proc_status("VmHWM:")
    if peak is not None:
        return peak
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
    """Return X, in the form that it was saved in, and y, each at a multiple of 64 bytes.

    Where arrays begin is luck, and the luck of a process: vectors that straddle cache lines make
    epochs up to a quarter slower.
    """
    import numpy as np

    with np.load(path) as arrays:
        loaded = {name: _aligned(arrays[name]) for name in arrays}
    if "X" in loaded:
        return loaded["X"], loaded["y"]
    from scipy import sparse

    data, indices, indptr, shape = (loaded[name] for name in _CSR)
    X = sparse.csr_array((data, indices, indptr), shape=tuple(shape))
    X.data, X.indices, X.indptr = data, indices, indptr  # of which SciPy may have made copies
    return X, loaded["y"]


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    room = np.empty(array.nbytes + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Read(NamedTuple):
    """What one fit gave."""

    entries: dict[str, Any]  # of the answer
    bits: bytes  # of the parameters
    epoch: float  # seconds
    compiling: float | None  # seconds; None where it went on while the fit ran
    transfer: float  # seconds


class Fitter(NamedTuple):
    """How to train, which is timed, and how to read what came out, which is not."""

    fit: Callable[[Any, Any], Any]
    read: Callable[[Any, float], Read]  # of the outcome and the seconds of its fit


def _fitter(backend: Any, options: dict[str, Any]) -> Fitter:
    """Return how to train by the options, diverged or not."""
    from lrbackends.errors import DivergenceError
    from lrbackends.solvers import FIRST_ORDER
    from lrbackends.trainer import Trainer

    trainer = Trainer(backend, **options)

    def fit(X: Any, y: Any) -> TrainingResult:
        try:
            return trainer.fit(X, y)
        except DivergenceError as error:
            return error.result

    def read(result: TrainingResult, _: float) -> Read:
        timings = result.timings
        return Read(
            _entries(result),
            result.coef.tobytes() + result.intercept.tobytes(),
            timings["run"] / max(1, result.n_epochs),
            timings["compile"] if trainer.solver in FIRST_ORDER else None,
            timings["transfer"],
        )

    return Fitter(fit, read)


def _entries(result: TrainingResult) -> dict[str, Any]:
    names = ("status", "reason", "loss", "gradient_norm", "learning_rate")
    counts = ("n_epochs", "n_steps", "n_passes")
    losses = [result.initial_loss, *result.history["loss"].tolist()]
    return {name: getattr(result, name) for name in (*names, *counts)} | {
        "curve": [[k, losses[k]] for k in _spread(len(losses))],
        "coef": [[float(v).hex() for v in row] for row in result.coef],
        "intercept": [float(v).hex() for v in result.intercept],
    }


def _spread(n: int) -> list[int]:
    """Return at most `CURVE_POINTS` of 0..n-1, dense at the beginning, the last included."""
    if n <= CURVE_POINTS:
        return list(range(n))
    step = (n - 1) ** (1 / (CURVE_POINTS - 1))
    return sorted({0, n - 1, *(min(n - 1, round(step**k)) for k in range(CURVE_POINTS))})


def _timed(fitter: Fitter, X: Any, y: Any) -> tuple[Read, float]:
    """Return what a fit gave, and its seconds."""
    began = time.perf_counter()
    outcome = fitter.fit(X, y)
    seconds = time.perf_counter() - began
    return fitter.read(outcome, seconds), seconds


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job and return the answer; raises what the backend raises."""
    imported, fitter = _imported(job)
    X, y = load_data(job["data"])
    memory = Memory()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done, first = _timed(fitter, X, y)
    growth = memory.growth()
    warm: list[float] = []
    epoch: list[float] = []
    repeatable = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began, cpu_began = time.perf_counter(), time.process_time()
        spent = 0.0
        while len(warm) < job["warm_fits"] or spent < job["warm_seconds"]:
            again, seconds = _timed(fitter, X, y)
            warm.append(seconds)
            epoch.append(again.epoch)
            repeatable = repeatable and again.bits == done.bits
            spent = time.perf_counter() - began
            if spent > MANY_SECONDS or len(warm) == MANY_FITS:
                break
        busy = (time.process_time() - cpu_began) / spent if spent else 1.0
        peak = memory.peak()
        new_shape = _of_new_shape(fitter, X, y) if job.get("new_shape") else None
    compiling = done.compiling
    if compiling is None:
        compiling = max(0.0, first - statistics.median(warm))
    return done.entries | {
        "import": imported,
        "transfer": done.transfer,
        "compile": compiling,
        "first": first,
        "warm": warm,
        "epoch": epoch,
        "new_shape": new_shape,
        "read_once": read_once(X),
        "repeatable": repeatable,
        "peak_memory": peak,
        "fit_memory": growth,
        "cores_busy": busy,
        "warnings": list(dict.fromkeys(str(w.message) for w in caught)),
    }


def _of_new_shape(fitter: Fitter, X: Any, y: Any) -> float | None:
    """Return the seconds of the first fit of one row less, None where that loses a class."""
    if set(y[:-1].tolist()) != set(y.tolist()):
        return None
    return _timed(fitter, X[:-1], y[:-1])[1]


def _imported(job: dict[str, Any]) -> tuple[float, Fitter]:
    """Load the engine; return the seconds that it took and what fits with it."""
    name: str = job["backend"]
    if name.startswith("peer:"):
        began = time.perf_counter()
        from lrbackends.benchmarking import peers

        peers.load()
        imported = time.perf_counter() - began
        return imported, peers.fitter(name, **job["options"])
    import lrbackends  # noqa: F401

    began = time.perf_counter()
    from lrbackends.backends.registry import get_backend

    backend = get_backend(_unpickled(name) if name.startswith("pickle:") else name)
    return time.perf_counter() - began, _fitter(backend, job["options"])


def _unpickled(text: str) -> Any:
    import base64
    import pickle

    return pickle.loads(base64.b64decode(text.removeprefix("pickle:")))


def read_once(X: Any) -> float:
    """Return the seconds that NumPy's BLAS takes to read all of X, at best."""
    import numpy as np

    values = (X if hasattr(X, "ravel") else X.data).ravel()
    if values.dtype.kind != "f":
        values = values.view("float32") if values.nbytes % 4 == 0 else values.astype("float32")
    best, spent, reads = math.inf, 0.0, 0
    with np.errstate(all="ignore"):  # bytes that are read as floats may be anything
        while reads < _READS or spent < _READ_SECONDS:
            began = time.perf_counter()
            values @ values
            seconds = time.perf_counter() - began
            best, spent, reads = min(best, seconds), spent + seconds, reads + 1
    return best


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


def confine(threads: int | None) -> None:
    """Stay on that many of the cores that this process may use; before any engine is imported."""
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    """Read a job, do it, print the answer."""
    job = json.load(sys.stdin)
    confine(job.get("threads"))
    with contextlib.redirect_stdout(sys.stderr):
        answered = answer(job)
    print(json.dumps(answered))


if __name__ == "__main__":
    main()
