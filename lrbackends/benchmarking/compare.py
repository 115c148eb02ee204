"""Train the same model with several backends and measure what each one costs."""

from __future__ import annotations

import base64
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends._host import usable_cores
from lrbackends._validation import check_choice, check_number
from lrbackends.backends.protocol import Backend
from lrbackends.backends.registry import Available, available_backends, get_backend
from lrbackends.benchmarking import peers
from lrbackends.benchmarking.agreement import Agreement
from lrbackends.benchmarking.cells import (
    COMPILES,
    GAP,
    VARIATIONS,
    Cell,
    Settings,
    Shape,
    base_cells,
    variations,
)
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import (
    REFERENCE,
    REFERENCE_COST,
    distances,
    reference_params,
)
from lrbackends.benchmarking.journal import Journal, fingerprint
from lrbackends.benchmarking.machine import Machine, machine_facts
from lrbackends.benchmarking.processes import environment, run_worker
from lrbackends.benchmarking.resampling import resized
from lrbackends.benchmarking.rows import PEER, Answer, Measured, Row, row_of
from lrbackends.benchmarking.source import lines_of_code
from lrbackends.benchmarking.worker import save_data
from lrbackends.objective import Params, accuracy, scores
from lrbackends.problem import Problem
from lrbackends.trainer import Trainer

WARM_FITS = 3
WARM_SECONDS = 0.1
VARIATION_ROUNDS = 3
_VARIATION_REFERENCE_COST = 1.2e8  # entries of X; half a second

Progress = Callable[[int, int, str], object]


def compare(
    X: Any = None,
    y: Any = None,
    *,
    shape: tuple[int, int] | None = None,
    X_test: Any = None,
    y_test: Any = None,
    backends: Sequence[str | Backend] | None = None,
    solver: str = "gd",
    epochs: int = 1000,
    l2: float = 1e-3,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dtype: str | None = None,
    arithmetic: str = "fast",
    vary: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    rounds: int = 6,
    random_state: int = 0,
    timeout: float = 600.0,
    journal: str | Path | None = None,
    progress: Progress | None = None,
    first: Callable[[Comparison], object] | None = None,
    name: str | None = None,
) -> Comparison:
    """Train the same model with each backend, measure the costs apart and check the results.

    What is measured are cells: one backend doing one task under one set of conditions. Each
    measurement is made in a fresh Python process, which is confined to its cores before it imports
    anything, so that no backend profits from what another one has imported, compiled or allocated.
    The process imports the engine, trains, and trains a few times again; see `rows.Measured` for
    what is timed. A round is one process of every cell, in an order shuffled anew, so that a drift
    of the machine's speed meets all of them alike; ratios are formed within rounds.

    First the task that was asked for is measured, then variations of it, each with one thing
    changed: they answer the questions of `Comparison.answers`.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features), optional
        Each backend is given X as it is stored; one that does not cover sparse data becomes a row
        that says so, they are not densified for it. Default: the bundled digits zero and one, with
        their test rows.
    y : array-like of shape (n_samples,), optional
        Labels.
    shape : (int, int), optional
        In place of data: rows and features of random data to compare on.
    X_test, y_test : array-likes, optional
        Rows to report the accuracy on.
    backends : sequence of str or Backend, optional
        Names, or objects that can be pickled; default: all that are registered. One that is not
        available here, crashes or takes too long becomes a row that says so.
    solver, epochs, l2, batch_size, learning_rate, dtype, arithmetic, random_state
        See `Trainer`. ``random_state`` also shuffles the rounds.
    vary : sequence of str, optional
        Which variations to measure besides: "size" (fewer and more rows), "arithmetic"
        (reproducible), "dtype" (float32), "threads" (one), "cache" (of compiled code: none, filled)
        and "optimum" (to the optimum, with scikit-learn beside). Default: all of them.
    sizes : sequence of int, optional
        Numbers of rows of "size"; default: powers of ten from 100 to 100,000. Rows are drawn from
        the data, repeatedly where there are fewer.
    rounds : int, default 6
        Processes per cell of the base task; of variations at most three.
    timeout : float, default 600
        Seconds that one process may take.
    journal : path, optional
        A file that keeps each measurement as it is made. With the file of a comparison that was
        stopped only what is missing is measured.
    progress : callable, optional
        Called as ``progress(done, total, cell)`` before each process, and once at the end with an
        empty cell.
    first : callable, optional
        Called with the comparison of the base task, before variations are measured.
    name : str, optional
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
    >>> print(lrb.compare(X / X.std(axis=0), y, vary=[]).recommend())  # doctest: +SKIP
    """
    check_number("rounds", rounds, low=1, integer=True)
    check_number("timeout", timeout, open_low=True)
    vary = VARIATIONS if vary is None else (vary,) if isinstance(vary, str) else tuple(vary)
    for what in vary:
        check_choice("vary", what, VARIATIONS)
    X, y, X_test, y_test, name = _data(X, y, shape, X_test, y_test, name, random_state)
    given = _Backends(backends)
    problem = Problem(X, y, dtype=dtype)
    test = _test_problem(X_test, y_test, problem)
    base = Settings(
        solver,
        epochs,
        l2,
        batch_size,
        learning_rate,
        problem.dtype.name,
        random_state,
        arithmetic,
    )
    Trainer(given.names[0], **asdict(base))  # refuses wrong options
    _check_sizes(sizes, len(problem.classes))
    with tempfile.TemporaryDirectory(prefix="lrbackends-") as directory:
        run = _Run(
            given=given,
            problem=problem,
            test=test,
            base=base,
            name=name,
            rounds=int(rounds),
            timeout=timeout,
            directory=Path(directory),
            journal_path=journal,
            progress=progress,
        )
        run.measure_base()
        if first is not None:
            first(run.comparison())
        run.measure_variations(vary, sizes)
        return run.comparison()


