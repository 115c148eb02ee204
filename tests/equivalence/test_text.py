"""The report as text."""

import math
from dataclasses import replace

import pytest

from lrbackends.equivalence import EquivalenceReport, Evidence
from lrbackends.report.equivalence import as_text, verdict


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_is_wider_than_asked_for(report, failing, width):
    for shown in (report, failing):
        assert max(map(len, as_text(shown, width).splitlines())) <= width


def test_a_line_for_each_check_and_backend(report):
    groups = {(row.check, row.backend) for row in report.rows}
    lines = [line.split()[:2] for line in as_text(report).splitlines() if line.endswith("pass")]
    assert sorted(map(tuple, lines)) == sorted(groups)


def test_the_worst_figure_stands_in_the_table(failing):
    worst = max(
        (row for row in failing.rows if row.backend == "stale-batch"), key=lambda r: r.severity
    )
    line = next(
        line for line in as_text(failing).splitlines() if line.split()[1:2] == ["stale-batch"]
    )
    assert worst.figure.split()[0] in line
    assert line.endswith("FAIL")


def test_the_distances_of_trajectories_stand_below_it(failing):
    text = as_text(failing)
    assert "Trajectories: the worst of 38" in text
    line = next(line for line in text.splitlines() if line.split()[:1] == ["right-stale-batch"])
    rows = [row for row in failing.rows if row.backend == "right-stale-batch"]
    labels = max(row.value for row in rows if row.figure == "labels that differ")
    assert line.split()[-1] == f"{labels:,.0f}"


def test_failed_rows_are_shown_in_full(failing):
    text = " ".join(as_text(failing).split())
    assert len(failing.failed) > 1
    for row in failing.failed:
        assert f"FAIL {row.check}, {row.backend}: {row.case}: {row.figure}" in text
        assert row.note in text


def test_the_last_line_is_the_verdict(report, failing):
    assert (
        as_text(report)
        .rstrip()
        .endswith(
            f"numpy, numba and jax agree: all {len(report.rows):,} figures are within their limits."
        )
    )
    end = " ".join(as_text(failing).split())
    n = len(failing.failed)
    assert end.endswith(
        f"right and stale-batch do not agree: {n} of {len(failing.rows)} figures exceed their "
        "limits, in trajectory (stale-batch) and trajectory (right-stale-batch)."
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(9873.0, "9,873"), (0.0, "0"), (3.383, "3.38"), (4e-16, "4e-16"), (math.inf, "inf")],
)
def test_numbers_are_short(value, shown):
    row = Evidence("purity", "mine", "gd", "records", value, 1.0)
    facts = {
        "backends": ["mine"],
        "arithmetic": "fast",
        "steps": 1,
        "seconds": 0.0,
        "reference": "none",
        "versions": {},
        "skipped": {},
    }
    text = as_text(EquivalenceReport((row,), facts))
    assert f"records {shown} 1 " in " ".join(text.split())


def test_the_verdict_on_one_backend():
    good = Evidence("gradient", "mine", "w = 0", "loss", 1.0, 2.0)
    facts = {"backends": ["mine"]}
    assert verdict(EquivalenceReport((good,), facts)).startswith("mine is right: all 1 figures")
    bad = EquivalenceReport((good, replace(good, value=math.nan)), facts)
    assert verdict(bad) == ("mine is wrong: 1 of 2 figures exceeds its limit, in gradient (mine).")


def test_what_was_not_verified_is_said(report):
    facts = {**report.metadata, "skipped": {"torch": "torch is not installed"}}
    text = as_text(EquivalenceReport(report.rows, facts))
    assert "Not verified: torch (torch is not installed)." in text
