"""Files as pytest-benchmark writes them, made of given times."""

import json
from pathlib import Path
from typing import Any

import numpy as np

MACHINE = {
    "machine": "x86_64",
    "system": "Linux",
    "release": "6.1",
    "python_implementation": "CPython",
    "python_version": "3.11.7",
    "cpu": {"brand_raw": "A Processor", "count": 2},
}
COMMIT = {"id": "0123456789abcdef", "dirty": False}
VERSIONS = {"numpy": "2.4.6", "numba": "0.68.1"}


def times(middle: float, n: int = 60, spread: float = 0.02, seed: int = 0) -> list[float]:
    """Return seconds that scatter around ``middle``."""
    return (middle * np.exp(spread * np.random.default_rng(seed).normal(size=n))).tolist()


def stored(
    backend: str,
    data: list[float],
    *,
    group: str | None = "gradient 10x3",
    loss: float | None = 0.5,
    keep: bool = True,
    **info: Any,
) -> dict[str, Any]:
    """Return a benchmark of that backend with these seconds; ``keep=False`` drops the rounds."""
    low, middle, high = (float(q) for q in np.quantile(data, [0.25, 0.5, 0.75]))
    stats = {"q1": low, "median": middle, "q3": high, "rounds": len(data), "iterations": 1}
    name = f"test_gradient[10x3-{backend}]"
    return {
        "group": group,
        "name": name,
        "fullname": f"benchmarks/test_gradient.py::{name}" + (f" {group}" if group else ""),
        "params": {"size": "10x3", "backend": backend},
        "extra_info": {"loss": loss, "status": "completed", "versions": VERSIONS} | info,
        "stats": stats | ({"data": data} if keep else {}),
    }


def file(folder: Path, *benchmarks: dict[str, Any], name: str = "new.json", **more: Any) -> Path:
    """Write a run and return its path."""
    document = {
        "machine_info": MACHINE,
        "commit_info": COMMIT,
        "benchmarks": list(benchmarks),
        "datetime": "2026-01-31T12:00:00+00:00",
        "version": "5.1.0",
    }
    path = folder / name
    path.write_text(json.dumps(document | more), encoding="utf-8")
    return path
