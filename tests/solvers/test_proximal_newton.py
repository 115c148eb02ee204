"""Proximal Newton: it reaches the optimum of L1 and elastic-net problems, with exact zeros."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import lrbackends as lrb
from lrbackends.solvers import proximal_newton as module
from lrbackends.solvers.goal import Goal, Step
from lrbackends.solvers.lasso_quadratic import Matrix, Minimum, Products, minimised
from lrbackends.solvers.oracle import Oracle
from lrbackends.solvers.proximal_newton import Memory, proximal_newton


def data(n: int = 200, p: int = 20, classes: int = 2, seed: int = 0):
    """Correlated columns of which a third matters; noisy labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 0.7 * rng.normal(size=(n, 1))
    coef = rng.normal(size=(p, classes)) * (rng.random((p, 1)) < 1 / 3)
    y = (X @ coef + rng.gumbel(size=(n, classes))).argmax(axis=1)
    y[:classes] = np.arange(classes)
    return X, y


def oracle_of(X, y, l1, l2=0.0, weight=None, fit_intercept=True, backend="numpy", dtype=None):
    objective = lrb.Objective(l2=l2, l1=l1, fit_intercept=fit_intercept)
    compile = lrb.get_backend(backend).compile
    return Oracle(lrb.Problem(X, y, weight, dtype=dtype), objective, compile)


def solved(oracle: Oracle, goal: Goal | None = None, theta=None, memory=None) -> Step:
    """Return the step that meets the goal; without one, the last."""
    start = np.zeros(oracle.size) if theta is None else theta
    for count, step in enumerate(proximal_newton(oracle, start, goal or Goal(), memory)):
        assert count < 500
        if goal is not None and goal.met(step):
            return step
    assert goal is None, "the goal was not met"
    return step


