"""The fifteen answers, in words and in data, on a comparison of a simple law and on parts of it."""

import json
import math
from dataclasses import replace

import pytest

from lrbackends.benchmarking.agreement import allowance
from lrbackends.benchmarking.cells import GAP, Settings
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.benchmarking.distance import Distance
from lrbackends.benchmarking.questions import of_sizes, optimal
from lrbackends.benchmarking.rows import Times

from .synthetic import (
    BASE,
    EPOCHS,
    MACHINE,
    N_SAMPLES,
    ROWS,
    WARM_CROSSING,
    agreement,
    comparison,
    failed,
    measured,
    whole,
)

FASTEST, CROSSOVERS, PARTS, PAYBACK, CACHE, SHAPE, THREADS, MEMORY = range(1, 9)
TYPES, APART, REACHED, PEERS, NOISE, MACHINE_FACTS, CODE = range(9, 16)
NARROW = replace(BASE, dtype="float32")
OPTIMUM = Settings("auto", gap=GAP)
LBFGS = Settings("lbfgs")


@pytest.fixture(scope="module")
def full() -> Comparison:
    return whole()


def answer(of: Comparison, number: int):
    found = of.answers()[number - 1]
    assert found.number == number
    return found.text, found.data


def cut(full: Comparison, wanted) -> Comparison:
    """The comparison with these rows only."""
    return replace(full, rows=tuple(row for row in full.rows if wanted(row)))


# -- all of them


def test_all_fifteen_are_answered_in_words_and_in_data(full):
    found = full.answers()
    assert [a.number for a in found] == list(range(1, 16))
    assert len({a.question for a in found}) == 15
    for a in found:
        assert a.question.endswith("?")
        assert a.text.endswith(".")
        assert "Not measured" not in a.text
        assert "nan" not in a.text
        assert a.data, a.question
        json.dumps(a.data)  # plain values


BY_VARIATION = {
    "size": CROSSOVERS,
    "cache": CACHE,
    "threads": THREADS,
    "dtype": TYPES,
    "optimum": PEERS,
}


@pytest.mark.parametrize(("variation", "number"), BY_VARIATION.items())
def test_what_was_not_measured_names_the_variation_that_does(full, variation, number):
    base = replace(full, rows=full.base)
    expected = f"Not measured; vary={variation!r} measures it."
    assert answer(base, number) == (expected, {})


def test_the_other_ten_are_answered_by_the_base_alone(full):
    for a in replace(full, rows=full.base).answers():
        assert a.number in BY_VARIATION.values() or "Not measured" not in a.text


def test_where_nothing_trained_there_is_nothing_to_say():
    found = comparison(failed("numpy"), agreements=()).answers()
    assert {(a.text, len(a.data)) for a in found} == {("No backend trained.", 0)}


ALONE = comparison(measured("numpy"), lines_of_code={})


@pytest.mark.parametrize(
    "made",
    [
        ALONE,
        comparison(measured("numpy", drift=(0,)), measured("numba", drift=(0,)), rounds=1),
        comparison(*(measured(b, settings=LBFGS, n_epochs=7) for b in ("numpy", "numba"))),
        comparison(
            measured("numpy", coef=((1.0,) * 2,) * 3, intercept=(0.0,) * 3),
            measured("numba", coef=((1.0,) * 2,) * 3, intercept=(0.0,) * 3),
            n_classes=3,
        ),
        comparison(measured("numpy"), failed("numba", "no", status="unsupported")),
        comparison(measured("numpy", settings=NARROW), measured("numba", settings=NARROW)),
        comparison(measured("numpy", peak_memory=None, fit_memory=None, new_shape_fit=None)),
        comparison(measured("numpy"), measured("numba", status="diverged", loss=math.inf)),
    ],
    ids=[
        *("one backend", "one round", "lbfgs", "three classes", "one refuses", "float32"),
        *("unknown memory", "one diverges"),
    ],
)
def test_less_than_everything_is_answered_too(made):
    found = made.answers()
    assert len(found) == 15
    assert all(a.text.endswith(".") for a in found)
    assert Comparison.from_json(made.to_json()).answers()[0] == found[0]


# -- 1, 13: who is fastest


