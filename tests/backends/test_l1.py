"""The absolute penalty: objective, subgradient of least size, and proximal steps."""

from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import lrbackends as lrb
from lrbackends.backends import numpy_backend
from lrbackends.backends._compensated import two_sum
from lrbackends.backends.protocol import Batches, State, initial_state, pack, unpack
from lrbackends.errors import UnsupportedError
from lrbackends.objective import exact_loss_gradient, reference_loss_gradient
from lrbackends.solvers import FIRST_ORDER, UpdateRule, epoch_batches

ARITHMETICS = pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
CLASSES = pytest.mark.parametrize("K", [2, 3])
L1 = 0.05


@cache
def problem_of(K: int, dtype: str = "float64", p: int = 6) -> lrb.Problem:
    """Return 90 weighted rows of features, of which the classes depend on two alone."""
    rng = np.random.default_rng(K)
    X = rng.normal(size=(90, p))
    z = np.zeros((90, K))
    z[:, 0], z[:, 1] = 2 * X[:, 0] + 0.5, X[:, 1]
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    return lrb.Problem(X, y, rng.integers(1, 4, size=90), dtype=dtype)


@pytest.fixture
def backend(backend_name):
    """Each backend that covers L1 penalties."""
    backend = lrb.get_backend(backend_name)
    if not backend.capabilities().l1:
        pytest.skip(f"{backend_name} does not cover an L1 penalty")
    return backend


_compiled: dict[Any, Any] = {}


def compiled(
    backend: Any, K: int, arithmetic: str, dtype: str = "float64", **penalties: float
) -> tuple[Any, lrb.Problem, lrb.Objective]:
    """Return kernels, problem and objective; compiled once."""
    problem, objective = problem_of(K, dtype), lrb.Objective(**({"l1": L1} | penalties))
    if problem.n_outputs > 1 and not backend.capabilities().multinomial:
        pytest.skip(f"{backend.name} does not cover more than two classes")
    key = backend.name, K, arithmetic, dtype, objective
    if key not in _compiled:
        _compiled[key] = backend.compile(problem, objective, arithmetic)
    return _compiled[key], problem, objective


def params_of(problem: lrb.Problem, scale: float) -> lrb.Params:
    """Return parameters, every other coefficient of which is zero."""
    rng = np.random.default_rng(1)
    coef = scale * rng.normal(size=(problem.n_outputs, problem.n_features))
    coef[:, ::2] = 0
    intercept = scale * rng.normal(size=problem.n_outputs)
    return lrb.Params(coef.astype(problem.dtype), intercept.astype(problem.dtype))


def same_bits(left: Any, right: Any) -> bool:
    """Whether two states (or other tuples) of arrays and numbers are equal bit for bit."""
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(left, right, strict=True)
    )


# -- objective and subgradient


@ARITHMETICS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [0.0, 0.3])
@CLASSES
def test_objective_and_slope_are_those_of_the_reference(backend, K, scale, dtype, arithmetic):
    kernels, problem, objective = compiled(backend, K, arithmetic, dtype, l2=0.1)
    params = params_of(problem, scale)
    loss, gradient = kernels.loss_gradient(params)
    true_loss, truth = reference_loss_gradient(problem, objective, params)
    tolerance = 20 * float(np.finfo(dtype).eps)
    assert type(loss) is float
    assert loss == kernels.loss(params)
    assert loss == pytest.approx(float(true_loss), rel=tolerance)
    for part, true_part in zip(gradient, truth, strict=True):
        assert part.dtype == dtype
        np.testing.assert_allclose(part, true_part.astype(float), rtol=0, atol=tolerance)
    # The slopes within l1 at a kink are zero, the others are not.
    inside = (params.coef == 0) & (gradient.coef == 0)
    assert (inside == ((params.coef == 0) & (truth.coef == 0))).all()
    assert inside.any()
    assert (gradient.coef != 0).any()


@ARITHMETICS
@CLASSES
def test_objective_and_slope_are_those_of_exact_arithmetic(backend, K, arithmetic):
    kernels, problem, objective = compiled(backend, K, arithmetic)
    params = params_of(problem, 0.3)
    loss, gradient = kernels.loss_gradient(params)
    exact_loss, dw, db = exact_loss_gradient(problem, objective, params)
    assert abs(Decimal(loss) - exact_loss) < Decimal("1e-14")
    for value, exact in zip(pack(gradient), [*dw, *db], strict=True):
        assert abs(Decimal(float(value)) - exact) < Decimal("1e-14")


