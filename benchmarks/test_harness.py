"""What the comparison's own measuring adds to a warm fit, beside a bare loop of fits, in turn."""

import time
from statistics import median

import pytest

from lrbackends import Trainer
from lrbackends.benchmarking.worker import load_data, measure, save_data

from .conftest import L2
from .turns import ratios, replay, replayed, take_turns

pytestmark = pytest.mark.benchmark(timer=replayed)

FITS = 20  # in a turn, of which the median is taken
ROUNDS = 15
OPTIONS = {"solver": "gd", "l2": L2, "epochs": 1000}


def job(backend, path, fits):
    """Return what `lrbackends.benchmarking.worker.measure` is asked for."""
    return {
        "backend": backend,
        "data": str(path),
        "options": OPTIONS,
        "warm_fits": fits,
        "warm_seconds": 0.0,
    }


def bare(trainer, X, y, fits):
    """Return the seconds of each fit in a loop."""
    seconds = []
    for _ in range(fits):
        began = time.perf_counter()
        trainer.fit(X, y)
        seconds.append(time.perf_counter() - began)
    return seconds


def test_harness(benchmark, note, data_of, smoke, tmp_path, backend):
    benchmark.group = "warm fit in the comparison, digits01, 1,000 steps"
    path, fits = tmp_path / "data.npz", 3 if smoke else FITS
    save_data(path, *data_of("digits01"))
    X, y = load_data(path)
    trainer = Trainer(backend, **OPTIONS)
    result = trainer.fit(X, y)  # compiles
    answers = []

    def in_harness():
        answers.append(measure(job(backend, path, fits)))
        return median(answers[-1]["warm"])

    def alone():
        return median(bare(trainer, X, y, fits + 1)[1:])  # the harness leaves its first out, too

    turns = {"harness": in_harness, "bare": alone}
    times = take_turns(turns, 2 if smoke else ROUNDS)
    assert answers[0]["loss"] == result.loss
    replay(benchmark, times["harness"])
    note(
        lambda: trainer.fit(X, y),
        X=X,
        passes=result.n_passes,
        loss=answers[0]["loss"],
        status=answers[0]["status"],
        over_bare=ratios(times["harness"], times["bare"]),
    )
