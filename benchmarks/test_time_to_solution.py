"""Seconds to (F - F*) / F* <= 1e-6: our solvers beside other libraries', on the same objective."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from lrbackends._host import usable_cores

from .conftest import backends_of
from .contest import Arena
from .peers import CONTESTANTS, SOLVERS, TARGET, contestant_named, ours
from .problems import PROBLEMS, SMALL, MissingFileError
from .turns import replay, replayed

pytestmark = pytest.mark.benchmark(timer=replayed)

DTYPES = ("float64", "float32")
THREADS = (1, 2) if usable_cores() > 1 else (1,)
_QUICK = {(data, DTYPES[0]) for data in SMALL}  # what runs without --slow
_ROUNDING = 1e-12  # of an objective that is evaluated in float64, relatively
_SMOKE_SPARSE = ("a9a_sparse", "sparse_20000x50000")
Case = tuple[str, str, str, int]


def _cases(backends: tuple[str, ...]) -> Iterator[Case]:
    """Everyone on every problem; of our own, the solvers that ``auto`` chooses from only once."""
    mine = [ours(backend, solver) for backend in backends for solver in SOLVERS]
    peers = [name for name, entry in CONTESTANTS.items() if not entry.ours]
    for data, dtype, name in product(PROBLEMS, DTYPES, [*mine, *peers]):
        entry = contestant_named(name)
        aside = entry.ours and not name.endswith(" auto")
        if aside and dtype != DTYPES[0]:
            continue
        for n_threads in THREADS[-1:] if aside else THREADS if entry.threaded else THREADS[:1]:
            yield data, dtype, name, n_threads


def _smoke_cases(backends: tuple[str, ...]) -> Iterator[Case]:
    """One on every problem, a few on the first."""
    for data in PROBLEMS:
        name = ours(backends[0], "auto") if data in _SMOKE_SPARSE else "NumPy Newton"
        yield data, DTYPES[0], name, 1
    few = (ours(backends[:2][-1], "auto"), ours(backends[0], "lbfgs"), "scikit-learn lbfgs")
    for name in few:
        yield SMALL[0], DTYPES[0], name, 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    smoke = metafunc.config.getoption("--smoke")
    cases = (_smoke_cases if smoke else _cases)(backends_of(metafunc.config))
    metafunc.parametrize(
        ("data", "dtype", "name", "n_threads"),
        [
            pytest.param(
                *case,
                id="-".join(str(part).replace(" ", "_") for part in case),
                marks=[] if smoke or case[:2] in _QUICK else [pytest.mark.slow],
            )
            for case in cases
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


def test_time_to_solution(benchmark, note, arena_of, smoke, data, dtype, name, n_threads):
    entry = contestant_named(name)
    if entry.version() is None:
        pytest.skip(f"{entry.package} is not installed")
    try:
        arena = arena_of(data, dtype, smoke=smoke)
    except MissingFileError as error:
        pytest.skip(str(error))
    refusal = entry.refusal(arena.X)
    if refusal is not None:
        pytest.skip(refusal)
    outcome = arena.measure(name, n_threads, beside=not smoke or entry.ours)
    benchmark.group = f"to {TARGET:g} {data} {dtype}"
    note(None, **outcome.info)
    replay(benchmark, outcome.seconds)
    if entry.ours:  # others may fail, which is stored
        info = outcome.info
        assert info["reached"], info
        assert info["status"] == "converged", info
        assert info["suboptimality"] <= info["certified"] + _ROUNDING <= TARGET + _ROUNDING, info