def test_second_derivatives_are_those_without_the_penalty(backend):
    if not backend.capabilities().hessian:
        pytest.skip(f"{backend.name} offers no Hessian")
    for K in (2, 3):
        penalised, problem, _ = compiled(backend, K, "fast", l2=0.1)
        plain, _, _ = compiled(backend, K, "fast", l1=0.0, l2=0.1)
        params = params_of(problem, 0.3)
        hessian = penalised.hessian(params)
        assert same_bits([hessian], [plain.hessian(params)])
        found, expected = (k.loss_gradient_hessian(params) for k in (penalised, plain))
        assert found[0] == penalised.loss(params) > expected[0]
        assert same_bits(found[1], penalised.loss_gradient(params)[1])
        assert same_bits([found[2]], [hessian])


# -- proximal steps


def batches_for(problem: lrb.Problem, kind: str, n_steps: int) -> Batches | None:
    if kind == "full-batch":
        return None
    epochs = [epoch_batches(problem.n_samples, 40, 7, epoch) for epoch in range(n_steps)]
    return Batches(*(np.concatenate(parts)[:n_steps] for parts in zip(*epochs, strict=True)))


def ista(
    problem: lrb.Problem, objective: lrb.Objective, params: lrb.Params, rate: float, n_steps: int,
    batches: Batches | None = None,
) -> tuple[lrb.Params, np.ndarray]:  # fmt: skip
    """Proximal gradient descent as Beck & Teboulle (2009, section 1) write it, in longdouble."""
    X, weight = problem.X.astype(np.longdouble), problem.exact_weight
    K = len(problem.classes)
    Y = np.eye(K)[problem.y]
    W, b = (part.astype(np.longdouble) for part in params)
    records = []
    for t in range(n_steps):
        rows = slice(None) if batches is None else batches.indices[t, : batches.sizes[t]]
        x, omega = X[rows], weight[rows, None]
        z = x @ W.T + b
        if K == 2:
            z = np.hstack([np.zeros_like(z), z])
        a = np.exp(z - z.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)
        dz = (omega * (a - Y[rows]) / len(x))[:, K == 2 :]
        dW, db = dz.T @ x + objective.l2 * W, dz.sum(axis=0)
        loss = -(omega * Y[rows] * np.log(a)).sum() / len(x)
        loss += objective.l1 * np.abs(W).sum() + objective.l2 / 2 * (W**2).sum()
        at_zero = np.maximum(np.abs(dW) - objective.l1, 0)
        slope = np.where(W == 0, at_zero, np.abs(dW + objective.l1 * np.sign(W)))
        records.append([float(loss), float(max(slope.max(), np.abs(db).max()))])
        W = W - rate * dW
        W = np.sign(W) * np.maximum(np.abs(W) - rate * objective.l1, 0)
        b = b - rate * db
    return lrb.Params(W.astype(float), b.astype(float)), np.array(records)


def run(
    kernels: Any, params: lrb.Params, rate: float, n_steps: int, batches: Batches | None = None
) -> tuple[State, np.ndarray]:
    found: tuple[State, np.ndarray] = kernels.run(
        UpdateRule("gd", rate), initial_state(params), n_steps, batches
    )
    return found


def check_against_ista(kernels: Any, problem: lrb.Problem, objective: Any, kind: str) -> None:
    batches, params = batches_for(problem, kind, 60), params_of(problem, 0.3)
    state, records = run(kernels, params, 0.5, 60, batches)
    found = unpack(state.theta, problem.n_features)
    expected, true_records = ista(problem, objective, params, 0.5, 60, batches)
    tolerance = 1e-5 if problem.dtype == np.float32 else 1e-13
    assert state.theta.dtype == state.residual.dtype == problem.dtype
    np.testing.assert_allclose(pack(found), pack(expected), rtol=0, atol=tolerance)
    np.testing.assert_allclose(records, true_records, rtol=tolerance, atol=tolerance)
    assert ((found.coef == 0) == (expected.coef == 0)).all()
    assert (expected.coef == 0).any()
    assert (expected.coef != 0).any()
    assert (state.residual[state.theta == 0] == 0).all()


