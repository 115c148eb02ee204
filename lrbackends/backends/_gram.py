"""What the backends' Hessians have in common: a limit on their size, and the final touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective
from lrbackends.problem import Problem


def check_size(problem: Problem) -> None:
    """Refuse a Hessian that would be larger than most data."""
    count = problem.n_outputs * problem.n_features
    if count > MOST_HESSIAN_FEATURES:
        raise UnsupportedError(
            f"a Hessian of {count} coefficients would take {8e-9 * count**2:.2g} GB, and more than "
            f"{MOST_HESSIAN_FEATURES} are refused; use hessian_product or a solver that needs no "
            "more, such as 'newton-cg' or 'lbfgs'"
        )


def finish(gram: NDArray[np.float64], n_samples: int, objective: Objective) -> NDArray[np.float64]:
    """Turn the sum of the rows' second derivatives into the Hessian of one output, in place."""
    gram /= n_samples
    diagonal = gram.ravel()[:: len(gram) + 1]
    diagonal[:-1] += objective.l2
    if not objective.fit_intercept:
        gram[-1] = gram[:, -1] = 0
    return gram


def class_curvatures(a: NDArray[Any], weight: NDArray[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield (k, l, curvature of each row) for classes k >= l: weight a_k (1[k = l] - a_l).

    Parameters
    ----------
    a : ndarray of shape (n_samples, K)
        Probabilities.
    weight : ndarray of shape (n_samples,)
    """
    for k in range(a.shape[1]):
        for other in range(k):
            yield k, other, -weight * a[:, k] * a[:, other]
        rest = np.delete(a, k, axis=1).sum(axis=1)  # 1 - a_k would lose digits near 1
        yield k, k, weight * a[:, k] * rest


def finish_classes(
    blocks: NDArray[np.float64], n_samples: int, objective: Objective
) -> NDArray[np.float64]:
    """Return the Hessian of K outputs from sums of the rows' second derivatives.

    Parameters
    ----------
    blocks : ndarray of shape (K, p + 1, K, p + 1)
        Entry (k, j, l, m) belongs to feature j of class k and m of l, the intercept being the last
        feature; those with k < l are not read.

    Returns
    -------
    ndarray of shape (K * (p + 1), K * (p + 1))
        In the order of `protocol.pack`.
    """
    K, p = blocks.shape[0], blocks.shape[1] - 1
    for k in range(K):
        for other in range(k):
            blocks[other, :, k] = blocks[k, :, other].T
    places = np.arange(K * (p + 1)).reshape(K, p + 1)
    order = np.append(places[:, :p], places[:, p])
    hessian: NDArray[np.float64] = blocks.reshape(K * (p + 1), -1)[np.ix_(order, order)]
    hessian /= n_samples
    hessian.ravel()[: K * p * (len(hessian) + 1) : len(hessian) + 1] += objective.l2
    if not objective.fit_intercept:
        hessian[K * p :] = hessian[:, K * p :] = 0
    return hessian


def no_reproducible_hessian() -> UnsupportedError:
    """Return the refusal of second derivatives in the reproducible arithmetic."""
    return UnsupportedError(
        "arithmetic='reproducible' specifies no Hessian; use arithmetic='fast', or a first-order "
        "solver such as 'gd'"
    )
