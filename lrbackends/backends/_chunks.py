"""How rows are cut into chunks: by shape alone, so that sums never depend on the thread count."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

# A chunk's share of X stays in cache between its two uses; smaller ones would make Python's threads
# wait for one another.
_CHUNK_BYTES = 1 << 22

T = TypeVar("T")


def chunk_bounds(X: NDArray[Any]) -> list[tuple[int, int]]:
    """Return (start, stop) of each chunk of rows; partial sums are added in this order."""
    n_rows, n_features = X.shape
    rows = max(1, _CHUNK_BYTES // (X.itemsize * n_features))
    return [(start, min(start + rows, n_rows)) for start in range(0, n_rows, rows)]


def thread_count(n_threads: int | None, n_bytes: int) -> int:
    """Return how many threads a pass over ``n_bytes`` of data should use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(n_threads or allowed or 1, max(1, n_bytes // _CHUNK_BYTES))


class Team:
    """A few threads that share the chunks of one pass; one thread means none is started."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size) if size > 1 else None

    def map(self, work: Callable[[int], T], count: int) -> list[T]:
        """Return ``work(k)`` for k below ``count``, in order; ``work`` has to release the GIL."""
        if self._pool is None:
            return [work(k) for k in range(count)]
        ends = [count * k // self.size for k in range(self.size + 1)]

        def share(k: int) -> list[T]:
            return [work(i) for i in range(ends[k], ends[k + 1])]

        return [answer for part in self._pool.map(share, range(self.size)) for answer in part]