@pytest.mark.parametrize(
    ("K", "dtype", "kind", "arithmetic"),
    [
        (2, "float64", "mini-batch", "fast"),
        (3, "float64", "full-batch", "fast"),
        (3, "float32", "full-batch", "fast"),
        (2, "float64", "full-batch", "reproducible"),
        (3, "float64", "full-batch", "reproducible"),
        (3, "float32", "mini-batch", "reproducible"),
    ],
)
def test_steps_are_those_of_plain_ista(backend, K, dtype, kind, arithmetic):
    kernels, problem, objective = compiled(backend, K, arithmetic, dtype, l2=0.1)
    check_against_ista(kernels, problem, objective, kind)


def shrink_nothing(theta, residual, threshold, where):
    return theta, residual


def shrink_too_much(theta, residual, threshold, where):
    return numpy_backend_shrink(theta, residual, threshold * (1 + 1e-10), where)


def shrink_across_zero(theta, residual, threshold, where):
    return theta - where(theta > 0, threshold, -threshold), residual


def shrink_keeping_the_residual(theta, residual, threshold, where):
    moved, error = numpy_backend_shrink(theta, residual, threshold, where)
    return moved, where(moved == 0, theta, error)


numpy_backend_shrink = numpy_backend.shrink


@pytest.mark.parametrize(
    "wrong", [shrink_nothing, shrink_too_much, shrink_across_zero, shrink_keeping_the_residual]
)
def test_wrong_steps_would_be_noticed(monkeypatch, wrong):
    right = compiled(lrb.get_backend("numpy"), 3, "fast", l2=0.1)
    check_against_ista(*right, "full-batch")
    monkeypatch.setattr(numpy_backend, "shrink", wrong)
    with pytest.raises(AssertionError):
        check_against_ista(*right, "full-batch")


@ARITHMETICS
def test_intercepts_are_not_shrunk(backend, arithmetic):
    """With a penalty that keeps every coefficient at zero they become the classes' log-odds."""
    kernels, problem, _ = compiled(backend, 2, arithmetic, l1=10.0)
    zero = lrb.Params(np.zeros((1, 6)), np.zeros(1))
    state, records = run(kernels, zero, 3.0, 200)
    share = np.average(problem.y, weights=problem.exact_weight)
    assert (state.theta[:-1] == 0).all()
    assert state.theta[-1] == pytest.approx(np.log(share / (1 - share)), rel=1e-12)
    assert records[-1, 1] < 1e-14


@ARITHMETICS
def test_a_run_in_parts_is_the_whole_run_bit_for_bit(backend, arithmetic):
    kernels, problem, _ = compiled(backend, 3, arithmetic, l2=0.1)
    start = initial_state(params_of(problem, 0.3))
    before = [vector.tobytes() for vector in start[:4]]
    rule = UpdateRule("gd", 0.5)
    whole, records = kernels.run(rule, start, 30, None)
    half, early = kernels.run(rule, start, 12, None)
    rest, late = kernels.run(rule, half, 18, None)
    assert same_bits(whole, rest)
    assert np.concatenate([early, late]).tobytes() == records.tobytes()
    assert [vector.tobytes() for vector in start[:4]] == before


@pytest.mark.parametrize(
    ("K", "dtype", "kind"),
    [
        (2, "float64", "full-batch"),
        (3, "float64", "full-batch"),
        (3, "float32", "mini-batch"),
    ],
)
def test_the_reproducible_arithmetic_gives_the_same_bits(backend, K, dtype, kind):
    found = []
    for each in (lrb.get_backend("numpy"), backend):
        kernels, problem, _ = compiled(each, K, "reproducible", dtype, l2=0.1)
        params = params_of(problem, 0.3)
        state, records = run(kernels, params, 0.5, 40, batches_for(problem, kind, 40))
        loss, gradient = kernels.loss_gradient(unpack(state.theta, problem.n_features))
        found.append((*state, records, loss, *gradient))
    assert same_bits(*found)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@CLASSES
