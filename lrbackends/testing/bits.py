"""The bits of a few fits, here and in other processes.

``python -m lrbackends.testing.bits ADDRESS`` prints them as hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import problems
from lrbackends.errors import LrbackendsWarning
from lrbackends.problem import Problem
from lrbackends.result import TrainingResult
from lrbackends.trainer import Trainer

_SECONDS = 300.0


def fit(backend: Backend, problem: Problem, n_threads: int | None = None) -> TrainingResult:
    """Train by three steps of gradient descent on all rows."""
    trainer = Trainer(backend, "gd", l2=0.1, epochs=3, n_threads=n_threads)
    return trainer.fit(problem.X, problem.y, problem.sample_weight)


def fit_batches(backend: Backend, problem: Problem, seed: int = 0) -> TrainingResult:
    """Train by Adam on mini-batches."""
    trainer = Trainer(backend, "adam", l2=0.1, batch_size=16, epochs=5, random_state=seed)
    return trainer.fit(problem.X, problem.y, problem.sample_weight)


def bits_of(result: TrainingResult) -> bytes:
    """Return all that a fit computed, as bytes."""
    state, losses = result.state, result.history["loss"]
    parts: list[Any] = [result.coef, result.intercept, *state[:4], losses]
    return b"".join(np.asarray(part).tobytes() for part in parts)


def digest(results: Iterable[TrainingResult]) -> str:
    """Return a hash of all that some fits computed."""
    return hashlib.sha256(b"".join(map(bits_of, results))).hexdigest()


def sample(backend: Backend) -> str:
    """Return the hash of fits on few rows and on many."""
    small, large = problems.small(weighted=True), problems.large()
    return digest([fit(backend, small), fit_batches(backend, small), fit(backend, large)])


def sample_elsewhere(address: str) -> str:
    """Return the same hash from a fresh process."""
    # -P and the path keep the child's imports those of this process, whatever directory it is in.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", __spec__.name, address],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert ended.returncode == 0, f"the process ended with:\n{ended.stderr}"
    return ended.stdout.split()[-1]


def main() -> None:
    """Be the fresh process."""
    from lrbackends.testing.kit import find

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LrbackendsWarning)
        print(sample(find(sys.argv[1]).backend))


if __name__ == "__main__":
    main()