def _data(
    X: Any, y: Any, shape: Any, X_test: Any, y_test: Any, name: str | None, seed: int
) -> tuple[Any, Any, Any, Any, str]:
    """Return the data that were given, random ones of a shape, or the bundled ones."""
    if (X is None) != (y is None):
        raise ValueError("give both X and y, or neither")
    if X is not None:
        if shape is not None:
            raise ValueError("give X and y or a shape, not both")
        return X, y, X_test, y_test, name or "data"
    if X_test is not None or y_test is not None:
        raise ValueError("X_test and y_test need X and y")
    if shape is None:
        from lrbackends.datasets import load_dataset

        found = load_dataset("digits01")
        return found.X_train, found.y_train, found.X_test, found.y_test, name or found.name
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise ValueError(f"shape must be (rows, features), got {shape!r}")
    n, p = shape
    check_number("shape[0]", n, low=2, integer=True)
    check_number("shape[1]", p, low=1, integer=True)
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    z = X @ rng.standard_normal(p) / np.sqrt(p)
    y = z + rng.logistic(size=n) > 0
    y[:2] = False, True
    return X, y, None, None, name or "random data"


def _check_sizes(sizes: Sequence[int] | None, n_classes: int) -> None:
    if sizes is not None and not isinstance(sizes, Sequence):
        raise TypeError(f"sizes must be a sequence of numbers of rows, got {sizes!r}")
    for n in sizes or ():
        check_number("sizes", n, low=max(10, n_classes), integer=True)


def _test_problem(X_test: Any, y_test: Any, problem: Problem) -> Problem | None:
    if (X_test is None) != (y_test is None):
        raise ValueError("give both X_test and y_test, or neither")
    if X_test is None:
        return None
    test = Problem(X_test, y_test, dtype=problem.dtype, classes=problem.classes)
    if test.n_features != problem.n_features:
        raise ValueError(f"X_test has {test.n_features} features, X has {problem.n_features}")
    return test


class _Backends:
    """The backends that were asked for: names, and what a process needs to load each of them."""

    def __init__(self, backends: Sequence[str | Backend] | None) -> None:
        self.known = available_backends()
        asked = tuple(self.known) if backends is None else backends
        several = [asked] if isinstance(asked, (str, Backend)) else list(asked)
        if not several:
            raise ValueError(f"backends is empty; choose from {', '.join(self.known)}")
        self.sources: dict[str, str] = {}
        for one in several:
            name, source = self._source(one)
            if self.sources.get(name, source) != source:
                raise ValueError(f"backends has {name!r} twice; give each one a name of its own")
            self.sources[name] = source
        self.names = tuple(self.sources)

    def _source(self, one: Any) -> tuple[str, str]:
        if isinstance(one, str):
            if one not in self.known:
                get_backend(one)  # raises, listing the known names
            return one, one
        backend = get_backend(one)
        try:
            if type(backend).__module__ == "__main__":  # that of the child is another one
                raise TypeError("its class is of the script or session that runs")
            text = pickle.dumps(backend)
        except Exception as error:
            raise TypeError(
                f"backend {backend.name!r} cannot be handed to a fresh process, in which each is "
                f"measured: {error}; define its class in a module, or register it as an entry "
                "point in the group 'lrbackends.backends' and pass its name"
            ) from None
        return backend.name, f"pickle:{base64.b64encode(text).decode()}"

    def reason(self, name: str) -> str | None:
        """Return why the backend is not available here, None if it is."""
        found = self.known.get(name) if self.sources[name] == name else None
        return None if found is None or found else found.reason  # type: ignore[union-attr]

    def engine(self, name: str) -> str:
        found = self.known.get(name) if self.sources[name] == name else None
        return found.engine if isinstance(found, Available) else ""

    def lines(self) -> dict[str, int]:
        found = {b: lines_of_code(b) for b in self.names if self.sources[b] == b}
        return {name: lines for name, lines in found.items() if lines is not None}


