"""A comparison: rows and distances looked up, frame and JSON."""

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from lrbackends.benchmarking.cells import Settings
from lrbackends.benchmarking.comparison import SCHEMA, Comparison
from lrbackends.benchmarking.distance import REFERENCE, Distance
from lrbackends.benchmarking.rows import TIMES, Measured, Row

from .synthetic import BASE, N_SAMPLES, agreement, comparison, failed, measured, whole

SCHEMA_PAGE = Path(__file__).parents[2] / "docs" / "comparison-schema.md"

DISTANCES = (
    Distance("numpy", "numba", 1.0, 3.0, 1e-16, 0, "coef[0, 1]"),
    Distance("numpy", "jax", 2.0, 2.0, 3e-16, 0, "coef[0, 0]"),
    Distance("numba", "jax", 0.0, 9.0, 2e-16, 0, "intercept[0]"),
    Distance("numpy", REFERENCE, 0.25, 0.75, 1e-17, 0),
)


@pytest.fixture
def three() -> Comparison:
    rows = [measured(b) for b in ("numpy", "numba", "jax")]
    return comparison(*rows, failed("other"), distances=DISTANCES)


def test_rows_by_name(three):
    assert three["jax"].backend == "jax"
    with pytest.raises(KeyError, match="cupy"):
        three["cupy"]


def test_the_distance_to_the_others_is_the_worst_of_each_measure(three):
    others = three.to_others("numpy"), three.to_others("jax")
    assert others == (
        Distance("numpy", "the others", 2.0, 3.0, 3e-16, 0, "coef[0, 1]"),
        Distance("jax", "the others", 2.0, 9.0, 3e-16, 0, "intercept[0]"),
    )
    assert three.to_others("other") is None


def test_the_distance_to_the_reference(three):
    assert three.to_reference("numpy") == DISTANCES[-1]
    assert three.to_reference("numba") is None


def test_only_what_trained_counts_as_trained(three):
    assert [row.backend for row in three.trained] == ["numpy", "numba", "jax"]
    diverged = comparison(measured("numpy", status="diverged"))
    assert diverged.trained == ()
    assert diverged.measured == diverged.base == diverged.rows


# -- the base task and its variations

NARROW = replace(BASE, dtype="float32")
FEW = replace(BASE, epochs=10)


def test_the_base_are_the_rows_of_the_task_that_was_asked_for():
    """Also of those that did not do it."""
    base = measured("numpy"), failed("numba")
    others = (
        measured("numpy", threads=1),
        measured("numpy", cache="empty"),
        measured("numpy", n_samples=100),
        measured("numpy", settings=NARROW),
    )
    found = comparison(*others[:2], *base, *others[2:], settings=BASE)
    assert found.base == base
    assert found.measured == base[:1]
    assert found["numba"] is base[1]
    with pytest.raises(KeyError, match="jax"):
        found["jax"]


def test_rows_are_selected_by_their_conditions():
    found = whole()
    assert {row.backend for row in found.select()} == {"numpy", "numba"}
    assert all(row.cell.threads == 1 for row in found.select(threads=1))
    assert len(found.select(threads=1)) == len(found.select(n_samples=100)) == 2
    assert [row.backend for row in found.select(cache="filled")] == ["numba"]
    assert {row.cell.settings.dtype for row in found.select(settings=NARROW)} == {"float32"}
    assert found.select(threads=7) == ()


def test_rows_that_were_not_measured_are_not_selected():
    assert comparison(measured("a"), failed("a", threads=1)).select(threads=1) == ()


def test_variations_of_large_data_start_from_fewer_epochs():
    rows = measured("numpy"), measured("numpy", settings=FEW), measured("numpy", settings=NARROW)
    assert comparison(*rows).varied == FEW
    assert comparison(rows[0], rows[2]).varied == BASE
    elsewhere = measured("numpy", settings=FEW, n_samples=10**6)
    assert comparison(rows[0], elsewhere).varied == BASE


def test_the_agreement_is_that_of_the_rows_task(three):
    rest = agreement(DISTANCES[0], settings=NARROW), agreement(n_samples=100)
    found = replace(three, agreements=(*three.agreements, *rest))
    assert found.agreement(measured("numpy", settings=NARROW, threads=1)) is rest[0]
    assert found.agreement(measured("numpy", n_samples=100)) is rest[1]
    assert found.agreement(measured("numpy")) is three.agreements[0]
    assert found.agreement(measured("numpy", n_samples=77)) is None


def test_nothing_trained_has_no_distances():
    found = comparison(failed("numpy"), agreements=())
    assert (found.distances, found.reference) == ((), "skipped, no backend trained")
    assert not found.agree


