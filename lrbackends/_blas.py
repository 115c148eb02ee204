"""One thread for NumPy's BLAS: the bits of its sums must not depend on how many there are.

It is also faster around short calls: idle BLAS threads spin for a while and take the cores from
whatever runs next.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries(loaded: frozenset[str]) -> list[Any]:
    """Return the BLAS libraries of these packages: NumPy's, and SciPy's own once it is there."""
    assert loaded
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def limited_libraries() -> list[Any]:
    """Return what `single_threaded` limits now."""
    return _libraries(frozenset({"numpy.linalg", "scipy.linalg"} & sys.modules.keys()))


_lock = threading.RLock()


def _nothing() -> None:
    """Older threadpoolctls let any thread set any limit."""


@contextmanager
def single_threaded() -> Iterator[None]:
    """Give BLAS one thread.

    The limit is the process's and only the thread that set it can lift it, so contexts of several
    threads follow one another. Asking the libraries themselves takes microseconds, threadpoolctl's
    own context a hundred of them.
    """
    with _lock:
        libraries = limited_libraries()
        limited = [(one, one.num_threads) for one in libraries if one.num_threads != 1]
        try:
            for library, _ in limited:
                library.set_num_threads(1)
            yield
        finally:
            for library, n_threads in limited:
                library.set_num_threads(n_threads)
                # The thread that set OpenBLAS's limit keeps others from it until it says so.
                getattr(library, "clear_controlling_thread", _nothing)()
