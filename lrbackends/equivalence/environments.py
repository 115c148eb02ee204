"""Check "environment": the reproducible arithmetic gives the same bits wherever it runs.

Golden hashes are computed in child processes, each a fresh interpreter in which one thing is
different: how many threads or cores there are, which kernel OpenBLAS picks, which vector
instructions NumPy, XLA and Numba use, how far XLA optimises. A backend is left out of the
environments that cannot reach it: built-in ones of those that only another engine reads, and all
that do not honour ``n_threads`` of those that set it.

A child imports its backend by name. A `Backend` object that is not the registered one of its name
is looked at in this process only.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrbackends._host import usable_cores
from lrbackends.backends._reproducible import VERSION
from lrbackends.backends.protocol import Backend
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import golden
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.plan import Job, Plan
from lrbackends.errors import BackendUnavailableError

NAME = "environment"
FIGURE = "hashes that differ"
_HERE = "this process"
_SECONDS = 300.0
# Every solver, both types, mini-batches, ill-conditioned and large data.
_CASES = (
    "129 x 16, gd, columns from 1 to 2^-27",
    "129 x 16, momentum, batches of 7",
    "64 x 33, nesterov, random start",
    "129 x 33, adam, batches of 65",
    "8 x 1, adam, float32, random start",
    golden.LARGE,
)
_BUILT_IN = ("numpy", "numba", "jax")
# The mask has to be set before NumPy starts its threads, so before anything else is imported.
_CHILD = """
import os, sys
if sys.argv[1]:
    os.sched_setaffinity(0, [int(sys.argv[1])])
from lrbackends.equivalence import environments
environments.main()
"""


_Run = tuple[str, int | None]  # a golden case and the number of threads


@dataclass(frozen=True)
class Environment:
    """Where golden hashes are computed.

    Attributes
    ----------
    name : str
        What evidence calls it.
    variables : mapping of str to str
        Set in the child's environment.
    one_core : bool
        Whether the child may use one core only.
    n_threads : tuple of int or None
        What backends are compiled with, one after the other; only those that honour it.
    absent : str
        Why it cannot be had here, empty where it can.
    engine : str or None
        The only built-in backend that reads the variables; None where all may be affected.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    one_core: bool = False
    n_threads: tuple[int | None, ...] = (None,)
    absent: str = ""
    engine: str | None = None

    def reaches(self, backend: Backend) -> bool:
        """Whether the backend could give other bits here."""
        if self.n_threads != (None,) and not backend.capabilities().threads:
            return False
        return self.engine in (None, backend.name) or backend.name not in _BUILT_IN

    def runs(self, backend: Backend) -> list[_Run]:
        """Return what is computed: only the large case is shared among threads."""
        names = _CASES if self.n_threads == (None,) else (golden.LARGE,)
        dtypes = backend.capabilities().dtypes
        return [(n, k) for n in names for k in self.n_threads if golden.CASES[n].dtype in dtypes]


def environments() -> tuple[Environment, ...]:
    """Return all environments, those that cannot be had here with the reason."""
    features, dispatched = _simd_of_numpy()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    not_x86 = "" if x86 else f"the processor is {platform.machine()}, not x86-64"
    wide = [name for name in dispatched if name.startswith(("AVX512", "X86_V4"))]
    xla = os.environ.get("XLA_FLAGS", "")
    return (
        Environment("as it is"),
        Environment("1, 2 and 4 threads", n_threads=(1, 2, 4)),
        Environment(
            "one core",
            one_core=True,
            absent="" if hasattr(os, "sched_setaffinity") else "the system has no CPU masks",
        ),
        Environment("OpenBLAS for Nehalem", {"OPENBLAS_CORETYPE": "Nehalem"}, absent=not_x86),
        Environment(
            "OpenBLAS for Haswell",
            {"OPENBLAS_CORETYPE": "Haswell"},
            absent=not_x86 or ("" if "AVX2" in features else "the processor has no AVX2"),
        ),
        Environment(
            "NumPy without AVX-512",
            {"NPY_DISABLE_CPU_FEATURES": " ".join(wide)},
            absent="" if wide else "NumPy uses no AVX-512 here",
        ),
        Environment(
            "NumPy at its baseline",
            {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)},
            absent="" if dispatched else "NumPy uses no more than its baseline here",
        ),
        Environment(
            "XLA for SSE4.2",
            {"XLA_FLAGS": f"{xla} --xla_cpu_max_isa=SSE4_2".strip()},
            absent=not_x86,
            engine="jax",
        ),
        Environment(
            "XLA unoptimised",
            {"XLA_FLAGS": f"{xla} --xla_backend_optimization_level=0".strip()},
            engine="jax",
        ),
        Environment("Numba for any CPU", {"NUMBA_CPU_NAME": "generic"}, engine="numba"),
    )


