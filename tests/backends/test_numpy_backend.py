import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import lrbackends as lrb
from lrbackends._blas import limited_libraries
from lrbackends.backends.protocol import initial_state, unpack
from lrbackends.solvers import UpdateRule


def blas_threads() -> list[int]:
    """Return the number of threads of each BLAS that the kernels limit: NumPy's is among them."""
    return [library.num_threads for library in limited_libraries()]


def give_blas_threads(number: int) -> None:
    """Set the number for the process, from a thread that ends: a living one would keep control."""
    thread = threading.Thread(
        target=lambda: ThreadpoolController().limit(limits=number, user_api="blas")
    )
    thread.start()
    thread.join()


@pytest.fixture(autouse=True)
def two_blas_threads():
    before = max(blas_threads())
    give_blas_threads(2)
    yield
    give_blas_threads(before)


@dataclass
class Signalling:
    """A rule of plain descent that says when a step is being done, and may wait in it."""

    reached: threading.Event
    go_on: threading.Event
    name: str = "gd"

    def coefficients(self, step: int, n_steps: int) -> np.ndarray:
        return UpdateRule("gd", 0.1).coefficients(step, n_steps)

    def update(self, *arguments: Any) -> Any:
        self.reached.set()
        assert self.go_on.wait(30)
        return UpdateRule("gd", 0.1).update(*arguments)


def test_blas_has_its_threads_back_after_a_run(noisy):
    lrb.Trainer("numpy", epochs=3).fit(*noisy)
    assert set(blas_threads()) == {2}


def test_blas_stays_limited_until_the_last_of_overlapping_runs_ends(noisy):
    """A run that ends while another goes on must not give BLAS its threads back.

    One thread of BLAS more would change the bits of the other's sums.
    """
    kernels = lrb.get_backend("numpy").compile(lrb.Problem(*noisy), lrb.Objective())
    start = initial_state(lrb.Params(np.zeros((1, 3)), np.zeros(1)))
    first, second = (Signalling(threading.Event(), threading.Event()) for _ in range(2))
    threads = [
        threading.Thread(target=kernels.run, args=(rule, start, 1, None))
        for rule in (first, second)
    ]
    during = None
    try:
        threads[0].start()
        assert first.reached.wait(30)
        threads[1].start()
        second.reached.wait(0.2)  # it may also have to wait for the first
        first.go_on.set()
        threads[0].join()
        assert second.reached.wait(30)
        during = blas_threads()
    finally:
        first.go_on.set()
        second.go_on.set()
        for thread in threads:
            thread.join()
    assert set(during) == {1}
    assert set(blas_threads()) == {2}


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize("K", [2, 3])
def test_overflow_in_a_helping_thread_is_no_warning(K, arithmetic):
    """NumPy's error state is each thread's own; what overflows shows in the records."""
    rng = np.random.default_rng(0)
    problem = lrb.Problem(1e4 * rng.normal(size=(12_000, 100)), np.arange(12_000) % K)
    kernels = lrb.get_backend("numpy").compile(problem, lrb.Objective(), arithmetic, n_threads=2)
    assert kernels._team.size == 2
    d = problem.n_outputs * 101
    start = initial_state(unpack(np.full(d, 1.0), 100))
    _, records = kernels.run(UpdateRule("gd", 1e308), start, 4, None)
    assert np.isfinite(records[0]).all()
    assert not np.isfinite(records[-1]).any()