def test_the_fastest_and_by_how_much(full):
    text, data = answer(full, FASTEST)
    assert f"For {N_SAMPLES} rows of 2 features ({BASE.line()}): numba, 2.92 ms; numpy" in text
    assert "In a fresh process: numpy, 120 ms; numba 803 ms." in text
    numpy, numba = full["numpy"], full["numba"]
    assert data["warm_fit"]["numpy"]["seconds"] == numpy.warm_fit.median
    over = data["warm_fit"]["numpy"]["over_fastest"]
    assert over["median"] == numpy.over(numba).median == pytest.approx(20.48 / 2.92)
    assert data["warm_fit"]["numpy"]["verdict"] == "slower"
    assert data["cold_fit"]["numba"]["verdict"] == "slower"
    assert list(data["cold_fit"]) == ["numpy", "numba"]


@pytest.mark.parametrize("loss", [0.3, math.nan])
def test_a_worse_result_is_never_the_fastest(full, loss):
    wrong = replace(full["numba"], loss=loss)
    rows = tuple(wrong if row is full["numba"] else row for row in full.rows)
    made = replace(full, rows=rows)
    text, data = answer(made, FASTEST)
    assert "): numpy, 20.5 ms. In a fresh process: numpy, 120 ms. Left out: numba (" in text
    assert list(data["warm_fit"]) == list(data["cold_fit"]) == ["numpy"]
    assert answer(made, PAYBACK)[1] == {}
    assert answer(made, NOISE)[0] == "There is no difference to judge."


def test_a_tie_is_called_a_tie():
    rows = (
        measured("numpy", spread=0.05, drift=(-1, 0, 1)),
        measured("numba", spread=0.05, drift=(1, 0, -1)),
    )
    made = comparison(*rows)
    text, data = answer(made, FASTEST)
    assert "numpy and numba, 30 ms and 30 ms (a tie: the difference is within the noise)" in text
    assert {v["verdict"] for v in data["warm_fit"].values()} == {"tie"}
    text, _ = answer(made, NOISE)
    assert text.startswith("Warm, numpy and numba are level; cold, numpy and numba are level. ")


def test_the_noise_is_that_of_the_medians(full):
    text, data = answer(full, NOISE)
    assert text.startswith("Warm, numba is ahead; cold, numpy is ahead. The median of 3 processes ")
    warm = full["numpy"].warm_fit
    low, high = warm.interval
    assert data["relative_half_width"]["numpy"] == pytest.approx((high - low) / 2 / warm.median)
    assert "to within 2.5 % at worst" in text


# -- 2: crossovers


def test_the_crossing_of_warm_fits_is_near_the_laws_own(full):
    text, data = answer(full, CROSSOVERS)
    (found,) = data["warm"]
    assert (found["below"], found["above"]) == ("numba", "numpy")
    assert found["n"] == pytest.approx(WARM_CROSSING, rel=0.1)  # lines between powers of ten
    assert text.startswith("Warm: numba, numpy from 660 rows on (660–660). In a fresh process: ")
    assert text.endswith(f"Measured from 48 to 10,000 rows, for {EPOCHS:,} epochs.")
    assert data["sizes"] == [N_SAMPLES, *ROWS]


def test_who_is_fastest_everywhere_is_said_so(full):
    text, data = answer(full, CROSSOVERS)
    assert "In a fresh process: numpy at every size." in text
    assert data["cold"] == []


def test_solvers_of_the_optimum_cross_where_their_whole_fits_do():
    """a takes 10 steps of 1 ms, b 20 of 0.1 ms and 10 ms besides: 1,000 steps would tell else."""
    rows = [
        measured(name, n_samples=n, settings=LBFGS, warm=warm, n_epochs=steps, epoch_time=of_step)
        for n, factor in ((48, 1.0), (480, 2.0))
        for name, warm, steps, of_step in (
            ("a", 0.010 * factor, 10, Times(((1e-3,),) * 3)),
            ("b", 0.012, 20, Times(((1e-4,),) * 3)),
        )
    ]
    text, data = answer(comparison(*rows), CROSSOVERS)
    (found,) = data["warm"]
    assert (found["below"], found["above"]) == ("a", "b")
    assert found["n"] == pytest.approx(48 * 10 ** (math.log(1.2) / math.log(2)), rel=0.01)
    assert text.endswith("Measured from 48 to 480 rows, for whole fits.")


