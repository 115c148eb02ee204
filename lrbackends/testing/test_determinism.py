"""The same fit gives the same bits, whenever and wherever it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import problems
from lrbackends.problem import Problem
from lrbackends.testing.bits import bits_of, fit, fit_batches, sample, sample_elsewhere
from lrbackends.testing.kit import claimed

_THREADS, _ROUNDS = 4, 5


def test_a_fit_done_again_gives_the_same_bits(backend: Backend) -> None:
    """Compiled anew, on few rows and on many."""
    assert sample(backend) == sample(backend)


def test_another_process_gives_the_same_bits(backend: Backend, address: str) -> None:
    """Fresh ones, one after the other; nothing depends on addresses, hashes or the clock."""
    expected = sample(backend)
    for _ in range(2):
        assert sample_elsewhere(address) == expected, "a fresh process computes other bits"


def test_where_the_data_lie_in_memory_does_not_matter(backend: Backend) -> None:
    """NumPy promises 16 bytes of alignment, so that is all that a rerun can count on."""
    for problem, offsets in ((problems.small(), (0, 16, 32, 48)), (problems.large(), (0, 16))):
        fits = {offset: bits_of(fit(backend, _moved(problem, offset))) for offset in offsets}
        other = [offset for offset, bits in fits.items() if bits != fits[0]]
        assert not other, f"other bits where X begins {other} bytes behind a multiple of 64"


def test_fits_in_several_threads_at_once_give_the_bits_of_one(backend: Backend) -> None:
    """Each has a problem of its own shape or a twin's; nothing is shared that one could spoil."""
    small, other = problems.small(), problems.small(weighted=True)
    jobs: list[Callable[[], bytes]] = [
        lambda: bits_of(fit(backend, small)),
        lambda: bits_of(fit(backend, other)),
        lambda: bits_of(fit_batches(backend, small)),
        lambda: bits_of(fit_batches(backend, other, seed=1)),
    ]
    alone = [job() for job in jobs]
    start = Barrier(_THREADS)

    def repeatedly(job: Callable[[], bytes]) -> list[bytes]:
        start.wait()
        return [job() for _ in range(_ROUNDS)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads take turns within a kernel, too
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            together = list(pool.map(repeatedly, jobs))
    finally:
        sys.setswitchinterval(interval)
    wrong = sum(bits != expected for expected, all_ in zip(alone, together, strict=True)
                for bits in all_)  # fmt: skip
    assert not wrong, f"{wrong} of {_THREADS * _ROUNDS} fits side by side have other bits"


@claimed("threads")
def test_any_number_of_threads_gives_the_same_bits(backend: Backend) -> None:
    """Partial sums are cut by the rows alone and added in a fixed order."""
    problem = problems.large()
    expected = bits_of(fit(backend, problem))
    for n_threads in (1, 2, 3, 7):
        found = bits_of(fit(backend, problem, n_threads))
        assert found == expected, f"n_threads={n_threads} gives other bits than the default"


def _moved(problem: Problem, offset: int) -> Problem:
    """Return the problem with X beginning ``offset`` bytes behind a multiple of 64."""
    room = np.zeros(problem.X.nbytes + 128, np.uint8)
    begin = -room.ctypes.data % 64 + offset
    X = room[begin : begin + problem.X.nbytes].view(problem.X.dtype).reshape(problem.X.shape)
    X[:] = problem.X
    return Problem(X, problem.y, problem.sample_weight)
