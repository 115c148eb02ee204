"""Odd comparisons: what rare or failing measurements lead to."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from lrbackends.backends.numpy_backend import NumpyBackend
from lrbackends.benchmarking import worker
from lrbackends.benchmarking.cells import Settings, Shape
from lrbackends.benchmarking.compare import compare
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.crossover import crossings
from lrbackends.benchmarking.journal import Journal
from lrbackends.benchmarking.machine import machine_facts
from lrbackends.benchmarking.rows import Times
from lrbackends.benchmarking.statistics import Estimate

from .synthetic import (
    BASE,
    EPOCHS,
    agreement,
    around,
    comparison,
    failed,
    measured,
    whole,
)

NARROW = replace(BASE, dtype="float32")
LBFGS = Settings("lbfgs")


def text(of, number):
    return of.answers()[number - 1].text


def test_what_is_not_a_number_is_no_difference():
    assert Estimate(math.nan, math.nan, math.nan, 3).verdict == "tie"


def test_bytes_that_would_overflow_as_floats_can_be_read():
    X = np.random.default_rng(0).integers(0, 256, (1000, 64)).astype(np.uint8)
    assert worker.read_once(X) > 0


def test_the_version_of_scikit_learn_is_on_record(made_up, noisy):
    assert "scikit-learn" in machine_facts().versions
    made_up()
    found = compare(*noisy, backends="a", rounds=1, epochs=10, vary=["optimum"])
    assert all(row.engine.split()[1:] for row in found.rows if row.peer)


def test_a_curve_that_is_not_finite_comes_back():
    row = measured("a", status="diverged", curve=((0, 0.5), (1, math.inf)))
    assert math.isnan(Comparison.from_json(comparison(row).to_json())["a"].curve[1][1])


def test_a_crossing_lies_within_its_own_interval():
    def rows(name, exponent):
        return [
            measured(name, n_samples=n, warm=0.01 * (n / 2_500) ** exponent, spread=0.0)
            for n in (100, 1_000, 10_000)
        ]

    (found,) = crossings(rows("a", 1.0) + rows("b", 0.2), EPOCHS, cold=False)
    assert found.n == pytest.approx(2_500, rel=1e-9)
    assert found.low <= found.n * (1 + 1e-12)
    assert found.n <= found.high * (1 + 1e-12)


def test_a_tie_that_is_no_quicker_pays_nothing_back():
    cold = measured("c", imported=0.1, warm=0.0105, spread=0.0)
    fast = measured("f", imported=1.0, warm=0.0100, spread=0.0)
    tie = measured("w", imported=0.5, warm=0.012, spread=0.08)
    assert "Importing and compiling f instead pays back after 1,8" in (
        comparison(cold, fast, tie).recommend()
    )


def test_paying_back_is_counted_the_right_way_round():
    fields = {"settings": LBFGS, "n_epochs": 1, "imported": 0.1}
    warm = measured(
        "w",
        warm=0.21,
        epoch_time=around(0.2, 0, n=3),
        first_fit=around(0.3, 0, n=1),
        **fields,
    )
    cold = measured(
        "c",
        warm=0.25,
        epoch_time=around(0.0005, 0, n=3),
        first_fit=around(0.25, 0, n=1),
        **fields,
    )
    assert comparison(warm, cold).recommend().endswith("w instead pays back after 3 such fits.")


def test_one_variation_is_one():
    near = whole().distances[0]
    rows = measured("numpy"), measured("numba")
    found = comparison(*rows, distances=[near], further=[agreement(near, settings=NARROW)])
    assert found.verdict().endswith("So do they in the variation.")


def test_a_worse_result_crosses_nobody():
    rows = [
        measured(name, n_samples=n, warm=warm, loss=loss)
        for n in (48, 1_000)
        for name, warm, loss in (("good", 0.03, 0.25), ("also", 0.04, 0.25), ("bad", 0.001, 0.5))
    ]
    assert "Warm: good at every size." in text(comparison(*rows), 2)
    assert "Left out, not trained as well at every size: bad." in text(comparison(*rows), 2)


def test_a_backend_that_has_one_size_only_is_left_out():
    rows = [measured(b, n_samples=n) for n in (48, 1_000) for b in ("a", "b")]
    assert text(comparison(*rows, measured("c", warm=1e-6)), 2).endswith(
        "Left out, not trained as well at every size: c."
    )


def test_the_fastest_at_every_size_is_so_by_its_median():
    rows = [
        measured(name, n_samples=n, warm=warm, spread=spread)
        for n in (48, 1_000)
        for name, warm, spread in (("a", 0.030, 0.0), ("b", 0.040, 0.9))
    ]
    assert text(comparison(*rows), 2).startswith("Warm: a at every size.")


def test_names_keep_their_capitals():
    made = comparison(measured("MyBackend"), measured("JAX", warm=1.0))
    assert text(made, 13).startswith("Warm, MyBackend is ahead; cold, MyBackend is ahead.")


def test_the_processes_are_counted():
    drift = (0,) * 8
    made = comparison(measured("a", drift=drift), measured("b", drift=drift), rounds=5)
    assert "The median of 8 processes" in text(made, 13)


def test_a_loss_that_is_no_number_is_not_the_least():
    made = comparison(measured("jax", loss=math.nan), measured("numpy"))
    assert text(made, 11).startswith("No: jax ended higher than 0.25.")


def test_without_a_penalty_the_optimum_is_not_promised():
    made = comparison(measured("numpy", settings=replace(BASE, l2=0.0)))
    assert "vary=" not in text(made, 12)


def test_a_type_that_nobody_takes_is_said_so():
    narrow = failed("numpy", "no float32 here", status="unsupported", settings=NARROW)
    assert text(comparison(measured("numpy"), narrow), 9) == "None in float32: no float32 here."


def test_where_the_variations_base_failed_the_rest_is_answered():
    few = failed("a", settings=replace(BASE, epochs=10))
    assert len(comparison(measured("a"), few, settings=BASE).answers()) == 15


def test_paying_back_in_epochs_or_in_fits_alone():
    def row(name, start, warm, epoch):
        return measured(name, imported=start, warm=warm, epoch_time=Times(((epoch,),) * 3))

    epochs = comparison(row("x", 0.5, 0.03, 1e-5), row("y", 0.1, 0.03, 2e-5))
    assert text(epochs, 4).endswith("of one fit.")
    fits = comparison(row("x", 0.5, 0.02, 2e-5), row("y", 0.1, 0.03, 2e-5))
    assert text(fits, 4).endswith("pays back after about 41 fits like this one.")


def test_more_classes_than_rows_need_more_rows():
    assert 100 not in Shape(3_000, 150, 3_000, 150).sizes()


def test_a_line_that_is_no_measurement_is_named(tmp_path):
    path = tmp_path / "run.jsonl"
    Journal(path, {"data": "d"})
    path.write_text(path.read_text() + "not json\n")
    with pytest.raises(ValueError, match="line 2, is not a measurement"):
        Journal(path, {"data": "d"})


def test_what_else_was_imported_does_not_matter(made_up, noisy, tmp_path, monkeypatch):
    import lrbackends.benchmarking.machine as machine

    options = {"backends": "a", "rounds": 1, "epochs": 10, "vary": ()}
    made_up()
    compare(*noisy, **options, journal=tmp_path / "j")
    monkeypatch.setattr(machine, "blas_libraries", lambda: ("another one",))
    jobs = made_up()
    compare(*noisy, **options, journal=tmp_path / "j")
    assert jobs == []


class Held(NumpyBackend):
    name = "held"

    def __init__(self, value):
        self.value = value


def test_another_object_of_the_same_name_is_measured_anew(made_up, noisy, tmp_path):
    jobs = made_up()
    for value in (1, 1, 2):
        options = {"rounds": 1, "epochs": 10, "vary": (), "journal": tmp_path / "j"}
        compare(*noisy, backends=Held(value), **options)
    assert len(jobs) == 2


def test_a_cache_is_filled_only_for_what_is_missing(made_up, noisy, tmp_path):
    options = {"backends": "a", "rounds": 2, "epochs": 10, "vary": ["cache"]}
    made_up()
    compare(*noisy, **options, journal=tmp_path / "j")
    jobs = made_up()
    compare(*noisy, **options, journal=tmp_path / "j")
    assert jobs == []


def test_one_variation_may_be_given_as_a_string(made_up, noisy):
    made_up()
    found = compare(*noisy, backends="a", rounds=1, epochs=10, vary="dtype")
    assert len(found.rows) == 2


def test_a_class_of_the_running_script_is_refused(monkeypatch, noisy):
    monkeypatch.setattr(Held, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Held", Held, raising=False)
    with pytest.raises(TypeError, match="'held' cannot be handed to a fresh process"):
        compare(*noisy, backends=Held(1), vary=())
