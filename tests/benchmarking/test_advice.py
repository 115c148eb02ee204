"""Recommendations and verdicts of made-up comparisons."""

import math
import re

import pytest

from lrbackends.benchmarking.advice import candidates, words
from lrbackends.benchmarking.distance import REFERENCE, Distance

from .synthetic import EPOCHS, comparison, failed, measured

NUMPY = {"imported": 0.1, "compiled": 0.0, "warm": 0.030}
NUMBA = {"imported": 0.3, "compiled": 1.5, "warm": 0.010}


def recommendation(*rows, **options):
    """The recommendation as (sentence on one fit, sentence on many fits, what follows)."""
    text = comparison(*rows, **options).recommend()
    one, many, rest = re.fullmatch(
        r"One fit in a fresh process: (.*?)\. Many fits in one process: (.*?)\.( .*|$)", text
    ).groups()
    return one, many, rest.strip()


def test_the_fastest_start_and_the_fastest_fit_are_told_apart():
    one, many, _ = recommendation(measured("numpy", **NUMPY), measured("numba", **NUMBA))
    assert one == "numpy, 130 ms; numba 1.81 s"
    assert many == "numba, 10 ms; numpy 30 ms"


def test_payback_is_the_first_number_of_fits_and_epochs_that_costs_no_more():
    numpy, numba = measured("numpy", **NUMPY), measured("numba", **NUMBA)
    *_, rest = recommendation(numpy, numba)
    found = re.search(r"numba instead pays back after ([\d,]+) such fits, .* about ([\d,]+)", rest)
    fits, epochs = (int(number.replace(",", "")) for number in found.groups())

    def of_fits(row, k):
        return row.cold_fit.median + (k - 1) * row.warm_fit.median

    def of_epochs(row, k):
        return row.cold_fit.median + (k - EPOCHS) * row.epoch_time.median

    for cost, k in ((of_fits, fits), (of_epochs, epochs)):
        assert cost(numba, k + 1) < cost(numpy, k + 1)
        assert cost(numba, k - 1) > cost(numpy, k - 1)


def test_overlapping_intervals_are_a_tie():
    rows = [
        measured("numpy", warm=0.0300, spread=0.05),
        measured("numba", warm=0.0310, spread=0.05),
    ]
    one, many, rest = recommendation(*rows)
    assert many == "numpy and numba, 30 ms and 31 ms (a tie: the intervals overlap)"
    assert "(a tie" in one
    assert rest == "So numpy suits both."


def test_the_same_medians_with_narrow_intervals_are_no_tie():
    rows = [
        measured("numpy", warm=0.0300, spread=1e-3),
        measured("numba", warm=0.0310, spread=1e-3),
    ]
    assert recommendation(*rows)[1] == "numpy, 30 ms; numba 31 ms"


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
    broken = failed("jax", "no such engine")
    broken = type(broken)("jax", status, "no such engine", "")
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
    rows = measured("numpy"), measured("jax", loss=0.25 + 1e-7)
    assert len(candidates(comparison(*rows))[0]) == 1
    assert len(candidates(comparison(*rows, dtype="float32"))[0]) == 2


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
        "1 label differs (allowed: 4 ULP, 2e-15, no label)."
    )


def test_the_verdict_says_who_is_not_repeatable():
    rows = measured("numpy"), measured("numba", repeatable=False)
    text = comparison(*rows, distances=(NEAR,)).verdict()
    assert text.endswith(" numba gave different bits from fit to fit.")


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
