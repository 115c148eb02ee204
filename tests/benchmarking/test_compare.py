"""compare(): for real, in processes, and its bookkeeping with processes made up."""

import importlib
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.benchmarking.cells import GAP, VARIATIONS, Settings
from lrbackends.benchmarking.compare import VARIATION_ROUNDS, WARM_FITS, compare
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.peers import PEERS
from lrbackends.benchmarking.rows import Measured
from lrbackends.benchmarking.worker import load_data

from .synthetic import answer

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


class Wide(NumpyBackend):
    '''Fails in float32; its name is its object's own.'''

    def __init__(self, name):
        self.name = name

    def compile(self, problem, *args):
        if problem.dtype == "float32":
            raise ZeroDivisionError(f"{self.name} is too wide")
        return super().compile(problem, *args)
"""
ENTRY_POINTS = """[lrbackends.backends]
off = made_up_backends:Off
crashing = made_up_backends:Crashing
refusing = made_up_backends:Refusing
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory):
    """Install made-up backends for this process and its children; return their module."""
    folder: Path = tmp_path_factory.mktemp("plugin")
    (folder / "made_up_backends.py").write_text(PLUGIN, encoding="utf-8")
    info = folder / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        yield importlib.import_module("made_up_backends")


@pytest.fixture(scope="module")
def real(plugin, noisy) -> Comparison:
    """The base task only, of backends with all kinds of ends."""
    return compare(
        noisy.X[:40],
        np.array(["no", "yes"])[noisy.y[:40]],
        X_test=noisy.X[40:],
        y_test=np.array(["no", "yes"])[noisy.y[40:]],
        backends=["numpy", "off", "crashing", "refusing"],
        epochs=30,
        rounds=1,
        vary=(),
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
    assert len(row.warm_fit.samples[0]) >= WARM_FITS
    assert row.curve[0] == (0, expected.initial_loss)
    assert row.curve[-1] == (30, expected.loss)


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
    assert (real.n_samples, real.n_features, real.n_test, real.n_classes) == (40, 3, 20, 2)
    assert (real.name, real.rounds, real.settings.epochs) == ("noisy", 1, 30)
    assert real.entries == 120
    assert real.settings.dtype == "float64"
    assert real.lines_of_code["numpy"] > 100
    assert Comparison.from_json(real.to_json()) == real


@pytest.fixture(scope="module")
def varied(plugin, noisy) -> Comparison:
    """A backend object of a third party, varied, with scikit-learn beside it."""
    return compare(
        *noisy,
        backends=plugin.Wide("its own name"),
        epochs=30,
        rounds=1,
        vary=("arithmetic", "dtype", "optimum"),
    )


def test_an_object_that_can_be_pickled_is_measured_as_it_is(varied, noisy):
    row = varied["its own name"]
    expected = lrb.Trainer("numpy", epochs=30, l2=1e-3, random_state=0).fit(*noisy)
    assert isinstance(row, Measured)
    assert row.loss == expected.loss


def test_a_variation_that_fails_is_a_row_and_the_others_go_on(varied):
    (narrow,) = (row for row in varied.rows if row.cell.settings.dtype == "float32")
    assert (narrow.backend, narrow.status) == ("its own name", "failed")
    assert narrow.reason == "ZeroDivisionError: its own name is too wide"
    assert len([row for row in varied.rows if isinstance(row, Measured)]) == 5


def test_every_variation_trained_what_it_says(varied):
    (exact,) = varied.select(settings=replace(varied.settings, arithmetic="reproducible"))
    (base,) = varied.measured
    assert exact.loss == pytest.approx(base.loss, rel=1e-12)
    assert varied.agree
    assert all(row.repeatable for row in varied.rows if isinstance(row, Measured) and not row.peer)


def test_scikit_learn_reaches_the_same_optimum(varied):
    (ours, *theirs) = (row for row in varied.rows if row.cell.settings.gap == GAP)
    assert [row.cell.backend for row in theirs] == list(PEERS)
    assert {row.status for row in (ours, *theirs)} == {"converged"}
    assert {row.engine.split()[0] for row in theirs} == {"scikit-learn"}
    for row in theirs:
        assert row.loss == pytest.approx(ours.loss, rel=3 * GAP)
        assert row.reason.startswith("tol=")


def test_a_comparison_with_variations_survives_json(varied):
    text = varied.to_json()  # peers have no step size: NaN differs from NaN
    assert Comparison.from_json(text).to_json() == text


# -- with processes made up

QUICK = {"epochs": 10, "vary": ()}


def names(jobs):
    return [job["backend"] for job in jobs]


def test_each_round_has_every_backend_once_in_an_order_of_its_own(made_up, noisy):
    jobs = made_up()
    compare(noisy.X, noisy.y, rounds=6, **QUICK)
    rounds = [tuple(names(jobs)[k : k + 4]) for k in range(0, 24, 4)]
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in rounds)
    assert len(set(rounds)) > 1


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_order_is_drawn_from_the_seed(made_up, noisy, seed, same):
    jobs = made_up()
    compare(noisy.X, noisy.y, rounds=6, **QUICK, random_state=0)
    compare(noisy.X, noisy.y, rounds=6, **QUICK, random_state=seed)
    assert (names(jobs)[:24] == names(jobs)[24:]) is same