# -- frame and JSON


def test_the_frame_has_a_row_per_cell(three):
    frame = three.to_frame()
    assert list(frame["backend"]) == ["numpy", "numba", "jax", "other"]
    numpy, *_, other = (frame.loc[k] for k in range(4))
    row = three["numpy"]
    assert numpy["warm_fit"] == row.warm_fit.median
    assert (numpy["warm_fit_low"], numpy["warm_fit_high"]) == row.warm_fit.interval
    assert numpy["max_ulp_to_reference"] == 0.75
    assert (numpy["solver"], numpy["n_samples"], numpy["cache"]) == ("gd", N_SAMPLES, "usual")
    assert math.isnan(other["warm_fit"])
    assert (other["status"], other["reason"]) == ("failed", three["other"].reason)
    assert len(whole().to_frame()) == len(whole().rows)


def test_the_frame_of_a_type_has_the_distances_of_its_own_task():
    exact = Distance("numpy", REFERENCE, 0.5, 7.0, 1e-9, 0)
    found = comparison(
        measured("numpy"),
        measured("numpy", settings=NARROW),
        distances=DISTANCES,
        further=[agreement(exact, settings=NARROW)],
    )
    assert list(found.to_frame()["max_ulp_to_reference"]) == [0.75, 7.0]


def test_json_comes_back_as_it_was(three, tmp_path):
    text = three.to_json(tmp_path / "three.json")
    assert Comparison.from_json(text) == three
    assert Comparison.from_json((tmp_path / "three.json").read_text(encoding="utf-8")) == three


def test_json_of_all_variations_comes_back_as_it_was():
    found = replace(whole(), rows=(*whole().rows, failed("jax", settings=NARROW, threads=1)))
    assert Comparison.from_json(found.to_json()) == found


def test_json_keeps_every_bit():
    awkward = 0.1 + 0.2, math.nextafter(1.0, 2.0), 5e-324
    row = measured("numpy", coef=(awkward,), loss=1 / 3)
    back = Comparison.from_json(comparison(row).to_json())["numpy"]
    assert back.coef == (awkward,)
    assert back.loss == 1 / 3


def test_json_is_strict_and_has_null_for_what_is_not_finite():
    unknown = {"test_accuracy": None, "new_shape_fit": None, "peak_memory": None}
    row = measured("numpy", gradient_norm=math.nan, n_passes=math.nan, **unknown)
    far = Distance("numpy", REFERENCE, math.inf, math.inf, math.inf, 0)
    text = comparison(row, distances=(far,)).to_json()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["rows"][0]["gradient_norm"] is None
    back = Comparison.from_json(text)
    assert isinstance(back["numpy"], Measured)
    assert math.isnan(back["numpy"].gradient_norm)
    assert math.isnan(back["numpy"].n_passes)
    assert all(getattr(back["numpy"], name) is None for name in unknown)
    assert back.distances == (far,)
    assert not back.agree


def test_json_holds_what_its_readers_would_have_to_work_out(three):
    document = json.loads(three.to_json())
    assert document["schema"] == SCHEMA
    assert document["agree"] is True
    assert document["verdict"] == three.verdict()
    assert document["recommendation"] == three.recommend()
    assert [a["text"] for a in document["answers"]] == [a.text for a in three.answers()]
    warm = document["rows"][0]["warm_fit"]
    assert warm["median"] == three["numpy"].warm_fit.median
    assert (warm["low"], warm["high"]) == three["numpy"].warm_fit.interval


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 999}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not a comparison of schema"):
        Comparison.from_json(text)


def test_the_schema_page_names_every_key():
    """Of the document, of a row and of an agreement; and none that is not there."""
    page = SCHEMA_PAGE.read_text(encoding="utf-8")
    assert f"# The JSON of a comparison, schema {SCHEMA}" in page
    tables = re.split(r"^## ", page, flags=re.MULTILINE)
    document = json.loads(whole().to_json())
    settings = [f.name for f in fields(Settings)]
    parts = (
        (tables[0], document.keys()),
        (tables[1], document["rows"][0].keys() - set(settings[1:-1])),  # "`solver` … `gap`"
        (tables[2], document["agreements"][0].keys()),
    )
    for text, keys in parts:
        first_cells = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == set(keys)
    assert set(settings) <= set(re.findall(r"`(\w+)`", tables[0]))
    assert {"samples", "median", "low", "high"} == document["rows"][0]["warm_fit"].keys()


def test_times_are_all_that_a_row_has_measured_of_time():
    assert set(TIMES) == {f.name for f in fields(Measured) if "Times" in str(f.type)}
    assert {f.name for f in fields(Row)} == {"cell", "status", "reason", "engine"}
