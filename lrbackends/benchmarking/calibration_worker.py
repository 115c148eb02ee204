"""The process that measures one backend for the cost model: import, first fits, warm fits.

``python -m lrbackends.benchmarking.calibration_worker`` reads a job as one JSON object from
standard input and prints its answer as the last line of standard output; see `processes`.

A job has ``backend``, ``module`` (of its engine), ``dtype``, ``cases`` (of `calibration.Case`, as
dicts), ``seconds`` (after which no further case is begun) and ``warm`` (whether fits are repeated,
or only what can be kept on disk is to be compiled).

An answer has ``import`` and ``ready`` (seconds of importing the engine and of loading the backend
after that) and ``cells``, for each case that was trained its ``number``, ``first`` (seconds of the
first fit), ``warm`` and ``run`` (seconds of the quickest later one, and of its steps alone),
``slow`` (of the slowest later one) and ``steps``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
import warnings
from typing import Any

WARM_SECONDS = 0.03  # that a case's fits are repeated for
MOST_FITS = 15
LEAST_FITS = 2


def made(case: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """Return X, dense or CSR, and labels: correlated columns of different sizes, noisy labels."""
    import numpy as np
    from scipy import sparse

    rng = np.random.default_rng(0)
    n, p, density = case["n_samples"], case["n_features"], case["density"]
    n_classes = case["n_classes"]
    X: Any
    if density < 1:
        per_row = np.maximum(1, rng.poisson(density * p, n))
        rows = np.repeat(np.arange(n), per_row)
        columns = (p * rng.random(len(rows)) ** 2).astype(np.int64)  # some are frequent
        X = sparse.csr_array((rng.exponential(size=len(rows)), (rows, columns)), shape=(n, p))
        X.sum_duplicates()
    else:
        X = rng.standard_normal((n, p))
        X[:, 1:] = 0.6 * X[:, :-1] + 0.8 * X[:, 1:]
        X *= np.geomspace(0.5, 2.0, p)
    weights = rng.standard_normal((p, n_classes))
    z = X @ weights
    z *= 2 / z.std()
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)  # none is missing
    return X.astype(dtype), y


def _fit(backend: str, case: dict[str, Any], X: Any, y: Any) -> tuple[float, float, float]:
    """Train once; return seconds in all, those of the steps, and how many steps that were."""
    import numpy as np

    from lrbackends.many import fit_many
    from lrbackends.trainer import Trainer

    began = time.perf_counter()
    if case["solver"] == "many":
        fits = len(fit_many((X, y), C=np.geomspace(1e-3, 1e3, case["steps"]), backend=backend))
        seconds = time.perf_counter() - began
        return seconds, seconds, fits
    options: dict[str, Any] = {"epochs": case["steps"], "batch_size": case["batch_size"] or None}
    if case["seeks"]:
        options = {"gap": 1e-9}
    l1 = 0.5 / len(y) if case["l1"] else 0.0
    result = Trainer(
        backend, case["solver"], l1=l1, l2=1 / len(y) - l1, random_state=0, **options
    ).fit(X, y)
    return time.perf_counter() - began, result.timings["run"], max(1, result.n_epochs)


def _tiny(case: dict[str, Any]) -> dict[str, Any]:
    small = {"n_samples": 60, "n_features": 4, "density": min(1.0, 4 * case["density"])}
    return case | small | {"steps": 2, "batch_size": min(case["batch_size"], 8)}


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job and return the answer; raises where the backend cannot be loaded."""
    import lrbackends.estimator  # noqa: F401 - what it brings is no part of an engine's import
    from lrbackends.backends.registry import get_backend
    from lrbackends.errors import UnsupportedError

    backend, dtype = job["backend"], job["dtype"]
    began = time.perf_counter()
    importlib.import_module(job["module"])
    imported = time.perf_counter()
    can = get_backend(backend).capabilities()
    ready = time.perf_counter()
    cells: list[dict[str, Any]] = []
    answer = {"import": imported - began, "ready": ready - imported, "cells": cells}
    if dtype not in can.dtypes:
        return answer
    for case in job["cases"]:  # what the host loads for a solver is no engine's
        with contextlib.suppress(UnsupportedError):
            _fit("numpy", _tiny(case), *made(_tiny(case), dtype))
    for number, case in enumerate(job["cases"]):
        if time.perf_counter() - ready > job["seconds"]:
            break
        if not job["warm"]:
            case = _tiny(case)
        X, y = made(case, dtype)
        try:
            first = _fit(backend, case, X, y)[0]
            fits: list[tuple[float, float, float]] = []
            while job["warm"] and len(fits) < MOST_FITS:
                fits.append(_fit(backend, case, X, y))
                if len(fits) >= LEAST_FITS and sum(fit[0] for fit in fits) > WARM_SECONDS:
                    break
        except UnsupportedError:
            continue
        except Exception as error:  # a backend that fails at some work is not chosen for it
            print(f"{backend}: {case}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        fits = fits or [(first, first, 1)]
        (warm, run, steps), slow = min(fits), max(fits)[0]
        cells.append(
            {
                "number": number,
                "first": first,
                "warm": warm,
                "slow": slow,
                "run": run,
                "steps": steps,
            }
        )
    return answer


def main() -> None:
    """Read a job, do it, print the answer."""
    job = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        answered = {"status": "completed", "reason": ""} | measure(job)
    print(json.dumps(answered))


if __name__ == "__main__":
    main()