def test_measurements_of_all_rounds_are_kept_by_process(made_up, noisy):
    made_up(lambda _, nth: answer(first=float(nth), peak_memory=nth * 10**6))
    row = compare(noisy.X, noisy.y, rounds=3, **QUICK)["a"]
    assert row.first_fit.samples == ((1.0,), (2.0,), (3.0,))
    assert row.warm_fit.samples == ((0.03, 0.02),) * 3
    assert row.peak_memory == 3 * 10**6
    assert row.rounds == (0, 1, 2)
    assert row.engine == "a 1.0"


def test_rows_stand_in_the_order_in_which_they_were_asked_for(made_up, noisy):
    made_up()
    for order in ("abcd", "cadb"):
        found = compare(noisy.X, noisy.y, backends=list(order), rounds=2, **QUICK)
        assert [row.backend for row in found.rows] == list(order)


def test_a_backend_that_fails_is_not_started_again(made_up, noisy):
    def answers(job, nth):
        failed = job["backend"] == "b" and nth == 2
        return {"status": "failed", "reason": "it crashed"} if failed else answer()

    jobs = made_up(answers)
    found = compare(noisy.X, noisy.y, rounds=4, epochs=10, vary=["threads"])
    assert (found["b"].status, found["b"].reason) == ("failed", "it crashed (in round 2)")
    assert not isinstance(found["b"], Measured)
    assert Counter(names(jobs[:14])) == {"a": 4, "b": 2, "c": 4, "d": 4}
    assert "b" not in names(jobs[14:])


def test_other_bits_in_another_process_are_not_repeatable(made_up, noisy):
    made_up(lambda job, nth: answer(float(nth if job["backend"] == "a" else 1).hex()))
    found = compare(noisy.X, noisy.y, rounds=2, **QUICK)
    assert not found["a"].repeatable
    assert found["b"].repeatable


def test_an_unavailable_backend_is_a_row_with_its_reason_and_has_no_variations(made_up, noisy):
    jobs = made_up()
    found = compare(noisy.X, noisy.y, rounds=2, epochs=10, vary=["dtype", "size"], sizes=[20])
    assert (found["gone"].status, found["gone"].reason) == ("unavailable", "gone is not installed")
    assert "gone" not in names(jobs)
    assert Counter(row.backend for row in found.rows) == {**dict.fromkeys("abcd", 3), "gone": 1}


def test_a_backend_that_diverges_is_not_varied(made_up, noisy):
    made_up(lambda job, _: answer(status="diverged" if job["backend"] == "a" else "completed"))
    found = compare(noisy.X, noisy.y, backends=["a", "b"], rounds=1, epochs=10, vary=["dtype"])
    assert Counter(row.backend for row in found.rows) == {"a": 1, "b": 2}


def test_where_nobody_did_the_base_task_nothing_is_varied(made_up, noisy):
    jobs = made_up(lambda *_: {"status": "failed", "reason": "it crashed"})
    found = compare(noisy.X, noisy.y, rounds=1, epochs=10)
    assert len(jobs) == 4
    assert len(found.rows) == 5
    assert found.reference == "skipped, no backend trained"
    assert found.distances == ()
    assert not found.agree


