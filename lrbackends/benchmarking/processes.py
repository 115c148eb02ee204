"""Start measuring processes and make sense of however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORKER = "lrbackends.benchmarking.worker"


_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def environment(threads: int | None, cache: str, directory: str | Path) -> dict[str, str]:
    """Return the variables that a process needs for its threads and its cache of compiled code.

    Parameters
    ----------
    threads : int or None
        None leaves the user's limits.
    cache : {"usual", "empty", "filled"}
        See `cells.Cell`. JAX keeps compiled code on disk only where it is told to.
    directory : path
        Where compiled code is kept, unless as usual.

    Returns
    -------
    dict
        Values.
    """
    variables: dict[str, str] = {}
    if threads is not None:
        variables |= dict.fromkeys(_THREADS, str(threads))
        if hasattr(os, "sched_setaffinity") and "NUMBA_NUM_THREADS" not in os.environ:
            del variables["NUMBA_NUM_THREADS"]  # Numba counts the cores that the process may use
    if cache != "usual":
        variables |= {
            "NUMBA_CACHE_DIR": str(directory),
            "JAX_COMPILATION_CACHE_DIR": str(directory),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return variables


def run_worker(
    job: dict[str, Any],
    timeout: float,
    module: str = WORKER,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Do a job in a fresh process and return its answer; see `worker`.

    Parameters
    ----------
    job : dict
        Handed over as JSON on standard input.
    timeout : float
        Seconds after which the process is killed.
    module : str
        What is run.
    variables : mapping of str to str, optional
        Of the environment, besides this process's own.

    Returns
    -------
    dict
        The answer, or the status "failed" and the reason where the process gave none.
    """
    # -P and the path keep the child's imports those of this process, whatever directory it is in.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    changed = os.environ | {"PYTHONPATH": path} | dict(variables or {})
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=changed,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _failed(f"no answer within {timeout:g} s")
    if ended.returncode != 0:
        return _failed(_how_it_ended(ended.returncode, ended.stderr))
    try:
        answer = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        return _failed("the process ended without an answer")
    return answer


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": reason}


def _how_it_ended(code: int, stderr: str) -> str:
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    said = f", saying {last!r}" if last else ""
    if code > 0:
        return f"the process ended with exit code {code}{said}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{hint}{said}"
