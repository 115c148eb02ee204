"""Medians, intervals and ratios, on samples drawn from seeds."""

import numpy as np
import pytest
from scipy import stats

from lrbackends.benchmarking.statistics import Estimate, estimate, ratio, unpaired_ratio

TRIALS = 40


def draws(n: int, spread: float, trials: int = TRIALS) -> list[np.ndarray]:
    """Times around 1 s of so many processes, by so many trials."""
    rng = np.random.default_rng(5)
    return [np.exp(rng.normal(0.0, spread, n)) for _ in range(trials)]


def verdicts(slowdown: float, n: int = 10, spread: float = 0.03) -> list[str]:
    """What is said of a copy of a backend that is slower by that factor."""
    samples = draws(n, spread, 2 * TRIALS)
    return [
        ratio(slowdown * a, b).verdict for a, b in zip(samples[::2], samples[1::2], strict=True)
    ]


@pytest.mark.parametrize("n", [3, 5, 8, 20])
def test_the_interval_holds_the_median_about_as_often_as_it_says(n):
    found = [estimate(x) for x in draws(n, 0.1, 200)]
    covered = np.mean([e.low <= 1.0 <= e.high for e in found])
    assert 0.90 <= covered <= 0.99


def test_the_interval_narrows_with_more_measurements():
    few, many = (np.mean([e.high - e.low for e in map(estimate, draws(n, 0.1))]) for n in (8, 80))
    assert many < few / 2


def test_the_median_lies_within_its_interval_and_all_scale_with_the_unit():
    x = draws(9, 0.2)[0]
    in_seconds, in_ms = estimate(x), estimate(1024 * x)
    assert in_seconds.low <= in_seconds.median == np.median(x) <= in_seconds.high
    assert (in_ms.median, in_ms.low, in_ms.high, in_ms.n) == (
        1024 * in_seconds.median,
        1024 * in_seconds.low,
        1024 * in_seconds.high,
        9,
    )


def test_equal_measurements_give_equal_intervals():
    a, b = draws(30, 0.3, 2)
    assert len({estimate(a) for _ in range(5)}) == 1
    assert len({unpaired_ratio(a, b) for _ in range(5)}) == 1


def test_of_few_measurements_the_interval_is_students():
    x = np.array([2.0, 1.0, 5.0])
    found = estimate(x)
    expected = stats.ttest_1samp(np.log(x), 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((np.exp(expected.low), np.exp(expected.high)))
    assert (found.median, found.n) == (2.0, 3)


def test_of_few_measurements_below_zero_the_interval_is_their_range():
    assert estimate([2.0, -1.0, 5.0]) == Estimate(2.0, -1.0, 5.0, 3)


def test_one_measurement_has_no_interval_but_itself():
    assert estimate([2.0]) == Estimate(2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("function", [estimate, lambda x: ratio(x, x)], ids=["estimate", "ratio"])
def test_nothing_has_no_median(function):
    with pytest.raises(ValueError, match="there are no measurements to take the median of"):
        function([])


@pytest.mark.parametrize(("times", "base"), [([], [1.0]), ([1.0], [])])
def test_nothing_has_no_ratio(times, base):
    with pytest.raises(ValueError, match="there are no measurements to take the ratio of"):
        unpaired_ratio(times, base)


def test_pairs_are_pairs():
    with pytest.raises(ValueError, match="times are measured in pairs, got 3 and 2"):
        ratio([1.0, 2.0, 3.0], [1.0, 2.0])


# -- verdicts


def test_a_copy_under_another_name_is_a_tie():
    assert verdicts(1.0).count("tie") >= 0.95 * TRIALS


@pytest.mark.parametrize(("slowdown", "verdict"), [(1.1, "slower"), (1 / 1.1, "faster")])
def test_ten_percent_are_noticed(slowdown, verdict):
    found = verdicts(slowdown)
    assert found.count(verdict) >= 0.9 * TRIALS
    assert set(found) <= {verdict, "tie"}


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.029, "tie"), (1.031, "slower"), (1 / 1.029, "tie"), (1 / 1.031, "faster")],
)
def test_a_difference_of_three_percent_is_of_no_interest_however_sure(factor, verdict):
    base = np.array([1.0, 2.0, 4.0])
    assert ratio(factor * base, base).verdict == verdict


def test_an_interval_that_holds_one_is_a_tie_however_far_the_median():
    found = ratio([0.99, 2.0, 2.0], [1.0, 1.0, 1.0])
    assert found.median == 2.0
    assert found.verdict == "tie"


def test_a_drift_that_meets_both_of_a_pair_does_not_hide_their_difference():
    drift = np.geomspace(1.0, 8.0, 8)
    noise = np.exp(np.random.default_rng(2).normal(0, 0.01, 8))
    assert ratio(1.1 * drift * noise, drift).verdict == "slower"
    assert unpaired_ratio(1.1 * drift * noise, drift).verdict == "tie"


def test_times_taken_apart_are_compared_by_their_medians():
    a, b = np.linspace(2.0, 2.2, 11), np.linspace(0.95, 1.05, 21)
    found = unpaired_ratio(a, b)
    assert found.median == pytest.approx(2.1)
    assert 2.0 / 1.05 < found.low < 2.1 < found.high < 2.2 / 0.95
    assert (found.verdict, found.n) == ("slower", 11)
    assert unpaired_ratio(b, a).verdict == "faster"


def test_the_interval_of_times_taken_apart_knows_the_noise_of_both():
    steady, noisy = np.full(9, 1.0), np.linspace(0.8, 1.2, 9)
    for found in (unpaired_ratio(steady, noisy), unpaired_ratio(noisy, steady)):
        assert found.high - found.low > 0.1
