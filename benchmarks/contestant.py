"""A process in which one contestant fits one problem whenever it is told to.

``python -m benchmarks.contestant NAME THREADS FOLDER F*`` confines itself to as many cores as it
may have threads, before anything that starts threads is imported; loads the problem and answers
each line on standard input with a line on standard output, both JSON:

    {"fit": tol}                  -> loss, suboptimality, status, … of one fit
    {"turn": tol, "repeats": k}   -> seconds of one fit, the mean of k in a row; and the run's share

Only ``fit`` itself is timed. Whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def save(folder: Path, X: Any, y: Any) -> None:
    """Write a problem for `load`."""
    import numpy as np
    from scipy import sparse

    np.save(folder / "y.npy", y)
    if sparse.issparse(X):
        sparse.save_npz(folder / "X.npz", X, compressed=False)
    else:
        np.save(folder / "X.npy", X)


def load(folder: Path) -> tuple[Any, Any]:
    """Return the problem that `save` wrote."""
    import numpy as np
    from scipy import sparse

    y = np.load(folder / "y.npy")
    if (folder / "X.npz").exists():
        return sparse.csr_array(sparse.load_npz(folder / "X.npz")), y
    return np.load(folder / "X.npy"), y


def _confine(n_threads: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_threads])
    for name in THREAD_VARIABLES:
        os.environ[name] = str(n_threads)


def _fit(fit: Any, tol: float, X: Any, y: Any, least: float) -> dict[str, Any]:
    from .optimum import objective

    began = time.perf_counter()
    answer = fit(tol)
    seconds = time.perf_counter() - began
    loss = objective(X, y, answer.w, answer.b, 1 / len(y))
    return {
        "seconds": seconds,
        "loss": loss,
        "suboptimality": (loss - least) / least,
        "status": answer.status,
        "iterations": answer.iterations,
        **answer.more,
    }


def _turn(fit: Any, tol: float, repeats: int) -> dict[str, Any]:
    runs = []
    began = time.perf_counter()
    for _ in range(repeats):
        runs.append(fit(tol).more.get("run_seconds"))
    seconds = (time.perf_counter() - began) / repeats
    return {"seconds": seconds, "run_seconds": None if None in runs else sum(runs) / repeats}


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, n_threads, folder, least = sys.argv[1:]
    _confine(int(n_threads))
    warnings.simplefilter("ignore")
    X, y = load(Path(folder))
    from .peers import contestant_named

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=channel, flush=True)

    try:
        fit = contestant_named(name).prepare(X, y, int(n_threads))
        say({"ready": True})
        for line in sys.stdin:
            order = json.loads(line)
            if "fit" in order:
                say(_fit(fit, order["fit"], X, y, float(least)))
            else:
                say(_turn(fit, order["turn"], order["repeats"]))
    except Exception as error:
        said = " ".join(str(error).split())
        say({"failed": f"{type(error).__name__}: {said}"})
        raise


if __name__ == "__main__":
    main()