def test_numpys_reproducible_arithmetic_is_that_of_the_page(K, dtype):
    """docs/reproducible-arithmetic.md, a number at a time; what is smooth is tested elsewhere."""
    numpy, problem = lrb.get_backend("numpy"), problem_of(K, dtype, 70)
    kernels, smooth = (
        numpy.compile(problem, lrb.Objective(l2=0.1, l1=l1), "reproducible") for l1 in (L1, 0.0)
    )
    F, params = problem.dtype.type, params_of(problem, 0.03)
    loss, gradient = smooth.loss_gradient(params)
    theta, gradient = pack(params), pack(gradient)
    lanes, slopes, moved, l1 = [F(0)] * 16, list(gradient), [], F(L1)
    for j, w in enumerate(theta[: params.coef.size]):
        lanes[j % 16] += abs(w)
        kinked = np.sign(gradient[j]) * max(abs(gradient[j]) - l1, F(0))
        slopes[j] = kinked if w == 0 else gradient[j] + np.sign(w) * l1
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
    threshold, rate = F(0.5 * L1), F(0.5)
    for j, w in enumerate(theta):
        new, error = two_sum(w, F(0) + -rate * gradient[j])
        if j < params.coef.size:
            small = abs(new) <= threshold
            new, error = two_sum(new, error - np.sign(new) * threshold)
            new, error = (F(0), F(0)) if small else (new, error)
        moved.append((new, error))
    found_loss, found = kernels.loss_gradient(params)
    state, records = run(kernels, params, 0.5, 1)
    assert found_loss == loss + L1 * float(lanes[0])
    assert (pack(found) == slopes).all()
    assert (records == [found_loss, np.abs(slopes).max()]).all()
    assert (np.transpose([state.theta, state.residual]) == moved).all()
    assert 0 < np.count_nonzero(state.theta[theta == 0]) < np.count_nonzero(theta == 0)


@pytest.mark.parametrize("solver", [solver for solver in FIRST_ORDER if solver != "gd"])
def test_rules_that_are_not_proximal_are_refused(backend, solver):
    kernels, problem, _ = compiled(backend, 2, "fast", l2=0.1)
    start = initial_state(params_of(problem, 0.3))
    with pytest.raises(UnsupportedError, match=rf"{solver!r}.*proximal steps.*l1=0.05.*'gd'"):
        kernels.run(UpdateRule(solver, 0.5), start, 1, None)


# -- the optimum, found by others


@pytest.mark.parametrize(
    ("judge", "K", "intercept", "arithmetic"),
    [
        ("saga", 2, True, "fast"),
        ("saga", 3, True, "fast"),
        ("saga", 3, True, "reproducible"),
        ("liblinear", 2, False, "fast"),
    ],
)
def test_many_steps_lead_to_scikit_learns_optimum(backend, judge, K, intercept, arithmetic):
    """saga for the objective as it is; liblinear, which penalises intercepts, without one."""
    kernels, problem, _ = compiled(backend, K, arithmetic, fit_intercept=intercept)
    zero = lrb.Params(np.zeros((problem.n_outputs, 6)), np.zeros(problem.n_outputs))
    state, records = run(kernels, zero, 1.5, 1500)
    found = unpack(state.theta, problem.n_features)
    assert records[-1, 1] < 1e-12
    model = LogisticRegression(
        C=1 / (L1 * problem.n_samples), l1_ratio=1.0, solver=judge, fit_intercept=intercept,
        tol=1e-12, max_iter=20_000, random_state=0,
    )  # fmt: skip
    model.fit(problem.X, problem.y, problem.exact_weight)
    assert ((found.coef == 0) == (np.abs(model.coef_) < 1e-9)).all()
    assert 0 < (found.coef == 0).sum() < found.coef.size
    np.testing.assert_allclose(found.coef, model.coef_, rtol=0, atol=1e-8)
    theirs = lrb.Params(model.coef_, np.broadcast_to(model.intercept_, problem.n_outputs))
    assert kernels.loss(found) == pytest.approx(kernels.loss(theirs), rel=1e-12)
    # Another penalty has another optimum, so that agreeing means something.
    wrong, _, _ = compiled(backend, K, arithmetic, fit_intercept=intercept, l1=L1 * (1 + 1e-4))
    other, _ = run(wrong, found, 1.5, 500)
    assert np.abs(other.theta - state.theta).max() > 1e-6
