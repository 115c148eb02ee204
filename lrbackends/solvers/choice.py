"""The solvers by name, and the rule by which ``auto`` chooses one that seeks the optimum."""

from __future__ import annotations

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES
from lrbackends.problem import Problem
from lrbackends.solvers.rules import FIRST_ORDER

OPTIMUM = ("lbfgs", "newton", "newton-cg", "sampled-newton")
SOLVERS = (*FIRST_ORDER, *OPTIMUM, "auto")

_FEW_FEATURES = 300  # a factorisation of that size costs less than a millisecond
_MANY_ROWS = 5  # rows per feature from which on a sample gives a metric
_SMALL = 1_000_000  # entries of X from which on passes cost more than the bookkeeping of samples


def choose(problem: Problem) -> str:
    """Return the solver that ``auto`` stands for.

    Sparse data: "newton" up to 300 features (the Hessian is cheap: nonzeros of each row squared),
    else "newton-cg". Dense data up to a million entries: "newton" up to 300 features, else "lbfgs".
    More: "sampled-newton" where there are at least 5 rows per feature, else "newton" up to 300
    features and "lbfgs" beyond.
    """
    n, p = problem.X.shape
    if problem.sparse:
        return "newton" if p <= _FEW_FEATURES else "newton-cg"
    if n * p > _SMALL and n >= _MANY_ROWS * p and p <= MOST_HESSIAN_FEATURES:
        return "sampled-newton"
    return "newton" if p <= _FEW_FEATURES else "lbfgs"
