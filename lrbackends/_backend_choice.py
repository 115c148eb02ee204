"""The rule by which ``backend="auto"`` chooses."""

from __future__ import annotations

from lrbackends.backends.registry import available_backends
from lrbackends.solvers import FIRST_ORDER

_PASSES = 20  # that a solver which seeks the optimum takes over the rows, about
_WORTH_COMPILING = 5e7  # entries read in all, from which on importing and compiling pays back


def choose_backend(n_entries: int, solver: str, max_iter: int) -> str:
    """Return the backend that ``auto`` stands for: "numpy" or "numba".

    "numba" where one fit reads at least 5e7 entries of X and Numba is there, else "numpy", which
    has nothing to import or to compile. An update rule reads X ``max_iter`` times, a solver that
    seeks the optimum about 20 times. The threshold is about where what Numba saves, half a
    nanosecond to two of each entry read, outweighs the tenths of a second that it takes to be
    imported and to load its code.

    Parameters
    ----------
    n_entries : int
        Entries of X, stored ones where it is sparse.
    solver : str
    max_iter : int
    """
    passes = max_iter if solver in FIRST_ORDER else _PASSES
    large = n_entries * passes >= _WORTH_COMPILING
    return "numba" if large and available_backends()["numba"] else "numpy"
