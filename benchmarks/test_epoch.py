"""Epochs of native training steps, warm: `Kernels.run` alone, without the trainer around it."""

import numpy as np
import pytest

from lrbackends import get_backend
from lrbackends.backends.protocol import initial_state, unpack
from lrbackends.objective import as_params
from lrbackends.solvers import UpdateRule, epoch_batches, safe_rate, smoothness

from .baselines import READS, textbook_fit
from .conftest import L2

EPOCHS = {"360x64": 100, "4000x256": 10, "131072x128": 1}  # in one call, so that it takes a while
BATCH_SIZE = 64


@pytest.mark.parametrize("batches", ["full_batch", "batches_of_64"])
@pytest.mark.beside("textbook")
def test_epoch(benchmark, note, problem, objective, size, route, batches):
    n = problem.n_samples
    rows = None if batches == "full_batch" else epoch_batches(n, BATCH_SIZE, seed=0, epoch=0)
    epochs = EPOCHS[size] if rows is None else 1
    steps = epochs if rows is None else len(rows.sizes)
    benchmark.group = f"{epochs} epoch{'s' if epochs > 1 else ''} {batches} {size}"
    curvature = smoothness(problem, objective, None if rows is None else BATCH_SIZE)
    rule = UpdateRule("gd", safe_rate(curvature))
    labels, by_hand = problem.y.astype(float), [slice(None)] * epochs
    if rows is not None:
        by_hand = [some[:k] for some, k in zip(rows.indices, rows.sizes, strict=True)]

    def textbook():
        return textbook_fit(problem.X, labels, rule.rate, L2, by_hand)

    if route == "textbook":
        call, loss = textbook, textbook()
    else:
        kernels = get_backend(route).compile(problem, objective)
        start = initial_state(as_params((np.zeros(problem.n_features), 0.0), problem))

        def call():
            return kernels.run(rule, start, steps, rows)

        state, _ = call()  # compiles
        loss = kernels.loss(unpack(state.theta, problem.n_features))
        np.testing.assert_allclose(loss, textbook(), rtol=1e-12)
    benchmark(call)
    reads = READS.get(route)
    note(call, X=problem.X, passes=epochs, reads=reads, loss=loss, epochs=epochs)