def _simd_of_numpy() -> tuple[set[str], list[str]]:
    """Return the processor's features and those of them that NumPy picks code for at run time.

    Only the latter may be switched off: NumPy warns about names that it does not dispatch on.
    """
    core: Any = np._core._multiarray_umath  # type: ignore[attr-defined]
    features = {name for name, there in core.__cpu_features__.items() if there}
    return features, [name for name in core.__cpu_dispatch__ if name in features]


def facts() -> dict[str, Any]:
    """Return the names of the environments that can be had here, and the others' reasons."""
    return {
        "here": [e.name for e in environments() if not e.absent],
        "absent": {e.name: e.absent for e in environments() if e.absent},
    }


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check: one job, whose processes run side by side."""
    pairs = [
        (environment, backend)
        for environment in environments()
        for backend in plan.backends
        if not environment.absent and environment.reaches(backend) and _is_registered(backend)
    ]
    yield Job(f"environments: {len(pairs)} processes", lambda: _measure(plan, pairs))


def _is_registered(backend: Backend) -> bool:
    """Whether a child that asks for the backend by name gets this one."""
    try:
        return get_backend(backend.name) is backend
    except (ValueError, BackendUnavailableError):
        return False


def _measure(plan: Plan, pairs: list[tuple[Environment, Backend]]) -> Iterator[Evidence]:
    for backend in plan.backends:
        if not _is_registered(backend):
            runs = Environment(_HERE).runs(backend)
            note = "not registered by name, so no other process can load it"
            yield _evidence(backend, _HERE, runs, hashes_of(backend, runs), note)
    with ThreadPoolExecutor(usable_cores()) as pool:
        futures = [pool.submit(_in_child, *pair) for pair in pairs]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def hashes_of(backend: Backend, runs: Iterable[_Run]) -> list[str]:
    """Return the hash of each run in this process."""
    return [golden.hash_of(backend, golden.CASES[name], n_threads) for name, n_threads in runs]


def _evidence(
    backend: Backend, where: str, runs: Iterable[_Run], hashes: list[str], note: str = ""
) -> Evidence:
    """Compare hashes with the golden ones."""
    expected = golden.stored()
    wrong = [
        name + (f" on {n_threads} threads" if n_threads else "")
        for (name, n_threads), found in zip(runs, hashes, strict=True)
        if found != expected[name]
    ]
    notes = [f"{len(hashes)} golden hashes of version {VERSION}", *(f"wrong: {w}" for w in wrong)]
    note = "; ".join([*notes, note] if note else notes)
    return Evidence(NAME, backend.name, where, FIGURE, float(len(wrong)), 0.0, note)


def _in_child(environment: Environment, backend: Backend) -> Evidence:
    """Compute the hashes of an environment; a child that fails is a figure that fails."""
    runs = environment.runs(backend)
    try:
        hashes = _answer_of_child({"backend": backend.name, "runs": runs}, environment)
        return _evidence(backend, environment.name, runs, hashes)
    except _ChildError as error:
        return Evidence(NAME, backend.name, environment.name, FIGURE, math.inf, 0.0, str(error))


class _ChildError(Exception):
    """A child gave no answer."""


def _answer_of_child(job: Mapping[str, Any], environment: Environment) -> list[str]:
    # -P and the path keep the child's imports those of this process, whatever directory it is in.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    core = str(min(os.sched_getaffinity(0))) if environment.one_core else ""
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD, core],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            env={**os.environ, "PYTHONPATH": path, **environment.variables},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _ChildError(f"no answer within {_SECONDS:g} s") from None
    said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    if ended.returncode != 0:
        raise _ChildError(
            f"the process ended with exit code {ended.returncode}"
            + (f", saying {said[-1]!r}" if said else "")
        )
    try:
        hashes: list[str] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        hashes = []
    if len(hashes) != len(job["runs"]):
        raise _ChildError("the process ended without an answer")
    return hashes


def main() -> None:
    """Be the child: read a job from standard input, print its hashes as the last line of output."""
    job = json.load(sys.stdin)
    print(json.dumps(hashes_of(get_backend(job["backend"]), job["runs"])))
