import threading

import numpy as np
import pytest

from lrbackends.backends._chunks import _CHUNK_BYTES, Team, chunk_bounds, thread_count

ROWS = _CHUNK_BYTES // 800  # rows of 100 features in a chunk


@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_chunks"),
    [(1, 1, 1), (60, 3, 1), (ROWS, 100, 1), (7 * ROWS + 1, 100, 8), (5, 10_000_000, 5)],
)
def test_chunks_cover_all_rows_in_order(n_rows, n_features, n_chunks):
    bounds = chunk_bounds(np.broadcast_to(0.0, (n_rows, n_features)))
    assert bounds[0][0] == 0
    assert bounds[-1][1] == n_rows
    assert [stop for _, stop in bounds[:-1]] == [start for start, _ in bounds[1:]]
    assert all(stop > start for start, stop in bounds)
    assert len(bounds) == n_chunks


@pytest.mark.parametrize(
    ("asked", "chunks", "given"),
    [(8, 0.1, 1), (8, 1.9, 1), (1, 50, 1), (2, 2, 2), (8, 3.5, 3), (8, 50, 8)],
)
def test_threads_are_at_most_those_asked_for_and_those_that_pay(asked, chunks, given):
    assert thread_count(asked, int(chunks * _CHUNK_BYTES)) == given


def test_a_team_returns_results_in_order_of_chunks():
    """The first chunk ends last: its result is still the first."""
    others = threading.Event()

    def work(chunk):
        if chunk == 0:
            assert others.wait(30)
        if chunk == 5:
            others.set()
        return chunk, threading.get_ident()

    done = Team(2).map(work, 6)
    assert [chunk for chunk, _ in done] == list(range(6))
    assert threading.get_ident() not in {thread for _, thread in done}


def test_a_team_of_one_works_in_the_callers_thread():
    threads = Team(1).map(lambda chunk: (chunk, threading.get_ident()), 1)
    assert threads == [(0, threading.get_ident())]
