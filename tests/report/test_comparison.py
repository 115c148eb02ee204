"""The views of a comparison."""

import math
import subprocess
import sys

import pytest

from lrbackends.benchmarking.distance import REFERENCE, Distance
from lrbackends.report.comparison import as_markdown, as_text, figure

from ..benchmarking.synthetic import comparison, failed, measured

LONG = "the process ended with exit code 1, saying " + "a very long line " * 12
DISTANCES = (
    Distance("numpy", "numba", 1.0, 3.0, 1e-16, 0),
    Distance("numpy", REFERENCE, 0.25, 1234.5, 1e-17, 0),
)
COMPARISONS = {
    "usual": comparison(measured("numpy"), measured("numba"), distances=DISTANCES),
    "slow": comparison(
        measured("numpy", imported=12345.0, compiled=2345.6, warm=34567.8, spread=0.5),
        measured("numba", loss=1.23456789e-300, warm=1e-6),
        distances=DISTANCES,
    ),
    "failures": comparison(measured("numpy"), failed("numba", LONG), failed("x" * 30)),
    "nothing": comparison(failed("numpy", LONG)),
    "without test data": comparison(measured("numpy", test_accuracy=None), n_test=0),
    "unknown memory": comparison(measured("numpy", peak_memory=None, memory_growth=None)),
    "warnings": comparison(measured("numpy", warnings=(LONG,)), measured("jax", warnings=(LONG,))),
    "not finite": comparison(measured("numpy", loss=math.inf, gradient_norm=math.nan)),
    "long names": comparison(measured("a_backend_with_a_long_name"), measured("y" * 90)),
}


@pytest.fixture(params=COMPARISONS)
def any_comparison(request):
    return COMPARISONS[request.param]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(any_comparison, width):
    assert max(map(len, as_text(any_comparison, width).splitlines())) <= width


def test_eighty_columns_are_enough_for_one_line_per_backend():
    lines = as_text(COMPARISONS["usual"]).splitlines()
    assert len([line for line in lines if line.startswith((" numpy ", " numba "))]) == 4


def test_the_text_has_verdict_recommendation_and_machine(any_comparison):
    text = "".join(as_text(any_comparison).split())
    for part in (
        any_comparison.verdict(),
        any_comparison.recommend(),
        any_comparison.machine.line(),
        any_comparison.reference,
        any_comparison.settings.line(),
    ):
        assert "".join(part.split()) in text


@pytest.mark.parametrize("view", [as_text, as_markdown])
def test_every_figure_is_shown(view):
    text = view(COMPARISONS["usual"])
    for figure_shown in (
        "100 ms",
        "30 ms",
        "30 µs",
        "0.25",
        "93.75 %",
        "150 (20)",
        "0.25 / 1.2e+03",
    ):
        assert figure_shown in text


@pytest.mark.parametrize("view", [as_text, as_markdown])
def test_a_failure_is_shown_with_its_reason(view):
    text = " ".join(view(COMPARISONS["failures"]).split())
    assert f"numba: failed: {LONG.strip()}" in text


@pytest.mark.parametrize("view", [as_text, as_markdown])
def test_a_warning_of_several_backends_is_shown_once(view):
    text = " ".join(view(COMPARISONS["warnings"]).split())
    assert text.count(f"numpy, jax: warned: {LONG.strip()}") == 1
    assert text.count("warned") == 1


def test_columns_without_any_value_are_left_out():
    assert "accuracy" not in as_text(COMPARISONS["without test data"])
    assert "peak MB (" not in as_markdown(COMPARISONS["unknown memory"])
    assert "accuracy" in as_text(COMPARISONS["usual"])


def test_markdown_tables_are_well_formed(any_comparison):
    tables = [block for block in as_markdown(any_comparison).split("\n\n") if block[:1] == "|"]
    assert len(tables) == (2 if any_comparison.trained else 0)
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert set(rule) <= set("|-: ")
        assert {line.count("|") for line in (rule, *rows)} == {head.count("|")}


def test_the_figure_has_three_parts_cold_and_one_warm_per_backend(tmp_path):
    drawn = figure(COMPARISONS["usual"])
    cold, warm = drawn.axes
    assert len(cold.patches) == 6
    assert len(warm.patches) == 2
    assert [label.get_text() for label in cold.get_yticklabels()] == ["numpy", "numba"]
    widths = [patch.get_width() for patch in cold.patches]
    row = COMPARISONS["usual"]["numpy"]
    assert sum(widths[::2]) == pytest.approx(1e3 * row.cold_fit.median, rel=0.01)
    drawn.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_figure_leaves_out_what_was_not_measured():
    cold, _ = figure(COMPARISONS["failures"]).axes
    assert [label.get_text() for label in cold.get_yticklabels()] == ["numpy"]


def test_there_is_no_figure_of_nothing():
    with pytest.raises(ValueError, match="no backend was measured"):
        figure(COMPARISONS["nothing"])


def test_text_needs_no_matplotlib():
    code = "import sys, lrbackends.report.comparison; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
