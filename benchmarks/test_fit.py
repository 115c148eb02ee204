"""Whole fits, warm: `Trainer.fit` from the arrays to the result."""

import numpy as np
import pytest

from lrbackends import Problem, Trainer
from lrbackends.solvers import safe_rate, smoothness

from .baselines import READS, textbook_fit
from .conftest import L2

EPOCHS = 1000
PEDANTIC_ROUNDS = 3


@pytest.mark.parametrize("data", ["toy", "digits01", "breast_cancer", "mnist01"])
@pytest.mark.beside("textbook")
def test_fit(benchmark, note, data_of, objective, smoke, route, data):
    if smoke and data == "mnist01":
        pytest.skip("not in smoke form")
    X, y = data_of(data)
    benchmark.group = f"fit {data}, {EPOCHS:,} steps"
    if route == "textbook":
        y = (y == np.unique(y)[1]).astype(float)
        rate = safe_rate(smoothness(Problem(X, y), objective))
        info = {"passes": float(EPOCHS), "status": "completed"}

        def call():
            return textbook_fit(X, y, rate, L2, [slice(None)] * EPOCHS)

        def loss_of(loss):
            return loss
    else:
        trainer = Trainer(route, l2=L2, epochs=EPOCHS, random_state=0)
        first = trainer.fit(X, y)  # compiles
        info = {"passes": first.n_passes, "status": first.status}

        def call():
            return trainer.fit(X, y)

        def loss_of(result):
            return result.loss

    if data == "mnist01":
        answer = benchmark.pedantic(call, rounds=PEDANTIC_ROUNDS, iterations=1)
    else:
        answer = benchmark(call)
    note(call, X=X, reads=READS.get(route), loss=loss_of(answer), **info)