def test_sizes_are_those_of_one_task(full):
    rows = of_sizes(full)
    assert [row.cell.n_samples for row in rows] == sorted(2 * [N_SAMPLES, *ROWS])
    assert {row.cell.settings for row in rows} == {BASE}
    assert {(row.cell.threads, row.cell.cache) for row in rows} == {(None, "usual")}


def test_large_data_are_compared_at_the_epochs_of_the_variations():
    few = replace(BASE, epochs=10)
    rows = measured("a"), measured("a", settings=few), measured("a", settings=few, n_samples=100)
    made = comparison(*rows, settings=BASE)
    assert of_sizes(made) == [rows[1], rows[2]]


# -- 3 to 6: the first time


def test_the_parts_are_those_of_the_rows(full):
    text, data = answer(full, PARTS)
    assert "numba: import 300 ms, data to the engine 0 µs, compile 500 ms, first fit 503 ms" in text
    for name in ("numpy", "numba"):
        row = full[name]
        for part, times in (
            ("import", row.import_time),
            ("transfer", row.transfer_time),
            ("compile", row.compile_time),
            ("first", row.first_fit),
            ("warm", row.warm_fit),
            ("epoch", row.epoch_time),
        ):
            found = data[name][part]
            assert (found["median"], found["low"], found["high"]) == (times.median, *times.interval)


def test_paying_back(full):
    text, data = answer(full, PAYBACK)
    extra = 0.7  # import and compiling
    saved = (20e-6 - 1e-6) + (10e-9 - 40e-9) * N_SAMPLES
    assert data["numba"]["epochs"] == pytest.approx(extra / saved)
    assert data["numba"]["epochs_low"] < data["numba"]["epochs"] < data["numba"]["epochs_high"]
    assert (
        "numba costs 700 ms more to start than numpy: pays back after about 40,000 epochs" in text
    )
    assert "or 40 fits like this one" in text


def test_what_saves_nothing_never_pays_back():
    made = comparison(measured("numpy"), measured("numba", imported=0.5))
    text, data = answer(made, PAYBACK)
    assert text == (
        "numba costs 400 ms more to start than numpy and saves nothing per epoch: never."
    )
    assert data["numba"]["epochs"] == math.inf
    document = json.loads(made.to_json())
    assert document["answers"][PAYBACK - 1]["data"]["numba"]["epochs"] is None


def test_paying_back_takes_two_backends():
    assert answer(ALONE, PAYBACK) == ("It takes two backends to tell.", {})


def test_who_starts_no_later_has_nothing_to_pay_back():
    text, _ = answer(comparison(measured("numpy"), measured("numba")), PAYBACK)
    assert text == "numba costs no more to start than numpy."


@pytest.mark.parametrize(
    ("warm", "then"), [(0.02, "pays back after 41 fits like this one"), (0.03, "never pays back")]
)
def test_solvers_of_the_optimum_pay_back_in_fits_alone(warm, then):
    rows = (
        measured("numpy", settings=LBFGS, n_epochs=7),
        measured("numba", settings=LBFGS, n_epochs=7, imported=0.505, warm=warm),
    )
    text, data = answer(comparison(*rows), PAYBACK)
    assert text.startswith("numba costs 4")
    assert text.endswith(f" more to start than numpy: {then}.")
    assert "epoch" not in text
    assert not data["numba"]["first_order"]


def test_the_cache_changes_compiling_and_paying_back(full):
    text, data = answer(full, CACHE)
    assert text == (
        "numba compiles 2 s without a cache, 200 ms with a filled one, 500 ms as it is set here; "
        "against numpy it pays back after 130,000 epochs without, 23,000 with a cache."
    )
    compiled = {cache: found["median"] for cache, found in data["numba"]["compile"].items()}
    assert compiled == {"usual": 0.5, "empty": 2.0, "filled": 0.2}
    epochs = {cache: paid["epochs"] for cache, paid in data["numba"]["payback"].items()}
    assert epochs["filled"] < epochs["usual"] < epochs["empty"]


