"""The values that a comparison consists of: times, distances looked up, frame and JSON."""

import json
import math
from dataclasses import replace

import pytest

from lrbackends.benchmarking.comparison import SCHEMA, Comparison, Measured, Times
from lrbackends.benchmarking.distance import REFERENCE, Distance

from .synthetic import comparison, failed, measured

DISTANCES = (
    Distance("numpy", "numba", 1.0, 3.0, 1e-16, 0),
    Distance("numpy", "jax", 2.0, 2.0, 3e-16, 0),
    Distance("numba", "jax", 0.0, 9.0, 2e-16, 0),
    Distance("numpy", REFERENCE, 0.25, 0.75, 1e-17, 0),
)


@pytest.fixture
def three() -> Comparison:
    rows = [measured(b) for b in ("numpy", "numba", "jax")]
    return comparison(*rows, failed("other"), distances=DISTANCES)


def test_times_of_several_processes_are_summed_up_by_process():
    times = Times(((1.0, 2.0, 30.0), (3.0,), (4.0, 5.0)))
    assert times.median == 3.0
    assert times.interval == (2.0, 4.5)
    assert (times.fastest, times.slowest) == (1.0, 30.0)


def test_times_of_one_process_have_the_middle_half_as_interval():
    assert Times(((1.0, 2.0, 3.0, 4.0, 100.0),)).interval == (2.0, 4.0)


def test_a_cold_fit_is_import_and_first_fit_of_the_same_process():
    row = replace(
        measured("numpy"),
        import_time=Times(((1.0,), (2.0,), (9.0,))),
        first_fit=Times(((30.0,), (10.0,), (20.0,))),
    )
    assert row.cold_fit.samples == ((31.0,), (12.0,), (29.0,))


def test_rows_by_name(three):
    assert three["jax"].backend == "jax"
    with pytest.raises(KeyError, match="cupy"):
        three["cupy"]


def test_the_distance_to_the_others_is_the_worst_of_each_measure(three):
    assert three.to_others("numpy") == Distance("numpy", "the others", 2.0, 3.0, 3e-16, 0)
    assert three.to_others("jax") == Distance("jax", "the others", 2.0, 9.0, 3e-16, 0)
    assert three.to_others("other") is None


def test_the_distance_to_the_reference(three):
    assert three.to_reference("numpy") == DISTANCES[-1]
    assert three.to_reference("numba") is None


def test_only_what_trained_counts_as_trained(three):
    assert [row.backend for row in three.trained] == ["numpy", "numba", "jax"]
    assert comparison(measured("numpy", status="diverged")).trained == ()


def test_the_frame_has_a_row_per_backend(three):
    frame = three.to_frame()
    assert list(frame.index) == ["numpy", "numba", "jax", "other"]
    assert frame.loc["numpy", "warm_fit"] == three["numpy"].warm_fit.median
    assert frame.loc["numpy", "warm_fit_max"] == three["numpy"].warm_fit.slowest
    assert frame.loc["jax", "max_ulp_to_others"] == 9.0
    assert math.isnan(frame.loc["other", "warm_fit"])
    assert frame.loc["other", "status"] == "failed"


def test_json_comes_back_as_it_was(three, tmp_path):
    text = three.to_json(tmp_path / "three.json")
    assert Comparison.from_json(text) == three
    assert Comparison.from_json((tmp_path / "three.json").read_text(encoding="utf-8")) == three


def test_json_keeps_every_bit():
    awkward = 0.1 + 0.2, math.nextafter(1.0, 2.0), 5e-324
    row = measured("numpy", coef=(awkward,), loss=1 / 3)
    back = Comparison.from_json(comparison(row).to_json())["numpy"]
    assert back.coef == (awkward,)
    assert back.loss == 1 / 3


def test_json_is_strict_and_has_null_for_what_is_not_finite():
    row = measured("numpy", gradient_norm=math.nan, test_accuracy=None)
    far = Distance("numpy", REFERENCE, math.inf, math.inf, math.inf, 0)
    text = comparison(row, distances=(far,)).to_json()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["rows"][0]["gradient_norm"] is None
    back = Comparison.from_json(text)
    assert isinstance(back["numpy"], Measured)
    assert math.isnan(back["numpy"].gradient_norm)
    assert back["numpy"].test_accuracy is None
    assert back.distances == (far,)
    assert not back.agree


def test_json_holds_what_its_readers_would_have_to_work_out(three):
    document = json.loads(three.to_json())
    assert document["schema"] == SCHEMA
    assert document["agree"] is True
    assert document["verdict"] == three.verdict()
    assert document["recommendation"] == three.recommend()
    warm = document["rows"][0]["warm_fit"]
    assert warm["median"] == three["numpy"].warm_fit.median
    assert tuple(warm["interval"]) == three["numpy"].warm_fit.interval


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 999}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not a comparison of schema"):
        Comparison.from_json(text)


@pytest.mark.parametrize(
    ("batch_size", "learning_rate", "solver", "parts"),
    [
        (None, None, "gd", ["gd", "full batch", "step 1/L"]),
        (32, 0.1, "momentum", ["momentum", "batches of 32", "step 0.1"]),
        (None, None, "adam", ["step adam's default"]),
    ],
    ids=["default", "batches", "adam"],
)
def test_the_settings_in_a_line(three, batch_size, learning_rate, solver, parts):
    settings = replace(
        three.settings, batch_size=batch_size, learning_rate=learning_rate, solver=solver
    )
    assert set(parts) <= set(settings.line().split(", "))
