"""Data by size, the --smoke option, and what is noted beside every time."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lrbackends import Objective, Params, Problem, get_backend
from lrbackends.benchmarking.machine import installed_versions, usable_cores
from lrbackends.datasets import load_dataset

BACKENDS = ("numpy", "numba", "jax")
L2 = 1e-3
SIZES = {  # rows, features: as large as digits01 / the cache / memory, in float64
    "360x64": (360, 64),
    "4000x256": (4_000, 256),
    "131072x128": (131_072, 128),
}
SMALLEST = next(iter(SIZES))
_WATCH_SECONDS = 0.05


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--smoke", action="store_true", help="few rounds, smallest sizes: only that it runs"
    )
    parser.addoption(
        "--slow", action="store_true", help="also what takes long; see benchmarks/README.md"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only with --slow")
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
    if "size" in metafunc.fixturenames:
        smoke = metafunc.config.getoption("--smoke")
        metafunc.parametrize("size", [SMALLEST] if smoke else list(SIZES))


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


@pytest.fixture
def available() -> Callable[[str], None]:
    """Skip, with the reason, where a backend is not there."""

    def check(backend: str) -> None:
        try:
            get_backend(backend)
        except RuntimeError as error:
            pytest.skip(str(error))

    return check


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


@pytest.fixture
def note(benchmark: Any) -> Callable[..., None]:
    """Put loss, status, threads, versions and bytes beside the time of this benchmark."""

    def write(
        call: Callable[[], object],
        *,
        X: np.ndarray | None = None,
        passes: float | None = None,
        reads: float = 1.0,
        loss: float | None = None,
        status: str = "completed",
        **more: Any,
    ) -> None:
        """Note what is known, and how many cores ``call`` keeps busy.

        ``passes`` is how often the rows are gone through, and ``reads`` how often such a pass reads
        them from memory where they do not fit the cache.
        """
        benchmark.extra_info.update(
            loss=None if loss is None else float(loss),
            status=status,
            threads_usable=usable_cores(),
            threads_busy=_cores_busy(call),
            versions=installed_versions(),
            passes=passes,
            bytes_read=None if X is None or passes is None else int(passes * reads * X.nbytes),
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
