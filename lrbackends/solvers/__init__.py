"""How parameters move: update rules, mini-batch order, step sizes. No backend is named here."""

from lrbackends.solvers.batches import epoch_batches
from lrbackends.solvers.choice import OPTIMUM, PROXIMAL, SOLVERS, choose
from lrbackends.solvers.rules import ADAM_RATE, FIRST_ORDER, SCHEDULES, UpdateRule
from lrbackends.solvers.step_size import augmented_gram, safe_rate, smoothness

__all__ = [
    "ADAM_RATE",
    "FIRST_ORDER",
    "OPTIMUM",
    "PROXIMAL",
    "SCHEDULES",
    "SOLVERS",
    "UpdateRule",
    "augmented_gram",
    "choose",
    "epoch_batches",
    "safe_rate",
    "smoothness",
]
