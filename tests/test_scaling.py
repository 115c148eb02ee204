"""Standardised coordinates: the parameters of a copy that was standardised, without the copy."""

import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends import Objective, Params, Problem
from lrbackends._standardised import StandardisedKernels
from lrbackends.objective import reference_loss_gradient
from lrbackends.scaling import scaling_of
from lrbackends.solvers import smoothness


@pytest.fixture
def unequal(noisy):
    """Columns of very different sizes and centres, one of them constant."""
    X, y = noisy
    X = X * [1.0, 300.0, 0.01] + [5.0, -900.0, 0.0]
    return np.column_stack([X, np.full(len(X), 7.0)]), y


def standardised(X, weight=None):
    mean = np.average(X, axis=0, weights=weight)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    return (X - mean) / np.where(deviation > 0, deviation, 1.0)


def in_columns(result, X):
    """Return what the weights of standardised columns are for the columns themselves."""
    deviation = X.std(axis=0)
    return result.coef / np.where(deviation > 0, deviation, 1.0)


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("weighted", ["equal", "weighted"])
def test_the_scaling_is_that_of_scikit_learn(unequal, form, weighted):
    from sklearn.preprocessing import StandardScaler

    X, y = unequal
    weight = np.random.default_rng(0).integers(1, 4, len(y)) if weighted == "weighted" else None
    scaler = StandardScaler().fit(X, sample_weight=weight)
    given = X if form == "dense" else sparse.csr_array(X)
    scaling = scaling_of(Problem(given, y, weight, warn_of_scale=False), fit_intercept=True)
    np.testing.assert_allclose(scaling.centre, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, scaler.scale_, rtol=1e-12)


def test_without_an_intercept_nothing_is_centred(unequal):
    X, y = unequal
    scaling = scaling_of(Problem(X, y, warn_of_scale=False), fit_intercept=False)
    assert (scaling.centre == 0).all()


@pytest.mark.parametrize("at", ["zero", "random"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_loss_and_gradient_are_those_of_standardised_columns(unequal, backend_name, at, outputs):
    X, y = unequal
    y = y if outputs == 1 else np.arange(len(y)) % 3
    problem = Problem(X, y, warn_of_scale=False)
    objective = Objective(l2=0.1)
    params = Params(np.zeros((outputs, 4)), np.zeros(outputs))
    if at == "random":
        rng = np.random.default_rng(1)
        params = Params(rng.normal(size=(outputs, 4)), rng.normal(size=outputs))
    plain = lrb.get_backend(backend_name).compile(problem, Objective())
    kernels = StandardisedKernels(plain, problem, objective, scaling_of(problem, True))
    loss, gradient = kernels.loss_gradient(params)
    truth = Problem(standardised(X), y)
    true_loss, true_gradient = reference_loss_gradient(truth, objective, params)
    assert loss == pytest.approx(float(true_loss), rel=1e-13)
    for part, true_part in zip(gradient, true_gradient, strict=True):
        np.testing.assert_allclose(part, true_part.astype(float), rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", ["gd", "nesterov", "adam", "mini-batch", "newton", "lbfgs"])
def test_training_is_that_of_standardised_columns(unequal, backend_name, solver):
    X, y = unequal
    options = {"l2": 0.05, "epochs": 30, "random_state": 3}
    if solver == "mini-batch":
        solver, options["batch_size"] = "gd", 10
    elif solver in ("newton", "lbfgs"):
        options |= {"epochs": 100, "tol": 1e-10}
    found = lrb.Trainer(backend_name, solver, standardize=True, **options).fit(X, y)
    copy = lrb.Trainer(backend_name, solver, **options).fit(standardised(X), y)
    coef = in_columns(copy, X)
    np.testing.assert_allclose(found.coef[:, :3], coef[:, :3], rtol=1e-7)
    assert found.coef[0, 3] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(
        found.decision_function(X), copy.decision_function(standardised(X)), rtol=1e-6, atol=1e-8
    )
    assert found.loss == pytest.approx(copy.loss, rel=1e-10)
    if solver != "lbfgs":  # whose way depends on the coordinates
        np.testing.assert_allclose(found.history["loss"][:5], copy.history["loss"][:5], rtol=1e-9)


@pytest.mark.parametrize("solver", ["gd", "newton"])
def test_sparse_columns_stay_sparse(unequal, solver):
    X, y = unequal
    options = {"l2": 0.05, "epochs": 20, "standardize": True}
    dense = lrb.Trainer("numba", solver, **options).fit(X, y)
    found = lrb.Trainer("numba", solver, **options).fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(found.coef, dense.coef, rtol=1e-9, atol=1e-12)


def test_reproducible_training_has_the_same_bits_on_every_backend(unequal, backend_names):
    X, y = unequal
    found = [
        lrb.Trainer(
            name, "momentum", standardize=True, arithmetic="reproducible", epochs=50, l2=0.01
        ).fit(X, y)
        for name in backend_names
    ]
    assert len({result.coef.tobytes() + result.intercept.tobytes() for result in found}) == 1
    assert len({result.history["loss"].tobytes() for result in found}) == 1


def test_validation_and_start_are_in_the_users_columns(unequal, backend_name):
    X, y = unequal
    trainer = lrb.Trainer(
        backend_name,
        "gd",
        standardize=True,
        l2=0.1,
        epochs=5,
        init=([[1.0, 0.01, 2.0, 0.0]], [0.5]),
    )
    result = trainer.fit(X, y, validation_data=(X, y))
    start = lrb.Params(np.array([[1.0, 0.01, 2.0, 0.0]]), np.array([0.5]))
    expected, _ = reference_loss_gradient(Problem(X, y, warn_of_scale=False), Objective(), start)
    penalty = 0.05 * ((start.coef * X.std(axis=0)) ** 2).sum()
    assert result.initial_loss == pytest.approx(float(expected) + penalty, rel=1e-12)
    z = result.decision_function(X)
    assert result.history["validation_loss"][-1] == pytest.approx(
        float(np.logaddexp(0, (1 - 2 * y) * z).mean()), rel=1e-12
    )


def test_neither_copies_nor_changes_the_data(unequal):
    X, y = unequal
    X.flags.writeable = False
    before = X.tobytes()
    lrb.Trainer("numpy", "gd", standardize=True, l2=0.1, epochs=2).fit(X, y)
    assert X.tobytes() == before


@pytest.mark.parametrize("batch_size", [None, 7])
def test_the_step_size_is_that_of_standardised_columns(unequal, batch_size):
    X, y = unequal
    problem = Problem(X, y, warn_of_scale=False)
    scaling = scaling_of(problem, True)
    found = smoothness(problem, Objective(l2=0.1), batch_size, scaling)
    copy = smoothness(Problem(standardised(X), y), Objective(l2=0.1), batch_size)
    assert found == pytest.approx(copy, rel=1e-9)


def test_many_columns_take_the_same_step_size():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(600, 300)) * 10.0 ** rng.integers(-2, 2, 300) + 3.0, np.arange(600) % 2
    problem = Problem(X, y, warn_of_scale=False)
    found = smoothness(problem, Objective(), scaling=scaling_of(problem, True))
    copy = smoothness(Problem(standardised(X), y), Objective())
    assert found == pytest.approx(copy, rel=0.02)