class _Run:
    """One comparison while it is made."""

    def __init__(
        self,
        *,
        given: _Backends,
        problem: Problem,
        test: Problem | None,
        base: Settings,
        name: str,
        rounds: int,
        timeout: float,
        directory: Path,
        journal_path: str | Path | None,
        progress: Progress | None,
    ) -> None:
        self.given, self.problem, self.test, self.base, self.name = given, problem, test, base, name
        self.rounds, self.timeout, self.directory = rounds, timeout, directory
        self.progress = progress
        self.machine: Machine = machine_facts()
        self.order = np.random.default_rng(base.random_state)
        self.answers: dict[Cell, list[tuple[int, Answer]]] = {}
        self.round, self.done, self.total = 0, 0, 0
        self.began = time.perf_counter()
        self.tolerances: dict[tuple[str, int], dict[str, Any]] = {}
        self.lines = given.lines()
        self._caches: dict[str, Path] = {}  # directories with a backend's compiled code
        self._agreements: dict[tuple[int, Settings], tuple[int, Agreement]] = {}
        self.journal = Journal(
            journal_path,
            {
                "data": fingerprint(*_parts(problem.X), problem.y),
                # Which BLAS this process has loaded depends on what else it has imported.
                "machine": fingerprint({**asdict(self.machine), "blas": ()}),
                "versions": dict(self.machine.versions),
            },
        )

    # -- measuring

    @property
    def shape(self) -> Shape:
        n_classes = len(self.problem.classes)
        return Shape(
            self.problem.n_samples, self.problem.n_outputs, _entries(self.problem.X), n_classes
        )

    @property
    def _asked(self) -> tuple[Any, ...]:
        """The conditions of the task that was asked for."""
        return Cell("", self.problem.n_samples, self.base).conditions

    def measure_base(self) -> None:
        """Measure the task that was asked for."""
        cells = base_cells(self.given.names, self.base, self.problem.n_samples)
        for cell in cells:
            reason = self.given.reason(cell.backend)
            absent = {"status": "unavailable", "reason": reason}
            self.answers[cell] = [] if reason is None else [(0, absent)]
        here = [cell for cell in cells if not self.answers[cell]]
        self.total = self.rounds * len(here)
        self._rounds(here, self.rounds)

    def measure_variations(self, vary: Sequence[str], sizes: Sequence[int] | None) -> None:
        """Measure the variations, base cells among them, for ratios are formed within rounds."""
        rows = [row for row in self._rows() if isinstance(row, Measured)]
        backends = [row.cell.backend for row in rows if row.status != "diverged"]
        if vary and backends:
            cells = variations(
                backends,
                self.base,
                self.shape,
                vary=vary,
                sizes=sizes,
                cores=usable_cores(),
                compiling=[r.cell.backend for r in rows if r.compile_time.slowest > COMPILES],
                peers=peers.suited(self.problem.n_features),
            )
            rounds = min(self.rounds, VARIATION_ROUNDS)
            self.total += rounds * len(cells)
            self._rounds(cells, rounds)
        if self.progress is not None:
            self.progress(self.total, self.total, "")

    def _rounds(self, cells: list[Cell], rounds: int) -> None:
        for cell in cells:
            self.answers.setdefault(cell, [])
        for _ in range(rounds):
            for k in self.order.permutation(len(cells)).tolist():
                self._report(cells[k])
                found = self.answers[cells[k]]
                if not found or "warm" in found[-1][1]:
                    found.append((self.round, self._kept(cells[k])))
            self.round += 1

    def _report(self, cell: Cell) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total, cell.label())
        self.done += 1

    def _kept(self, cell: Cell) -> Answer:
        source = self.given.sources.get(cell.backend, "")
        answer = self.journal.answer(cell, self.round, source)
        if answer is None:
            answer = self._measure(cell)
            self.journal.add(cell, self.round, answer, source)
        return answer

    def _measure(self, cell: Cell) -> dict[str, Any]:
        """Measure a cell in a fresh process; what compiles without a cache fills one for later."""
        if cell.cache == "usual":
            return self._run(cell, self.directory)
        filled = self._caches.get(cell.backend)
        if cell.cache == "filled" and filled is not None:
            return self._run(cell, filled)
        empty = Path(tempfile.mkdtemp(dir=self.directory))
        answer = self._run(cell, empty)
        self._caches.setdefault(cell.backend, empty)
        return answer if cell.cache == "empty" else self._run(cell, empty)

    def _run(self, cell: Cell, cache: Path) -> dict[str, Any]:
        peer = cell.backend.startswith(PEER)
        return run_worker(
            {
                "backend": cell.backend if peer else self.given.sources[cell.backend],
                "data": str(self._saved(cell.n_samples)),
                "options": self._peer_options(cell) if peer else asdict(cell.settings),
                "threads": cell.threads,
                "warm_fits": WARM_FITS,
                "warm_seconds": WARM_SECONDS,
                "new_shape": cell.conditions == self._asked,
            },
            self.timeout,
            variables=environment(cell.threads, cell.cache, cache),
        )

    def _saved(self, n_samples: int) -> Path:
        path = self.directory / f"{n_samples}.npz"
        if not path.exists():
            save_data(path, *self._data(n_samples))
        return path

    def _data(self, n_samples: int) -> tuple[Any, NDArray[Any]]:
        X, y = self.problem.X, self.problem.y
        if n_samples == self.problem.n_samples:
            return X, y
        return resized(X, y, n_samples, self.base.random_state)

    def _peer_options(self, cell: Cell) -> dict[str, Any]:
        """Return a peer's options: the tolerance that reaches the optimum is looked for once."""
        key = cell.backend, cell.n_samples
        if key not in self.tolerances:
            X, y = self._data(cell.n_samples)
            l2 = cell.settings.l2
            best = Trainer("numpy", "auto", l2=l2, random_state=0).fit(X, y).loss
            goal = {"l2": l2, "target": best * (1 + GAP)}
            tol = peers.loosest_tolerance(cell.backend, X, y, **goal)
            self.tolerances[key] = goal | {"tol": tol}
        return self.tolerances[key]

    # -- what was found

    def _rows(self) -> list[Row]:
        rows = []
        for cell, answers in self.answers.items():
            if not answers:
                continue
            engine = (
                f"scikit-learn {self.machine.versions.get('scikit-learn', '')}"
                if cell.backend.startswith(PEER)
                else self.given.engine(cell.backend)
            )
            rows.append(self._tested(row_of(cell, engine, answers)))
        return rows

    def _tested(self, row: Row) -> Row:
        test = self.test
        if test is None or not isinstance(row, Measured):
            return row
        coef, intercept = row.params
        z = scores(test.X, Params(coef.astype(test.dtype), intercept.astype(test.dtype)))
        return replace(row, test_accuracy=accuracy(z, test))

    def _agreement(self, rows: list[Measured]) -> Agreement:
        """Return how far the rows of one task are apart; done once for the same rows."""
        task = n_samples, settings = rows[0].cell.task
        if task in self._agreements and self._agreements[task][0] == len(rows):
            return self._agreements[task][1]
        X, y = self._data(n_samples)
        problem = Problem(X, y, dtype=settings.dtype)
        exact, how = None, "none, solvers that seek the optimum are judged by the objective"
        if settings.first_order:
            trainer = Trainer("numpy", **asdict(settings))
            most = REFERENCE_COST if settings == self.base else _VARIATION_REFERENCE_COST
            exact, how = reference_params(problem, trainer, rows[0].step_size, most)
        params = {row.cell.backend: row.params for row in rows}
        if exact is not None:
            params[REFERENCE] = exact
        whole = self.test is not None and n_samples == self.problem.n_samples
        seen = (problem.X, self.test.X) if whole and self.test is not None else (problem.X,)
        found = Agreement(n_samples, settings, how, distances(params, seen, settings.dtype))
        self._agreements[task] = len(rows), found
        return found

    def comparison(self) -> Comparison:
        """Return what has been measured so far."""
        rows = self._rows()
        tasks: dict[tuple[int, Settings], dict[str, Measured]] = {}
        for row in rows:
            if isinstance(row, Measured) and row.status != "diverged":
                # Threads and caches change no result: `Measured.repeatable` covers one cell only.
                tasks.setdefault(row.cell.task, {}).setdefault(row.cell.backend, row)
        return Comparison(
            name=self.name,
            n_samples=self.problem.n_samples,
            n_features=self.problem.n_features,
            n_classes=len(self.problem.classes),
            n_test=0 if self.test is None else self.test.n_samples,
            entries=_entries(self.problem.X),
            data_bytes=sum(part.nbytes for part in _parts(self.problem.X)),
            settings=self.base,
            rounds=self.rounds,
            rows=tuple(rows),
            agreements=tuple(self._agreement(list(of.values())) for of in tasks.values()),
            machine=self.machine,
            lines_of_code=self.lines,
            seconds=time.perf_counter() - self.began,
        )


def _entries(X: Any) -> int:
    return int(X.size if isinstance(X, np.ndarray) else X.nnz)


def _parts(X: Any) -> list[NDArray[Any]]:
    return [X] if isinstance(X, np.ndarray) else [X.data, X.indices, X.indptr]