def test_a_cache_that_was_not_varied_is_not_called_useless(full):
    """However much else was varied."""
    rest = cut(full, lambda row: row.cell.cache == "usual")
    assert answer(rest, CACHE) == ("Not measured; vary='cache' measures it.", {})


def test_where_nobody_compiles_there_is_no_cache_to_ask_about(full):
    assert answer(cut(full, lambda row: row.backend != "numba"), CACHE) == (
        "No backend compiles here.",
        {},
    )


def test_a_backend_without_another_one_has_a_cache_but_pays_nothing_back(full):
    text, data = answer(cut(full, lambda row: row.backend == "numba"), CACHE)
    assert text == (
        "numba compiles 2 s without a cache, 200 ms with a filled one, 500 ms as it is set here."
    )
    assert data["numba"]["payback"] == {}


def test_a_new_shape_costs_what_its_fit_takes_longer(full):
    text, data = answer(full, SHAPE)
    assert text == (
        "One row less, in a process that has trained, costs more by: numpy nothing, numba 500 ms."
    )
    assert data["numba"]["extra"] == pytest.approx(0.5, rel=1e-6)
    assert data["numba"]["fit"]["median"] == full["numba"].new_shape_fit.median
    assert data["numpy"]["extra"] == pytest.approx(0.0, abs=1e-9)


def test_a_new_shape_of_too_few_rows_is_not_measured():
    text, data = answer(comparison(measured("numpy", new_shape_fit=None)), SHAPE)
    assert (text, data) == ("Not measured: there are too few rows to leave one out.", {})


# -- 7 to 9: threads, memory, types


def test_one_thread_against_all(full):
    text, data = answer(full, THREADS)
    assert text == (
        "An epoch on one core against all 2: numpy no difference; numba slower, 1.5 (1.5–1.5) "
        "times. The same bits on one core and on all."
    )
    (one,) = (row for row in full.select(threads=1) if row.backend == "numba")
    expected = one.over(full["numba"], "epoch_time")
    assert data["numba"]["one_over_all"]["median"] == expected.median == pytest.approx(1.5)
    assert data["numpy"]["verdict"] == "tie"


def test_one_thread_may_be_faster_and_may_change_bits(full):
    quick = measured("numpy", threads=1, warm=0.01, coef=((0.5, -0.75),))
    rows = [row for row in full.rows if (row.backend, row.cell.threads) != ("numpy", 1)]
    text, data = answer(replace(full, rows=(*rows, quick)), THREADS)
    assert "numpy faster, 0.488 (0.488–0.488) times" in text
    assert text.endswith("NOT the same bits on one core and on all.")
    assert (data["numpy"]["same_bits"], data["numba"]["same_bits"]) == (False, True)


def test_on_one_core_there_is_nothing_to_ask():
    made = replace(ALONE, machine=replace(MACHINE, cores=1))
    assert answer(made, THREADS) == ("This process may use one core only.", {})


def test_memory_and_copies(full):
    text, data = answer(full, MEMORY)
    assert "numpy 150 MB, 20 of them during the first fit; numba 150 MB" in text
    size = full.data_bytes
    assert data["numpy"]["data"] == size
    assert data["numpy"]["fit_over_data"] == pytest.approx(20e6 / size)
    assert "times X" not in text  # too small to tell copies from a process's own buffers


def test_copies_are_counted_where_data_are_large(full):
    wide = replace(full, n_features=300, data_bytes=300 * N_SAMPLES * 8)
    text, data = answer(wide, MEMORY)
    largest = data["largest"]
    assert largest["n_samples"] == max(ROWS)
    assert largest["data"] == max(ROWS) * 300 * 8
    assert largest["fit_over_data"]["numba"] == pytest.approx(20e6 / largest["data"])
    assert text.endswith(
        "With 10,000 rows (24 MB) the first fit takes so many times X: numpy 0.83, numba 0.83."
    )


def test_in_float32_data_are_half_as_large():
    made = replace(comparison(measured("numpy", settings=NARROW)), data_bytes=4 * 96)
    assert answer(made, MEMORY)[1]["numpy"]["data"] == 4 * 96


