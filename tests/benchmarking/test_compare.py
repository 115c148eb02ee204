"""compare(): once for real, in processes, and its bookkeeping with processes made up."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.registry import Available, Unavailable
from lrbackends.benchmarking.compare import compare
from lrbackends.benchmarking.comparison import Comparison, Measured

compare_module = sys.modules["lrbackends.benchmarking.compare"]

# Backends of a third party: found by name in the child as in the parent.
PLUGIN = """
import os
from lrbackends.backends.numpy_backend import NumpyBackend, NumpyKernels
from lrbackends.errors import UnsupportedError


class Off(NumpyBackend):
    name = "off"

    def compile(self, *args):
        print("a backend may print")
        kernels = super().compile(*args)
        run = kernels.run

        def off(*args):
            state, records = run(*args)
            return state._replace(theta=state.theta * (1 + 1e-13)), records

        kernels.run = off
        return kernels


class Crashing(NumpyBackend):
    name = "crashing"

    def compile(self, *args):
        os._exit(3)


class Refusing(NumpyBackend):
    name = "refusing"

    def compile(self, *args):
        raise UnsupportedError("it refuses everything")
"""
ENTRY_POINTS = """[lrbackends.backends]
off = made_up_backends:Off
crashing = made_up_backends:Crashing
refusing = made_up_backends:Refusing
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, noisy) -> Comparison:
    """The one comparison that starts processes."""
    folder: Path = tmp_path_factory.mktemp("plugin")
    (folder / "made_up_backends.py").write_text(PLUGIN, encoding="utf-8")
    info = folder / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        return compare(
            noisy.X[:40],
            np.array(["no", "yes"])[noisy.y[:40]],
            X_test=noisy.X[40:],
            y_test=np.array(["no", "yes"])[noisy.y[40:]],
            backends=["numpy", "off", "crashing", "refusing"],
            epochs=30,
            rounds=1,
            name="noisy",
        )


def test_a_backend_is_measured_in_a_process_of_its_own(real, noisy):
    row = real["numpy"]
    expected = lrb.Trainer("numpy", epochs=30, l2=1e-3, random_state=0).fit(
        noisy.X[:40], noisy.y[:40]
    )
    assert isinstance(row, Measured)
    assert row.coef == tuple(map(tuple, expected.coef.tolist()))
    assert row.intercept == tuple(expected.intercept.tolist())
    assert row.loss == expected.loss
    assert row.test_accuracy == expected.accuracy(noisy.X[40:], noisy.y[40:])
    assert row.repeatable
    # NumPy is not imported in a fresh process: loading it takes longer than looking up a module.
    assert row.import_time.median > 0.005
    assert row.peak_memory is None or row.peak_memory > 10_000_000


def test_a_crash_is_a_row_with_its_reason(real):
    row = real["crashing"]
    assert not isinstance(row, Measured)
    assert row.status == "failed"
    assert row.reason == "the process ended with exit code 3"


def test_a_refusal_is_a_row_with_its_reason(real):
    row = real["refusing"]
    assert (row.status, row.reason) == ("unsupported", "it refuses everything")


def test_a_wrong_result_is_found(real):
    assert isinstance(real["off"], Measured)
    assert not real.agree
    assert real.to_reference("numpy").within("float64")
    assert not real.to_reference("off").within("float64")
    assert "do NOT agree: numpy and off are" in real.verdict()


def test_what_was_compared_is_on_record(real):
    assert (real.n_samples, real.n_features, real.n_test) == (40, 3, 20)
    assert (real.name, real.rounds, real.settings.epochs) == ("noisy", 1, 30)
    assert real.settings.dtype == "float64"
    assert Comparison.from_json(real.to_json()) == real


# -- with processes made up


def answer(coef="0x1.0p-1", **fields):
    return {
        "status": "completed",
        "reason": "all epochs done",
        "import": 0.1,
        "compile": 0.2,
        "first": 0.3,
        "warm": [0.03, 0.02],
        "epoch": [3e-5, 2e-5],
        "loss": 0.5,
        "gradient_norm": 1e-3,
        "learning_rate": 0.25,
        "n_epochs": 10,
        "n_steps": 10,
        "coef": [[coef] * 3],
        "intercept": ["0x0.0p+0"],
        "repeatable": True,
        "peak_memory": 10**8,
        "memory_growth": 10**7,
        "cores_busy": 1.0,
        "warnings": [],
    } | fields


@pytest.fixture
def made_up(monkeypatch):
    """Give the answers of the processes instead of starting them; return who was asked for."""
    asked = []
    known = {name: Available(name, f"{name} 1.0", "built in") for name in ("a", "b", "c", "d")}
    known["gone"] = Unavailable("gone", "gone is not installed", "built in")
    monkeypatch.setattr(compare_module, "available_backends", lambda: known)

    def use(answers=lambda *_: answer()):
        def run_worker(job, timeout):
            asked.append(job["backend"])
            return answers(job["backend"], asked.count(job["backend"]))

        monkeypatch.setattr(compare_module, "run_worker", run_worker)
        return asked

    return use


