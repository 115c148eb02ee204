"""Recommendations and verdicts of made-up comparisons."""

import math
import re
from dataclasses import replace

import pytest

from lrbackends.benchmarking.advice import candidates, count, level, ranked, unsteady, words
from lrbackends.benchmarking.cells import GAP, Settings
from lrbackends.benchmarking.distance import REFERENCE, Distance

from .synthetic import BASE, EPOCHS, agreement, comparison, failed, measured

NARROW = replace(BASE, dtype="float32")
EXACT = replace(BASE, arithmetic="reproducible")

NUMPY = {"imported": 0.1, "compiled": 0.0, "warm": 0.030}
NUMBA = {"imported": 0.3, "compiled": 1.49, "warm": 0.010}


def recommendation(*rows, **options):
    """The recommendation as (sentence on one fit, sentence on many fits, what follows)."""
    text = comparison(*rows, **options).recommend()
    one, many, rest = re.fullmatch(
        r"One fit in a fresh process: (.*?)\. Many fits in one process: (.*?)\.( .*|$)", text
    ).groups()
    return one, many, rest.strip()


def test_the_fastest_start_and_the_fastest_fit_are_told_apart():
    one, many, _ = recommendation(measured("numpy", **NUMPY), measured("numba", **NUMBA))
    assert one == "numpy, 130 ms; numba 1.8 s"
    assert many == "numba, 10 ms; numpy 30 ms"


def test_payback_is_the_number_of_fits_and_epochs_after_which_the_sum_is_less():
    numpy, numba = measured("numpy", **NUMPY), measured("numba", **NUMBA)
    *_, rest = recommendation(numpy, numba)
    found = re.search(r"numba instead pays back after ([\d,]+) such fits, .* about ([\d,]+)", rest)
    fits, epochs = (int(number.replace(",", "")) for number in found.groups())

    def of_fits(row, k):
        return row.cold_fit.median + (k - 1) * row.warm_fit.median

    def of_epochs(row, k):
        return row.cold_fit.median + (k - EPOCHS) * row.epoch_time.median

    for cost, k in ((of_fits, fits), (of_epochs, epochs)):  # rounded to two digits
        assert cost(numba, 1.02 * k + 1) < cost(numpy, 1.02 * k + 1)
        assert cost(numba, 0.98 * k - 1) > cost(numpy, 0.98 * k - 1)


def test_solvers_of_the_optimum_pay_back_in_fits_only():
    settings = Settings("newton")
    rows = [measured(b, settings=settings, **t) for b, t in (("numpy", NUMPY), ("numba", NUMBA))]
    *_, rest = recommendation(*rows)
    assert rest == "Importing and compiling numba instead pays back after 85 such fits."


def test_a_difference_inside_the_noise_is_a_tie():
    """Process by process now the one, now the other is faster."""
    rows = [
        measured("numpy", warm=0.0300, spread=0.05, drift=(-1, 0, 1, 2)),
        measured("numba", warm=0.0315, spread=0.05, drift=(1, 0, -1, -2)),
    ]
    one, many, rest = recommendation(*rows)
    assert (
        many == "numba and numpy, 30.7 ms and 30.8 ms (a tie: the difference is within the noise)"
    )
    assert one.startswith("numba and numpy, ")
    assert "(a tie" in one
    assert rest == "So numba suits both."


def test_the_same_noise_in_both_hides_no_difference():
    """A drift that meets both: in every round numba takes 5 % longer."""
    drift = (-3, -1, 0, 2)
    rows = [
        measured("numpy", warm=0.0300, spread=0.1, drift=drift),
        measured("numba", warm=0.0315, spread=0.1, drift=drift),
    ]
    assert recommendation(*rows)[1] == "numpy, 28.5 ms; numba 29.9 ms"


def test_below_three_percent_is_a_tie_however_sure():
    rows = [measured("numpy", warm=0.0300, spread=0.0), measured("numba", warm=0.0308, spread=0.0)]
    assert "(a tie" in recommendation(*rows)[1]
    assert [row.backend for row in level(rows, "warm_fit")] == ["numpy", "numba"]


