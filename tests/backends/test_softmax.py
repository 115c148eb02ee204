"""More than two classes, held against the formulas, exact arithmetic and scikit-learn."""

import functools
import operator
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import log_loss

import lrbackends as lrb
from lrbackends.backends import numpy_reproducible
from lrbackends.backends._chunks import _CHUNK_BYTES
from lrbackends.backends._reproducible import LN2_HIGH, LN2_LOW
from lrbackends.backends.protocol import Batches, State, initial_state, pack, unpack
from lrbackends.objective import (
    exact_loss_gradient,
    reference_hessian,
    reference_loss_gradient,
    softmax,
)
from lrbackends.solvers import FIRST_ORDER, UpdateRule, epoch_batches

SCALES = {"zero": 0.0, "random": 1.0, "large": 300.0}
CASES = {
    "plain": (3, {}, lrb.Objective()),
    "penalised": (4, {}, lrb.Objective(l2=0.25)),
    "weighted": (5, {"weighted": True}, lrb.Objective(l2=0.25)),
    "no-intercept": (3, {}, lrb.Objective(fit_intercept=False)),
    "float32": (4, {"dtype": "float32"}, lrb.Objective(l2=0.25)),
    "uint8": (3, {"storage": "uint8"}, lrb.Objective(l2=0.25)),
    "sparse": (5, {"storage": "csr"}, lrb.Objective(l2=0.25)),
}


