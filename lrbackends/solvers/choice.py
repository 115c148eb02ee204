"""The solvers by name, and the rule by which ``auto`` chooses one that seeks the optimum."""

from __future__ import annotations

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES
from lrbackends.problem import Problem
from lrbackends.solvers.rules import FIRST_ORDER

OPTIMUM = ("lbfgs", "newton", "newton-cg", "sampled-newton")
PROXIMAL = ("proximal-newton",)  # those that seek the optimum with an L1 penalty
SOLVERS = (*FIRST_ORDER, *OPTIMUM, *PROXIMAL, "auto")

_FEW_FEATURES = 300  # whose whole Hessian is cheap
_FOR_A_METRIC = 5  # rows per feature from which on a sample's Hessian is worth taking
_FOR_A_SOLUTION = 500  # and from which on it beats the whole Hessian of few features
_SMALL = 1_000_000  # entries of X from which on passes cost more than the bookkeeping of samples


def choose(problem: Problem, l1: float = 0.0, *, hessian: bool = True) -> str:
    """Return the solver that ``auto`` stands for.

    With an L1 penalty: "proximal-newton".
    On a backend without second derivatives (``hessian``): "lbfgs".
    More than two classes: "newton" up to 300 coefficients; else, for dense data with at least 5
    rows per feature, "sampled-newton"; else "lbfgs".
    Sparse data: "newton" up to 300 features (the Hessian is cheap: nonzeros of each row squared),
    else "newton-cg".
    Dense data up to 300 features: "newton", or "sampled-newton" above a million entries where there
    are at least 500 rows per feature. Dense data of more: "lbfgs", or "sampled-newton" above a
    million entries where there are at least 5 rows per feature.
    """
    n, p = problem.X.shape
    if l1 > 0:
        return "proximal-newton"
    if not hessian:
        return "lbfgs"
    if problem.n_outputs > 1:
        if problem.n_outputs * p <= _FEW_FEATURES:
            return "newton"
        return "lbfgs" if problem.sparse or n < _FOR_A_METRIC * p else "sampled-newton"
    few = p <= _FEW_FEATURES
    if problem.sparse:
        return "newton" if few else "newton-cg"
    enough = n >= p * (_FOR_A_SOLUTION if few else _FOR_A_METRIC)
    if n * p > _SMALL and enough and p <= MOST_HESSIAN_FEATURES:
        return "sampled-newton"
    return "newton" if few else "lbfgs"
