"""The page of a verification."""

import math

import pytest

from lrbackends.equivalence import EquivalenceReport, Evidence
from lrbackends.report.verification_page import _heat_map

FACTS = {
    "arithmetic": "reproducible",
    "steps": 100,
    "checks": ["gradient"],
    "backends": ["numpy", "jax"],
    "skipped": {},
    "reference": "long double",
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "environments": {},
    "seconds": 2.0,
}


def row(value: float, backend: str = "numpy", limit: float | None = 1.0, **more) -> Evidence:
    names = {"check": "gradient", "case": "w = 0", "figure": "loss"} | more
    return Evidence(backend=backend, value=value, limit=limit, **names)


def shown(*rows: Evidence, **facts) -> str:
    return EquivalenceReport(rows, FACTS | facts).to_html()


def test_the_verdict_comes_before_everything_else():
    text = shown(row(0.5), row(0.6, "jax"))
    sentence = "numpy and jax agree: all 2 figures are within their limits."
    assert text.index("Passed") < text.index(sentence) < text.index("<h2>")
    assert 'id="failed"' not in text


def test_what_failed_is_shown_in_full():
    bad = row(math.nan, "jax", figure="the bad figure", note="what to know")
    text = shown(row(0.5), bad)
    assert "Not passed" in text
    failed = text[text.index('id="failed"') : text.index('id="all"')]
    for part in ("the bad figure", "what to know", "w = 0", "nan"):
        assert part in failed


def test_every_row_is_on_the_page():
    rows = [row(0.001 * k, case=f"case {k}.") for k in range(300)]
    text = shown(*rows)
    assert all(f"case {k}." in text for k in range(300))


@pytest.mark.parametrize(
    ("value", "tone", "said"),
    [
        (0.0, "heat-0", "0"),
        (0.2, "heat-1", "0.2"),
        (0.3, "heat-2", "0.3"),
        (1.0, "heat-3", "1"),
        (1.1, "heat-4", "1.1 fails"),
        (math.inf, "heat-4", "∞ fails"),
    ],
)
def test_the_map_shows_the_worst_of_each_check(value, tone, said):
    table = _heat_map(EquivalenceReport((row(0.0), row(value), row(0.0, "jax")), FACTS))
    ((name, numpy, jax),) = table.rows
    assert name.text == "gradient"
    assert (numpy.tone, numpy.text) == (tone, said)
    assert jax.tone == "heat-0"


def test_a_check_that_a_pair_does_not_have_is_a_gap():
    rows = (row(0.1), row(0.2, "numpy-jax", check="trajectory", figure="median ULP"))
    table = _heat_map(EquivalenceReport(rows, FACTS))
    assert [[cell.text for cell in line] for line in table.rows] == [
        ["gradient", "0.1", ""],
        ["trajectory", "", "0.2"],
    ]
    assert "Trajectories: the worst of 1" in EquivalenceReport(rows, FACTS).to_html()


def test_no_evidence_is_no_proof():
    assert "Nothing was verified, so nothing is shown." in shown()
    assert "Not passed" in shown()


def test_what_was_not_verified_is_said():
    text = shown(
        row(0.1),
        skipped={"torch": "torch is not installed"},
        environments={"here": ["one core"], "absent": {"AVX-512": "this CPU has none"}},
    )
    assert "torch: torch is not installed" in text
    assert "the environment AVX-512: this CPU has none" in text
    assert "one core" in text


def test_names_are_escaped_and_the_page_is_written(tmp_path):
    path = tmp_path / "page.html"
    text = EquivalenceReport((row(0.1, note="<script>"),), FACTS).to_html(path)
    assert "&lt;script&gt;" in text
    assert path.read_text(encoding="utf-8").strip() == text.strip()


def test_a_page_of_a_whole_verification_stays_small():
    rows = [row(0.1, case=f"a case with a long name, {k}", note="note " * 20) for k in range(1500)]
    assert len(shown(*rows)) < 2_000_000
