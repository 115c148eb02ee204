"""Rows: what the answers of a cell's processes become, and how rows are set against one another."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lrbackends.benchmarking.cells import Cell
from lrbackends.benchmarking.rows import TIMES, Measured, Times, flat, row_of
from lrbackends.benchmarking.statistics import Estimate, estimate, ratio

from .synthetic import BASE, answer, failed, measured

CELL = Cell("a", 60, BASE)


def row(*answers, cell=CELL):
    return row_of(cell, "a 1.0", list(enumerate(answers)))


# -- times


def test_times_of_several_processes_are_summed_up_by_process():
    times = Times(((1.0, 2.0, 30.0), (3.0,), (4.0, 5.0)))
    assert times.per_process == (2.0, 3.0, 4.5)
    assert times.median == 3.0
    expected = estimate([2.0, 3.0, 4.5])
    assert times.interval == (expected.low, expected.high)
    assert (times.fastest, times.slowest) == (1.0, 30.0)
    assert times.estimate.n == 3


def test_times_of_one_process_have_the_interval_of_its_own_measurements():
    times = Times(((1.0, 2.0, 3.0, 4.0, 100.0),))
    assert times.median == 3.0
    expected = estimate(times.samples[0])
    assert times.interval == (expected.low, expected.high)
    assert times.estimate.n == 5


# -- answers become a row


def test_the_answers_of_all_processes_become_one_row():
    found = row(
        answer(first=0.3, peak_memory=10**8, cores_busy=1.0, read_once=3e-6),
        answer(first=0.5, peak_memory=3 * 10**8, cores_busy=1.5, read_once=1e-6),
        answer(first=0.4, peak_memory=2 * 10**8, cores_busy=1.9, read_once=2e-6, n_steps=20),
    )
    assert isinstance(found, Measured)
    assert (found.cell, found.engine, found.backend, found.peer) == (CELL, "a 1.0", "a", False)
    assert found.rounds == (0, 1, 2)
    assert found.first_fit.samples == ((0.3,), (0.5,), (0.4,))
    assert found.warm_fit.samples == ((0.03, 0.02),) * 3
    assert found.transfer_time.samples == ((0.001,),) * 3
    assert found.peak_memory == 3 * 10**8
    assert found.cores_busy == 1.5
    assert found.read_once == 1e-6
    assert found.curve == ((0, 0.75), (10, 0.5))
    assert (found.loss, found.gradient_norm) == (0.5, 1e-3)
    assert (found.step_size, found.n_passes) == (0.25, 11.0)
    assert (found.n_epochs, found.n_steps) == (10, 20)
    assert (found.coef, found.intercept) == (((0.5, 0.5, 0.5),), (0.0,))
    assert found.repeatable


def test_every_bit_of_the_parameters_arrives():
    third = 1 / 3
    found = row(answer(third.hex(), intercept=[math.nextafter(1.0, 2.0).hex()]))
    assert found.coef == ((third,) * 3,)
    assert found.intercept == (math.nextafter(1.0, 2.0),)
    assert found.params.coef.dtype == np.float64


@pytest.mark.parametrize(
    "other",
    [answer("0x1.0000000000001p-1"), answer(intercept=["-0x1.0p+0"]), answer(repeatable=False)],
    ids=["coef", "intercept", "within a process"],
)
def test_other_bits_anywhere_are_not_repeatable(other):
    assert not row(answer(), other).repeatable
    assert not row(other, answer()).repeatable


def test_a_cell_that_fails_once_is_a_row_without_measurements():
    crash = {"status": "failed", "reason": "it crashed"}
    assert row(crash) == failed("a", "it crashed", n_samples=60)
    assert row(answer(), answer(), crash).reason == "it crashed (in round 3)"


def test_what_the_system_does_not_tell_is_unknown():
    found = row(*[answer(peak_memory=None, fit_memory=None)] * 2)
    assert found.peak_memory is found.fit_memory is None
    assert row(answer(fit_memory=None), answer(fit_memory=5)).fit_memory == 5


def test_a_new_shape_that_one_process_could_not_have_is_unknown():
    assert row(answer(), answer(new_shape=None)).new_shape_fit is None
    assert row(answer(), answer(new_shape=0.5)).new_shape_fit.samples == ((0.25,), (0.5,))


def test_other_libraries_are_peers_and_have_their_own_names():
    peer = row(answer(), cell=Cell("peer:scikit-learn lbfgs", 60, BASE))
    assert (peer.backend, peer.peer) == ("scikit-learn lbfgs", True)


def test_a_cold_fit_is_import_and_first_fit_of_the_same_process():
    found = replace(
        measured("numpy"),
        import_time=Times(((1.0,), (2.0,), (9.0,))),
        first_fit=Times(((30.0,), (10.0,), (20.0,))),
    )
    assert found.cold_fit.samples == ((31.0,), (12.0,), (29.0,))


# -- ratios


def of_rounds(times: dict[int, float]) -> Measured:
    samples = Times(tuple((t,) for t in times.values()))
    return replace(measured("a"), rounds=tuple(times), warm_fit=samples)


def test_ratios_are_formed_within_rounds():
    slow = of_rounds({5: 20.0, 6: 40.0, 7: 60.0})
    fast = of_rounds({4: 7.0, 7: 30.0, 6: 20.0, 5: 10.0})  # in another order, with one more
    assert slow.over(fast) == Estimate(2.0, 2.0, 2.0, 3)
    assert fast.over(slow) == Estimate(0.5, 0.5, 0.5, 3)


def test_without_a_common_round_there_is_no_ratio():
    assert of_rounds({0: 1.0}).over(of_rounds({1: 1.0})) is None


@pytest.mark.parametrize("times", [*TIMES, "cold_fit"])
def test_every_kind_of_time_has_a_ratio(times):
    a, b = measured("a", imported=0.2, compiled=1.0, transferred=1.0), measured("b", imported=0.1)
    b = replace(b, compile_time=b.warm_fit, transfer_time=b.warm_fit)
    expected = ratio(getattr(a, times).per_process, getattr(b, times).per_process)
    assert a.over(b, times) == expected


# -- flat


def test_a_row_is_flattened_to_plain_values():
    record = flat(measured("numpy", threads=1))
    assert record["backend"] == "numpy"
    assert record["threads"] == 1
    assert (record["solver"], record["epochs"]) == ("gd", BASE.epochs)
    assert set(record["warm_fit"]) == {"median", "low", "high", "samples"}
    assert not {"cell", "settings"} & set(record)


def test_a_row_without_measurements_has_only_what_there_is():
    assert "warm_fit" not in flat(failed("numpy"))
    assert flat(failed("numpy", "it crashed"))["reason"] == "it crashed"
    assert flat(measured("numpy", new_shape_fit=None))["new_shape_fit"] is None
