"""The machine that this process runs on: processor, cores, versions, and where to keep files."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("lrbackends", "numpy", "scipy", "scikit-learn", "numba", "llvmlite", "jax", "jaxlib")


def cpu_model() -> str:
    """Return the processor's model name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    if platform.system() == "Darwin":
        answer = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode == 0:
            return answer.stdout.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_versions() -> dict[str, str]:
    """Return the versions of those `PACKAGES` that are installed, without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cache_directory() -> Path:
    """Return where files may be kept that can be made again.

    LRBACKENDS_CACHE_DIR where that is set, else ``lrbackends`` in the user's cache directory
    (LOCALAPPDATA on Windows, XDG_CACHE_HOME or ~/.cache elsewhere). It need not exist.

    Raises
    ------
    RuntimeError
        The user has no home directory.
    """
    if chosen := os.environ.get("LRBACKENDS_CACHE_DIR"):
        return Path(chosen)
    home = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "lrbackends"
