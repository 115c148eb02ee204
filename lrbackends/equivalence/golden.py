"""Golden hashes: what the reproducible arithmetic has to give, to the last bit, for a few cases.

They are kept in ``golden.json`` beside this module with the version of the specification
(docs/reproducible-arithmetic.md) that they belong to. A hash changes only with that version.

The cases are made of integers and powers of two alone, so that their data are the same bits on any
platform; their sizes lie on both sides of every boundary between lanes.

`main` adds the hashes that are missing.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrbackends import solvers
from lrbackends.backends._reproducible import VERSION
from lrbackends.backends.protocol import Backend, Batches, initial_state, pack, unpack
from lrbackends.backends.registry import get_backend
from lrbackends.errors import ScaleWarning
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem

PATH = Path(__file__).with_name("golden.json")

_BITS = 20  # of an entry of X: exact in float32
_SEED = 2024
_RATES = {"gd": 0.3, "momentum": 0.03, "nesterov": 0.03, "adam": 0.01}


@dataclass(frozen=True)
class Case:
    """A training run whose every bit is specified.

    Attributes
    ----------
    name : str
    n, p : int
        Rows and features. Entries of X are multiples of 2^-19 in [-1, 1).
    solver, dtype, l2, fit_intercept
        As in `Trainer`.
    weighted : bool
        Sample weights from 1 to 8.
    batch_size : int or None
    replacement : bool
        How mini-batches are drawn.
    n_steps : int
    column_span : int
        The sizes of the columns fall from 1 to 2^-column_span.
    start : float
        Training starts at parameters up to this size; 0 is a start at zero.
    odd_columns : bool
        The first columns are zero, minus zero, constant, and zero of both signs in turn.
    n_classes : int
    l1
        As in `Trainer`.
    """

    name: str
    n: int
    p: int
    solver: str
    dtype: str = "float64"
    l2: float = 0.0
    fit_intercept: bool = True
    weighted: bool = False
    batch_size: int | None = None
    replacement: bool = False
    n_steps: int = 40
    column_span: int = 0
    start: float = 0.0
    odd_columns: bool = False
    n_classes: int = 2
    l1: float = 0.0

    @property
    def problem(self) -> Problem:
        """The data."""
        return _problem(self)

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return Objective(self.l2, self.l1, self.fit_intercept)

    @property
    def rule(self) -> solvers.UpdateRule:
        """The update rule."""
        return solvers.UpdateRule(self.solver, _RATES[self.solver])

    @property
    def params(self) -> Params:
        """Where training starts."""
        outputs = self.problem.n_outputs
        coef = self.start * _numbers(self, 2, outputs * self.p).reshape(outputs, self.p)
        intercept = np.full(outputs, self.start / 4 if self.fit_intercept else 0.0)
        return Params(coef.astype(self.dtype), intercept.astype(self.dtype))

    @property
    def batches(self) -> Batches | None:
        """The rows of each step."""
        size = self.batch_size
        if size is None:
            return None
        epochs = range(-(-self.n_steps * size // self.n))
        drawn = [solvers.epoch_batches(self.n, size, _SEED, e, self.replacement) for e in epochs]
        indices, sizes = (
            np.concatenate(parts)[: self.n_steps] for parts in zip(*drawn, strict=True)
        )
        return Batches(indices, sizes)


CASES = {
    case.name: case
    for case in (
        Case("1 x 1, gd", 1, 1, "gd"),
        Case("1 x 1, gd, margin below -745", 1, 1, "gd", start=-2000.0),
        Case("1 x 1, gd, float32, margin -27.4", 1, 1, "gd", "float32", start=-55.25),
        Case("1 x 1, gd, float32, margin -28.1", 1, 1, "gd", "float32", start=-56.5),
        Case("7 x 14, momentum, l2", 7, 14, "momentum", l2=0.1),
        Case("8 x 15, nesterov, weights", 8, 15, "nesterov", weighted=True),
        Case("9 x 16, adam, no intercept", 9, 16, "adam", fit_intercept=False),
        Case("63 x 17, gd, weights, l2", 63, 17, "gd", l2=0.01, weighted=True),
        Case("64 x 33, nesterov, random start", 64, 33, "nesterov", start=1.0),
        Case("65 x 14, momentum, no intercept", 65, 14, "momentum", fit_intercept=False),
        Case("129 x 15, adam, weights, l2", 129, 15, "adam", l2=0.01, weighted=True),
        Case("9 x 1, gd, 1,100 steps", 9, 1, "gd", n_steps=1100),
        Case("129 x 16, gd, columns from 1 to 2^-27", 129, 16, "gd", n_steps=200, column_span=27),
        Case("65 x 17, gd, margins above 745", 65, 17, "gd", start=2000.0),
        Case("65 x 17, adam, margins above 745", 65, 17, "adam", start=2000.0, l2=0.01),
        Case("64 x 16, gd, zeros and constants", 64, 16, "gd", l2=0.01, odd_columns=True),
        Case("129 x 17, gd, batches of 16", 129, 17, "gd", batch_size=16),
        Case("129 x 16, momentum, batches of 7", 129, 16, "momentum", batch_size=7, weighted=True),
        Case("129 x 33, adam, batches of 65", 129, 33, "adam", batch_size=65, l2=0.01),
        Case("65 x 14, nesterov, batches of 9 with replacement", 65, 14, "nesterov",
             batch_size=9, replacement=True),
        Case("129 x 15, gd, float32", 129, 15, "gd", "float32", weighted=True),
        Case("65 x 33, momentum, float32, l2", 65, 33, "momentum", "float32", l2=0.01),
        Case("63 x 16, nesterov, float32, no intercept", 63, 16, "nesterov", "float32",
             fit_intercept=False),
        Case("8 x 1, adam, float32, random start", 8, 1, "adam", "float32", start=1.0),
        Case("7 x 1, nesterov, float32, margins above 745", 7, 1, "nesterov", "float32",
             start=2000.0),
        Case("129 x 17, adam, float32, batches of 64", 129, 17, "adam", "float32",
             batch_size=64, weighted=True, l2=0.01),
        Case("9 x 1,039, gd", 9, 1039, "gd", n_steps=3),
        Case("16,391 x 128, gd", 16_391, 128, "gd", l2=0.01, weighted=True, n_steps=3),
        Case("65 x 17, gd, l1", 65, 17, "gd", l1=0.02, n_steps=200, start=1.0),
        Case("129 x 15, gd, l1, l2, batches of 16", 129, 15, "gd", l1=0.02, l2=0.01,
             batch_size=16, weighted=True),
        Case("63 x 33, gd, l1, float32", 63, 33, "gd", "float32", l1=0.03, start=1.0),
        Case("64 x 14, gd, 3 classes", 64, 14, "gd", n_classes=3, l2=0.01),
        Case("129 x 17, momentum, 4 classes, weights", 129, 17, "momentum", n_classes=4,
             weighted=True, start=1.0),
        Case("65 x 16, nesterov, 10 classes, no intercept", 65, 16, "nesterov", n_classes=10,
             fit_intercept=False),
        Case("129 x 33, adam, 5 classes, batches of 65", 129, 33, "adam", n_classes=5,
             batch_size=65, l2=0.01),
        Case("65 x 17, gd, 3 classes, margins above 745", 65, 17, "gd", n_classes=3, start=2000.0),
        Case("63 x 15, gd, 3 classes, float32, l1", 63, 15, "gd", "float32", n_classes=3,
             l1=0.01, weighted=True),
        Case("4,099 x 64, gd, 10 classes", 4099, 64, "gd", n_classes=10, weighted=True,
             n_steps=3),
    )
}  # fmt: skip
LARGE = "16,391 x 128, gd"  # 17 MB, which `backends._chunks` shares among up to four threads


def _raw(case: Case, stream: int, count: int) -> NDArray[np.uint64]:
    """Return 64-bit numbers of NumPy's Philox, whose raw stream is fixed."""
    key = np.array([case.n << 16 | case.p, stream], dtype=np.uint64)
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)


def _numbers(case: Case, stream: int, count: int) -> NDArray[np.float64]:
    """Return multiples of 2^-19 in [-1, 1)."""
    half = 1 << (_BITS - 1)
    return ((_raw(case, stream, count) >> np.uint64(64 - _BITS)).astype(np.int64) - half) / half


@cache
def _problem(case: Case) -> Problem:
    n, p = case.n, case.p
    X = _numbers(case, 0, n * p).reshape(n, p)
    y = X[:, :3].sum(axis=1) + _numbers(case, 1, n) > 0  # exact, whatever the order
    if case.n_classes > 2:
        chances = _numbers(case, 4, n * case.n_classes).reshape(n, -1)
        y = (chances + X[:, np.arange(case.n_classes) % p]).argmax(axis=1)
    X = np.ldexp(X, -(np.arange(p) * case.column_span // max(1, p - 1)))
    if case.odd_columns:
        X[:, 0], X[:, 1], X[:, 2], X[:, 3] = 0.0, -0.0, 0.5, np.resize([0.0, -0.0], n)
    weight = 1 + (_raw(case, 3, n) >> np.uint64(61)).astype(np.int64) if case.weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)
        return Problem(
            X, y.astype(int), weight, dtype=case.dtype, classes=np.arange(case.n_classes)
        )


def hash_of(backend: Backend, case: Case, n_threads: int | None = None) -> str:
    """Return the hash of a case on a backend.

    SHA-256 of, in this order and as little-endian numbers: theta and its residual after the last
    step (type of the data), the record of every step (float64, row after row), the scores of the
    rows (type of the data), and at the end the objective (float64) and its gradient, the
    intercept's last (type of the data).
    """
    problem = case.problem
    kernels = backend.compile(problem, case.objective, "reproducible", n_threads)
    state, records = kernels.run(case.rule, initial_state(case.params), case.n_steps, case.batches)
    params = unpack(state.theta, case.p)
    loss, gradient = kernels.loss_gradient(params)
    scores = kernels.decision_function(problem.X, params)
    parts = state.theta, state.residual, records, scores, np.float64(loss), pack(gradient)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def stored() -> dict[str, str]:
    """Return the hash of each case.

    Raises
    ------
    RuntimeError
        The hashes that are kept belong to another version of the specification.
    """
    content = json.loads(PATH.read_text(encoding="utf-8"))
    if content["version"] != VERSION:
        raise RuntimeError(
            f"{PATH.name} holds the hashes of version {content['version']}, but the reproducible "
            f"arithmetic is version {VERSION}; delete the file and call {main.__module__}.main()"
        )
    hashes: dict[str, str] = content["hashes"]
    return hashes


def main() -> None:
    """Add the hashes that are missing, where all built-in backends agree on them; keep the rest."""
    kept = stored() if PATH.exists() else {}
    backends = [get_backend(name) for name in ("numpy", "numba", "jax")]
    for name, case in CASES.items():
        if name not in kept:
            found = {backend.name: hash_of(backend, case) for backend in backends}
            if len(set(found.values())) > 1:
                raise SystemExit(f"{name}: the backends do not agree: {found}")
            kept[name] = found["numpy"]
            print(f"{kept[name][:12]}  {name}")
    content = {"version": VERSION, "hashes": {name: kept[name] for name in CASES}}
    PATH.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
