"""Backends and data by name, the options, and what is noted beside every time."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest

from lrbackends import Objective, Params, Problem, get_backend
from lrbackends._host import installed_versions, usable_cores
from lrbackends.datasets import load_dataset
from lrbackends.errors import BackendUnavailableError, UnsupportedError

from . import tables

BUILT_IN = ("numpy", "numba", "jax")
NOTED = {"loss", "status", "threads_usable", "threads_busy", "versions"}  # beside every time
L2 = 1e-3
SIZES = {  # rows, features: as large as digits01 / the cache / memory, in float64
    "360x64": (360, 64),
    "4000x256": (4_000, 256),
    "131072x128": (131_072, 128),
}
SMALLEST = next(iter(SIZES))
ROWS = {10**k: f"10^{k}" for k in range(2, 8)}
_SMOKE_ROWS, _SLOW_ROWS = 10**4, 10**7
_WATCH_SECONDS = 0.05


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--smoke", action="store_true", help="few rounds, smallest sizes: only that it runs"
    )
    parser.addoption(
        "--slow", action="store_true", help="also what takes long; see benchmarks/README.md"
    )
    parser.addoption(
        "--backend",
        action="append",
        metavar="NAME",
        help="a backend to time, any that `lrbackends backends` lists; may be given several times. "
        f"Default: {', '.join(BUILT_IN)}",
    )


def backends_of(config: pytest.Config) -> tuple[str, ...]:
    """Return the names of the backends to time."""
    return tuple(dict.fromkeys(config.getoption("--backend") or BUILT_IN))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only with --slow")
    config.addinivalue_line("markers", "beside(*names): what is timed beside the backends")
    for name in config.getoption("--backend") or ():
        try:
            get_backend(name)
        except ValueError as error:
            raise pytest.UsageError(f"--backend: {error}") from error
        except BackendUnavailableError:
            continue  # is skipped, with this reason
    tables.set_defaults(config.option, config.invocation_params.args)
    if config.getoption("--smoke"):
        config.option.benchmark_min_rounds = 2
        config.option.benchmark_max_time = 0.02
        config.option.benchmark_min_time = 1e-6


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give out sizes, backends, and as ``route`` backends with what is timed beside them."""
    backends, smoke = backends_of(metafunc.config), metafunc.config.getoption("--smoke")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", [SMALLEST] if smoke else list(SIZES))
    if "rows" in metafunc.fixturenames:
        sizes = {n: name for n, name in ROWS.items() if not smoke or n == _SMOKE_ROWS}
        marks = {n: [pytest.mark.slow] if n >= _SLOW_ROWS else [] for n in sizes}
        cases = [pytest.param(n, id=name, marks=marks[n]) for n, name in sizes.items()]
        metafunc.parametrize("rows", cases)
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backends)
    if "route" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("beside")
        metafunc.parametrize("route", [*backends, *(marker.args if marker else ())])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip what a backend refuses, with the reason that it gives."""
    try:
        return (yield)
    except (BackendUnavailableError, UnsupportedError) as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_group_stats(config: pytest.Config) -> Generator[None, Any, Any]:
    groups = yield
    if config.option.benchmark_name == "normal":
        for _, rows in groups:
            tables.label(rows)
    return groups


@pytest.fixture(autouse=True)
def complete(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a time stands alone, without what came out and on what."""
    timed = "benchmark" in request.fixturenames
    benchmark = request.getfixturevalue("benchmark") if timed else None
    yield
    if benchmark is not None and benchmark.stats is not None and not benchmark.has_error:
        missing = NOTED - set(benchmark.extra_info)
        assert not missing, f"not noted: {', '.join(sorted(missing))}"


@pytest.fixture
def smoke(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("--smoke")


@pytest.fixture(scope="session")
def problem_of() -> Callable[[str], Problem]:
    """Return the problem of a size: standard normal features, labels drawn from a true model."""
    made: dict[str, Problem] = {}

    def problem(size: str) -> Problem:
        if size not in made:
            made.clear()  # the largest takes 134 MB, so one at a time
            n, p = SIZES[size]
            rng = np.random.default_rng(0)
            X = rng.normal(size=(n, p))
            z = X @ rng.normal(size=p) / np.sqrt(p)
            made[size] = Problem(X, z + rng.logistic(size=n) > 0)
        return made[size]

    return problem


@pytest.fixture
def problem(problem_of: Callable[[str], Problem], size: str) -> Problem:
    return problem_of(size)


@pytest.fixture(scope="session")
def objective() -> Objective:
    return Objective(l2=L2)


@pytest.fixture
def params(problem: Problem) -> Params:
    rng = np.random.default_rng(1)
    return Params(rng.normal(size=(1, problem.n_features)), rng.normal(size=1))


@pytest.fixture(scope="session")
def toy() -> tuple[np.ndarray, np.ndarray]:
    """Ten points on a line."""
    x = np.arange(10.0) / 5 - 1
    return x[:, None], (x > 0.05).astype(np.int64)


@pytest.fixture(scope="session")
def data_of(toy: tuple[np.ndarray, np.ndarray]) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Return (X, y) by name; "mnist01" needs LRBACKENDS_MNIST, a folder with the IDX files."""

    def data(name: str) -> tuple[np.ndarray, np.ndarray]:
        if name == "toy":
            return toy
        if name == "mnist01":
            folder = os.environ.get("LRBACKENDS_MNIST")
            if not folder:
                pytest.skip("LRBACKENDS_MNIST does not name a folder with the MNIST files")
            found = load_dataset(f"{folder}/train-images-idx3-ubyte.gz", digits=(0, 1))
        else:
            found = load_dataset(name, test_size=0.0)
        return found.X_train, found.y_train

    return data


def need_memory(n: int, p: int) -> None:
    """Skip where n x p doubles, the backends' copies of them and as much again would not fit."""
    needed, free = 4 * 8 * n * p, _free_memory()
    if needed > free:
        pytest.skip(f"{n:,} rows need {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free")


def _free_memory() -> float:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


@pytest.fixture
def note(benchmark: Any) -> Callable[..., None]:
    """Put loss, status, threads, versions and bytes beside the time of this benchmark."""

    def write(
        call: Callable[[], object] | None,
        *,
        X: np.ndarray | None = None,
        passes: float | None = None,
        reads: float | None = 1.0,
        loss: float | None = None,
        status: str = "completed",
        **more: Any,
    ) -> None:
        """Note what is known, and how many cores ``call`` keeps busy, if it is given.

        ``passes`` is how often the rows are gone through, and ``reads`` how often such a pass reads
        them from memory where they do not fit the cache, None where that is not known.
        """
        known = X is not None and passes is not None and reads is not None
        benchmark.extra_info.update(
            loss=None if loss is None else float(loss),
            status=status,
            threads_usable=usable_cores(),
            threads_busy=None if call is None else _cores_busy(call),
            versions=installed_versions(),
            passes=passes,
            bytes_read=int(passes * reads * X.nbytes) if known else None,
            **more,
        )

    return write


def _cores_busy(call: Callable[[], object]) -> float:
    """Return processor time over wall time of ``call``, repeated untimed for a short while."""
    began, cpu_began = time.perf_counter(), time.process_time()
    spent = 0.0
    while spent < _WATCH_SECONDS:
        call()
        spent = time.perf_counter() - began
    return round((time.process_time() - cpu_began) / spent, 2)
