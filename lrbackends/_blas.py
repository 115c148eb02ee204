"""One thread for NumPy's BLAS: the bits of its sums must not depend on how many there are.

It is also faster around short calls: idle BLAS threads spin for a while and take the cores from
whatever runs next.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> Any:
    return ThreadpoolController().select(user_api="blas")


def single_threaded() -> AbstractContextManager[Any]:
    """Return a context in which the BLAS that NumPy had loaded by first use has one thread."""
    context: AbstractContextManager[Any] = _controller().limit(limits=1)
    return context