def test_memory_that_the_system_does_not_tell():
    made = comparison(measured("numpy", peak_memory=None, fit_memory=None))
    assert answer(made, MEMORY) == ("This system does not tell.", {})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_types_are_compared_from_either_side(dtype):
    other = "float32" if dtype == "float64" else "float64"
    of = {
        "float64": {"warm": 0.04, "loss": 0.25, "coef": ((0.5, -0.25),)},
        "float32": {"warm": 0.01, "loss": 0.2501, "coef": ((0.5, -0.2501),)},
    }
    rows = [measured("numpy", settings=replace(BASE, dtype=d), **of[d]) for d in (dtype, other)]
    text, data = answer(comparison(*rows), TYPES)
    gain = 0.25 if dtype == "float64" else 4.0
    assert text == (
        f"An epoch in {other} against {dtype}: numpy {gain:g} ({gain:g}–{gain:g}) of the time, "
        "loss off by 0.0004, parameters by 0.0002 (relative)."
    )
    found = data["numpy"]
    assert found[f"{other}_over_{dtype}"]["median"] == pytest.approx(gain)
    assert found["loss_relative_difference"] == pytest.approx(4e-4)
    assert found["test_accuracy"] == [0.9375, 0.9375]


def test_types_may_make_no_difference(full):
    rows = measured("numpy"), measured("numpy", settings=NARROW, warm=0.0302)
    text, data = answer(comparison(*rows), TYPES)
    assert "numpy no difference in time" in text
    assert data["numpy"]["verdict"] == "tie"


# -- 10, 11: agreement


def test_the_farthest_parameter_of_all_tasks(full):
    text, data = answer(full, APART)
    assert text.startswith(
        "Farthest at intercept[0], 9 ULP between numpy and numba (100 rows, float64); medians at "
        "most 1 ULP."
    )
    assert text.endswith("In the reproducible arithmetic: by no bit.")
    assert [task["n_samples"] for task in data["tasks"]] == [a.n_samples for a in full.agreements]
    assert all(task["within_contract"] for task in data["tasks"])
    assert data["unsteady"] == []


def test_reproducible_bits_that_differ_are_not_called_equal(full):
    settings = replace(BASE, arithmetic="reproducible")
    off = agreement(Distance("numpy", "numba", 0.0, 1.0, 1e-17, 0), settings=settings)
    made = replace(full, agreements=(*full.agreements[:1], off))
    text, data = answer(made, APART)
    assert "by no bit" not in text
    assert [task["within_contract"] for task in data["tasks"]] == [True, False]


def test_equal_bits_are_not_apart_at_all():
    same = Distance("numpy", "numba", 0.0, 0.0, 0.0, 0)
    made = comparison(measured("numpy"), measured("numba"), distances=(same,))
    assert answer(made, APART)[0] == (
        "Not at all: every parameter has the same bits on all backends."
    )


def test_at_the_optimum_parameters_are_apart_and_that_is_said():
    apart = Distance("numpy", "numba", 1e6, 1e9, 1e-5, 0)
    rows = [measured(b, settings=LBFGS) for b in ("numpy", "numba")]
    text, _ = answer(comparison(*rows, distances=(apart,)), APART)
    assert text.startswith("Parameters by at most 1e-05 (relative norm): ")


def test_one_backend_is_apart_from_nobody():
    assert answer(ALONE, APART)[0] == "There is nothing to compare."


def test_all_reached_the_same_loss(full):
    text, data = answer(full, REACHED)
    assert text.startswith("Yes: 0.25, equal within rounding. ")
    assert data["loss"] == {"numpy": 0.25, "numba": 0.25}
    assert data["status"] == {"numpy": "completed", "numba": "completed"}
    assert data["allowed_relative_difference"] == allowance(BASE)
    # The curve is within 1 % of its end after half of the epochs.
    warm = {name: full[name].warm_fit.median for name in ("numpy", "numba")}
    assert data["seconds_to_loss"] == pytest.approx({name: t / 2 for name, t in warm.items()})
    assert "Warm, to within 1 % of it: numpy 10.2 ms, numba 1.46 ms." in text
    assert set(data["seconds_to_optimum"]) == {"numpy", "numba"}