def test_each_round_has_every_backend_once_in_an_order_of_its_own(made_up, noisy):
    asked = made_up()
    compare(noisy.X, noisy.y, rounds=6, epochs=10)
    rounds = [tuple(asked[k : k + 4]) for k in range(0, 24, 4)]
    assert all(sorted(names) == ["a", "b", "c", "d"] for names in rounds)
    assert len(set(rounds)) > 1


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_order_is_drawn_from_the_seed(made_up, noisy, seed, same):
    asked = made_up()
    compare(noisy.X, noisy.y, rounds=6, epochs=10, random_state=0)
    compare(noisy.X, noisy.y, rounds=6, epochs=10, random_state=seed)
    assert (asked[:24] == asked[24:]) is same


def test_measurements_of_all_rounds_are_kept_by_process(made_up, noisy):
    made_up(lambda _, nth: answer(first=float(nth), peak_memory=nth * 10**6))
    row = compare(noisy.X, noisy.y, rounds=3, epochs=10)["a"]
    assert row.first_fit.samples == ((1.0,), (2.0,), (3.0,))
    assert row.warm_fit.samples == ((0.03, 0.02),) * 3
    assert row.peak_memory == 3 * 10**6


def test_a_backend_that_fails_is_not_started_again(made_up, noisy):
    def answers(backend, nth):
        failed = backend == "b" and nth == 2
        return {"status": "failed", "reason": "it crashed"} if failed else answer()

    asked = made_up(answers)
    found = compare(noisy.X, noisy.y, rounds=4, epochs=10)
    assert (found["b"].status, found["b"].reason) == ("failed", "it crashed (in round 2)")
    assert not isinstance(found["b"], Measured)
    assert Counter(asked) == {"a": 4, "b": 2, "c": 4, "d": 4}


def test_other_bits_in_another_process_are_not_repeatable(made_up, noisy):
    made_up(lambda backend, nth: answer(float(nth if backend == "a" else 1).hex()))
    found = compare(noisy.X, noisy.y, rounds=2, epochs=10)
    assert not found["a"].repeatable
    assert found["b"].repeatable


def test_an_unavailable_backend_is_a_row_with_its_reason(made_up, noisy):
    asked = made_up()
    found = compare(noisy.X, noisy.y, rounds=2, epochs=10)
    assert (found["gone"].status, found["gone"].reason) == ("unavailable", "gone is not installed")
    assert "gone" not in asked


def test_progress_is_reported_before_each_process_and_at_the_end(made_up, noisy):
    asked = made_up()
    seen = []
    compare(noisy.X, noisy.y, rounds=2, epochs=10, progress=lambda *step: seen.append(step))
    assert seen == [*((k, 8, name) for k, name in enumerate(asked)), (8, 8, "")]


def test_the_reference_is_skipped_where_nothing_trained(made_up, noisy):
    made_up(lambda *_: {"status": "failed", "reason": "it crashed"})
    found = compare(noisy.X, noisy.y, epochs=10)
    assert found.reference == "skipped, no backend trained"
    assert found.distances == ()


def test_one_name_may_be_given_as_a_string(made_up, noisy):
    made_up()
    assert [row.backend for row in compare(noisy.X, noisy.y, backends="a", epochs=10).rows] == ["a"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backends": ["nmupy"]}, ValueError, "did you mean 'numpy'"),
        ({"backends": []}, ValueError, "backends is empty; choose from"),
        ({"backends": [lrb.get_backend("numpy")]}, TypeError, "register it as an entry point"),
        ({"rounds": 0}, ValueError, "rounds must be a finite number >= 1, got 0"),
        ({"timeout": 0}, ValueError, "timeout must be a finite number > 0, got 0"),
        ({"solver": "sgd"}, ValueError, "solver='sgd' is unknown; choose from gd,"),
        ({"l2": -1.0}, ValueError, "l2 must be a finite number >= 0"),
        ({"dtype": "float16"}, ValueError, "dtype='float16' is not supported"),
        ({"X_test": [[1.0, 2.0, 3.0]]}, ValueError, "give both X_test and y_test, or neither"),
        ({"X_test": [[1.0]], "y_test": [1]}, ValueError, "X_test has 1 features, X has 3"),
        ({"X_test": [[1.0] * 3], "y_test": [7]}, ValueError, "not one of the training classes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_options_are_refused_before_any_process_starts(
    monkeypatch, noisy, options, error, message
):
    monkeypatch.setattr(
        compare_module, "run_worker", lambda *_: pytest.fail("a process was started")
    )
    with pytest.raises(error, match=message):
        compare(noisy.X, noisy.y, **options)
