"""How rows are cut into chunks, by shape alone, and shared among threads.

Partial sums are one a chunk and are added in the order of the chunks, so that they never depend on
how many threads there are.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 1 << 22  # for less than that per thread, waking it costs more than it helps
_CHUNKS_EACH = 2  # so that threads are done at about the same time
_SLOT_BYTES = 1 << 25  # of all partial sums together

T = TypeVar("T")


def chunk_edges(
    n_rows: int, row_bytes: int, slot_bytes: int, starts: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Return where chunks of rows begin, and ``n_rows`` at the end.

    Parameters
    ----------
    n_rows : int
    row_bytes : int
        Of a row, or of an entry where ``starts`` is given.
    slot_bytes : int
        Of a chunk's partial sums, which are kept small.
    starts : ndarray of shape (n_rows + 1,), optional
        The entries before each row, of sparse rows; else rows are alike.
    """
    if starts is None:
        rows = max(1, _CHUNK_BYTES // _CHUNKS_EACH // row_bytes)
        most = max(1, _SLOT_BYTES // slot_bytes)
        rows = max(rows, -(-n_rows // most))
        return np.append(np.arange(0, n_rows, rows), n_rows)
    total = int(starts[-1]) * row_bytes
    count = max(
        1,
        min(total // max(_CHUNK_BYTES // _CHUNKS_EACH, 8 * slot_bytes), _SLOT_BYTES // slot_bytes),
    )
    marks = np.arange(1, count) * (int(starts[-1]) / count)
    inner = np.searchsorted(starts, marks)
    return np.unique(np.concatenate([[0], inner, [n_rows]])).astype(np.int64)


def thread_count(n_threads: int | None, n_bytes: int) -> int:
    """Return how many threads a pass over ``n_bytes`` of data should use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(n_threads or allowed or 1, max(1, n_bytes // _CHUNK_BYTES))


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="lrbackends")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork


class Team:
    """The calling thread and helpers that share the pieces of one pass; they may be all alone."""

    def __init__(self, size: int) -> None:
        self.size = size

    def map(self, work: Callable[[int], T], count: int) -> list[T]:
        """Return ``work(k)`` for k below ``count``, in order; ``work`` has to release the GIL.

        Whoever is free takes the next piece: a helper that comes late holds nobody up.
        """
        if self.size == 1 or count == 1:
            return [work(k) for k in range(count)]
        answers: list[Any] = [None] * count
        turns = itertools.count()  # its next() is atomic

        def take_turns() -> None:
            while (k := next(turns)) < count:
                answers[k] = work(k)

        pool = _helpers(self.size - 1)
        helpers = [pool.submit(take_turns) for _ in range(min(self.size, count) - 1)]
        try:
            take_turns()
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        return answers
