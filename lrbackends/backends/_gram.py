"""What the backends' Hessians have in common: a limit on their size, and the final touches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective


def check_size(n_features: int) -> None:
    """Refuse a Hessian that would be larger than most data."""
    if n_features > MOST_HESSIAN_FEATURES:
        raise UnsupportedError(
            f"a Hessian of {n_features} features would take {8e-9 * (n_features + 1) ** 2:.2g} GB, "
            f"and more than {MOST_HESSIAN_FEATURES} features are refused; use hessian_product or a "
            "solver that needs no more, such as 'newton-cg' or 'lbfgs'"
        )


def finish(gram: NDArray[np.float64], n_samples: int, objective: Objective) -> NDArray[np.float64]:
    """Turn the weighted Gram matrix of X and a last column of ones into the Hessian, in place."""
    gram /= n_samples
    diagonal = gram.ravel()[:: len(gram) + 1]
    diagonal[:-1] += objective.l2
    if not objective.fit_intercept:
        gram[-1] = gram[:, -1] = 0
    return gram


def no_reproducible_hessian() -> UnsupportedError:
    """Return the refusal of second derivatives in the reproducible arithmetic."""
    return UnsupportedError(
        "arithmetic='reproducible' specifies no Hessian; use arithmetic='fast', or a first-order "
        "solver such as 'gd'"
    )
