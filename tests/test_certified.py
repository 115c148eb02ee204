"""Coefficients and standard errors against figures certified to 20 digits, on every backend."""

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.protocol import pack
from lrbackends.inference import infer

from .certified_data import DATA, Certified

COEFFICIENTS, ERRORS = 1e-10, 1e-8  # largest relative error of an entry

pytestmark = pytest.mark.filterwarnings("ignore::lrbackends.errors.ScaleWarning")


def distance(values: np.ndarray, certified: np.ndarray) -> float:
    return float(np.abs(values / certified - 1).max())


def trained(data: Certified, backend: str, **options) -> lrb.TrainingResult:
    return lrb.Trainer(backend, "newton", **options).fit(data.X, data.y, data.sample_weight)


def inferred(data: Certified, params: lrb.Params, backend: str, weight: np.ndarray | None):
    problem = lrb.Problem(data.X, data.y, weight)
    return infer(problem, lrb.Objective(), params, backend=backend)


@pytest.mark.parametrize("name", DATA)
def test_newton_agrees_with_the_certified_figures(name, backend_name):
    data = DATA[name]()
    result = trained(data, backend_name)
    assert result.status == "converged"
    assert distance(pack(result.params), data.estimates) <= COEFFICIENTS
    found = inferred(data, result.params, backend_name, data.sample_weight)
    assert distance(pack(found.standard_errors), data.standard_errors) <= ERRORS


@pytest.mark.parametrize("name", DATA)
def test_standard_errors_at_the_certified_optimum(name, backend_name):
    """The same without training: what the Hessian kernel alone is worth."""
    data = DATA[name]()
    params = lrb.Params(data.estimates[None, :-1], data.estimates[-1:])
    found = inferred(data, params, backend_name, data.sample_weight)
    assert distance(pack(found.standard_errors), data.standard_errors) <= ERRORS


@pytest.mark.parametrize("name", [name for name in DATA if name != "star98"])
@pytest.mark.parametrize("factor", [2.0, 0.25])
def test_weights_count_rows(name, factor):
    """Weights of 2 halve the variances; forgetting the sum of the weights would not."""
    data = DATA[name]()
    result = trained(data, "numpy")
    weight = np.full(len(data.y), factor)
    errors = pack(inferred(data, result.params, "numpy", weight).standard_errors)
    assert distance(errors * factor**0.5, data.standard_errors) <= ERRORS
    assert distance(errors, data.standard_errors) > 0.2


WRONG = {
    "a label": lambda data: (data.X, np.append(data.y[:-1], 1 - data.y[-1]), {}),
    "a row missing": lambda data: (data.X[1:], data.y[1:], {}),
    "a digit": lambda data: (np.vstack([data.X[:1] * (1 + 1e-7), data.X[1:]]), data.y, {}),
    "a penalty": lambda data: (data.X, data.y, {"l2": 1e-9}),
    "no intercept": lambda data: (data.X, data.y, {"fit_intercept": False}),
    "too early": lambda data: (data.X, data.y, {"tol": 1e-6}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", [name for name in DATA if name != "star98"])
def test_the_figures_tell_what_is_wrong(name, wrong):
    data = DATA[name]()
    X, y, options = WRONG[wrong](data)
    result = lrb.Trainer("numpy", "newton", **options).fit(X, y)
    assert distance(pack(result.params), data.estimates) > COEFFICIENTS


def test_forgetting_the_counts_of_star98_is_noticed():
    data = DATA["star98"]()
    result = lrb.Trainer("numpy", "newton").fit(data.X, data.y)
    assert distance(pack(result.params), data.estimates) > 0.1
