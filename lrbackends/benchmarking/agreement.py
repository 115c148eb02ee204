"""Whether all who did the same task came to the same result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrbackends.benchmarking.cells import Settings
from lrbackends.benchmarking.distance import REFERENCE, Distance
from lrbackends.benchmarking.rows import Measured

# Losses are sums over samples, so equal trainings may differ by some eps; more is a worse result.
LOSS_TOLERANCE = 256


@dataclass(frozen=True)
class Agreement:
    """How far the results of one task are apart.

    Attributes
    ----------
    n_samples : int
    settings : Settings
        Together with ``n_samples`` the task.
    reference : str
        What the reference was computed in, or why there is none.
    distances : tuple of Distance
        Of each pair of backends, and of each backend and the reference.
    """

    n_samples: int
    settings: Settings
    reference: str
    distances: tuple[Distance, ...]

    def disagreements(self) -> tuple[Distance, ...]:
        """Return the distances that exceed the contract.

        Of update rules, fast: each pair, and each backend and the reference, at most 4 ULP (median
        over the parameters) and pairs 2e-15 relative (norm) apart, no predicted label differs; ULP
        are those of the type computed in, and the relative limit grows with its eps. Reproducible:
        pairs have the same bits. Solvers that seek the optimum stop at different points near it:
        they are judged by the objective, see `worse`.
        """
        if not self.settings.first_order:
            return ()
        dtype, arithmetic = self.settings.dtype, self.settings.arithmetic
        return tuple(d for d in self.distances if not d.within(dtype, arithmetic))

    def between(self) -> tuple[Distance, ...]:
        """Return the distances between backends."""
        return tuple(d for d in self.distances if d.b != REFERENCE)

    def to_reference(self) -> tuple[Distance, ...]:
        """Return the distances to the reference."""
        return tuple(d for d in self.distances if d.b == REFERENCE)


def allowance(settings: Settings) -> float:
    """Return by how much, relatively, equally good objectives of a task may differ.

    That is rounding, or the gap that solvers were asked for.
    """
    rounding = LOSS_TOLERANCE * float(np.finfo(settings.dtype).eps)
    return max(rounding, 0.0 if settings.first_order else settings.gap or math.sqrt(rounding))


def worse(rows: Sequence[Measured]) -> dict[Measured, float]:
    """Return the rows whose objective is worse than the best one's, of rows of one task.

    A faster wrong answer is never a winner. The value is the best objective.
    """
    finite = [row.loss for row in rows if math.isfinite(row.loss)]
    best = min(finite, default=math.nan)
    return {
        row: best
        for row in rows
        if not row.loss <= best + allowance(row.cell.settings) * abs(best)  # NaN is worse
    }