def test_rows_are_ranked_by_their_medians_each_with_its_ratio_to_the_first():
    rows = [measured("c", warm=0.04), measured("a", warm=0.02), measured("b", warm=0.03)]
    order = ranked(rows, "warm_fit")
    assert [row.backend for row, _ in order] == ["a", "b", "c"]
    assert [over.median for _, over in order] == [1.0, pytest.approx(1.5), pytest.approx(2.0)]
    assert [over.verdict for _, over in order] == ["tie", "slower", "slower"]


def test_of_a_tie_the_one_that_starts_sooner_pays_back():
    rows = [
        measured("numpy", **NUMPY),
        measured("numba", **NUMBA),
        measured("jax", imported=0.4, compiled=0.4, warm=0.0101),
    ]
    _, many, rest = recommendation(*rows)
    assert many.startswith("numba and jax, ")
    assert rest.startswith("Importing and compiling jax instead")


@pytest.mark.parametrize("status", ["unavailable", "unsupported", "failed"])
def test_what_did_not_train_is_left_out_with_its_reason(status):
    broken = failed("jax", "no such engine", status=status)
    *_, rest = recommendation(measured("numpy"), broken)
    assert rest == f"Left out: jax ({status}: no such engine)."


def test_a_diverged_backend_is_never_recommended_however_fast():
    fast = measured("jax", warm=1e-6, imported=1e-6, status="diverged", reason="it exploded")
    one, many, rest = recommendation(measured("numpy"), fast)
    assert one.startswith("numpy,")
    assert many.startswith("numpy,")
    assert "jax" not in one + many
    assert rest == "Left out: jax (diverged: it exploded)."


@pytest.mark.parametrize("loss", [0.25 * (1 + 1e-12), 0.3, math.nan, math.inf])
def test_a_worse_loss_never_wins_however_fast(loss):
    fast = measured("jax", warm=1e-6, imported=1e-6, loss=loss)
    one, many, rest = recommendation(measured("numpy"), fast)
    assert one.startswith("numpy,")
    assert "jax" not in one + many
    assert rest.startswith("Left out: jax (")


def test_a_loss_that_differs_by_rounding_is_not_worse():
    kept, left_out = candidates(comparison(measured("numpy"), measured("jax", loss=0.25 + 1e-15)))
    assert [row.backend for row in kept] == ["numpy", "jax"]
    assert left_out == []


def test_what_counts_as_rounding_grows_with_the_eps_of_the_type():
    for settings, kept in ((BASE, 1), (NARROW, 2)):
        rows = (
            measured("numpy", settings=settings),
            measured("jax", loss=0.25 + 1e-7, settings=settings),
        )
        assert len(candidates(comparison(*rows))[0]) == kept


def test_only_the_base_task_decides():
    """However fast in float32 or on one thread: that is another task."""
    rows = [
        measured("numpy"),
        measured("numpy", settings=NARROW, warm=1e-6),
        measured("jax", settings=NARROW, warm=1e-6),
        measured("numpy", threads=1, warm=1e-6),
        failed("jax", "no such engine"),
    ]
    text = comparison(*rows, settings=BASE).recommend()
    assert "Many fits in one process: numpy, 30 ms. Left out: jax (failed" in text


def test_one_backend_alone_is_named_without_a_conclusion():
    assert recommendation(measured("numpy", **NUMPY)) == ("numpy, 130 ms", "numpy, 30 ms", "")


def test_nothing_to_recommend():
    text = comparison(failed("numpy", "it crashed")).recommend()
    assert text == "No backend can be recommended. Left out: numpy (failed: it crashed)."


NEAR = Distance("numpy", "numba", 1.0, 3.0, 1e-16, 0)


def test_the_verdict_gives_the_figures():
    exact = Distance("numpy", REFERENCE, 0.5, 2.0, 1e-16, 0)
    text = comparison(measured("numpy"), measured("numba"), distances=(NEAR, exact)).verdict()
    assert text == (
        "numpy and numba agree: at most 1 ULP (median) and 1e-16 (relative) apart, no label "
        "differs; at most 0.5 ULP (median) from the reference."
    )


def test_the_verdict_names_those_that_disagree_and_the_limits():
    far = Distance("numpy", "jax", 9.0, 99.0, 1e-14, 1)
    rows = [measured(b) for b in ("numpy", "numba", "jax")]
    text = comparison(*rows, distances=(NEAR, far)).verdict()
    assert text == (
        "The backends do NOT agree: numpy and jax are 9 ULP (median) and 1e-14 (relative) apart, "
        "1 label differs with 48 rows in float64 (allowed: 4 ULP, 2e-15, no label)."
    )