def test_progress_is_reported_before_each_process_and_at_the_end(made_up, noisy):
    jobs = made_up()
    seen = []
    compare(noisy.X, noisy.y, rounds=2, **QUICK, progress=lambda *step: seen.append(step))
    labels = [f"{name}, 60 rows, gd" for name in names(jobs)]
    assert seen == [*((k, 8, label) for k, label in enumerate(labels)), (8, 8, "")]


def test_progress_counts_the_variations_too(made_up, noisy):
    jobs = made_up()
    seen = []
    options = {"vary": ["threads", "cache"], "backends": ["a", "b"], "rounds": 5}
    compare(noisy.X, noisy.y, epochs=10, **options, progress=lambda *step: seen.append(step))
    steps = len(seen) - 1
    assert [done for done, *_ in seen] == [*range(steps), steps]
    assert seen[9][1] == 10
    assert {total for _, total, _ in seen[10:]} == {steps}
    assert steps <= len(jobs) <= steps + 2  # a cache may have to be filled first


def test_variations_have_three_rounds_at_most_base_cells_among_them(made_up, noisy, monkeypatch):
    monkeypatch.setattr(compare_module, "usable_cores", lambda: 2)
    jobs = made_up()
    found = compare(noisy.X, noisy.y, backends=["a", "b"], rounds=5, epochs=10, vary=["threads"])
    assert len(jobs) == 2 * 5 + 4 * VARIATION_ROUNDS
    late = jobs[10:]
    for k in range(VARIATION_ROUNDS):
        of_round = [(job["backend"], job["threads"]) for job in late[4 * k : 4 * k + 4]]
        assert set(of_round) == {("a", None), ("b", None), ("a", 1), ("b", 1)}
    (one,) = (row for row in found.select(threads=1) if row.backend == "a")
    assert one.rounds == (5, 6, 7)
    assert found["a"].rounds == tuple(range(8))
    assert one.over(found["a"]).n == VARIATION_ROUNDS


@pytest.mark.parametrize(("rounds", "expected"), [(1, 1), (2, 2), (9, VARIATION_ROUNDS)])
def test_variations_have_no_more_rounds_than_the_base(made_up, noisy, rounds, expected):
    made_up()
    found = compare(noisy.X, noisy.y, backends="a", rounds=rounds, epochs=10, vary=["dtype"])
    (narrow,) = found.select(settings=replace(found.settings, dtype="float32"))
    assert len(narrow.rounds) == expected


def test_each_job_says_what_its_cell_is(made_up, noisy, monkeypatch):
    monkeypatch.setattr(compare_module, "usable_cores", lambda: 2)
    seen = []

    def answers(job, _):
        seen.append(load_data(job["data"])[0].shape)
        return answer()

    jobs = made_up(answers)
    compare(*noisy, backends="a", rounds=1, epochs=10, vary=VARIATIONS[:5], sizes=[20], timeout=7)
    base = Settings(epochs=10)
    options = [Settings(**job["options"]) for job in jobs]
    assert set(options) == {
        base,
        replace(base, dtype="float32"),
        replace(base, arithmetic="reproducible"),
    }
    assert Counter(seen) in ({(60, 3): 7, (20, 3): 1}, {(60, 3): 8, (20, 3): 1})
    assert all(job["timeout"] == 7 for job in jobs)
    asked = [job["options"] == asdict(base) and not job["threads"] for job in jobs]
    usual = ["NUMBA_CACHE_DIR" not in job["variables"] for job in jobs]
    whole = [shape == (60, 3) for shape in seen]
    assert [job["new_shape"] for job in jobs] == [
        all(of) for of in zip(asked, usual, whole, strict=True)
    ]
    (one,) = (job for job in jobs if job["threads"] == 1)
    assert one["variables"]["OMP_NUM_THREADS"] == "1"
    folders = [f for job in jobs if (f := job["variables"].get("NUMBA_CACHE_DIR"))]
    # The cell without a cache fills one for the other, unless that one came first and did so.
    assert (len(folders), len(set(folders))) in ((2, 1), (3, 2))


