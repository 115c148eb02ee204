"""Seconds to (F - F*) / F* <= 1e-6: our solvers beside other libraries', on the same objective."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from lrbackends.benchmarking.machine import usable_cores

from .contest import Arena
from .peers import CONTESTANTS, TARGET, ours
from .problems import PROBLEMS, SMALL, MissingFileError
from .turns import replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

DTYPES = ("float64", "float32")
THREADS = (1, 2) if usable_cores() > 1 else (1,)
_QUICK = {(data, DTYPES[0]) for data in SMALL}  # what runs without --slow
_ROUNDING = 1e-12  # of an objective that is evaluated in float64, relatively
_SMOKE_SPARSE = dict.fromkeys(("a9a_sparse", "sparse_20000x50000"), ours("numpy", "auto"))
_SMOKE_PEERS = (ours("numba", "auto"), ours("numpy", "lbfgs"), "scikit-learn lbfgs")


def _cases() -> Iterator[tuple[str, str, str, int]]:
    """Everyone on every problem; of our own, the solvers that ``auto`` chooses from only once."""
    for data, dtype in product(PROBLEMS, DTYPES):
        for name, entry in CONTESTANTS.items():
            aside = entry.ours and not name.endswith(" auto")
            if aside and dtype != DTYPES[0]:
                continue
            for n_threads in THREADS[-1:] if aside else THREADS if entry.threaded else THREADS[:1]:
                yield data, dtype, name, n_threads


def _smoke_cases() -> Iterator[tuple[str, str, str, int]]:
    """One on every problem, a few on the first."""
    for data, name in (dict.fromkeys(PROBLEMS, "NumPy Newton") | _SMOKE_SPARSE).items():
        yield data, DTYPES[0], name, 1
    for name in _SMOKE_PEERS:
        yield SMALL[0], DTYPES[0], name, 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    smoke = metafunc.config.getoption("--smoke")
    metafunc.parametrize(
        ("data", "dtype", "name", "n_threads"),
        [
            pytest.param(
                *case,
                id="-".join(str(part).replace(" ", "_") for part in case),
                marks=[] if smoke or case[:2] in _QUICK else [pytest.mark.slow],
            )
            for case in (_smoke_cases() if smoke else _cases())
        ],
    )


@pytest.fixture(scope="module")
def arena_of() -> Iterator[Callable[..., Arena]]:
    current: list[Arena] = []

    def arena(problem: str, dtype: str, *, smoke: bool) -> Arena:
        if not current or (current[0].problem, current[0].dtype) != (problem, dtype):
            while current:  # one at a time: the largest takes 240 MB in every process
                current.pop().close()
            current.append(Arena(problem, dtype, THREADS[-1], smoke=smoke))
        return current[0]

    yield arena
    while current:
        current.pop().close()


def test_time_to_solution(benchmark, arena_of, smoke, data, dtype, name, n_threads):
    if CONTESTANTS[name].version() is None:
        pytest.skip(f"{CONTESTANTS[name].package} is not installed")
    try:
        arena = arena_of(data, dtype, smoke=smoke)
    except MissingFileError as error:
        pytest.skip(str(error))
    refusal = CONTESTANTS[name].refusal(arena.X)
    if refusal is not None:
        pytest.skip(refusal)
    outcome = arena.measure(name, n_threads, beside=not smoke or CONTESTANTS[name].ours)
    benchmark.group = f"to {TARGET:g} {data} {dtype}"
    benchmark.extra_info.update(outcome.info)
    replay(benchmark, outcome.seconds)
    if CONTESTANTS[name].ours:  # others may fail, which is stored
        info = outcome.info
        assert info["reached"], info
        assert info["status"] == "converged", info
        assert info["suboptimality"] <= info["certified"] + _ROUNDING <= TARGET + _ROUNDING, info
