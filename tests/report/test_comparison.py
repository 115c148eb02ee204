"""The views of a comparison."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from lrbackends.benchmarking.cells import GAP, Settings
from lrbackends.benchmarking.distance import REFERENCE, Distance
from lrbackends.report.comparison import (
    Grid,
    as_markdown,
    as_text,
    base_text,
    costs,
    further_text,
    head,
    optimum,
    remarks,
    results,
    varied,
)

from ..benchmarking.synthetic import BASE, comparison, failed, measured, whole

NARROW = replace(BASE, dtype="float32")
OPTIMUM = Settings("auto", gap=GAP)

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
    "unknown memory": comparison(measured("numpy", peak_memory=None, fit_memory=None)),
    "warnings": comparison(measured("numpy", warnings=(LONG,)), measured("jax", warnings=(LONG,))),
    "not finite": comparison(measured("numpy", loss=math.inf, gradient_norm=math.nan)),
    "long names": comparison(measured("a_backend_with_a_long_name"), measured("y" * 90)),
    "varied": whole(),
    "varied in part": comparison(
        measured("numpy"), measured("numpy", threads=1), failed("numpy", LONG, settings=NARROW)
    ),
    "lbfgs": comparison(*(measured(b, settings=Settings("lbfgs")) for b in ("numpy", "numba"))),
}


@pytest.fixture(params=COMPARISONS)
def any_comparison(request):
    return COMPARISONS[request.param]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(any_comparison, width):
    assert max(map(len, as_text(any_comparison, width).splitlines())) <= width


def test_eighty_columns_are_enough_for_one_line_per_backend():
    lines = base_text(COMPARISONS["usual"]).splitlines()
    assert len([line for line in lines if line.startswith((" numpy ", " numba "))]) == 4


def squeezed(text):
    """The text without white space, and thus without line breaks."""
    return "".join(text.split())


def test_the_text_has_verdict_recommendation_settings_and_reference(any_comparison):
    text = squeezed(base_text(any_comparison))
    for part in (
        any_comparison.verdict(),
        any_comparison.recommend(),
        any_comparison.reference,
        any_comparison.settings.line(),
    ):
        assert squeezed(part) in text


def test_the_rest_has_every_answer(any_comparison):
    text = squeezed(further_text(any_comparison))
    for answer in any_comparison.answers():
        assert squeezed(f"{answer.number}. {answer.question} {answer.text}") in text


def test_the_whole_text_is_the_base_and_the_rest(any_comparison):
    text = as_text(any_comparison)
    assert text.startswith(base_text(any_comparison))
    assert text.endswith(further_text(any_comparison))


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


def cells_of(grid: Grid, row: str) -> dict[str, str]:
    """A row of a grid by the names of its columns."""
    (line,) = (line for line in grid.rows if line[0] == row)
    assert all(len(line) == len(grid.columns) for line in grid.rows)
    return dict(zip(grid.columns, line, strict=True))


def test_each_cost_stands_in_its_own_column():
    times = {"imported": 0.1, "transferred": 0.2, "compiled": 0.5, "warm": 0.03}
    row = cells_of(costs(comparison(measured("a", **times))), "a")
    assert row == {
        "": "a",
        "import": "100 ms",
        "data": "200 ms",
        "compile": "500 ms",
        "first": "730 ms",
        "warm": "30 ms",
        "±": "2.5 %",
        "epoch": "30 µs",
    }


def test_each_result_stands_in_its_own_column():
    made = comparison(measured("numpy", cores_busy=1.6), measured("numba"), distances=DISTANCES)
    row = cells_of(results(made), "numpy")
    assert (row["loss"], row["accuracy"], row["cores"]) == ("0.25", "93.75 %", "1.6")
    assert (row["others, ULP"], row["exact, ULP"]) == ("1 / 3", "0.25 / 1.2e+03")
    assert cells_of(results(made), "numba")["exact, ULP"] == ""


def test_the_head_says_what_was_compared():
    assert head(COMPARISONS["usual"]) == (
        "made-up: 48 rows of 2 features, tested on 16 more rows. gd, 1,000 epochs, full batch, "
        "step 1/L, l2 0.001, float64; 3 processes per backend."
    )
    three = comparison(measured("numpy"), n_classes=3, n_test=0, rounds=1)
    assert head(three).startswith("made-up: 48 rows of 2 features in 3 classes. gd,")
    assert head(three).endswith("; 1 process per backend.")


# -- variations


def test_each_variation_is_a_line_with_the_time_of_each_backend():
    grid = varied(whole())
    assert grid.columns == ("", "numpy", "numba")
    assert [line[0] for line in grid.rows] == [
        "as asked, 48 rows",
        *("100 rows", "1,000 rows", "10,000 rows"),
        *("reproducible", "float32", "1 thread"),
    ]
    assert cells_of(grid, "1,000 rows") == {"": "1,000 rows", "numpy": "30 µs*", "numba": "41 µs "}


def test_backends_that_are_level_share_the_mark():
    rows = [
        measured(name, n_samples=n, warm=warm, spread=0.05, drift=drift)
        for n, warm in ((48, 0.03), (100, 0.05))
        for name, drift in (("a", (-1, 0, 1)), ("b", (1, 0, -1)))
    ]
    assert cells_of(varied(comparison(*rows)), "100 rows") == {
        "": "100 rows",
        "a": "50 µs*",
        "b": "50 µs*",
    }


@pytest.mark.parametrize("loss", [0.3, math.nan])
def test_a_worse_result_is_marked_and_never_the_fastest(loss):
    rows = [
        measured("a"),
        measured("b"),
        measured("a", threads=1),
        measured("b", threads=1, loss=loss, warm=1e-6),
    ]
    row = cells_of(varied(comparison(*rows)), "1 thread")
    assert (row["a"], row["b"]) == ("30 µs*", "0.001 µs!")


def test_what_was_not_measured_is_a_dash():
    rows = measured("a"), measured("b"), measured("a", settings=NARROW)
    row = cells_of(varied(comparison(*rows)), "float32")
    assert (row["a"], row["b"]) == ("30 µs ", "–")  # alone there is no fastest


def test_fewer_epochs_of_large_data_are_said():
    few = replace(BASE, epochs=20)
    rows = measured("a"), measured("a", settings=few), measured("a", settings=few, n_samples=10**6)
    labels = [line[0] for line in varied(comparison(*rows, settings=BASE)).rows]
    assert labels[1:] == ["as asked, 48 rows", "1,000,000 rows"]
    assert "1,000 epochs" in labels[0]


def test_without_variations_there_is_no_table_of_them():
    assert varied(COMPARISONS["usual"]) is None
    assert optimum(COMPARISONS["usual"]) is None


def test_whole_fits_are_sorted_by_their_time_and_set_against_the_fastest():
    grid = optimum(whole())
    assert [line[0] for line in grid.rows] == [
        *("numba", "numpy", "scikit-learn newton", "scikit-learn lbfgs")
    ]
    assert [line[-1] for line in grid.rows] == ["level", "slower", "slower", "slower"]
    assert cells_of(grid, "scikit-learn lbfgs")["× fastest"] == "136.99"


def test_who_missed_the_optimum_is_never_the_fastest():
    late = measured("b", settings=OPTIMUM, status="stalled", warm=1e-6)
    grid = optimum(comparison(measured("a"), measured("a", settings=OPTIMUM), late))
    assert cells_of(grid, "b (stalled)")["verdict"] == "–"
    assert cells_of(grid, "a")["× fastest"] == "1.00"


# -- remarks


@pytest.mark.parametrize("view", [as_text, as_markdown])
def test_a_failure_is_shown_with_its_reason(view):
    text = " ".join(view(COMPARISONS["failures"]).split())
    assert f"numba: failed: {LONG.strip()}" in text


@pytest.mark.parametrize("view", [as_text, as_markdown])
def test_a_warning_of_several_backends_is_shown_once(view):
    text = " ".join(view(COMPARISONS["warnings"]).split())
    assert text.count(f"numpy, jax: warned: {LONG.strip()}") == 1
    assert text.count("warned") == 1


def test_a_variation_that_failed_is_remarked():
    found = remarks(COMPARISONS["varied in part"])
    assert found == [f"numpy: failed: {LONG}."]


def test_what_went_well_is_not_remarked():
    assert remarks(whole()) == []


def test_how_the_base_task_reached_its_optimum_is_remarked_of_variations_it_is_not():
    base = comparison(measured("numpy", settings=OPTIMUM, reason="its gap is small"))
    assert remarks(base) == ["numpy: converged: its gap is small."]
    assert remarks(comparison(measured("numpy"), measured("numpy", settings=OPTIMUM))) == []


@pytest.mark.parametrize("status", ["stalled", "diverged", "early_stopped"])
def test_other_ends_are_remarked(status):
    made = comparison(measured("numpy", status=status, reason="it did"))
    assert remarks(made) == [f"numpy: {status}: it did."]


def test_columns_without_any_value_are_left_out():
    assert "accuracy" in results(COMPARISONS["usual"]).columns
    assert "accuracy" not in results(COMPARISONS["without test data"]).columns
    assert "MB (fit)" in results(COMPARISONS["usual"]).columns
    assert "MB (fit)" not in results(COMPARISONS["unknown memory"]).columns
    assert "exact, ULP" not in results(COMPARISONS["warnings"]).columns


def test_markdown_tables_are_well_formed(any_comparison):
    tables = [block for block in as_markdown(any_comparison).split("\n\n") if block[:1] == "|"]
    grids = [grid for grid in (varied(any_comparison), optimum(any_comparison)) if grid]
    assert len(tables) == (2 if any_comparison.trained else 0) + len(grids)
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert set(rule) <= set("|-: ")
        assert {line.count("|") for line in (rule, *rows)} == {head.count("|")}


def test_markdown_has_every_answer_and_marks_that_stay_marks(any_comparison):
    text = as_markdown(any_comparison)
    for answer in any_comparison.answers():
        assert f"{answer.number}. **{answer.question}** {answer.text}\n" in text
    assert ("µs\\*" in text) == (any_comparison is COMPARISONS["varied"])


def test_text_needs_no_matplotlib():
    code = "import sys, lrbackends.report.comparison; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
