"""The reproducible arithmetic's constants: what every backend's version of it has in common.

docs/reproducible-arithmetic.md specifies the whole; a change of anything here that changes bits
needs a new version of it, and new golden hashes.
"""

from __future__ import annotations

import numpy as np

from lrbackends.errors import UnsupportedError
from lrbackends.problem import Problem

VERSION = 1

FEATURE_LANES = 16  # partial sums of a score: feature j belongs to lane j mod 16
SAMPLE_LANES = 8  # partial sums of the gradient: row i belongs to lane i mod 8
LOSS_LANES = 64  # partial sums of the loss: row i belongs to lane i mod 64

# exp(-x) by the method of fdlibm's e_exp.c (Sun Microsystems, 1993): x = k ln 2 + r.
LARGEST_EXPONENT = 300.0  # beyond it exp(-x) is taken at 300, so that nothing is ever subnormal
SMALLEST_RESIDUAL_FLOAT32 = 2.0**-40  # for the same reason smaller ones are taken as 0 in float32
INVERSE_LN2 = 1.44269504088896338700e00
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
EXP_COEFFICIENTS = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)

# log(1 + e) = 2 atanh(s) = 2 s + s t R(t) with s = e / (2 + e), t = s^2 <= 1/9; R by Chebyshev
# interpolation of 2 (atanh(s) / s - 1) / t, relative error 1e-16.
LOG_COEFFICIENTS = tuple(
    float.fromhex(c)
    for c in (
        "0x1.5555555555555p-1",
        "0x1.999999999a3ddp-2",
        "0x1.24924923d44c6p-2",
        "0x1.c71c727143318p-3",
        "0x1.745cf0b0e03bdp-3",
        "0x1.3b18b294bebf9p-3",
        "0x1.10ac75dc602b1p-3",
        "0x1.eb905e8575054p-4",
        "0x1.687a6e7c95176p-4",
        "0x1.4b0a26c5f2aefp-3",
    )
)

# Entries outside these ranges could make products or sums subnormal, which some engines flush to
# zero, or infinite.
_RANGES = {"float64": (1e-100, 1e100), "float32": (1e-12, 1e12)}
_WEIGHT_RANGE = (1e-12, 1e12)


def check_range(problem: Problem) -> None:
    """Refuse data whose products could be subnormal: their bits would depend on the engine."""
    low, high = _RANGES[problem.dtype.name]
    for start in range(0, problem.n_samples, 1024):
        size = np.abs(problem.rows(start, start + 1024))
        bad = (size > high) | ((size < low) & (size > 0))
        if bad.any():
            row, column = (int(k) for k in np.argwhere(bad)[0])
            raise UnsupportedError(
                f"arithmetic='reproducible' needs non-zero entries of X between {low:g} and "
                f"{high:g} in size, but X[{start + row}, {column}] = "
                f"{problem.X[start + row, column]:g}; rescale the columns or use arithmetic='fast'"
            )
    weight = problem.sample_weight
    if weight is not None and not (
        _WEIGHT_RANGE[0] < weight.min() <= weight.max() < _WEIGHT_RANGE[1]
    ):
        raise UnsupportedError(
            "arithmetic='reproducible' needs sample weights within a factor of 1e12 of their mean; "
            "drop rows of almost no weight or use arithmetic='fast'"
        )
