import os
import threading

import numpy as np
import pytest

from lrbackends.backends._chunks import (
    _CHUNK_BYTES,
    _CHUNKS_EACH,
    _SLOT_BYTES,
    Team,
    chunk_edges,
    thread_count,
)

ROWS = _CHUNK_BYTES // _CHUNKS_EACH // 800  # rows of 100 features in a chunk


@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_chunks"),
    [
        (1, 1, 1),
        (60, 3, 1),
        (ROWS, 100, 1),
        (7 * ROWS + 1, 100, 8),
        (5, 600_000, 5),
        (5, 1_000_000, 3),
    ],
)
def test_chunks_cover_all_rows_in_order(n_rows, n_features, n_chunks):
    edges = chunk_edges(n_rows, 8 * n_features, 8 * n_features)
    assert (edges[0], edges[-1]) == (0, n_rows)
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 == n_chunks


def test_partial_sums_of_very_wide_rows_stay_small():
    edges = chunk_edges(100, 8 * 1_000_000, 8 * 1_000_000)
    assert 1 < len(edges) - 1 <= _SLOT_BYTES // 8_000_000
    assert chunk_edges(100, 8 * 10_000_000, 8 * 10_000_000).tolist() == [0, 100]


def test_sparse_rows_are_cut_by_their_entries():
    """Half of the entries are in the first rows."""
    entries = np.r_[np.full(1000, 1000), np.full(100_000, 10)]
    starts = np.r_[0, np.cumsum(entries)].astype(np.int32)
    edges = chunk_edges(len(entries), 12, 8 * 100, starts)
    assert (edges[0], edges[-1]) == (0, len(entries))
    shares = np.diff(starts[edges])
    assert len(shares) == 24_000_000 * _CHUNKS_EACH // _CHUNK_BYTES
    assert shares.max() < 1.01 * shares.mean()


@pytest.mark.parametrize("n_rows", [1, 5, 1000])
def test_empty_sparse_rows_are_one_chunk(n_rows):
    assert chunk_edges(n_rows, 12, 80, np.zeros(n_rows + 1, np.int32)).tolist() == [0, n_rows]


def test_a_sparse_row_that_is_larger_than_a_chunk_is_not_cut():
    starts = np.array([0, 10, 10_000_000, 10_000_001, 10_000_002])
    edges = chunk_edges(4, 12, 80, starts)
    assert (edges[0], edges[-1]) == (0, 4)
    assert (np.diff(edges) > 0).all()


def test_partial_sums_of_sparse_rows_cost_less_than_the_data():
    starts = np.arange(0, 2_000_001, 100)
    edges = chunk_edges(20_000, 12, 8 * 50_001, starts)
    assert len(edges) - 1 > 1
    assert (len(edges) - 1) * 8 * 50_001 <= 12 * 2_000_000 / 8


@pytest.mark.parametrize(
    ("asked", "threads", "given"),
    [(8, 0.1, 1), (8, 1.9, 1), (1, 50, 1), (2, 2, 2), (8, 3.5, 3), (8, 50, 8)],
)
def test_threads_are_at_most_those_asked_for_and_those_that_pay(asked, threads, given):
    assert thread_count(asked, int(threads * _CHUNK_BYTES)) == given


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
    assert len({thread for _, thread in done}) == 2


def test_the_calling_thread_works_too_and_waits_for_no_late_helper():
    """The helper is busy with another team's work until this one is done."""
    asleep, awake = threading.Event(), threading.Event()

    def sleep(_):
        if threading.get_ident() != caller:
            asleep.set()
            assert awake.wait(30)

    caller = threading.get_ident()

    def busy():
        nonlocal caller
        caller = threading.get_ident()
        Team(2).map(lambda k: sleep(k) if k or asleep.wait(30) else None, 2)

    other = threading.Thread(target=busy)
    other.start()
    assert asleep.wait(30)
    threads = Team(2).map(lambda _: threading.get_ident(), 4)
    assert threads == [threading.get_ident()] * 4
    awake.set()
    other.join(30)
    assert not other.is_alive()


def test_a_team_of_one_works_in_the_callers_thread():
    threads = Team(1).map(lambda chunk: (chunk, threading.get_ident()), 1)
    assert threads == [(0, threading.get_ident())]


@pytest.mark.parametrize("bad", [0, 5])
def test_what_goes_wrong_in_a_piece_goes_wrong_for_the_caller(bad):
    def work(chunk):
        if chunk == bad:
            raise ValueError("this one")
        return chunk

    with pytest.raises(ValueError, match="this one"):
        Team(2).map(work, 6)
    assert Team(2).map(lambda chunk: chunk, 6) == list(range(6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_forked_child_has_helpers_of_its_own():
    assert Team(2).map(lambda k: k, 4) == [0, 1, 2, 3]
    child = os.fork()
    if child == 0:
        os._exit(0 if Team(2).map(lambda k: k, 4) == [0, 1, 2, 3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
