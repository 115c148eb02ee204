"""Distances between parameters, the contract, and the reference trajectory."""

from dataclasses import replace

import numpy as np
import pytest

from lrbackends import Params, Problem, Trainer
from lrbackends.benchmarking import distance as module
from lrbackends.benchmarking.distance import REFERENCE, distance, distances, reference_params

from .synthetic import BASE, comparison, measured

COEF = np.array([[0.75, -1.5, 3.0, 1.25]])
PARAMS = Params(COEF, np.array([0.5]))
X = np.random.default_rng(0).normal(size=(50, 4))


def moved(ulps: float, dtype: str = "float64", entries: int = 5) -> Params:
    """PARAMS with so many entries moved by so many units in the last place."""
    theta = np.append(COEF[0], 0.5).astype(dtype)
    theta[:entries] += (ulps * np.spacing(theta[:entries])).astype(dtype)
    return Params(theta[None, :-1], theta[-1:])


def agree(dtype: str = "float64", **params: Params) -> bool:
    found = distances(params, (X,), dtype)
    settings = replace(BASE, dtype=dtype)
    rows = [measured(name, settings=settings) for name in params]
    return comparison(*rows, distances=found).agree


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ulps_are_those_of_the_type(dtype):
    found = distance("a", "b", {"a": moved(0, dtype), "b": moved(3, dtype)}, (X,), dtype)
    assert (found.median_ulp, found.max_ulp) == (3.0, 3.0)


def test_parameters_that_are_zero_in_both_do_not_flatter_the_median():
    def padded(params):
        return Params(np.append(params.coef, np.zeros((1, 90)), axis=1), params.intercept)

    of = {"a": padded(PARAMS), "b": padded(moved(3))}
    assert distance("a", "b", of, (), "float64").median_ulp == 3.0


def test_labels_that_differ_are_counted_over_all_data():
    opposite = Params(-COEF, -PARAMS.intercept)
    found = distance("a", "b", {"a": PARAMS, "b": opposite}, (X, X[:7]), "float64")
    assert found.labels == 57


@pytest.mark.parametrize(("entry", "name"), [(2, "coef[0, 2]"), (4, "intercept[0]")])
def test_the_parameter_that_is_farthest_apart_is_named(entry, name):
    theta = np.append(COEF[0], 0.5)
    theta[entry] += 5 * np.spacing(theta[entry])
    theta[0] += 2 * np.spacing(theta[0])
    of = {"a": PARAMS, "b": Params(theta[None, :-1], theta[-1:])}
    assert distance("a", "b", of, (), "float64").where == name


def test_of_several_outputs_the_parameter_is_named_by_output_and_feature():
    coef, intercept = np.ones((3, 4)), np.ones(3)
    moved_coef, moved_intercept = coef.copy(), intercept.copy()
    moved_coef[2, 1] = moved_intercept[1] = 2.0
    of = {
        "a": Params(coef, intercept),
        "b": Params(moved_coef, intercept),
        "c": Params(coef, moved_intercept),
    }
    assert distance("a", "b", of, (), "float64").where == "coef[2, 1]"
    assert distance("a", "c", of, (), "float64").where == "intercept[1]"


def test_where_all_are_equal_none_is_named():
    assert distance("a", "b", {"a": PARAMS, "b": PARAMS}, (), "float64").where == ""


def test_every_pair_is_compared_and_the_reference_comes_second():
    found = distances({REFERENCE: PARAMS, "a": PARAMS, "b": PARAMS}, (), "float64")
    assert [(d.a, d.b) for d in found] == [("a", "b"), ("a", REFERENCE), ("b", REFERENCE)]


def test_equal_parameters_agree():
    assert agree(a=PARAMS, b=PARAMS, reference=PARAMS)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("ulps", "verdict"), [(4, True), (6, False)])
def test_four_units_in_the_last_place_are_the_limit(dtype, ulps, verdict):
    assert agree(dtype, a=moved(0, dtype), b=moved(ulps, dtype)) is verdict


def test_one_perturbed_weight_breaks_the_agreement():
    assert not agree(a=PARAMS, b=moved(40, entries=3))


def test_the_distance_to_the_reference_counts_too():
    assert not agree(a=moved(6), b=moved(6), reference=PARAMS)


def test_one_label_that_differs_breaks_the_agreement():
    found = replace(distance("a", "b", {"a": PARAMS, "b": PARAMS}, (), "float64"), labels=1)
    assert not comparison(measured("a"), measured("b"), distances=(found,)).agree


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_agrees(value):
    assert not agree(a=PARAMS, b=Params(np.full_like(COEF, value), PARAMS.intercept))


def test_a_backend_that_returns_zeros_does_not_agree():
    zeros = Params(np.zeros_like(COEF), np.zeros(1))
    assert not agree(a=zeros, b=PARAMS)
    assert not agree(a=PARAMS, b=zeros)


def test_nothing_to_compare_is_no_agreement():
    assert not comparison(measured("a")).agree


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [None, 16], ids=["full_batch", "batches_of_16"])
@pytest.mark.parametrize("solver", ["gd", "nesterov", "adam"])
def test_the_reference_follows_the_trainer(noisy, solver, batch_size, dtype):
    # A penalty and a step that float32 has to round, so that taking them as they are would show.
    trainer = Trainer(
        "numpy",
        solver,
        epochs=100,
        l2=0.01,
        learning_rate=0.1,
        batch_size=batch_size,
        dtype=dtype,
        random_state=3,
    )
    result = trainer.fit(noisy.X, noisy.y)
    problem = Problem(noisy.X, noisy.y, dtype=dtype)
    exact, how = reference_params(problem, trainer, result.learning_rate)
    assert how.startswith("the same steps in long double")
    found = distances({"numpy": result.params, REFERENCE: exact}, (problem.X,), dtype)
    assert found[0].within(dtype), found


def test_a_reference_with_another_step_is_noticed(noisy):
    trainer = Trainer("numpy", epochs=100, l2=0.01, learning_rate=0.1, random_state=3)
    result = trainer.fit(noisy.X, noisy.y)
    exact, _ = reference_params(Problem(noisy.X, noisy.y), trainer, 0.1 * (1 + 1e-12))
    found = distances({"numpy": result.params, REFERENCE: exact}, (noisy.X,), "float64")
    assert not found[0].within("float64")


def test_a_reference_that_costs_too_much_is_skipped_with_a_reason(noisy):
    trainer = Trainer("numpy", epochs=10**8)
    exact, why = reference_params(Problem(noisy.X, noisy.y), trainer, 0.1)
    assert exact is None
    assert why.startswith("skipped, 1.8e+10 entries of X would have to be read, more than 5e+08")
    cheap = Trainer("numpy", epochs=10)
    exact, why = reference_params(Problem(noisy.X, noisy.y), cheap, 0.1, most=1_000)
    assert (exact, why[:42]) == (None, "skipped, 1.8e+03 entries of X would have t")


def test_a_reference_without_more_precision_is_skipped_with_a_reason(noisy, monkeypatch):
    monkeypatch.setattr(module, "extra_bits", lambda: 0)
    exact, why = reference_params(Problem(noisy.X, noisy.y), Trainer("numpy"), 0.1)
    assert exact is None
    assert why.startswith("skipped, ")