def test_backends_that_do_not_compile_have_no_cache_to_vary(made_up, noisy):
    made_up(lambda job, _: answer(compile=0.2 if job["backend"] == "b" else 1e-5))
    found = compare(*noisy, backends=["a", "b"], rounds=2, epochs=10, vary=["cache"])
    assert {row.backend for row in found.rows if row.cell.cache != "usual"} == {"b"}


def test_peers_have_the_tolerance_that_reaches_our_optimum(made_up, noisy):
    jobs = made_up()
    found = compare(*noisy, backends="a", l2=0.01, rounds=2, epochs=10, vary=["optimum"])
    best = lrb.Trainer("numpy", "newton", l2=0.01).fit(*noisy).loss
    for peer in PEERS:
        first, second = (job for job in jobs if job["backend"] == peer)
        assert first == second
        assert first["options"]["l2"] == 0.01
        assert first["options"]["target"] == pytest.approx(best * (1 + GAP), rel=1e-9)
        assert 1e-10 <= first["options"]["tol"] <= 0.1
        assert not first["new_shape"]
    assert len([row for row in found.rows if row.peer]) == 2


def test_the_base_task_is_shown_before_it_is_varied(made_up, noisy):
    jobs = made_up()
    seen = []
    found = compare(
        *noisy,
        backends=["a", "b"],
        rounds=2,
        epochs=10,
        vary=["dtype"],
        first=lambda early: seen.append((early, len(jobs))),
    )
    ((early, so_far),) = seen
    assert so_far == 4
    assert len(jobs) > so_far
    assert early.rows == early.base
    assert early.recommend().startswith("One fit in a fresh process: ")
    assert len(found.rows) == 4
    assert [row.cell for row in early.rows] == [row.cell for row in found.rows[:2]]


def test_wrong_losses_of_a_variation_are_found_in_its_own_task(made_up, noisy):
    def answers(job, _):
        wrong = job["backend"] == "b" and job["options"]["dtype"] == "float32"
        return answer((0.5 + 0.01 * wrong).hex())

    made_up(answers)
    found = compare(*noisy, backends=["a", "b"], rounds=1, epochs=10, vary=["dtype", "threads"])
    between = [(a.settings.dtype, d.max_ulp > 0) for a in found.agreements for d in a.between()]
    assert between == [("float64", False), ("float32", True)]
    assert found.agreements[0].settings == found.settings


# -- data


def test_without_data_it_is_digits_zero_and_one(made_up):
    made_up(lambda *_: answer(n_features=64))
    found = compare(backends="a", rounds=1, **QUICK)
    assert (found.name, found.n_samples, found.n_features, found.n_test) == (
        "digits01",
        270,
        64,
        90,
    )
    assert found["a"].test_accuracy is not None


@pytest.fixture
def saved(made_up):
    """Return the data that the processes were given."""
    found = []

    def answers(job, _):
        found.append(load_data(job["data"]))
        X, y = found[-1]
        n_classes = len(set(y.tolist()))
        return answer("0x0.0p+0", X.shape[1], n_classes if n_classes > 2 else 1)

    made_up(answers)
    return found


def test_a_shape_in_place_of_data(saved):
    found = compare(shape=(90, 4), backends="a", rounds=1, **QUICK)
    compare(shape=(90, 4), backends="a", rounds=1, **QUICK)
    compare(shape=(90, 4), backends="a", rounds=1, **QUICK, random_state=1)
    assert (found.name, found.n_samples, found.n_features, found.n_test) == (
        "random data",
        90,
        4,
        0,
    )
    (X, y), (again, same), (other, _) = saved
    assert X.shape == (90, 4)
    assert set(y.tolist()) == {0, 1}
    assert np.array_equal(X, again)
    assert np.array_equal(y, same)
    assert not np.array_equal(X, other)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_smallest_data(saved, n):
    found = compare(
        shape=(n, 1), backends=["a", "b"], rounds=1, epochs=10, vary=["size"], sizes=[10]
    )
    assert {len(y) for _, y in saved} == {n, 10}
    assert all(set(y.tolist()) == {0, 1} for _, y in saved)
    assert len(found.answers()) == 15


