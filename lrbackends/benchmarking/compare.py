"""Train the same model with several backends and measure what each one costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lrbackends._validation import check_number
from lrbackends.backends.registry import available_backends, get_backend
from lrbackends.benchmarking.comparison import Comparison, Measured, Row, Settings, Times
from lrbackends.benchmarking.distance import REFERENCE, distances, reference_params
from lrbackends.benchmarking.machine import machine_facts
from lrbackends.benchmarking.processes import run_worker
from lrbackends.benchmarking.worker import save_data
from lrbackends.objective import Params, accuracy, scores
from lrbackends.problem import Problem
from lrbackends.trainer import Trainer

WARM_FITS = 3
WARM_SECONDS = 0.2

_Answer = dict[str, Any]


def compare(
    X: Any,
    y: Any,
    *,
    X_test: Any = None,
    y_test: Any = None,
    backends: Sequence[str] | None = None,
    solver: str = "gd",
    epochs: int = 1000,
    l2: float = 1e-3,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dtype: str | None = None,
    rounds: int = 3,
    random_state: int = 0,
    timeout: float = 600.0,
    progress: Callable[[int, int, str], object] | None = None,
    name: str = "data",
) -> Comparison:
    """Train the same model with each backend, measure the costs apart and check the results.

    Each measurement is made in a fresh Python process, so that no backend profits from what another
    one has imported, compiled or allocated. A process imports the engine, trains, and trains a few
    times again; see `Measured` for what is timed. A round is one process of every backend, in an
    order shuffled anew, so that a drift of the machine's speed meets all of them alike.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Each backend is given X as it is stored; one that does not cover sparse data becomes a row
        that says so, they are not densified for it.
    y : array-like of shape (n_samples,)
        Labels.
    X_test, y_test : array-likes, optional
        Rows to report the accuracy on.
    backends : sequence of str, optional
        Names; default: all that are registered. One that is not available here, crashes or takes
        too long becomes a row that says so.
    solver, epochs, l2, batch_size, learning_rate, dtype, random_state
        See `Trainer`. ``random_state`` also shuffles the rounds.
    rounds : int, default 3
        Processes per backend.
    timeout : float, default 600
        Seconds that one process may take.
    progress : callable, optional
        Called as ``progress(done, total, backend)`` before each process, and once at the end with
        an empty name.
    name : str, default "data"
        What the report calls the data.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        The data or an option is wrong, or a backend was given that is not a known name.

    Examples
    --------
    >>> import lrbackends as lrb
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> print(lrb.compare(X / X.std(axis=0), y).recommend())  # doctest: +SKIP
    """
    known = available_backends()
    names = _names(backends, tuple(known))
    check_number("rounds", rounds, low=1, integer=True)
    check_number("timeout", timeout, open_low=True)
    problem = Problem(X, y, dtype=dtype)
    test = _test_problem(X_test, y_test, problem)
    settings = Settings(
        solver, epochs, l2, batch_size, learning_rate, problem.dtype.name, random_state
    )
    trainer = Trainer(names[0], **asdict(settings))  # refuses wrong options

    answers: dict[str, list[_Answer]] = {b: [] for b in names}
    for b in names:
        if not known[b]:
            answers[b].append({"status": "unavailable", "reason": known[b].reason})  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="lrbackends-") as directory:
        data = Path(directory) / "data.npz"
        save_data(data, problem.X, problem.y)
        order = np.random.default_rng(random_state)
        running = [b for b in names if known[b]]
        for r in range(rounds):
            for k, b in enumerate(order.permutation(running).tolist()):
                if progress is not None:
                    progress(r * len(running) + k, rounds * len(running), b)
                if not answers[b] or "warm" in answers[b][-1]:
                    answers[b].append(_measure(b, data, settings, timeout))
    if progress is not None:
        progress(rounds * len(running), rounds * len(running), "")

    engines = {b: getattr(known[b], "engine", "") for b in names}
    rows = tuple(_row(b, engines[b], answers[b], test) for b in names)
    trained = [r for r in rows if isinstance(r, Measured) and r.status != "diverged"]
    params = {row.backend: _params(row) for row in trained}
    exact, reference = None, "skipped, no backend trained"
    if trained:
        exact, reference = reference_params(problem, trainer, trained[0].learning_rate)
    if exact is not None:
        params[REFERENCE] = exact
    seen = (problem.X,) if test is None else (problem.X, test.X)
    return Comparison(
        name=name,
        n_samples=problem.n_samples,
        n_features=problem.n_features,
        n_test=0 if test is None else test.n_samples,
        settings=settings,
        rounds=rounds,
        rows=rows,
        distances=distances(params, seen, settings.dtype),
        reference=reference,
        machine=machine_facts(),
    )


def _names(backends: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if backends is None:
        return known
    names = (backends,) if isinstance(backends, str) else tuple(backends)
    if not names:
        raise ValueError(f"backends is empty; choose from {', '.join(known)}")
    for b in names:
        if not isinstance(b, str):
            raise TypeError(
                f"backends has {b!r}, but compare() measures each backend in a process of its own, "
                "which can be given a name only: register it as an entry point in the group "
                "'lrbackends.backends' and pass its name"
            )
        if b not in known:
            get_backend(b)  # raises, listing the known names
    return tuple(dict.fromkeys(names))


def _test_problem(X_test: Any, y_test: Any, problem: Problem) -> Problem | None:
    if (X_test is None) != (y_test is None):
        raise ValueError("give both X_test and y_test, or neither")
    if X_test is None:
        return None
    test = Problem(X_test, y_test, dtype=problem.dtype, classes=problem.classes)
    if test.n_features != problem.n_features:
        raise ValueError(f"X_test has {test.n_features} features, X has {problem.n_features}")
    return test


def _measure(backend: str, data: Path, settings: Settings, timeout: float) -> _Answer:
    job = {
        "backend": backend,
        "data": str(data),
        "options": asdict(settings),
        "warm_fits": WARM_FITS,
        "warm_seconds": WARM_SECONDS,
    }
    return run_worker(job, timeout)


def _row(backend: str, engine: str, answers: list[_Answer], test: Problem | None) -> Row:
    """Put the answers of a backend's processes together."""
    last = answers[-1]
    if "warm" not in last:
        late = f" (in round {len(answers)})" if len(answers) > 1 else ""
        return Row(backend, last["status"], last["reason"] + late, engine)

    def times(key: str) -> Times:
        values = [answer[key] for answer in answers]
        return Times(tuple(tuple(v) if isinstance(v, list) else (v,) for v in values))

    def greatest(key: str) -> int | None:
        return max((a[key] for a in answers if a[key] is not None), default=None)

    row = Measured(
        backend=backend,
        status=last["status"],
        reason=last["reason"],
        engine=engine,
        import_time=times("import"),
        compile_time=times("compile"),
        first_fit=times("first"),
        warm_fit=times("warm"),
        epoch_time=times("epoch"),
        loss=last["loss"],
        gradient_norm=last["gradient_norm"],
        learning_rate=last["learning_rate"],
        n_epochs=last["n_epochs"],
        n_steps=last["n_steps"],
        coef=tuple(tuple(map(float.fromhex, values)) for values in last["coef"]),
        intercept=tuple(map(float.fromhex, last["intercept"])),
        test_accuracy=None,
        repeatable=all(
            a["repeatable"] and (a["coef"], a["intercept"]) == (last["coef"], last["intercept"])
            for a in answers
        ),
        peak_memory=greatest("peak_memory"),
        memory_growth=greatest("memory_growth"),
        cores_busy=float(np.median([a["cores_busy"] for a in answers])),
        warnings=tuple(last["warnings"]),
    )
    if test is None:
        return row
    coef, intercept = _params(row)
    z = scores(test.X, Params(coef.astype(test.dtype), intercept.astype(test.dtype)))
    return replace(row, test_accuracy=accuracy(z, test))


def _params(row: Measured) -> Params:
    return Params(np.array(row.coef), np.array(row.intercept))
