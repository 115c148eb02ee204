"""Whether those who did the same task came to the same result."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lrbackends.benchmarking.agreement import LOSS_TOLERANCE, allowance, worse
from lrbackends.benchmarking.cells import GAP, Settings
from lrbackends.benchmarking.distance import REFERENCE, Distance

from .synthetic import BASE, agreement, measured

EPS = float(np.finfo(np.float64).eps)
OPTIMUM = Settings("auto", gap=GAP)
NEAR = Distance("a", "b", 1.0, 30.0, 1e-16, 0)
SAME = Distance("a", "b", 0.0, 0.0, 0.0, 0)
FAR = Distance("a", "b", 1e6, 1e9, 1e-4, 3)
EXACT = Distance("a", REFERENCE, 3.0, 1e6, 1e-9, 0)


# -- the objective


def losers(*losses: float, settings: Settings = BASE) -> list[str]:
    rows = [measured(f"{k}", loss=loss, settings=settings) for k, loss in enumerate(losses)]
    return [row.backend for row in worse(rows)]


def test_a_higher_objective_is_worse():
    assert losers(0.25, 0.26, 0.25, 0.3) == ["1", "3"]


def test_the_best_objective_is_named():
    rows = [measured("a", loss=0.25), measured("b", loss=0.5)]
    assert worse(rows) == {rows[1]: 0.25}


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_is_not_finite_is_worse_than_anything(loss):
    assert losers(0.25, loss) == ["1"]
    assert losers(loss, 0.25) == ["0"]
    assert losers(loss) == ["0"]


@pytest.mark.parametrize(("epsilons", "found"), [(LOSS_TOLERANCE, []), (260, ["1"])])
def test_rounding_is_not_worse(epsilons, found):
    assert losers(0.25, 0.25 * (1 + epsilons * EPS)) == found


def test_rounding_grows_with_the_eps_of_the_type():
    narrow = replace(BASE, dtype="float32")
    assert losers(0.25, 0.25 + 1e-7) == ["1"]
    assert losers(0.25, 0.25 + 1e-7, settings=narrow) == []
    assert losers(0.25, 0.25 + 1e-4, settings=narrow) == ["1"]


def test_a_negative_objective_is_compared_by_its_size_too():
    assert losers(-0.25, -0.25 * (1 - 10 * EPS)) == []
    assert losers(-0.25, -0.24) == ["1"]


@pytest.mark.parametrize(("gaps", "found"), [(0.9, []), (1.1, ["1"])])
def test_at_the_optimum_a_loss_within_the_gap_is_as_good(gaps, found):
    assert losers(0.25, 0.25 * (1 + gaps * GAP), settings=OPTIMUM) == found


def test_without_a_gap_solvers_stop_where_the_objective_is_flat():
    settings = Settings("lbfgs")
    assert allowance(settings) == pytest.approx(math.sqrt(LOSS_TOLERANCE * EPS))
    assert losers(0.25, 0.25 * (1 + 1e-7), settings=settings) == []
    assert losers(0.25, 0.25 * (1 + 1e-6), settings=settings) == ["1"]


def test_nobody_is_worse_than_nobody():
    assert worse([]) == {}


# -- the parameters


def test_distances_within_the_contract_are_no_disagreements():
    assert agreement(NEAR, EXACT).disagreements() == ()


@pytest.mark.parametrize(
    "change",
    [{"median_ulp": 5.0}, {"relative": 3e-15}, {"labels": 1}, {"median_ulp": math.nan}],
    ids=str,
)
def test_each_measure_of_the_contract_counts(change):
    beyond = replace(NEAR, **change)
    assert agreement(EXACT, beyond).disagreements() == (beyond,)


def test_the_distance_to_the_reference_counts():
    beyond = replace(EXACT, median_ulp=5.0)
    assert agreement(NEAR, beyond).disagreements() == (beyond,)


def test_reproducible_backends_agree_in_every_bit():
    settings = replace(BASE, arithmetic="reproducible")
    assert agreement(SAME, EXACT, settings=settings).disagreements() == ()
    for change in ({"max_ulp": 1.0}, {"relative": 1e-20}, {"median_ulp": 1.0}):
        beyond = replace(SAME, **change)
        assert agreement(beyond, settings=settings).disagreements() == (beyond,)


@pytest.mark.parametrize("settings", [OPTIMUM, Settings("newton")], ids=["gap", "newton"])
def test_at_the_optimum_parameters_may_be_apart(settings):
    assert agreement(FAR, settings=settings).disagreements() == ()
    assert agreement(FAR).disagreements() == (FAR,)


def test_distances_between_backends_and_to_the_reference_are_told_apart():
    found = agreement(NEAR, EXACT)
    assert found.between() == (NEAR,)
    assert found.to_reference() == (EXACT,)
