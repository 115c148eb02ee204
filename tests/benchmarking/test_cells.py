"""What is planned to be measured: the base task, and the same with one thing changed."""

from dataclasses import replace

import pytest

from lrbackends.benchmarking.cells import (
    GAP,
    VARIATIONS,
    Cell,
    Settings,
    Shape,
    base_cells,
    variations,
)

BASE = Settings(epochs=100)
SMALL = Shape(n_samples=300, n_outputs=1, entries=300 * 10)
HERE = [Cell("a", 300, BASE), Cell("b", 300, BASE)]
OPTIMUM = Settings("auto", l2=BASE.l2, gap=GAP)


def planned(*vary: str, base: Settings = BASE, shape: Shape = SMALL, **options) -> list[Cell]:
    given = {"cores": 2, "compiling": ("b",), "peers": ("peer:p",)}
    return variations(("a", "b"), base, shape, vary=vary, **(given | options))


def test_the_base_task_is_done_by_every_backend_on_all_cores():
    assert base_cells(("a", "b"), BASE, 300) == HERE


# For each variation the cells besides those of the base task, on SMALL.
CHANGES = {
    "size": [
        Cell(b, n, replace(BASE, epochs=epochs))
        for n, epochs in ((100, 100), (1_000, 100), (10_000, 100), (100_000, 100))
        for b in "ab"
    ],
    "arithmetic": [Cell(b, 300, replace(BASE, arithmetic="reproducible")) for b in "ab"],
    "dtype": [Cell(b, 300, replace(BASE, dtype="float32")) for b in "ab"],
    "threads": [Cell(b, 300, BASE, threads=1) for b in "ab"],
    "cache": [Cell("b", 300, BASE, cache="empty"), Cell("b", 300, BASE, cache="filled")],
    "optimum": [Cell(b, 300, OPTIMUM) for b in ("a", "b", "peer:p")],
}


@pytest.mark.parametrize("what", VARIATIONS)
def test_each_variation_has_its_cells_beside_those_of_the_base_and_only_these(what):
    assert planned(what) == HERE + CHANGES[what]


def test_all_variations_together_are_each_of_them_once():
    assert planned(*VARIATIONS) == HERE + [cell for what in VARIATIONS for cell in CHANGES[what]]
    assert len(set(planned(*VARIATIONS))) == len(planned(*VARIATIONS))


def test_without_variations_the_base_remains():
    assert planned() == HERE


@pytest.mark.parametrize(
    ("what", "other"),
    [("arithmetic", {"arithmetic": "fast"}), ("dtype", {"dtype": "float64"})],
)
def test_a_base_of_the_other_kind_is_varied_the_other_way(what, other):
    base = replace(BASE, arithmetic="reproducible", dtype="float32")
    *_, last = planned(what, base=base)
    assert last.settings == replace(base, **other)


def test_on_one_core_there_are_no_fewer_threads():
    assert planned("threads", cores=1) == HERE


def test_caches_matter_to_those_that_compile():
    assert planned("cache", compiling=()) == HERE


def test_without_a_penalty_there_is_no_optimum_to_reach():
    base = replace(BASE, l2=0.0)
    assert {cell.settings for cell in planned("optimum", base=base)} == {base}


def test_the_optimum_is_that_of_the_same_penalty_and_type():
    base = replace(BASE, l2=0.5, dtype="float32", random_state=3, batch_size=7, epochs=10)
    *_, last = planned("optimum", base=base)
    assert last.settings == Settings("auto", l2=0.5, dtype="float32", random_state=3, gap=GAP)


def test_solvers_of_the_optimum_have_one_arithmetic_and_as_many_steps_as_they_need():
    base = replace(BASE, solver="lbfgs", epochs=10**6)
    assert planned("arithmetic", base=base) == [Cell(b, 300, base) for b in "ab"]
    assert {cell.settings.epochs for cell in planned("size", base=base)} == {10**6}


