"""Cholesky factors of Hessians, scaled to a diagonal of ones.

LAPACK is called directly: SciPy's wrappers cost more than factoring a matrix of 30 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs

from lrbackends._blas import single_threaded

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """A factored matrix A = D S D, where S has a diagonal of ones and D is ``diag(scale)``.

    Attributes
    ----------
    scale : ndarray of shape (size,)
        So badly scaled columns do no harm.
    upper : ndarray of shape (size, size)
        The Cholesky factor of S in its upper triangle.
    """

    scale: Vector
    upper: Vector

    def solve_scaled(self, vector: Vector) -> Vector:
        """Return S^-1 times a vector."""
        solution: Vector = dpotrs(self.upper, vector)[0]
        return solution

    def solve(self, vector: Vector) -> Vector:
        """Return A^-1 times a vector."""
        return self.solve_scaled(vector / self.scale) / self.scale


def factored(matrix: Vector, lift: float = 0.0) -> Factor | None:
    """Factor ``matrix`` plus ``lift`` times its diagonal; None where that is not positive."""
    diagonal = np.diag(matrix)
    scale = np.sqrt(np.maximum(diagonal, np.finfo(np.float64).tiny))
    scaled = matrix / scale
    scaled /= scale[:, None]
    scaled.ravel()[:: len(scaled) + 1] += lift
    with single_threaded():  # SciPy's own BLAS would go on spinning beside the backend's threads
        upper, info = dpotrf(scaled, overwrite_a=True)
    return Factor(scale, upper) if info == 0 else None


def lifted(matrix: Vector, lift: float = 0.0) -> Factor:
    """Factor ``matrix`` plus ``lift`` times its diagonal, or more where that is singular.

    Collinear columns make it so, up to rounding errors, from which the lift starts to grow.
    """
    factor = factored(matrix, lift)
    lift = max(lift, len(matrix) * float(np.finfo(np.float64).eps))
    while factor is None:
        factor, lift = factored(matrix, lift), 10 * lift
    return factor
