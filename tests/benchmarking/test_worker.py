"""The protocol of the measuring process, run in this one."""

import base64
import io
import json
import os
import pickle
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from lrbackends import Trainer
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.benchmarking import worker
from lrbackends.benchmarking.processes import run_worker
from lrbackends.errors import BackendUnavailableError, UnsupportedError

OPTIONS = {"solver": "gd", "epochs": 20, "l2": 0.01, "random_state": 0}


@pytest.fixture
def job(noisy, tmp_path):
    worker.save_data(tmp_path / "data.npz", *noisy)
    return {
        "backend": "numpy",
        "data": str(tmp_path / "data.npz"),
        "options": OPTIONS,
        "warm_fits": 3,
        "warm_seconds": 0.0,
    }


def test_the_answer_has_each_time_apart_and_the_exact_result(job, noisy):
    answer = worker.answer(job)
    expected = Trainer("numpy", **OPTIONS).fit(noisy.X, noisy.y)
    assert answer["status"] == expected.status
    assert answer["reason"] == expected.reason
    assert [float.fromhex(v) for v in answer["coef"][0]] == expected.coef[0].tolist()
    assert float.fromhex(answer["intercept"][0]) == expected.intercept[0]
    assert answer["loss"] == expected.loss
    assert answer["gradient_norm"] == expected.gradient_norm
    assert (answer["n_epochs"], answer["n_steps"]) == (20, 20)
    assert len(answer["warm"]) == len(answer["epoch"]) == 3
    assert answer["repeatable"] is True
    assert answer["warnings"] == []
    assert 0 <= answer["compile"] < answer["first"]
    assert 0 <= answer["transfer"] < answer["first"]
    assert answer["learning_rate"] == expected.learning_rate
    assert answer["n_passes"] == expected.n_passes
    assert answer["curve"] == [
        [k, loss] for k, loss in enumerate([expected.initial_loss, *expected.history["loss"]])
    ]
    assert all(
        20 * epoch < warm for epoch, warm in zip(answer["epoch"], answer["warm"], strict=True)
    )


def test_fits_are_repeated_until_enough_time_is_spent(job):
    assert len(worker.answer(job | {"warm_seconds": 0.05})["warm"]) > 3


def test_but_not_for_ever(job):
    answer = worker.answer(job | {"warm_seconds": 1e9, "options": OPTIONS | {"epochs": 1}})
    assert len(answer["warm"]) == worker.MANY_FITS


def test_a_divergence_is_a_measured_result(job):
    answer = worker.answer(job | {"options": OPTIONS | {"learning_rate": 1e6}})
    assert answer["status"] == "diverged"
    assert answer["warm"]


def test_warnings_are_handed_on(job):
    answer = worker.answer(job | {"options": OPTIONS | {"learning_rate": 12.0}})
    assert any("the loss rose" in message for message in answer["warnings"])


def test_a_backend_whose_bits_change_is_not_repeatable(job, monkeypatch):
    fit, calls = Trainer.fit, []

    def drifting(self, X, y):
        result = fit(self, X, y)
        calls.append(result)
        result.coef[0, 0] += len(calls) * np.spacing(result.coef[0, 0])
        return result

    monkeypatch.setattr(Trainer, "fit", drifting)
    assert worker.answer(job)["repeatable"] is False


def test_what_compiles_while_it_runs_has_compiled_in_what_the_first_fit_took_longer(job):
    answer = worker.answer(job | {"options": OPTIONS | {"solver": "newton"}})
    assert answer["status"] == "converged"
    longer = answer["first"] - statistics.median(answer["warm"])
    assert answer["compile"] == max(0.0, longer)


def test_scikit_learn_answers_the_same_questions(job):
    ours = worker.answer(job)
    options = {"l2": 0.01, "target": 1.0, "tol": 1e-4}
    answer = worker.answer(job | {"backend": "peer:scikit-learn lbfgs", "options": options})
    assert answer.keys() == ours.keys()
    assert (answer["status"], answer["repeatable"]) == ("converged", True)
    json.dumps(answer)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (BackendUnavailableError("not installed"), "unavailable", "not installed"),
        (UnsupportedError("no float32"), "unsupported", "no float32"),
        (MemoryError("too large"), "failed", "MemoryError: too large"),
        (ZeroDivisionError("oops"), "failed", "ZeroDivisionError: oops"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_becomes_a_status_and_a_reason(job, monkeypatch, error, status, reason):
    def failing(self, X, y):
        raise error

    monkeypatch.setattr(Trainer, "fit", failing)
    assert worker.answer(job) == {"status": status, "reason": reason}


def test_the_answer_is_the_only_line_on_standard_output(job, monkeypatch, capsys):
    fit = Trainer.fit

    def talking(self, X, y):
        print("here I am")
        return fit(self, X, y)

    monkeypatch.setattr(Trainer, "fit", talking)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(job)))
    worker.main()
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "completed"
    assert out.count("\n") == 1
    assert "here I am" in err


# -- confined


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_stays_on_its_cores_before_it_imports_anything(tmp_path, monkeypatch):
    source = (
        "import json, os, sys\n"
        "from lrbackends.benchmarking.worker import confine\n"
        "engines = sorted({'numpy', 'numba', 'jax'} & set(sys.modules))\n"
        "confine(1)\n"
        "print(json.dumps({'cores': sorted(os.sched_getaffinity(0)), 'engines': engines}))"
    )
    (tmp_path / "worker_confined.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    mine = os.sched_getaffinity(0)
    answer = run_worker({}, 60.0, module="worker_confined")
    assert answer == {"cores": [min(mine)], "engines": []}
    assert os.sched_getaffinity(0) == mine


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_the_job_says_on_how_many_cores_and_that_comes_first(job, monkeypatch, threads):
    done = []
    monkeypatch.setattr(worker, "confine", lambda threads: done.append(threads))
    monkeypatch.setattr(worker, "answer", lambda job: done.append(job["backend"]))
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(job | {"threads": threads})))
    worker.main()
    assert done == [threads, "numpy"]


