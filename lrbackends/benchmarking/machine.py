"""What a measurement depends on besides the code: processor, cores, versions, BLAS, settings."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from threadpoolctl import threadpool_info

from lrbackends._host import cpu_model, installed_versions, usable_cores

_SHOWN = ("lrbackends", "numpy", "numba", "jax")
# Variables that change how fast an engine is, or which one runs.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_DISABLE_JIT",
    "NUMBA_CPU_NAME",
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
    "JAX_DISABLE_JIT",
    "JAX_COMPILATION_CACHE_DIR",
    "XLA_FLAGS",
)


@dataclass(frozen=True)
class Machine:
    """The facts that have to stand beside every time.

    Attributes
    ----------
    cpu : str
        Model name of the processor.
    cores : int
        Logical cores that this process may use.
    system : str
        Operating system and its version.
    python : str
    versions : mapping of str to str
        Of the packages that are installed.
    blas : tuple of str
        Each BLAS that is loaded, with its threads.
    environment : mapping of str to str
        Those variables that change the speed of an engine and are set.
    """

    cpu: str
    cores: int
    system: str
    python: str
    versions: Mapping[str, str]
    blas: tuple[str, ...]
    environment: Mapping[str, str]

    def line(self) -> str:
        """Return the facts that matter most in one line."""
        named = ", ".join(f"{k} {self.versions[k]}" for k in _SHOWN if k in self.versions)
        settings = "".join(f", {name}={value}" for name, value in self.environment.items())
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        blas = self.blas[0] if self.blas else "no BLAS found"
        return (
            f"{self.cpu}, {cores}, {self.system}; Python {self.python}, {named}; {blas}{settings}"
        )


def blas_libraries() -> tuple[str, ...]:
    """Return each BLAS loaded in this process: name, version, kernel and threads."""
    return tuple(
        f"{pool['internal_api']} {pool.get('version') or ''}".strip()
        + (f" ({pool['architecture']})" if pool.get("architecture") else "")
        + f", {pool['num_threads']} thread{'s' if pool['num_threads'] != 1 else ''}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    )


def machine_facts() -> Machine:
    """Return the facts of the machine, interpreter and packages in use."""
    return Machine(
        cpu=cpu_model(),
        cores=usable_cores(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=installed_versions(),
        blas=tuple(dict.fromkeys(blas_libraries())),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )
