"""The problems of `regret` and the process that times one of them.

``python -m regret_worker`` reads ``held`` (of `Held`) and ``backends`` as JSON from standard input.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

import lrbackends as lrb
from lrbackends._backend_choice import by_rule, choose_backend
from lrbackends._cost_model import Work, work_of
from lrbackends.errors import UnsupportedError
from lrbackends.estimator import LogisticRegression

ROUNDS = 9  # of a warm fit, at most
WARM_SECONDS = 0.6  # of all backends' turns on one problem


@dataclass(frozen=True)
class Held:
    """A problem that is held back."""

    state: str
    data: str  # "ROWSxCOLUMNS[xCLASSES][~DENSITY]" or the name of bundled data
    solver: str = "auto"
    epochs: int = 1000
    dtype: str = "float64"
    batch_size: int | None = None
    l1_ratio: float = 0.0

    @property
    def title(self) -> str:
        """What the table calls it."""
        how = f"{self.solver} {self.epochs:,}" if self.solver != "auto" else "auto"
        extra = f" b{self.batch_size}" if self.batch_size else ""
        extra += f" l1 {self.l1_ratio:g}" if self.l1_ratio else ""
        return f"{self.data} {how}{extra}{' f32' if self.dtype == 'float32' else ''}"


HELD = (
    Held("fresh", "digits01", "gd", 1000),
    Held("fresh", "digits01", "gd", 30_000),
    Held("fresh", "breast_cancer"),
    Held("fresh", "digits"),
    Held("fresh", "17000x45", "gd", 300),
    Held("fresh", "60000x33"),
    Held("fresh", "20000x4000~0.004"),
    Held("fresh", "9000x18x5", "gd", 200, "float32"),
    Held("used", "digits01", "gd", 5000),
    Held("used", "11000x85", "gd", 600),
    Held("used", "1200x55"),
    Held("used", "3300x16x4"),
    Held("warm", "digits01", "gd", 1000),
    Held("warm", "digits01"),
    Held("warm", "breast_cancer", "nesterov", 500),
    Held("warm", "breast_cancer"),
    Held("warm", "digits"),
    Held("warm", "digits", "gd", 200),
    Held("warm", "6500x130", "gd", 100),
    Held("warm", "6500x130", "gd", 100, "float32"),
    Held("warm", "220000x14", "gd", 20),
    Held("warm", "50000x70"),
    Held("warm", "50000x70", dtype="float32"),
    Held("warm", "800x450"),
    Held("warm", "6000x20x4"),
    Held("warm", "9000x500~0.02", "gd", 100),
    Held("warm", "12000x2500~0.006"),
    Held("warm", "7000x60~0.15"),
    Held("warm", "5000x40", "gd", 3, batch_size=64),
    Held("warm", "4000x45", l1_ratio=0.5),
)


def load(name: str, dtype: str) -> tuple[Any, Any]:
    """Return X and y of a problem."""
    if name[0].isalpha():
        found = lrb.load_dataset(name, test_size=0.0)
        X = np.asarray(found.X_train, np.float64)
        if name == "breast_cancer":
            X = (X - X.mean(axis=0)) / X.std(axis=0)
        return X.astype(dtype), found.y_train
    size, _, density = name.partition("~")
    n, p, *classes = map(int, size.split("x"))
    rng = np.random.default_rng(n + p)
    X: Any = rng.standard_normal((n, p)) if not density else None
    if density:
        X = sparse.random_array((n, p), density=float(density), format="csr", rng=rng)
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    z = X @ rng.standard_normal((p, *(classes or [2])))
    z += z.std() * rng.gumbel(size=z.shape)
    return X.astype(dtype), z.argmax(axis=1)


def estimator(held: Held, backend: str) -> LogisticRegression:
    """Return the estimator."""
    return LogisticRegression(
        backend=backend,
        solver=held.solver,
        max_iter=held.epochs,
        tol=0.0 if held.solver != "auto" else 1e-9,
        batch_size=held.batch_size,
        l1_ratio=held.l1_ratio,
        random_state=0,
    )


def _seconds(held: Held, backend: str, X: Any, y: Any) -> float:
    model = estimator(held, backend)
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began


def timed(held: Held, backends: list[str]) -> dict[str, Any]:
    """Return the seconds of each backend that covers the problem, and what would be chosen."""
    X, y = load(held.data, held.dtype)
    usable = list(backends)
    if held.state != "fresh":
        n = len(y)
        keep = slice(0, n if held.state == "warm" else n - n // 5)
        for name in backends:
            try:
                estimator(held, name).fit(X[keep], y[keep])
            except UnsupportedError:
                usable.remove(name)
    else:
        tiny = load("50x3~0.5" if "~" in held.data else "50x3", held.dtype)
        estimator(held, "numpy").fit(*tiny)  # what the host loads is no engine's
    asked = work(held, X, y)
    choice = choose_backend(asked)
    times: dict[str, list[float]] = {name: [] for name in usable}
    began = time.perf_counter()
    for turn in range(ROUNDS if held.state == "warm" else 1):
        for k in range(len(usable)):
            name = usable[(turn + k) % len(usable)]  # none is always the one after another
            with contextlib.suppress(UnsupportedError):
                times[name].append(_seconds(held, name, X, y))
        if turn >= 2 and time.perf_counter() - began > WARM_SECONDS:
            break
    return {
        "times": {name: values for name, values in times.items() if values},
        "auto": choice.backend,
        "reason": choice.reason,
        "predicted": {name: predicted.total for name, predicted in choice.predicted.items()},
        "rule": by_rule([asked], "").backend,
    }


def work(held: Held, X: Any, y: Any) -> Work:
    """Return what the cost model predicts for, as the estimator states it."""
    classes = len(set(y.tolist()))
    entries = X.nnz if hasattr(X, "nnz") else X.size
    return work_of(
        X.shape,
        classes if classes > 2 else 1,
        entries,
        X.dtype.name,
        hasattr(X, "nnz"),
        held.solver,
        held.epochs,
        batch_size=held.batch_size,
        l1=held.l1_ratio,
    )


def main() -> None:
    """Do a job from standard input: time backends on a problem, and say what auto takes."""
    job = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        answer = timed(Held(**job["held"]), job["backends"])
    print(json.dumps({"status": "completed"} | answer))


if __name__ == "__main__":
    main()