def test_time_to_loss_counts_what_a_fit_takes_besides_its_epochs():
    row = measured("numpy", epoch_time=Times(((2e-5,),) * 3))  # 20 of 30 ms are epochs
    _, data = answer(comparison(row), REACHED)
    assert data["seconds_to_loss"]["numpy"] == pytest.approx(0.01 + 0.01)


def test_a_worse_loss_is_named():
    above = {"loss": 0.26, "curve": ((0, 0.75), (EPOCHS, 0.26))}
    made = comparison(measured("numpy"), measured("numba", **above), measured("jax"))
    text, data = answer(made, REACHED)
    assert text.startswith("No: numba ended higher than 0.25. ")
    assert list(data["seconds_to_loss"]) == ["numpy", "jax"]


def test_at_the_optimum_a_loss_within_the_gap_is_the_same():
    rows = [measured("numpy", settings=OPTIMUM), measured("numba", settings=OPTIMUM)]
    rows[1] = replace(rows[1], loss=0.25 * (1 + GAP / 2))
    text, _ = answer(comparison(*rows), REACHED)
    assert text.startswith("Yes: 0.25, within the gap that was asked for.")


def test_a_diverged_backend_reached_no_loss():
    made = comparison(measured("numpy"), measured("numba", status="diverged", loss=1e9))
    text, data = answer(made, REACHED)
    assert text.startswith("Yes: 0.25,")
    assert data["loss"] == {"numpy": 0.25}
    assert data["status"]["numba"] == "diverged"


def test_where_all_diverged_none_reached_anything():
    made = comparison(measured("numpy", status="diverged", loss=math.inf), agreements=())
    assert answer(made, REACHED) == ("No backend trained to the end.", {})
    assert all("nan" not in a.text for a in made.answers())


# -- 12: scikit-learn


def test_against_the_best_of_the_other_libraries(full):
    text, data = answer(full, PEERS)
    assert "its best (newton, with the loosest tolerance that gets there) takes 2 ms: " in text
    best = next(row for row in full.rows if row.backend == "scikit-learn newton")
    for row in optimal(full):
        if not row.peer:
            assert data[row.backend]["over_peer"]["median"] == row.over(best).median
            assert data[row.backend]["verdict"] == "faster"
    assert data["peers"]["scikit-learn newton"] == pytest.approx(0.002)
    assert len(data["peers"]) == 2


def of_optimum(**fields):
    peer = "peer:scikit-learn lbfgs"
    ours = measured("numpy", settings=OPTIMUM, spread=0.05, **fields)
    theirs = measured(peer, settings=OPTIMUM, spread=0.05, drift=(1, 0, -1))
    return measured("numpy"), ours, theirs


def test_level_with_scikit_learn_is_a_tie():
    text, data = answer(comparison(*of_optimum()), PEERS)
    assert text.endswith("takes 30 ms: numpy a tie.")
    assert data["numpy"]["verdict"] == "tie"


def test_whoever_missed_the_optimum_is_not_compared():
    base, ours, theirs = of_optimum()
    expected = ("Not all reached the optimum, so times cannot be compared.", {})
    late = replace(theirs, status="stalled", warm_fit=Times(((1e-9,),) * 3))
    assert answer(comparison(base, ours, late), PEERS) == expected
    assert answer(comparison(base, replace(ours, status="completed"), theirs), PEERS) == expected
    two = comparison(base, ours, theirs, replace(late, cell=replace(late.cell, backend="peer:b")))
    assert set(answer(two, PEERS)[1]["peers"]) == {"scikit-learn lbfgs"}


# -- 14, 15


def test_the_machine_is_on_record(full):
    text, data = answer(full, MACHINE_FACTS)
    assert text == f"{MACHINE.line()}."
    assert data["versions"] == dict(MACHINE.versions)


def test_lines_of_code(full):
    text, data = answer(full, CODE)
    assert text.startswith("numpy 1,200 lines, numba 345 lines of its own")
    assert data == {"numpy": 1200, "numba": 345}
    assert answer(ALONE, CODE) == ("The source is not at hand.", {})
