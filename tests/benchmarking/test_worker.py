"""The protocol of the measuring process, run in this one."""

import io
import json

import numpy as np
import pytest

from lrbackends import Trainer
from lrbackends.benchmarking import worker
from lrbackends.errors import BackendUnavailableError, UnsupportedError

OPTIONS = {"solver": "gd", "epochs": 20, "l2": 0.01, "random_state": 0}


@pytest.fixture
def job(noisy, tmp_path):
    np.savez(tmp_path / "data.npz", X=noisy.X, y=noisy.y)
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
