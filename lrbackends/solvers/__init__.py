"""How parameters move: update rules, mini-batch order, step sizes. No backend is named here."""

from lrbackends.solvers.batches import epoch_batches
from lrbackends.solvers.rules import ADAM_RATE, FIRST_ORDER, UpdateRule
from lrbackends.solvers.step_size import augmented_gram, safe_rate, smoothness

__all__ = [
    "ADAM_RATE",
    "FIRST_ORDER",
    "UpdateRule",
    "augmented_gram",
    "epoch_batches",
    "safe_rate",
    "smoothness",
]