def test_without_a_number_all_cores_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", pytest.fail, raising=False)
    worker.confine(None)


# -- memory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells it")
def test_growth_is_what_came_on_top_and_peak_is_everything(tmp_path, monkeypatch):
    source = (
        "import json\n"
        "from lrbackends.benchmarking.worker import Memory, peak_memory\n"
        "def hold(megabytes):\n"
        "    return bytearray(b'1') * (megabytes * 1_000_000)\n"
        "earlier = hold(250)\n"
        "del earlier\n"
        "kept = hold(60)\n"
        "memory = Memory()\n"
        "passing = hold(80)\n"
        "del passing\n"
        "again = hold(20)\n"
        "print(json.dumps({'growth': memory.growth(), 'peak': memory.peak()}))"
    )
    (tmp_path / "worker_growing.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    answer = run_worker({}, 60.0, module="worker_growing")
    assert 78_000_000 < answer["growth"] < 95_000_000  # not 100: the 80 were given back
    assert 248_000_000 < answer["peak"] < 300_000_000  # not 140: that before was more


def test_where_the_mark_cannot_be_set_back_only_a_higher_one_shows(monkeypatch):
    marks = iter([100, 100, 130])
    monkeypatch.setattr(worker, "peak_memory", lambda: next(marks))
    monkeypatch.setattr(worker, "_proc_status", lambda _: 60)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    memory = worker.Memory()
    assert memory.growth() == 0
    assert memory.growth() == 30


def test_where_the_system_tells_nothing_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(worker, "peak_memory", lambda: None)
    monkeypatch.setattr(worker, "_proc_status", lambda _: None)
    monkeypatch.setattr(Path, "write_text", lambda *_: 1)
    memory = worker.Memory()
    assert memory.growth() is memory.peak() is None


# -- another shape


@pytest.fixture
def rows(monkeypatch):
    """The number of rows of each fit."""
    fit, seen = Trainer.fit, []

    def counted(self, X, y):
        seen.append((X.shape[0], len(y)))
        return fit(self, X, y)

    monkeypatch.setattr(Trainer, "fit", counted)
    return seen


def test_another_shape_is_one_row_less_after_all_else(job, rows):
    answer = worker.answer(job | {"new_shape": True})
    assert rows == [(60, 60)] * 4 + [(59, 59)]
    assert answer["new_shape"] > 0
    assert len(answer["warm"]) == 3


def test_another_shape_is_measured_where_it_is_asked_for(job, rows):
    assert worker.answer(job)["new_shape"] is None
    assert rows == [(60, 60)] * 4


def test_a_row_that_is_the_last_of_its_class_stays(job, rows, noisy):
    worker.save_data(job["data"], noisy.X, np.arange(60) == 59)
    assert worker.answer(job | {"new_shape": True})["new_shape"] is None
    assert rows == [(60, 60)] * 4


# -- reading the data once


@pytest.mark.parametrize("form", ["float64", "float32", "uint8", "columns", "csr", "odd bytes"])
def test_the_time_of_reading_is_known_for_every_form(form):
    X = np.arange(60.0).reshape(20, 3) % 7
    X = {
        "columns": np.asfortranarray,
        "csr": sparse.csr_array,
        "odd bytes": lambda X: X[:19].astype(np.uint8),
    }.get(form, lambda X: X.astype(form))(X)
    kept = X.copy()
    assert worker.read_once(X) > 0
    assert (kept != X).sum() == 0


# -- the curve


@pytest.mark.parametrize("n", [1, 2, worker.CURVE_POINTS])
def test_short_curves_are_whole(n):
    assert worker._spread(n) == list(range(n))


@pytest.mark.parametrize("n", [worker.CURVE_POINTS + 1, 1_001, 10**6])
def test_long_curves_are_dense_at_the_beginning_and_reach_the_end(n):
    points = worker._spread(n)
    assert len(points) <= worker.CURVE_POINTS
    assert points == sorted(set(points))
    assert points[:3] == [0, 1, 2]
    assert points[-1] == n - 1
    gaps = np.diff(points)
    assert gaps[-1] == gaps.max()
    assert max(b / a for a, b in pairwise(points[20:])) < 1.3


def test_a_long_training_has_its_start_and_its_end(job, noisy):
    options = OPTIONS | {"epochs": 500}
    curve = worker.answer(job | {"options": options, "warm_fits": 1})["curve"]
    expected = Trainer("numpy", **options).fit(*noisy)
    assert curve[0] == [0, expected.initial_loss]
    assert curve[-1] == [500, expected.loss]
    assert all(loss == expected.history["loss"][k - 1] for k, loss in curve[1:])


# -- backends that are objects


class Renamed(NumpyBackend):
    def __init__(self, name):
        self.name = name


def test_a_pickled_backend_is_the_object_that_was_given(job, monkeypatch):
    seen = []
    compile_ = NumpyBackend.compile
    monkeypatch.setattr(
        NumpyBackend,
        "compile",
        lambda self, *args: (seen.append(self.name), compile_(self, *args))[1],
    )
    text = base64.b64encode(pickle.dumps(Renamed("mine"))).decode()
    answer = worker.answer(job | {"backend": f"pickle:{text}"})
    assert answer["status"] == "completed"
    assert set(seen) == {"mine"}
    assert answer["coef"] == worker.answer(job)["coef"]