def test_a_rare_class_is_in_every_size(saved, noisy):
    y = np.full(60, "x")
    y[3], y[4:6] = "y", "z"
    found = compare(noisy.X, y, backends="a", rounds=1, epochs=10, vary=["size"], sizes=[10])
    assert found.n_classes == 3
    assert [len(set(codes.tolist())) for _, codes in saved] == [3] * len(saved)
    assert Comparison.from_json(found.to_json()) == found


def test_sparse_and_narrow_data_reach_the_processes_as_they_are(saved, noisy):
    X = (noisy.X * 9).clip(0).round()
    options = {"backends": "a", "rounds": 1, "epochs": 10, "vary": ["size"], "sizes": [90]}
    found = compare(sparse.csr_array(X), noisy.y, **options)
    assert found.entries == np.count_nonzero(X) < X.size
    compare(X.astype(np.uint8), noisy.y, **options)
    assert [type(rows).__name__ for rows, _ in saved[:3]] == ["csr_array"] * 3
    assert [rows.dtype for rows, _ in saved[3:]] == [np.uint8] * 3


def test_inputs_are_not_written_to(saved, noisy):
    X, y = noisy.X.copy(), noisy.y.copy()
    X.flags.writeable = y.flags.writeable = False
    compare(X, y, X_test=X, y_test=y, backends="a", rounds=1, epochs=10, vary=["size", "dtype"])
    assert np.array_equal(X, noisy.X)


# -- options


def test_one_name_may_be_given_as_a_string(made_up, noisy):
    made_up()
    found = compare(noisy.X, noisy.y, backends="a", **QUICK)
    assert [row.backend for row in found.rows] == ["a"]
    assert found.lines_of_code == {"a": 12}


def test_all_backends_that_are_known_are_compared_by_default(made_up, noisy):
    made_up()
    found = compare(noisy.X, noisy.y, rounds=1, **QUICK)
    assert [row.backend for row in found.rows] == ["a", "b", "c", "d", "gone"]


class Local(NumpyBackend):
    """Cannot be pickled."""

    def __init__(self):
        self.held = lambda: None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backends": ["nmupy"]}, ValueError, "did you mean 'numpy'"),
        ({"backends": []}, ValueError, "backends is empty; choose from"),
        ({"backends": [Local()]}, TypeError, "'numpy' cannot be handed to a fresh process"),
        ({"backends": [Local()]}, TypeError, "or register it as an entry point in the group"),
        ({"backends": ["numpy", lrb.get_backend("numpy")]}, ValueError, "'numpy' twice"),
        ({"backends": [3]}, TypeError, "must be a name or a Backend object, got 3"),
        ({"vary": ["speed"]}, ValueError, "vary='speed' is unknown; choose from size, arith"),
        ({"sizes": [9]}, ValueError, "sizes must be a finite number >= 10, got 9"),
        ({"sizes": [20.5]}, (TypeError, ValueError), "sizes must be a"),
        ({"rounds": 0}, ValueError, "rounds must be a finite number >= 1, got 0"),
        ({"timeout": 0}, ValueError, "timeout must be a finite number > 0, got 0"),
        ({"solver": "sgd"}, ValueError, "solver='sgd' is unknown; choose from gd,"),
        ({"arithmetic": "exact"}, ValueError, "arithmetic='exact' is unknown; choose from fast"),
        ({"l2": -1.0}, ValueError, "l2 must be a finite number >= 0"),
        ({"dtype": "float16"}, ValueError, "dtype='float16' is not supported"),
        ({"shape": (9, 9)}, ValueError, "give X and y or a shape, not both"),
        ({"X": None}, ValueError, "give both X and y, or neither"),
        ({"y": None}, ValueError, "give both X and y, or neither"),
        ({"X": None, "y": None, "shape": (1, 3)}, ValueError, r"shape\[0\] must be .* >= 2, got 1"),
        ({"X": None, "y": None, "shape": (9, 0)}, ValueError, r"shape\[1\] must be .* >= 1, got 0"),
        ({"X": None, "y": None, "X_test": [[1.0]]}, ValueError, "X_test and y_test need X and y"),
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
        compare_module, "run_worker", lambda *_, **__: pytest.fail("a process was started")
    )
    with pytest.raises(error, match=message):
        compare(**({"X": noisy.X, "y": noisy.y} | options))