def peer(X, y, l1, l2=0.0, weight=None, fit_intercept=True) -> np.ndarray:
    """Return scikit-learn's solution as a flat vector; it sees weights as repeated rows."""
    if weight is not None:  # its saga does not converge under weights
        X, y = np.repeat(X, weight, axis=0), np.repeat(y, weight)
    model = LogisticRegression(
        C=1 / ((l1 + l2) * len(y)),
        l1_ratio=l1 / (l1 + l2),
        solver="saga",
        tol=1e-10,
        max_iter=20_000,
        fit_intercept=fit_intercept,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return np.append(model.coef_.ravel(), model.intercept_ if fit_intercept else [])


def whole_loss(oracle: Oracle, theta: np.ndarray) -> float:
    return oracle.at(theta).loss + float(oracle.l1 @ np.abs(theta))


@given(
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([2, 3]),
    l1=st.sampled_from([3e-3, 0.03, 0.1]),
    l2=st.sampled_from([0.0, 0.01]),
    weighted=st.booleans(),
    fit_intercept=st.booleans(),
    sparse=st.booleans(),
)
def test_never_worse_than_scikit_learn(seed, classes, l1, l2, weighted, fit_intercept, sparse):
    X, y = data(60, 6, classes, seed)
    weight = np.random.default_rng(seed).integers(1, 4, size=60) if weighted else None
    kept = sp.csr_array(X * (np.abs(X) > 0.5)) if sparse else X
    oracle = oracle_of(kept, y, l1, l2, weight, fit_intercept)
    step = solved(oracle)
    dense = X * (np.abs(X) > 0.5) if sparse else X
    theirs = whole_loss(oracle, peer(dense, y, l1, l2, weight, fit_intercept))
    assert step.point.loss <= theirs + 1e-12
    # It is the same objective; saga stops early where all its weights stay 0.
    assert step.point.loss >= theirs * (1 - 1e-3)
    assert np.abs(step.point.gradient).max() <= 1e-12


def test_liblinear_finds_the_same_optimum_without_intercept():
    X, y = data()
    model = LogisticRegression(
        C=1 / (0.02 * len(y)), l1_ratio=1, solver="liblinear", tol=1e-10, fit_intercept=False
    ).fit(X, y)
    step = solved(oracle_of(X, y, 0.02, fit_intercept=False))
    np.testing.assert_allclose(step.point.theta, model.coef_[0], atol=1e-6)
    assert ((step.point.theta == 0) == (model.coef_[0] == 0)).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_points_hold_the_whole_objective_and_its_least_subgradient(classes):
    X, y = data(classes=classes)
    oracle = oracle_of(X, y, 0.05, 0.01)
    objective = lrb.Objective(l2=0.01, l1=0.05)
    first, second, *_ = proximal_newton(oracle, np.zeros(oracle.size), Goal())
    for step in (first, second):
        loss, gradient = lrb.objective.reference_loss_gradient(
            oracle.problem, objective, oracle.params(step.point.theta)
        )
        assert step.point.loss == pytest.approx(float(loss), rel=1e-14)
        flat = np.append(gradient.coef.ravel(), gradient.intercept)
        np.testing.assert_allclose(step.point.gradient, flat.astype(float), atol=1e-15)


def test_a_certified_gap_is_reached_with_few_hessians(monkeypatch):
    X, y = data(2_000, 50)
    oracle = oracle_of(X, y, 0.01)
    taken = []
    curved_at = oracle.curved_at
    monkeypatch.setattr(oracle, "curved_at", lambda t: taken.append(1) or curved_at(t))
    step = solved(oracle, Goal(gap=1e-8))
    assert step.bound <= 1e-8 * step.point.loss
    assert len(taken) <= 4
    assert (step.point.theta == 0).any()


def test_tol_is_about_the_subgradient():
    X, y = data()
    step = solved(oracle_of(X, y, 0.05), Goal(tol=1e-9))
    assert np.abs(step.point.gradient).max() <= 1e-9
    assert (step.point.theta == 0).any()


def test_a_path_shares_hessians(monkeypatch):
    X, y = data(2_000, 50)
    problem, objective = lrb.Problem(X, y), lrb.Objective()
    kernels = lrb.get_backend("numpy").compile(problem, objective)
    taken = []

    def path(memory):
        theta, losses = np.zeros(51), []
        for l1 in np.geomspace(0.2, 0.002, 10):
            oracle = Oracle(problem, lrb.Objective(l1=l1), lambda *_: kernels)
            curved_at = oracle.curved_at
            monkeypatch.setattr(oracle, "curved_at", lambda t, f=curved_at: taken.append(1) or f(t))
            step = solved(oracle, Goal(gap=1e-6), theta, memory)
            theta = step.point.theta
            losses.append(step.point.loss)
        return losses

    apart = path(None)
    alone, together = len(taken), path(Memory())
    assert len(taken) - alone < alone
    np.testing.assert_allclose(together, apart, rtol=1e-6)


def test_a_memory_follows_the_penalty():
    X, y = data()
    memory = Memory()
    for l2 in (0.1, 0.01, 0.0):
        oracle = oracle_of(X, y, 0.01, l2, fit_intercept=False)
        step = solved(oracle, memory=memory)
        assert memory.anchor is not None
        point = oracle.curved_at(memory.anchor.theta)
        np.testing.assert_allclose(memory.anchor.hessian, point.hessian, rtol=1e-9, atol=1e-15)
        assert step.point.loss == pytest.approx(solved(oracle).point.loss, rel=1e-14)


def products_only(monkeypatch):
    monkeypatch.setattr(module, "_MOST_CURVED", 0)


def first_derivatives_only(oracle: Oracle) -> Oracle:
    kernels = oracle.kernels
    names = ("loss", "loss_gradient", "decision_function", "run")
    oracle.kernels = SimpleNamespace(**{name: getattr(kernels, name) for name in names})
    return oracle


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_products_do_where_a_hessian_is_too_large(monkeypatch, classes, l2):
    X, y = data(classes=classes)
    whole = solved(oracle_of(X, y, 0.02, l2))
    products_only(monkeypatch)
    oracle = oracle_of(X, y, 0.02, l2)
    monkeypatch.setattr(oracle, "curved_at", None)
    step = solved(oracle, Goal(gap=1e-9))
    assert step.point.loss - whole.point.loss <= step.bound
    assert step.bound <= 1e-9 * step.point.loss


@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_do_where_there_are_no_second_derivatives(classes):
    X, y = data(classes=classes)
    best = solved(oracle_of(X, y, 0.02)).point.loss
    step = solved(first_derivatives_only(oracle_of(X, y, 0.02)), Goal(gap=1e-6))
    assert step.point.loss - best <= step.bound <= 1e-6 * step.point.loss


def test_many_sparse_columns():
    X = sp.random_array((300, 5_000), density=0.01, rng=np.random.default_rng(0), format="csr")
    y = (X[:, :20].sum(axis=1) > 0.1).astype(int)
    step = solved(oracle_of(X, y, 0.002), Goal(gap=1e-6))
    assert 0 < np.count_nonzero(step.point.theta) < 300


def awkward(kind: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = data()
    if kind == "columns twice":
        X = np.hstack([X, X])
    elif kind == "opposite columns":
        X = np.hstack([X, -X])
    elif kind == "one-hot groups":
        rng = np.random.default_rng(1)
        X = np.hstack([np.eye(4)[rng.integers(4, size=len(y))] for _ in range(5)])
    elif kind == "fewer rows than columns":
        X, y = data(20, 60)
    elif kind == "separable":
        y = (X[:, 0] > 0).astype(int)
    elif kind == "constant and empty columns":
        X = np.hstack([X, np.ones((len(y), 1)), np.zeros((len(y), 1))])
    elif kind == "scales apart":
        X = X * 10.0 ** np.tile([-2, 0, 2, 0], 5)
    return X, y


AWKWARD = (
    *("columns twice", "opposite columns", "one-hot groups", "fewer rows than columns"),
    *("separable", "constant and empty columns", "scales apart"),
)


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("l1", [1e-4, 0.02])
@pytest.mark.parametrize("whole", ["hessian", "products"])
def test_awkward_data_is_solved_and_certified(monkeypatch, kind, l1, whole):
    if whole == "products":
        products_only(monkeypatch)
    oracle = oracle_of(*awkward(kind), l1)
    step = solved(oracle, Goal(gap=1e-8))
    assert step.bound <= 1e-8 * step.point.loss


def test_a_step_that_overshoots_is_shortened():
    X, y = data(classes=2)
    far = np.full(21, 30.0)  # where almost no curvature is left
    oracle = oracle_of(X, y, 0.01)
    best = solved(oracle).point.loss
    losses = [step.point.loss for step in proximal_newton(oracle, far, Goal())]
    assert (np.diff(losses[:10]) < 0).all()
    assert losses[-1] == pytest.approx(best, rel=1e-13)


def test_all_zero_is_found_and_certified_at_once():
    X, y = data()
    share = y.mean()
    largest = np.abs(X.T @ (share - y)).max() / len(y)
    start = np.append(np.zeros(20), np.log(share / (1 - share)))
    step = solved(oracle_of(X, y, 1.001 * largest), Goal(gap=1e-12), start)
    assert not step.point.theta[:-1].any()
    step = solved(oracle_of(X, y, 0.999 * largest), Goal(gap=1e-12), start)
    assert np.count_nonzero(step.point.theta[:-1]) == 1


@pytest.mark.parametrize("classes", [2, 3])
def test_float32(classes):
    X, y = data(classes=classes)
    oracle = oracle_of(X.astype(np.float32), y, 0.02)
    best = solved(oracle_of(X.astype(np.float32), y, 0.02, dtype="float64")).point.loss
    step = solved(oracle, Goal(gap=1e-4))
    assert step.point.loss == pytest.approx(best, rel=1e-4)
    theta = step.point.theta
    np.testing.assert_array_equal(theta, theta.astype(np.float32))


def test_backends_agree(backend_name):
    X, y = data(80, 6)
    mine = solved(oracle_of(X, y, 0.03, backend=backend_name)).point
    numpy = solved(oracle_of(X, y, 0.03)).point
    np.testing.assert_allclose(mine.theta, numpy.theta, atol=1e-13)
    assert ((mine.theta == 0) == (numpy.theta == 0)).all()


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 30),
    rank=st.integers(1, 40),
    strength=st.sampled_from([1e-3, 0.1, 1.0]),
)
def test_quadratic_models_are_solved(seed, size, rank, strength):
    """The conditions of a minimum hold; products of a singular matrix need a lift."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(rank, size))
    hessian, gradient = A.T @ A, A.T @ rng.normal(size=rank)
    start = rng.normal(size=size) * (rng.random(size) < 0.5)
    l1 = strength * rng.uniform(0.5, 1.5, size)
    l1[rng.random(size) < 0.1] = 0.0
    scale = np.abs(gradient).max() + np.abs(hessian).max()
    now, rounding = Minimum(start, 0.0, gradient), np.full(size, 1e-15 * scale)
    products = Products(lambda v: hessian @ v + 1e-12 * scale * v, np.diag(hessian).copy(), 1e-8)
    values = []
    for curvature in (Matrix(hessian), products):
        found = minimised(curvature, now, l1, 1e-14, rounding)
        slope = gradient + hessian @ (found.theta - start)
        active = found.theta != 0
        off = slope + l1 * np.sign(found.theta)
        assert np.abs(off[active]).max(initial=0.0) <= 1e-6 * scale
        assert (np.abs(slope) - l1)[~active].max(initial=0.0) <= 1e-6 * scale
        values.append(found.value)
    assert values[0] == pytest.approx(values[1], rel=1e-6, abs=1e-12)
    assert values[0] <= 0.0
