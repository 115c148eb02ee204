"""Rows of evidence and the report that holds them."""

import dataclasses
import json
import math

import pytest

from lrbackends.equivalence import EquivalenceReport, Evidence


def row(value: float, limit: float | None) -> Evidence:
    return Evidence("gradient", "numpy", "w = 0", "loss", value, limit)


@pytest.mark.parametrize(
    ("value", "limit", "passed", "severity"),
    [
        (1.0, 4.0, True, 0.25),
        (4.0, 4.0, True, 1.0),
        (4.1, 4.0, False, 1.025),
        (0.0, 0.0, True, 0.0),
        (1.0, 0.0, False, math.inf),
        (1e9, None, True, 0.0),
        (math.nan, 4.0, False, math.inf),
        (math.inf, 4.0, False, math.inf),
        (math.nan, None, False, math.inf),
    ],
)
def test_verdict_on_a_figure(value, limit, passed, severity):
    assert row(value, limit).passed is passed
    assert row(value, limit).severity == pytest.approx(severity)


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        row(1.0, 2.0).value = 0.0


def test_one_failed_row_fails_the_report():
    good, bad = row(1.0, 2.0), row(3.0, 2.0)
    assert EquivalenceReport((good, good), {}).passed
    assert not EquivalenceReport((good, bad), {}).passed
    assert EquivalenceReport((good, bad), {}).failed == (bad,)


def test_no_evidence_is_no_proof():
    assert not EquivalenceReport((), {}).passed


def test_json_holds_rows_verdict_and_metadata(report, tmp_path):
    path = tmp_path / "report.json"
    text = report.to_json(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content == json.loads(text)
    assert content["passed"] is True
    assert content["arithmetic"] == "fast"
    assert len(content["rows"]) == len(report.rows)
    assert content["rows"][0] == report.rows[0].as_dict()


def test_json_has_no_numbers_that_json_does_not_know():
    rows = EquivalenceReport((row(math.inf, 1.0), row(math.nan, 1.0)), {}).to_json()
    assert [r["value"] for r in json.loads(rows)["rows"]] == ["inf", "nan"]


def test_frame_has_a_line_per_row(report):
    frame = report.to_frame()
    assert len(frame) == len(report.rows)
    assert frame.passed.all()
    assert set(frame.columns) == {
        *("check", "backend", "case", "figure", "value", "limit", "passed", "note")
    }