def test_large_variations_have_fewer_epochs_all_backends_the_same():
    base = replace(BASE, epochs=1000)
    epochs = {cell.n_samples: cell.settings.epochs for cell in planned("size", base=base)}
    assert epochs == {300: 1000, 100: 1000, 1_000: 1000, 10_000: 1000, 100_000: 100}
    assert len(planned("size", base=base)) == 10


def test_a_large_base_is_varied_with_fewer_epochs_beside_the_task_that_was_asked_for():
    large = Shape(n_samples=200_000, n_outputs=3, entries=200_000 * 10)
    cells = planned("threads", shape=large)
    assert {cell.settings for cell in cells} == {replace(BASE, epochs=16)}  # 1e8 / (2e6 * 3)
    assert cells[0] not in base_cells(("a", "b"), BASE, 200_000)


def test_there_are_ten_epochs_at_least_but_never_more_than_asked_for():
    huge = Shape(10**7, 1, 10**9)
    assert huge.reduced(BASE, 10**7).epochs == 10
    assert huge.reduced(replace(BASE, epochs=3), 10**7).epochs == 3


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (300, (100, 1_000, 10_000, 100_000)),
        (270, (1_000, 10_000, 100_000)),  # 100 is near
        (2_900, (100, 10_000, 100_000)),  # 1,000 is near
        (3_001, (100, 1_000, 10_000, 100_000)),
        (100_000, (100, 1_000, 10_000)),
    ],
)
def test_sizes_are_powers_of_ten_without_those_near_to_the_datas_own(n, sizes):
    assert Shape(n, 1, n).sizes() == sizes


def test_sizes_stop_where_the_data_would_be_large():
    assert Shape(300, 1, 300 * 1_000).sizes() == (100, 1_000, 10_000)  # 1e8 entries are too many
    assert Shape(300, 1, 300 * 100_000).sizes() == (100,)


def test_given_sizes_are_taken_as_they_are():
    cells = planned("size", sizes=(290, 7_000, 300))
    assert {cell.n_samples for cell in cells} == {300, 290, 7_000}
    assert len(cells) == 6  # 300 is the base itself


def test_cells_are_comparable_where_all_but_the_backend_is_equal():
    a, b = HERE
    assert a.conditions == b.conditions
    assert a.task == b.task
    one = replace(a, threads=1)
    assert one.conditions != a.conditions
    assert one.task == a.task
    assert replace(a, n_samples=7).task != a.task


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        (Cell("a", 1_300, BASE), "a, 1,300 rows, gd"),
        (Cell("a", 300, BASE, threads=1), "a, 300 rows, gd, 1 thread"),
        (Cell("a", 300, BASE, threads=4), "a, 300 rows, gd, 4 threads"),
        (Cell("a", 300, BASE, cache="empty"), "a, 300 rows, gd, empty cache"),
        (
            Cell("a", 300, replace(BASE, dtype="float32", arithmetic="reproducible")),
            "a, 300 rows, gd, float32, reproducible",
        ),
    ],
)
def test_the_label_says_what_is_special(cell, label):
    assert cell.label() == label


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (BASE, "gd, 100 epochs, full batch, step 1/L, l2 0.001, float64"),
        (
            Settings("momentum", 5000, 0.1, 32, 0.25, "float32"),
            "momentum, 5,000 epochs, batches of 32, step 0.25, l2 0.1, float32",
        ),
        (
            Settings("adam", 10, arithmetic="reproducible"),
            "adam, 10 epochs, full batch, step adam's default, l2 0.001, float64, reproducible",
        ),
        (Settings("lbfgs"), "lbfgs, to the optimum, l2 0.001, float64"),
        (OPTIMUM, "auto, to a relative gap of 1e-06, l2 0.001, float64"),
    ],
    ids=["default", "batches", "adam", "lbfgs", "gap"],
)
def test_the_settings_in_a_line(settings, line):
    assert settings.line() == line