def test_a_variation_that_disagrees_is_a_disagreement():
    rows = measured("numpy"), measured("numba")
    far = replace(NEAR, median_ulp=5.0)
    found = comparison(
        *rows, distances=(NEAR,), further=[agreement(far, n_samples=100, settings=NARROW)]
    )
    assert not found.agree
    assert found.verdict() == (
        "The backends do NOT agree: numpy and numba are 5 ULP (median) and 1e-16 (relative) apart, "
        "0 labels differ with 100 rows in float32 (allowed: 4 ULP, 1.1e-06, no label)."
    )


def test_in_the_reproducible_arithmetic_a_single_bit_is_a_disagreement():
    rows = measured("numpy"), measured("numba")
    found = comparison(*rows, distances=(NEAR,), further=[agreement(NEAR, settings=EXACT)])
    assert not found.agree
    assert found.verdict().endswith("in the reproducible arithmetic (allowed: no bit).")


def test_variations_that_agree_are_counted():
    rows = measured("numpy"), measured("numba")
    same = Distance("numpy", "numba", 0.0, 0.0, 0.0, 0)
    further = [agreement(NEAR, settings=NARROW), agreement(same, settings=EXACT)]
    text = comparison(*rows, distances=(NEAR,), further=further).verdict()
    assert text.endswith(
        "no label differs. So do they in all 2 variations; reproducible, bit for bit."
    )


def test_parameters_at_the_optimum_are_not_held_to_the_contract():
    rows = measured("numpy"), measured("numba")
    apart = replace(NEAR, median_ulp=1e6, relative=1e-5)
    optimum = agreement(apart, settings=Settings("auto", gap=GAP))
    found = comparison(*rows, distances=(NEAR,), further=[optimum])
    assert found.agree
    assert found.verdict().endswith("no label differs.")


LBFGS = Settings("lbfgs")


def at_the_optimum(**fields):
    apart = replace(NEAR, median_ulp=1e6, relative=1e-5, labels=3)
    rows = measured("numpy", settings=LBFGS), measured("numba", settings=LBFGS, **fields)
    return comparison(*rows, distances=(apart,))


def test_of_solvers_of_the_optimum_objectives_are_compared():
    assert at_the_optimum().verdict() == (
        "numpy and numba agree: equal objectives, parameters within 1e-05 (relative) of another."
    )


def test_a_worse_optimum_is_no_agreement():
    text = at_the_optimum(loss=0.26).verdict()
    assert text == "numba ended above the others' objective."
    assert " agree" not in text


def test_the_verdict_says_who_is_not_repeatable():
    rows = measured("numpy"), measured("numba", repeatable=False)
    text = comparison(*rows, distances=(NEAR,)).verdict()
    assert text.endswith(" numba gave different bits from fit to fit.")


def test_other_bits_on_one_thread_are_noticed_other_tasks_are_not_compared():
    rows = [measured(b) for b in ("numpy", "numba")]
    other = {"coef": ((0.5, -0.75),)}
    more = measured("numpy", threads=1, **other), measured("numba", settings=NARROW, **other)
    assert unsteady(comparison(*rows)) == []
    assert unsteady(comparison(*rows, *more)) == ["numpy"]


@pytest.mark.parametrize(
    ("rows", "what"),
    [((measured("numpy"),), "only numpy trained"), ((failed("numpy"),), "no backend trained")],
    ids=["one", "none"],
)
def test_the_verdict_says_that_there_is_nothing_to_compare(rows, what):
    assert comparison(*rows).verdict().startswith(f"Nothing to compare: {what} (")


@pytest.mark.parametrize(
    ("names", "text"), [("", ""), ("a", "a"), ("ab", "a and b"), ("abc", "a, b and c")]
)
def test_words(names, text):
    assert words(tuple(names)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "1"),
        (37.01, "38"),
        (99.0, "99"),
        (123.0, "120"),
        (45_678.0, "46,000"),
        (math.inf, "never"),
    ],
)
def test_counts_for_people(value, text):
    assert count(value) == text
