"""When to stop, and how many steps to do at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_CHUNK_SECONDS = 0.03  # what a native chunk aims at; Ctrl-C and callbacks act between chunks


@dataclass
class EarlyStopping:
    """Follows the monitored loss; says when patience has run out."""

    patience: int | None
    min_delta: float
    best: float = np.inf
    best_epoch: int = 0
    _reference: float = field(default=np.inf, repr=False)
    _waited: int = field(default=0, repr=False)

    def observe(self, epoch: int, losses: NDArray[np.float64]) -> int | None:
        """Take in the losses after ``epoch``, ``epoch + 1``, … epochs; return which one stops."""
        if self.patience is not None:
            for i, loss in enumerate(losses.tolist()):
                if loss < self._reference - self.min_delta:
                    self._reference, self._waited = loss, 0
                else:
                    self._waited += 1
                if self._waited >= self.patience:
                    self._keep_best(epoch, losses[: i + 1])
                    return i
        self._keep_best(epoch, losses)
        return None

    def _keep_best(self, epoch: int, losses: NDArray[np.float64]) -> None:
        if len(losses) and losses.min() < self.best:
            self.best, self.best_epoch = float(losses.min()), epoch + int(losses.argmin())


class Pace:
    """How many steps fit into a chunk, from the time that the last chunk took."""

    def __init__(self, n_entries: int) -> None:
        self._seconds = 2e-5 + 4e-9 * n_entries  # a cautious first guess per step

    def steps(self) -> int:
        """Return how many steps the next chunk should have."""
        return max(1, int(_CHUNK_SECONDS / self._seconds))

    def took(self, seconds: float, n_steps: int) -> None:
        """Take in how long a chunk took."""
        self._seconds = max(seconds / n_steps, 1e-8)