@cache
def problem_of(
    K: int, n: int = 60, p: int = 3, weighted: bool = False, storage: str = "", dtype: Any = None
) -> lrb.Problem:
    """Return rows of K classes that no hyperplanes separate, the first of them without entries."""
    rng = np.random.default_rng(K)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.7)
    X[0] = 0
    y = (X @ rng.normal(size=(p, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    y[:K] = np.arange(K)
    weight = rng.integers(1, 5, size=n) if weighted else None
    if storage == "uint8":
        X = np.rint(10 * np.abs(X)).astype(np.uint8)
    elif storage == "csr":
        X = sparse.csr_array(X)
    return lrb.Problem(X, y, weight, dtype=dtype)


def params_of(problem: lrb.Problem, scale: float, seed: int = 5) -> lrb.Params:
    d = problem.n_outputs * (problem.n_features + 1)
    theta = scale * np.random.default_rng(seed).normal(size=d)
    return unpack(theta.astype(problem.dtype), problem.n_features)


def error_bounds(
    problem: lrb.Problem, objective: lrb.Objective, params: lrb.Params
) -> tuple[float, np.ndarray]:
    """Return how far loss and gradient may be from the truth when each operation rounds once.

    First order, for any order of summation. A score has p + 1 terms, and what the largest score is
    subtracted from rounds again: its error is at most d = (p + 4) eps S with S = |x| . |w| + |b|.
    A probability a passes differences of those on times a (1 - a), the loss times 1 - a_y. Sums
    over n rows and K classes add n + K roundings, the elementary functions a few. Doubled, for the
    reference's share.
    """
    eps = float(np.finfo(problem.dtype).eps)
    n, p = problem.X.shape
    X = problem.rows(0, n).astype(np.float64)
    coef, intercept = (part.astype(np.float64) for part in params)
    z = X @ coef.T + intercept
    d = (p + 4) * (np.abs(X) @ np.abs(coef).T + np.abs(intercept)).max(axis=1, keepdims=True)
    a, own = softmax(z), (np.arange(n), problem.y)
    weight = problem.exact_weight[:, None] / n
    rest = a.copy()
    rest[own] = 0
    others = rest.sum(axis=1)
    losses = np.logaddexp.reduce(z, axis=1) - z[own]
    size = a.copy()
    size[own] = others
    of_residual = weight * (2 * d * size * np.where(a > 0.5, 1 - a, 1) + (n + p + 20) * size)
    loss = weight[:, 0] @ (2 * d[:, 0] * others + (n + p + 20) * np.abs(losses))
    penalty = objective.l2 * np.abs(coef)
    dw = of_residual.T @ np.abs(X) + 4 * penalty
    loss += (coef.size + 4) * (penalty * np.abs(coef)).sum()
    return 2 * eps * loss, 2 * eps * np.append(dw, of_residual.sum(axis=0))


def same_bits(left: Any, right: Any) -> bool:
    """Whether two states (or other tuples) of arrays and numbers are equal bit for bit."""
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(left, right, strict=True)
    )


def in_exact_arithmetic(objective: lrb.Objective, problem: lrb.Problem, params: lrb.Params) -> Any:
    """Return the exact loss, and the exact gradient in the order of `pack`."""
    loss, dw, db = exact_loss_gradient(problem, objective, params)
    return loss, [*dw, *db]


def needs(backend: Any, problem: lrb.Problem) -> None:
    """Skip what a backend says that it does not cover."""
    can = backend.capabilities()
    for covered, what in (
        (can.multinomial, "more than two classes"),
        (can.sparse or not problem.sparse, "sparse X"),
    ):
        if not covered:
            pytest.skip(f"{backend.name} does not cover {what}")


@pytest.fixture
def backend(backend_name):
    """Each backend that covers more than two classes."""
    backend = lrb.get_backend(backend_name)
    needs(backend, problem_of(3))
    return backend


_compiled: dict[Any, Any] = {}


def compiled(backend: Any, case: str, arithmetic: str = "fast") -> tuple[Any, Any, Any]:
    """Return kernels, problem and objective of a case; compiled once."""
    K, form, objective = CASES[case]
    problem = problem_of(K, **form)
    needs(backend, problem)
    key = backend.name, case, arithmetic
    if key not in _compiled:
        _compiled[key] = backend.compile(problem, objective, arithmetic)
    return _compiled[key], problem, objective


# -- objective and gradient


def distances(kernels: Any, problem: lrb.Problem, objective: Any, params: Any) -> Iterator[float]:
    """Yield how far loss and gradient are from the reference's, in units of the bound."""
    loss, gradient = kernels.loss_gradient(params)
    true_loss, truth = reference_loss_gradient(problem, objective, params)
    bound, bounds = error_bounds(problem, objective, params)
    yield float(abs(loss - true_loss) / bound)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing can go wrong
        ratio = np.abs(pack(gradient) - pack(truth)) / bounds
    yield float(np.where(pack(gradient) == pack(truth), 0, ratio).max())


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_those_of_the_reference(backend, case, scale, arithmetic):
    if arithmetic == "reproducible" and case == "sparse":
        pytest.skip("not covered")
    kernels, problem, objective = compiled(backend, case, arithmetic)
    if arithmetic == "reproducible" and scale == "large":
        pytest.skip("probabilities below exp(-300) are specified to be exp(-300)")
    params = params_of(problem, SCALES[scale])
    loss, gradient = kernels.loss_gradient(params)
    assert type(loss) is float
    assert loss == kernels.loss(params)
    assert [part.shape for part in gradient] == [part.shape for part in params]
    assert [part.dtype for part in gradient] == [problem.dtype] * 2
    assert max(distances(kernels, problem, objective, params)) <= 1


@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient_are_those_of_exact_arithmetic(backend, scale):
    problem, objective = problem_of(4, n=15), lrb.Objective(l2=0.5)
    params = params_of(problem, SCALES[scale])
    loss, gradient = backend.compile(problem, objective).loss_gradient(params)
    exact_loss, exact = in_exact_arithmetic(objective, problem, params)
    bound, bounds = error_bounds(problem, objective, params)
    assert abs(Decimal(loss) - exact_loss) <= Decimal(bound)
    for value, truth, limit in zip(pack(gradient), exact, bounds, strict=True):
        assert abs(Decimal(float(value)) - truth) <= Decimal(float(limit))


def test_no_digit_is_lost_where_rows_are_far_on_the_right_side(backend):
    """Losses and residuals far below 1e-16 keep their digits; a - 1 and log(a) have none there."""
    X, y = 50 * np.eye(3), np.arange(3)
    problem, params = lrb.Problem(X, y), lrb.Params(np.eye(3), np.zeros(3))
    for arithmetic in ("fast", "reproducible"):
        kernels = backend.compile(problem, lrb.Objective(), arithmetic)
        loss, gradient = kernels.loss_gradient(params)
        exact_loss, exact = in_exact_arithmetic(lrb.Objective(), problem, params)
        assert loss == pytest.approx(float(exact_loss), rel=1e-13)
        assert 0 < loss < 1e-21
        truth = [float(value) for value in exact]
        np.testing.assert_allclose(pack(gradient)[:9], truth[:9], rtol=1e-13)


@pytest.mark.parametrize("scale", ["zero", "random"])
def test_loss_is_scikit_learns_and_gradient_its_differences(backend, scale):
    kernels, problem, objective = compiled(backend, "weighted")
    theta, p = pack(params_of(problem, SCALES[scale])), problem.n_features

    def judged(theta: np.ndarray) -> float:
        params = unpack(theta, p)
        probability = softmax(problem.X @ params.coef.T + params.intercept)
        loss = log_loss(problem.y, probability, sample_weight=problem.sample_weight)
        return loss + objective.l2 / 2 * (params.coef**2).sum()

    loss, gradient = kernels.loss_gradient(unpack(theta, p))
    assert loss == pytest.approx(judged(theta), rel=1e-13)
    step = 1e-5
    differences = [(judged(theta + h) - judged(theta - h)) / (2 * step) for h in
                   step * np.eye(len(theta))]  # fmt: skip
    np.testing.assert_allclose(pack(gradient), differences, rtol=0, atol=1e-9)


def test_scores_are_those_of_the_definition(backend):
    for case in CASES:
        for arithmetic in ("fast", "reproducible"):
            if case == "sparse" and (arithmetic, backend.capabilities().sparse) != ("fast", True):
                continue
            kernels, problem, _ = compiled(backend, case, arithmetic)
            params = params_of(problem, 1.0)
            for X in (problem.X, problem.X[7:12].copy()):
                z = kernels.decision_function(X, params)
                rows = (X.toarray() if problem.sparse else X).astype(np.longdouble)
                truth = rows @ params.coef.T + params.intercept
                assert type(z) is np.ndarray
                assert (z.dtype, z.shape) == (problem.dtype, (X.shape[0], problem.n_outputs))
                size = np.abs(rows) @ np.abs(params.coef.T) + np.abs(params.intercept)
                assert (np.abs(z - truth) <= 5 * np.finfo(problem.dtype).eps * size).all()


# -- second derivatives


@pytest.fixture
def curved(backend):
    """Each of them that offers Hessians."""
    if not backend.capabilities().hessian:
        pytest.skip(f"{backend.name} offers no Hessian")
    return backend


@pytest.mark.parametrize("scale", ["zero", "random"])
@pytest.mark.parametrize("case", CASES)
def test_the_hessian_is_that_of_the_reference(curved, case, scale):
    kernels, problem, objective = compiled(curved, case)
    params = params_of(problem, SCALES[scale])
    found = kernels.hessian(params)
    truth = reference_hessian(problem, objective, params).astype(np.float64)
    eps = np.finfo(problem.dtype).eps
    assert (found.dtype, found.shape) == (np.float64, truth.shape)
    assert (found == found.T).all()
    assert np.abs(found - truth).max() <= 50 * eps * np.abs(truth).max()
    assert np.abs(truth).max() > 0.1  # so that the limit means something
    loss, gradient, hessian = kernels.loss_gradient_hessian(params)
    alone_loss, alone = kernels.loss_gradient(params)
    assert same_bits((loss, *gradient, hessian), (alone_loss, *alone, found))
    for seed in (1, 2):  # the second may use what is kept of the first
        vector = params_of(problem, 1.0, seed)
        product = kernels.hessian_product(params, vector)
        assert [part.dtype for part in product] == [problem.dtype] * 2
        assert [part.shape for part in product] == [part.shape for part in params]
        expected = truth @ pack(vector)
        assert np.abs(pack(product) - expected).max() <= 50 * eps * np.abs(truth).max()


@pytest.mark.parametrize("scale", ["zero", "random"])
def test_the_hessian_is_the_derivative_of_the_gradient(curved, scale):
    kernels, problem, _ = compiled(curved, "weighted")
    theta, step, p = pack(params_of(problem, SCALES[scale])), 1e-5, problem.n_features
    rows = [
        pack(kernels.loss_gradient(unpack(theta + h, p))[1])
        - pack(kernels.loss_gradient(unpack(theta - h, p))[1])
        for h in step * np.eye(len(theta))
    ]
    found = kernels.hessian(unpack(theta, p))
    np.testing.assert_allclose(found, np.array(rows) / (2 * step), rtol=0, atol=1e-9)


# -- training steps


def batches_for(problem: lrb.Problem, kind: str, n_steps: int) -> Batches | None:
    """No batches, or ``n_steps`` mini-batches of 16, the last of each epoch shorter."""
    if kind == "full-batch":
        return None
    epochs = [epoch_batches(problem.n_samples, 16, 7, epoch) for epoch in range(n_steps)]
    return Batches(*(np.concatenate(parts)[:n_steps] for parts in zip(*epochs, strict=True)))


def start_of(problem: lrb.Problem, scale: float = 0.1) -> State:
    return initial_state(params_of(problem, scale))


def run_of_the_definition(
    textbook: Any, problem: lrb.Problem, objective: lrb.Objective, solver: str, rate: float,
    start: State, batches: Batches | None, n_steps: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Train by the definition: a loop over steps, probabilities less one-hot labels."""
    n, p = problem.X.shape
    split = problem.n_outputs * p
    X = problem.rows(0, n).astype(np.longdouble)
    Y = np.eye(problem.n_outputs)[problem.y]
    l2 = np.where(np.arange(len(start.theta)) < split, objective.l2, 0.0)
    records = []

    def gradient_of(theta, t):
        rows = slice(None) if batches is None else batches.indices[t, : batches.sizes[t]]
        x, Y_, omega = X[rows], Y[rows], problem.exact_weight[rows, None]
        a = np.exp(x @ theta[:split].reshape(-1, p).T + theta[split:])
        a /= a.sum(axis=1, keepdims=True)
        dz = omega * (a - Y_) / len(x)
        db = dz.sum(axis=0) * objective.fit_intercept
        gradient = np.append(dz.T @ x, db) + l2 * theta
        loss = -(omega * Y_ * np.log(a)).sum() / len(x) + l2 @ theta**2 / 2
        records.append([float(loss), float(np.abs(gradient).max())])
        return gradient

    theta = textbook(solver, gradient_of, start.theta.astype(np.longdouble), n_steps, rate)
    return theta.astype(float), np.array(records)


KINDS = pytest.mark.parametrize("kind", ["full-batch", "mini-batch"])
ARITHMETICS = pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])


@KINDS
@pytest.mark.parametrize(
    ("solver", "arithmetic"),
    [("gd", "reproducible"), *((solver, "fast") for solver in FIRST_ORDER)],
)
def test_steps_are_those_of_the_textbook_loop(backend, textbook, solver, kind, arithmetic):
    kernels, problem, objective = compiled(backend, "weighted", arithmetic)
    batches, start = batches_for(problem, kind, 25), start_of(problem)
    state, records = kernels.run(UpdateRule(solver, 0.2), start, 25, batches)
    theta, true_records = run_of_the_definition(
        textbook, problem, objective, solver, 0.2, start, batches, 25
    )
    # One gradient is right to about 1e-15; momentum adds up to 1 / (1 - 0.9) = 10 of them.
    np.testing.assert_allclose(state.theta, theta, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(records, true_records, rtol=1e-13, atol=1e-14)
    assert state.step == 25


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("no-intercept", "full-batch"),
        ("float32", "mini-batch"),
        ("uint8", "full-batch"),
        ("uint8", "mini-batch"),
        ("sparse", "full-batch"),
        ("sparse", "mini-batch"),
    ],
)
def test_steps_are_right_whatever_the_data_are_stored_in(backend, textbook, case, kind):
    kernels, problem, objective = compiled(backend, case)
    batches, start = batches_for(problem, kind, 10), start_of(problem)
    if not objective.fit_intercept:
        start = initial_state(params_of(problem, 0.1)._replace(intercept=np.zeros(3)))
    rate = 0.02 if case == "uint8" else 0.2
    state, records = kernels.run(UpdateRule("nesterov", rate), start, 10, batches)
    theta, true_records = run_of_the_definition(
        textbook, problem, objective, "nesterov", rate, start, batches, 10
    )
    tolerance = 1e-5 if case == "float32" else 1e-13
    assert [vector.dtype for vector in state[:4]] == [problem.dtype] * 4
    np.testing.assert_allclose(state.theta, theta, rtol=tolerance, atol=tolerance / 10)
    np.testing.assert_allclose(records, true_records, rtol=tolerance, atol=tolerance / 10)
    if not objective.fit_intercept:
        assert (state.theta[-3:] == 0).all()


@ARITHMETICS
@KINDS
def test_a_run_in_parts_is_the_whole_run_bit_for_bit(backend, kind, arithmetic):
    kernels, problem, _ = compiled(backend, "weighted", arithmetic)
    rule = UpdateRule("adam" if arithmetic == "fast" else "gd", 0.1)
    batches = batches_for(problem, kind, 9)
    start = start_of(problem)
    before = [vector.tobytes() for vector in start[:4]]
    whole, records = kernels.run(rule, start, 9, batches)
    state, parts = start, []
    for begin, end in ((0, 1), (1, 9)):
        part = batches and Batches(batches.indices[begin:end], batches.sizes[begin:end])
        state, record = kernels.run(rule, state, end - begin, part)
        parts.append(record)
    assert same_bits(whole, state)
    assert np.concatenate(parts).tobytes() == records.tobytes()
    assert [vector.tobytes() for vector in start[:4]] == before


# -- the reproducible arithmetic


def halved(lanes: list[Any]) -> Any:
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [left + right for left, right in zip(lanes[:half], lanes[half:], strict=True)]
    return lanes[0]


def in_lanes(terms: list[Any], count: int) -> Any:
    """Add terms to that many lanes, and halve those."""
    lanes = [type(terms[0])(0)] * count
    for k, term in enumerate(terms):
        lanes[k % count] = lanes[k % count] + term
    return halved(lanes)


def row_by_the_page(z: list[Any], y: int, omega: float) -> tuple[float, list[float]]:
    """Return loss and residuals of a row, by docs/reproducible-arithmetic.md."""
    one = lambda function, x: float(function(np.array([x]))[0])  # noqa: E731
    c = z.index(max(z))
    e = [one(numpy_reproducible.exp_of_minus, float(z[c]) - float(zk)) for zk in z]
    e[c] = 1.0
    rest = functools.reduce(operator.add, [ek for k, ek in enumerate(e) if k != c])
    total = 1 + rest
    a = [ek / total for ek in e]
    others = functools.reduce(operator.add, [ak for k, ak in enumerate(a) if k != y])
    if rest <= 1:
        log_total = one(numpy_reproducible.log_of_one_plus, rest)
    else:
        q = max(k for k in range(60) if 2**k <= total)
        part = one(numpy_reproducible.log_of_one_plus, total / 2**q - 1)
        log_total = q * LN2_HIGH + (part + q * LN2_LOW)
    residual = [omega * ak for ak in a]
    residual[y] = -(omega * others)
    return omega * ((float(z[c]) - float(z[y])) + log_total), residual


def loss_gradient_by_the_page(
    problem: lrb.Problem, objective: lrb.Objective, theta: np.ndarray
) -> tuple[float, np.ndarray]:
    F, (n, p), K = problem.dtype.type, problem.X.shape, problem.n_outputs
    X = np.hstack([problem.X, np.ones((n, 1), F)])
    losses, dz = [], np.zeros((n, K), F)
    for i, row in enumerate(X):
        theta_of = [[*theta[k * p : (k + 1) * p], theta[K * p + k]] for k in range(K)]
        z = [in_lanes([x * t for x, t in zip(row, part, strict=True)], 16) for part in theta_of]
        loss, residual = row_by_the_page(z, problem.y[i], float(problem.exact_weight[i]))
        losses.append(loss)
        small = 2.0**-40 if F is np.float32 else 0.0
        dz[i] = [0.0 if abs(value) < small else F(value) for value in residual]
    inverse = 1.0 / n
    sums = [[in_lanes(list(dz[:, k] * X[:, j]), 8) for j in range(p + 1)] for k in range(K)]
    dw = [total * F(inverse) for part in sums for total in part[:p]]
    dw = [g + F(objective.l2) * w for g, w in zip(dw, theta[: K * p], strict=True)]
    db = [part[p] * F(inverse) for part in sums]
    square = in_lanes([w * w for w in theta[: K * p]], 16)
    loss = in_lanes(losses, 64) * inverse + (0.5 * objective.l2) * float(square)
    return loss, np.array([*dw, *db])


@pytest.mark.parametrize("scale", [0.0, 0.1, 5.0, 300.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("K", "n", "p"), [(3, 60, 3), (5, 65, 17), (11, 17, 16), (12, 1, 2)])
def test_numpys_reproducible_arithmetic_is_that_of_the_page(K, n, p, dtype, scale):
    problem, objective = problem_of(K, max(n, K), p, True, dtype=dtype), lrb.Objective(l2=0.01)
    problem = problem.take(np.arange(n))
    kernels = lrb.get_backend("numpy").compile(problem, objective, "reproducible")
    params = params_of(problem, scale)
    loss, gradient = kernels.loss_gradient(params)
    assert same_bits(
        (loss, pack(gradient)), loss_gradient_by_the_page(problem, objective, pack(params))
    )


@pytest.mark.parametrize("scale", [0.1, 300.0])
@pytest.mark.parametrize(
    ("K", "n", "p", "dtype", "kind"),
    [
        (11, 17, 16, "float64", "mini-batch"),
        (5, 65, 17, "float64", "full-batch"),
        (5, 65, 17, "float32", "mini-batch"),
    ],
)
def test_the_reproducible_arithmetic_gives_the_same_bits(backend, K, n, p, dtype, scale, kind):
    """Sizes on both sides of the boundaries between lanes; a batch of one row; huge margins."""
    problem, objective = problem_of(K, n, p, True, dtype=dtype), lrb.Objective(l2=0.01)
    rule, start = UpdateRule("gd", 0.1), start_of(problem, scale)
    batches = batches_for(problem, kind, 6)
    found = []
    for each in (lrb.get_backend("numpy"), backend):
        kernels = each.compile(problem, objective, "reproducible")
        state, records = kernels.run(rule, start, 6, batches)
        params = unpack(state.theta, problem.n_features)
        loss, gradient = kernels.loss_gradient(params)
        z = kernels.decision_function(problem.X, params)
        found.append((*state, records, loss, *gradient, z))
    assert same_bits(*found)


def test_equal_scores_share_the_probability_alike(backend):
    """At zero each class has 1 / K, and ties go to the first class."""
    for arithmetic in ("fast", "reproducible"):
        kernels, problem, _ = compiled(backend, "plain", arithmetic)
        loss, gradient = kernels.loss_gradient(params_of(problem, 0.0))
        assert loss == pytest.approx(np.log(3), rel=1e-15)
        share = 1 / 3 - np.bincount(problem.y) / problem.n_samples
        np.testing.assert_allclose(gradient.intercept, share, rtol=0, atol=1e-15)


# -- storage and threads


def everything(backend: Any, problem: lrb.Problem, **options: Any) -> list[Any]:
    """Return what all kernels return, at one place and along runs."""
    kernels = backend.compile(problem, lrb.Objective(l2=0.1), **options)
    params, start = params_of(problem, 0.1), start_of(problem, 0.05)
    found = [kernels.loss(params), *kernels.loss_gradient(params)[1]]
    found.append(kernels.decision_function(problem.X, params))
    if backend.capabilities().hessian:
        found += [kernels.hessian(params), *kernels.hessian_product(params, params)]
    for kind in ("full-batch", "mini-batch"):
        batches = batches_for(problem, kind, 3)
        state, records = kernels.run(UpdateRule("nesterov", 0.01), start, 3, batches)
        found += [*state, records]
    return found


def test_narrow_rows_give_the_bits_of_wide_ones(backend):
    if not backend.capabilities().narrow:
        pytest.skip(f"{backend.name} does not read narrow X")
    narrow = problem_of(3, storage="uint8")
    wide = narrow.widened()
    assert (narrow.X.dtype, wide.X.dtype) == (np.uint8, np.float64)
    assert same_bits(everything(backend, narrow), everything(backend, wide))


@cache
def large(storage: str) -> lrb.Problem:
    """Return wide data in several chunks, the last one short: enough for two threads."""
    rng = np.random.default_rng(3)
    n, p, K = int(2.3 * _CHUNK_BYTES / (8 * 300)), 300, 4
    X = rng.normal(size=(n, p))
    y = (X[:, :K] + rng.gumbel(size=(n, K))).argmax(axis=1)
    if storage == "csr":
        X *= rng.random((n, p)) < 0.5
        X = sparse.csr_array(X)
    elif storage == "uint8":
        X = np.rint(20 * np.abs(X)).astype(np.uint8)
    return lrb.Problem(X, y)


@pytest.mark.parametrize("storage", ["float64", "uint8", "csr"])
@pytest.mark.parametrize("threaded", ["numpy", "numba"])
def test_the_number_of_threads_does_not_change_the_bits(threaded, storage):
    backend, problem = lrb.get_backend(threaded), large(storage)
    needs(backend, problem)
    found = [everything(backend, problem, n_threads=n_threads) for n_threads in (1, 2, 3)]
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])


@pytest.mark.parametrize("storage", ["float64", "csr"])
def test_large_data_give_the_gradient_of_the_reference(backend, storage):
    problem, objective = large(storage), lrb.Objective(l2=0.1)
    needs(backend, problem)
    kernels = backend.compile(problem, objective)
    # Sums of n terms are added in chunks and lanes: their error is far below the bound's n eps.
    assert max(distances(kernels, problem, objective, params_of(problem, 0.05))) <= 0.05


# -- the checks above can fail


class Wrong:
    """NumPy's kernels, some of whose answers are changed."""

    def __init__(self, kernels: Any, **changes: Any) -> None:
        self._kernels, self._changes = kernels, changes

    def loss_gradient(self, params: Any) -> Any:
        loss, gradient = self._kernels.loss_gradient(params)
        return self._changes.get("loss", float)(loss), self._changes.get("gradient", lrb.Params)(
            *gradient
        )


MISTAKES = {
    "loss off by 1e-13": {"loss": lambda loss: loss * (1 + 1e-13)},
    "classes in another order": {"gradient": lambda w, b: lrb.Params(w[::-1], b[::-1])},
    "one intercept off by 1e-13": {
        "gradient": lambda w, b: lrb.Params(w, b + 1e-13 * np.eye(len(b))[-1])
    },
    "one weight off by 1e-13": {
        "gradient": lambda w, b: lrb.Params(w + 1e-13 * np.eye(*w.shape, 1), b)
    },
    "one class without its gradient": {
        "gradient": lambda w, b: lrb.Params(w * (np.arange(len(w)) > 0)[:, None], b)
    },
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_bounds_would_catch(mistake):
    kernels, problem, objective = compiled(lrb.get_backend("numpy"), "weighted")
    params = params_of(problem, 1.0)
    assert max(distances(Wrong(kernels), problem, objective, params)) <= 1
    assert max(distances(Wrong(kernels, **MISTAKES[mistake]), problem, objective, params)) > 1


def test_the_textbook_loop_notices_a_row_that_counts_twice(textbook):
    problem, objective = problem_of(3), lrb.Objective()
    start = start_of(problem)
    twice = lrb.Problem(problem.X, problem.y, 1 + (np.arange(problem.n_samples) == 5))
    found = [
        run_of_the_definition(textbook, each, objective, "gd", 0.2, start, None, 25)[0]
        for each in (problem, twice)
    ]
    assert np.abs(found[0] - found[1]).min() > 1e-6


def test_products_keep_their_digits_where_one_class_is_nearly_certain(curved):
    problem = problem_of(3)
    params, vector = params_of(problem, 300.0), params_of(problem, 1.0)
    found = pack(curved.compile(problem, lrb.Objective()).hessian_product(params, vector))
    truth = reference_hessian(problem, lrb.Objective(), params) @ pack(vector)
    np.testing.assert_allclose(found, truth.astype(float), rtol=0, atol=1e-12 * abs(truth).max())
