"""Where backends cross over and when a start pays back, for made-up times with known answers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lrbackends.benchmarking.crossover import crossings, paybacks, starts, totals
from lrbackends.benchmarking.rows import Times

from .synthetic import BASE, EPOCHS, measured

SIZES = (100, 1_000, 10_000, 100_000)


def one_each(seconds) -> Times:
    """Times of processes that measured once."""
    return Times(tuple((t,) for t in seconds))


def of_sizes(name, seconds, sizes=SIZES, **fields):
    """Rows whose warm fit takes ``seconds(n)``, all of it epochs."""
    return [measured(name, n_samples=n, warm=seconds(n), **fields) for n in sizes]


def power(at: float, exponent: float, n: float) -> float:
    """A power law that costs 10 ms at ``at`` rows: a straight line in logarithms."""
    return 0.01 * (n / at) ** exponent


def test_laws_that_are_straight_lines_cross_where_they_do():
    rows = of_sizes("numpy", lambda n: power(2_500, 0.2, n))
    rows += of_sizes("numba", lambda n: power(2_500, 1.0, n))
    (found,) = crossings(rows, EPOCHS, cold=False)
    assert (found.below, found.above) == ("numba", "numpy")
    assert found.n == pytest.approx(2_500, rel=0.01)
    assert (found.low, found.high) == (pytest.approx(2_500), pytest.approx(2_500))  # no noise


def test_of_three_backends_each_change_of_the_fastest_is_found_in_order():
    rows = of_sizes("c", lambda n: power(30_000, 0.1, n))
    rows += of_sizes("b", lambda n: power(500, 0.2, n) * 0.5)
    rows += of_sizes("a", lambda n: power(500, 1.0, n) * 0.5)
    found = crossings(rows, EPOCHS, cold=False)
    assert [(c.below, c.above) for c in found] == [("a", "b"), ("b", "c")]
    assert found[0].n == pytest.approx(500, rel=0.01)
    ends = 0.5 * (found[1].n / 500) ** 0.2, (found[1].n / 30_000) ** 0.1
    assert ends[0] == pytest.approx(ends[1], rel=0.01)


def test_the_fastest_at_every_size_crosses_nobody():
    rows = of_sizes("a", lambda n: 1e-6 * n) + of_sizes("b", lambda n: 2e-6 * n)
    assert crossings(rows, EPOCHS, cold=False) == ()


@pytest.mark.parametrize(
    "rows",
    [[], of_sizes("a", lambda n: n), [measured("a"), measured("b")]],
    ids=["nothing", "one backend", "one size"],
)
def test_two_backends_and_two_sizes_it_takes(rows):
    assert crossings(rows, EPOCHS, cold=False) == ()


def test_sizes_that_not_all_have_are_left_out():
    rows = of_sizes("a", lambda n: power(2_500, 1.0, n))
    rows += of_sizes("b", lambda n: power(2_500, 0.2, n), sizes=SIZES[1:3])
    (found,) = crossings(rows, EPOCHS, cold=False)
    assert found.n == pytest.approx(2_500, rel=0.01)


def test_fewer_epochs_at_one_size_change_nothing():
    """Large sizes are measured with fewer epochs; times of a fit are those of the epochs asked."""
    all_epochs = of_sizes("a", lambda n: power(2_500, 1.0, n))
    all_epochs += of_sizes("b", lambda n: power(2_500, 0.2, n))
    few = replace(BASE, epochs=EPOCHS // 10)
    reduced = [
        measured(r.backend, n_samples=r.cell.n_samples, settings=few, warm=r.warm_fit.median / 10)
        if r.cell.n_samples > 1_000
        else r
        for r in all_epochs
    ]
    (found,), (same,) = (crossings(rows, EPOCHS, cold=False) for rows in (all_epochs, reduced))
    assert same.n == pytest.approx(found.n, rel=1e-9)


def test_a_dear_start_moves_the_crossing_of_cold_fits():
    # Of epochs b's are faster everywhere, by 1 s at 10,000 rows; b starts 1 s later.
    rows = of_sizes("a", lambda n: 2e-4 * n, imported=0.1)
    rows += of_sizes("b", lambda n: 1e-4 * n, imported=1.1)
    assert crossings(rows, EPOCHS, cold=False) == ()
    (found,) = crossings(rows, EPOCHS, cold=True)
    assert (found.below, found.above) == ("a", "b")
    assert found.n == pytest.approx(10_000, rel=0.01)


def noisy(name, seconds, rng, n_rounds=8, spread=0.1):
    """Rows whose processes each have noise of their own."""
    found = []
    for n in SIZES:
        warm = seconds(n) * np.exp(rng.normal(0, spread, n_rounds))
        times = {"warm_fit": one_each(warm), "epoch_time": one_each(warm / EPOCHS)}
        found.append(measured(name, n_samples=n, drift=range(n_rounds), **times))
    return found


def test_the_interval_holds_the_truth_in_spite_of_noise():
    held = width = 0
    trials = 25
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        rows = noisy("a", lambda n: power(2_500, 1.0, n), rng)
        rows += noisy("b", lambda n: power(2_500, 0.5, n), rng)
        (found,) = crossings(rows, EPOCHS, cold=False)
        held += found.low <= 2_500 <= found.high
        width += found.high / found.low
    assert held >= 0.85 * trials
    assert 1.05 < width / trials < 2.0


def test_only_rounds_that_all_have_are_compared():
    """The base task has more of them; here the machine was ten times slower then."""
    rows = of_sizes("a", lambda n: power(2_500, 1.0, n), spread=0.0)
    rows += of_sizes("b", lambda n: power(2_500, 0.2, n), spread=0.0)
    rows = [replace(row, rounds=(5, 6, 7)) for row in rows]
    early = 10 * rows[1].warm_fit.median
    warm = one_each([early] * 5 + [rows[1].warm_fit.median] * 3)
    rows[1] = measured(
        "a",
        n_samples=rows[1].cell.n_samples,
        drift=range(8),
        warm_fit=warm,
        epoch_time=one_each([t / EPOCHS for t in warm.per_process]),
    )
    (found,) = crossings(rows, EPOCHS, cold=False)
    assert found.n == pytest.approx(2_500, rel=0.01)
    assert (
        crossings([*rows[:2], replace(rows[2], rounds=(8, 9, 10)), *rows[3:]], 1, cold=True) == ()
    )


def test_one_wild_process_moves_no_crossing():
    rng = np.random.default_rng(0)
    rows = noisy("a", lambda n: power(2_500, 1.0, n), rng, n_rounds=9, spread=0.01)
    rows += noisy("b", lambda n: power(2_500, 0.5, n), rng, n_rounds=9, spread=0.01)
    wild = np.array(rows[2].warm_fit.per_process)
    wild[4] /= 100
    times = {"warm_fit": one_each(wild), "epoch_time": one_each(wild / EPOCHS)}
    rows[2] = replace(rows[2], **times)
    (found,) = crossings(rows, EPOCHS, cold=False)
    assert 2_300 < found.low < found.high < 2_700


def test_an_interval_ends_where_the_measured_sizes_end():
    """b may be faster at the largest size only, or not at all."""
    rows = of_sizes("a", lambda n: 1e-6 * n)
    rows += of_sizes("b", lambda n: 1.5e-6 * n if n < SIZES[-1] else 1e-6 * n)
    off = np.array([0.09, 0.0901, 0.12])
    rows[-1] = replace(rows[-1], warm_fit=one_each(off), epoch_time=one_each(off / EPOCHS))
    (found,) = crossings(rows, EPOCHS, cold=False)
    assert found.n < SIZES[-1]
    assert found.high == pytest.approx(SIZES[-1])


# -- paying back


def test_a_start_pays_back_when_its_quicker_epochs_have_made_up_for_it():
    cheap = measured("numpy", imported=0.1, warm=0.030, spread=1e-3)
    dear = measured("numba", imported=0.3, compiled=1.49, warm=0.010, spread=1e-3)
    (paid,) = paybacks([dear, cheap])
    assert (paid.dear, paid.cheap) == ("numba", "numpy")
    assert paid.extra == pytest.approx(1.69, rel=1e-3)
    assert paid.epochs == pytest.approx(1.69 / 20e-6, rel=1e-3)
    assert paid.fits == 1 + 84  # (1.80 - 0.13) / 0.02 = 83.5
    assert paid.epochs_low <= paid.epochs <= paid.epochs_high


def test_who_starts_cheapest_is_the_measure_of_all_others():
    rows = [measured("c", imported=0.9), measured("a", imported=0.1), measured("b", imported=0.5)]
    assert [(p.dear, p.cheap) for p in paybacks(rows)] == [("c", "a"), ("b", "a")]


@pytest.mark.parametrize("warm", [0.03, 0.04])
def test_what_saves_nothing_never_pays_back(warm):
    (paid,) = paybacks([measured("a", warm=0.03), measured("b", imported=0.5, warm=warm)])
    assert paid.dear == "b"
    assert paid.epochs == paid.fits == paid.epochs_high == math.inf


def test_an_equal_start_has_paid_back_at_once():
    (paid,) = paybacks([measured("a", warm=0.03), measured("b", warm=0.01)])
    assert (paid.epochs, paid.fits) == (pytest.approx(0.0, abs=1e-9), 1.0)


def test_starts_within_the_noise_may_have_paid_back_at_once():
    def row(name, starts_at, epoch):
        times = {"import_time": one_each(starts_at), "first_fit": one_each([EPOCHS * epoch] * 3)}
        return measured(name, **times, epoch_time=one_each([epoch] * 3))

    rows = row("a", (0.1, 0.2, 0.3), 3e-5), row("b", (0.12, 0.22, 0.32), 1e-5)
    (paid,) = paybacks(rows)
    assert paid.epochs == pytest.approx(1_000)
    assert paid.epochs_low == 0.0


def test_payback_takes_two():
    assert paybacks([measured("a")]) == paybacks([]) == ()


def test_payback_needs_no_equal_number_of_processes():
    cheap = measured("numpy", imported=0.1, warm=0.03, drift=(0, 0, 0, 0, 0))
    (paid,) = paybacks([cheap, measured("numba", imported=1.1, warm=0.01, drift=(0, 0))])
    assert paid.epochs == pytest.approx(50_000)
    assert paid.epochs_low == paid.epochs_high == paid.epochs


def test_the_interval_of_the_payback_holds_the_truth_in_spite_of_noise():
    held = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = [
            measured(
                name,
                drift=range(8),
                import_time=one_each(start * np.exp(rng.normal(0, 0.05, 8))),
                first_fit=one_each(EPOCHS * times),
                epoch_time=one_each(times),
            )
            for name, start, epoch in (("cheap", 0.1, 3e-5), ("dear", 1.1, 1e-5))
            for times in [epoch * np.exp(rng.normal(0, 0.05, 8))]
        ]
        (paid,) = paybacks(rows)
        held += paid.epochs_low <= 50_000 <= paid.epochs_high
        assert paid.epochs_high < 2 * paid.epochs_low
    assert held >= 17


# -- the parts of a fit


def test_a_fit_is_its_start_and_its_epochs():
    row = measured("a", imported=0.2, compiled=0.5, transferred=0.1, warm=0.03, spread=0.0)
    assert starts(row, cold=True) == pytest.approx([0.8] * 3)
    assert starts(row, cold=False) == pytest.approx([0.0] * 3, abs=1e-12)
    assert totals(row, EPOCHS, cold=True) == pytest.approx(row.cold_fit.per_process)
    assert totals(row, 2 * EPOCHS, cold=True) == pytest.approx([0.86] * 3)
    assert totals(row, EPOCHS, cold=False) == pytest.approx(row.warm_fit.per_process)


def test_a_start_is_never_negative():
    row = replace(measured("a"), epoch_time=measured("a", warm=1.0).epoch_time)
    assert (starts(row, cold=False) == 0).all()
