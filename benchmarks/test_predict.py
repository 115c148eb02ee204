"""Predicting: scores on an engine, and probabilities as a user asks for them, warm."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

import lrbackends as lrb

from . import optimum
from .conftest import L2

WHOSE = {"own": "of the rows compiled with", "new": "of rows from the host"}


@pytest.mark.beside("textbook")
@pytest.mark.parametrize("whose", list(WHOSE))
def test_scores(benchmark, note, problem, objective, params, size, route, whose):
    benchmark.group = f"scores {WHOSE[whose]} {size}"
    w, b = params.coef[0], float(params.intercept[0])
    if route == "textbook":

        def call():
            return problem.X @ w + b
    else:
        kernels = lrb.get_backend(route).compile(problem, objective)
        X = problem.X if whose == "own" else problem.X.copy()

        def call():
            return kernels.decision_function(X, params)

        np.testing.assert_allclose(call(), problem.X @ w + b, rtol=0, atol=1e-10)  # compiles
    benchmark(call)
    loss = optimum.objective(problem.X, problem.y, w, b, L2)
    note(call, X=problem.X, passes=1, loss=loss)


@pytest.mark.parametrize("who", ["result", "estimator", "scikit-learn", "textbook"])
def test_predict_proba(benchmark, note, problem, size, who):
    """Whose model it is makes no difference: all are given the same coefficients."""
    benchmark.group = f"predict_proba {size}"
    X, y = problem.X, problem.y
    estimator = lrb.LogisticRegression(backend="numpy", solver="gd", max_iter=3, tol=0).fit(X, y)
    result = estimator.result_
    w, b = result.coef[0], float(result.intercept[0])
    theirs = LogisticRegression()
    theirs.coef_, theirs.intercept_ = result.coef, result.intercept
    theirs.classes_, theirs.n_features_in_ = result.classes, X.shape[1]
    expected = expit(X @ w + b)
    calls = {
        "result": lambda: result.predict_proba(X),
        "estimator": lambda: estimator.predict_proba(X),
        "scikit-learn": lambda: theirs.predict_proba(X),
        "textbook": lambda: np.column_stack([1 - expected, 1 / (1 + np.exp(-(X @ w + b)))]),
    }
    np.testing.assert_allclose(calls[who]()[:, 1], expected, rtol=0, atol=1e-12)
    benchmark(calls[who])
    note(calls[who], X=X, passes=1, loss=optimum.objective(X, y, w, b, L2))
