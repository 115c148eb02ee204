"""One thread for NumPy's BLAS: the bits of its sums must not depend on how many there are.

It is also faster around short calls: idle BLAS threads spin for a while and take the cores from
whatever runs next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> Any:
    return ThreadpoolController().select(user_api="blas")


_lock = threading.RLock()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Give the BLAS that NumPy had loaded by first use one thread.

    The limit is the process's and only the thread that set it can lift it, so contexts of several
    threads follow one another.
    """
    with _lock, _controller().limit(limits=1):
        yield
