"""What the protocol promises of kernels, held against every backend."""

from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.backends._chunks import _CHUNK_BYTES
from lrbackends.backends.protocol import (
    MOST_HESSIAN_FEATURES,
    Batches,
    State,
    initial_state,
    pack,
    unpack,
)
from lrbackends.errors import UnsupportedError
from lrbackends.objective import exact_loss_gradient, reference_loss_gradient
from lrbackends.solvers import FIRST_ORDER, UpdateRule, epoch_batches

SCALES = {"zero": 0.0, "random": 1.0, "large": 300.0}


def params_of(problem: lrb.Problem, scale: float) -> lrb.Params:
    draw = scale * np.random.default_rng(5).normal(size=problem.n_features + 1)
    return lrb.Params(draw[None, :-1].astype(problem.dtype), draw[-1:].astype(problem.dtype))


def same_bits(left, right) -> bool:
    """Whether two states (or other tuples) of arrays and numbers are equal bit for bit."""
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def backend(backend_name):
    return lrb.get_backend(backend_name)


@pytest.fixture(params=["plain", "penalised", "weighted", "no-intercept", "float32"])
def case(request, noisy, row_weights) -> tuple[lrb.Problem, lrb.Objective]:
    """A problem and an objective."""
    weight = row_weights if request.param == "weighted" else None
    dtype = "float32" if request.param == "float32" else None
    return (
        lrb.Problem(*noisy, weight, dtype=dtype),
        lrb.Objective(
            l2=0.25 if request.param in ("penalised", "weighted", "float32") else 0.0,
            fit_intercept=request.param != "no-intercept",
        ),
    )


# -- objective and gradient


@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient_are_those_of_the_reference(backend, case, rounding_bound, scale):
    problem, objective = case
    params = params_of(problem, SCALES[scale])
    loss, gradient = backend.compile(problem, objective).loss_gradient(params)
    true_loss, truth = reference_loss_gradient(problem, objective, params)
    bound, bounds = rounding_bound(problem, objective, params)
    assert type(loss) is float
    assert abs(loss - true_loss) <= bound
    for part, true_part, limit in zip(gradient, truth, bounds, strict=True):
        assert type(part) is np.ndarray
        assert part.dtype == problem.dtype
        assert part.shape == true_part.shape
        assert (np.abs(part - true_part) <= limit).all()


@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient_are_those_of_exact_arithmetic(backend, noisy, rounding_bound, scale):
    problem, objective = lrb.Problem(noisy.X[:20], noisy.y[:20]), lrb.Objective(l2=0.5)
    params = params_of(problem, SCALES[scale])
    loss, gradient = backend.compile(problem, objective).loss_gradient(params)
    exact_loss, exact_dw, exact_db = exact_loss_gradient(problem, objective, params)
    bound, bounds = rounding_bound(problem, objective, params)
    assert abs(Decimal(loss) - exact_loss) <= Decimal(bound)
    for value, exact, limit in zip(
        pack(gradient), [*exact_dw, *exact_db], pack(bounds), strict=True
    ):
        assert abs(Decimal(float(value)) - exact) <= Decimal(float(limit))


def test_the_bound_would_catch_a_sample_left_out(noisy, rounding_bound):
    """The check above can fail: without its last row the problem is beyond the bound."""
    problem, objective = lrb.Problem(*noisy), lrb.Objective()
    params = params_of(problem, 1.0)
    fewer = lrb.Problem(noisy.X[:-1], noisy.y[:-1])
    loss, gradient = reference_loss_gradient(problem, objective, params)
    wrong_loss, wrong = reference_loss_gradient(fewer, objective, params)
    bound, bounds = rounding_bound(problem, objective, params)
    assert abs(loss - wrong_loss) > 1e6 * bound
    assert (np.abs(pack(gradient) - pack(wrong)) > 1e6 * pack(bounds)).all()


def test_loss_is_the_one_that_comes_with_the_gradient(backend, case):
    kernels, params = backend.compile(*case), params_of(case[0], 1.0)
    assert kernels.loss(params) == kernels.loss_gradient(params)[0]


def test_scores_are_those_of_the_definition(backend, case):
    problem, _ = case
    params = params_of(problem, 1.0)
    kernels = backend.compile(*case)
    eps = np.finfo(problem.dtype).eps
    for X in (problem.X, problem.X[7:12].copy()):
        z = kernels.decision_function(X, params)
        truth = X.astype(np.longdouble) @ params.coef[0] + params.intercept[0]
        size = np.abs(X) @ np.abs(params.coef[0]) + np.abs(params.intercept[0])
        assert type(z) is np.ndarray
        assert (z.dtype, z.shape) == (problem.dtype, (len(X),))
        assert (np.abs(z - truth) <= (problem.n_features + 2) * eps * size).all()


def test_params_come_in_any_form_that_fits(backend, noisy):
    kernels = backend.compile(lrb.Problem(*noisy), lrb.Objective())
    flat = kernels.loss_gradient(([0.5, -1.0, 2.0], 0.25))
    full = kernels.loss_gradient(lrb.Params(np.array([[0.5, -1.0, 2.0]]), np.array([0.25])))
    assert flat[0] == full[0]
    assert same_bits(flat[1], full[1])
    with pytest.raises(ValueError, match=r"expected coef \(1, 3\)"):
        kernels.loss(([0.5, -1.0], 0.25))


# -- training steps


def batches_for(problem: lrb.Problem, kind: str, n_steps: int) -> Batches | None:
    """No batches, or ``n_steps`` mini-batches of 16, the last of each epoch shorter."""
    if kind == "full-batch":
        return None
    epochs = [epoch_batches(problem.n_samples, 16, 7, epoch) for epoch in range(n_steps)]
    return Batches(*(np.concatenate(parts)[:n_steps] for parts in zip(*epochs, strict=True)))


def between(batches: Batches | None, start: int, stop: int) -> Batches | None:
    return batches and Batches(batches.indices[start:stop], batches.sizes[start:stop])


def start_of(problem: lrb.Problem) -> State:
    return initial_state(params_of(problem, 0.1))


KINDS = pytest.mark.parametrize("kind", ["full-batch", "mini-batch"])


@pytest.fixture
def textbook_run(textbook):
    """Training by the definition: a loop over steps, the gradient of each batch, `longdouble`."""

    def run(problem, objective, solver, rate, start, batches, n_steps):
        weight = problem.weight.astype(np.longdouble)
        last = np.full((problem.n_samples, 1), float(objective.fit_intercept))
        X = np.hstack([problem.X, last]).astype(np.longdouble)
        l2 = np.append(np.full(problem.n_features, objective.l2), 0.0)
        records = []

        def gradient_of(theta, t):
            rows = slice(None) if batches is None else batches.indices[t, : batches.sizes[t]]
            omega, sign, x = weight[rows], problem.sign[rows], X[rows]
            m = sign * (x @ theta)
            dz = omega * sign / (1 + np.exp(-m))
            gradient = dz @ x / len(m) + l2 * theta
            loss = (omega * np.logaddexp(0, m)).sum() / len(m) + l2 @ theta**2 / 2
            records.append([float(loss), float(np.abs(gradient).max())])
            return gradient

        theta = textbook(solver, gradient_of, start.theta.astype(np.longdouble), n_steps, rate)
        return theta.astype(float), np.array(records)

    return run


@KINDS
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_steps_are_those_of_the_textbook_loop(
    backend, noisy, row_weights, textbook_run, solver, kind
):
    problem, objective = lrb.Problem(*noisy, row_weights), lrb.Objective(l2=0.1)
    batches, start = batches_for(problem, kind, 25), start_of(problem)
    kernels = backend.compile(problem, objective)
    state, records = kernels.run(UpdateRule(solver, 0.3), start, 25, batches)
    theta, true_records = textbook_run(problem, objective, solver, 0.3, start, batches, 25)
    # One gradient is right to about 1e-15; momentum adds up to 1 / (1 - 0.9) = 10 of them.
    np.testing.assert_allclose(state.theta, theta, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(records, true_records, rtol=1e-13, atol=1e-14)
    assert state.step == 25


def test_steps_without_an_intercept_leave_it_alone(backend, noisy, textbook_run):
    problem, objective = lrb.Problem(*noisy), lrb.Objective(fit_intercept=False)
    start = initial_state(lrb.Params(np.full((1, 3), 0.1), np.zeros(1)))
    state, _ = backend.compile(problem, objective).run(UpdateRule("gd", 0.3), start, 25, None)
    theta, _ = textbook_run(problem, objective, "gd", 0.3, start, None, 25)
    assert state.theta[-1] == 0.0
    np.testing.assert_allclose(state.theta, theta, rtol=1e-13)


@KINDS
def test_no_steps_return_the_values_of_the_state(backend, noisy, kind):
    problem = lrb.Problem(*noisy)
    start = start_of(problem)._replace(step=4, residual=np.full(4, 1e-20))
    batches = between(batches_for(problem, kind, 4), 0, 0)
    state, records = backend.compile(problem, lrb.Objective()).run(
        UpdateRule("adam", 0.1), start, 0, batches
    )
    assert records.shape == (0, 2)
    assert same_bits(state, start)


@KINDS
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_steps_write_neither_to_the_state_nor_to_the_data(backend, noisy, solver, kind):
    problem = lrb.Problem(noisy.X.copy(), noisy.y)
    start, batches = start_of(problem), batches_for(problem, kind, 6)
    given = (*start[:4], problem.X, problem.sign, problem.weight, *(batches or ()))
    before = [array.tobytes() for array in given]
    backend.compile(problem, lrb.Objective()).run(UpdateRule(solver, 0.3), start, 6, batches)
    assert [array.tobytes() for array in given] == before


@KINDS
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_a_run_in_parts_is_the_whole_run_bit_for_bit(backend, noisy, solver, kind):
    problem = lrb.Problem(*noisy)
    rule, batches, start = (
        UpdateRule(solver, 0.3),
        batches_for(problem, kind, 17),
        start_of(problem),
    )
    kernels = backend.compile(problem, lrb.Objective())
    whole, records = kernels.run(rule, start, 17, batches)
    state, parts = start, []
    for begin, end in ((0, 1), (1, 6), (6, 17)):
        state, part = kernels.run(rule, state, end - begin, between(batches, begin, end))
        parts.append(part)
    assert same_bits(whole, state)
    assert np.concatenate(parts).tobytes() == records.tobytes()


@KINDS
def test_equal_arguments_give_equal_bits(backend, noisy, kind):
    problem = lrb.Problem(*noisy)
    rule, batches, start = (
        UpdateRule("nesterov", 0.3),
        batches_for(problem, kind, 9),
        start_of(problem),
    )
    runs = [
        backend.compile(lrb.Problem(noisy.X.copy(), noisy.y), lrb.Objective()).run(
            rule, start, 9, batches
        )
        for _ in range(2)
    ]
    assert same_bits(runs[0][0], runs[1][0])
    assert runs[0][1].tobytes() == runs[1][1].tobytes()


def test_many_more_steps_than_one_native_call_holds(backend, noisy):
    problem = lrb.Problem(*noisy)
    rule, start = UpdateRule("adam", 0.01), start_of(problem)
    kernels = backend.compile(problem, lrb.Objective())
    whole, records = kernels.run(rule, start, 2500, None)
    halfway, _ = kernels.run(rule, start, 1250, None)
    rest, later = kernels.run(rule, halfway, 1250, None)
    assert same_bits(whole, rest)
    assert records[1250:].tobytes() == later.tobytes()
    assert np.isfinite(records).all()


def test_records_are_objective_and_gradient_before_each_step(backend, noisy):
    problem = lrb.Problem(*noisy)
    kernels = backend.compile(problem, lrb.Objective(l2=0.1))
    rule, state = UpdateRule("gd", 0.5), start_of(problem)
    _, records = kernels.run(rule, state, 5, None)
    for loss, norm in records:
        at, gradient = kernels.loss_gradient(lrb.Params(state.theta[None, :-1], state.theta[-1:]))
        assert loss == pytest.approx(at, rel=1e-14)
        assert norm == pytest.approx(np.abs(pack(gradient)).max(), rel=1e-13)
        state, _ = kernels.run(rule, state, 1, None)


def test_padding_of_a_short_batch_does_not_count(backend, noisy):
    problem = lrb.Problem(*noisy)
    rule, start = UpdateRule("gd", 0.3), start_of(problem)
    kernels = backend.compile(problem, lrb.Objective())
    rows = np.array([[5, 9, 11, 0], [5, 9, 11, 33]])
    size = np.array([3])
    states = [kernels.run(rule, start, 1, Batches(row[None], size))[0] for row in rows]
    assert same_bits(*states)


@pytest.mark.parametrize(
    ("solver", "kind"), [("gd", "full-batch"), ("gd", "mini-batch"), ("adam", "full-batch")]
)
def test_float32_stays_float32(backend, noisy, textbook_run, solver, kind):
    problem, objective = lrb.Problem(*noisy, dtype="float32"), lrb.Objective(l2=0.1)
    batches, start = batches_for(problem, kind, 5), start_of(problem)
    state, records = backend.compile(problem, objective).run(
        UpdateRule(solver, 0.1), start, 5, batches
    )
    assert [vector.dtype for vector in state[:4]] == ["float32"] * 4
    assert records.dtype == np.float64
    theta, _ = textbook_run(problem, objective, solver, 0.1, start, batches, 5)
    # Adam divides by the size of the gradient, so one entry near zero costs a few digits.
    np.testing.assert_allclose(state.theta, theta, rtol=1e-5, atol=1e-6)


def test_steps_too_small_for_one_float_are_not_lost(backend, noisy):
    """A thousand steps of a third of an ULP each: alone, none of them would move the weights."""
    problem = lrb.Problem(*noisy)
    start = initial_state(lrb.Params(np.full((1, 3), 1.0), np.ones(1)))
    kernels = backend.compile(problem, lrb.Objective())
    gradient = pack(kernels.loss_gradient(lrb.Params(np.full((1, 3), 1.0), np.ones(1)))[1])
    rate = np.spacing(1.0) / 3 / np.abs(gradient).max()
    state, _ = kernels.run(UpdateRule("gd", rate), start, 1000, None)
    moved = (state.theta - start.theta) + state.residual
    np.testing.assert_allclose(moved, -1000 * rate * gradient, rtol=1e-9)
    assert (np.abs(state.residual) <= np.spacing(state.theta) / 2).all()


def test_a_nan_is_kept_in_the_records(backend, noisy):
    problem = lrb.Problem(*noisy)
    start = initial_state(lrb.Params(np.array([[0.1, np.nan, 0.1]]), np.zeros(1)))
    _, records = backend.compile(problem, lrb.Objective()).run(
        UpdateRule("gd", 0.1), start, 2, None
    )
    assert np.isnan(records).all()


def test_without_a_penalty_huge_weights_still_have_a_finite_loss(backend, noisy):
    """The square of the weights overflows, but a penalty of strength 0 is 0."""
    problem = lrb.Problem(*noisy)
    params = lrb.Params(np.full((1, 3), 1e200), np.zeros(1))
    loss, gradient = backend.compile(problem, lrb.Objective()).loss_gradient(params)
    true_loss, _ = reference_loss_gradient(problem, lrb.Objective(), params)
    assert loss == pytest.approx(float(true_loss), rel=1e-12)
    assert np.isfinite(pack(gradient)).all()


# -- second derivatives


@pytest.fixture
def curved(backend):
    """Each backend that knows second derivatives."""
    if not backend.capabilities().hessian:
        pytest.skip(f"{backend.name} has no Hessian")
    return backend


def differences_of(gradient_at, theta: np.ndarray, size: float = 1e-5) -> np.ndarray:
    """Return the derivative of a gradient by central differences; its error is about 1e-10."""
    steps = size * np.eye(len(theta))
    return np.array([(gradient_at(theta + h) - gradient_at(theta - h)) / (2 * size) for h in steps])


def hessian_by_jax(problem: lrb.Problem, objective: lrb.Objective, params) -> np.ndarray:
    """Return JAX's second derivative of its own `logaddexp`, in float64."""
    X, fixed = problem.X.astype(np.float64), float(params.intercept[0])

    def value(theta):
        intercept = theta[-1] if objective.fit_intercept else fixed
        losses = jnp.logaddexp(0.0, problem.sign * (X @ theta[:-1] + intercept))
        return jnp.average(losses, weights=problem.exact_weight) + (
            objective.l2 / 2 * jnp.sum(theta[:-1] ** 2)
        )

    with jax.enable_x64(True):
        return np.asarray(jax.hessian(value)(pack(params).astype(np.float64)))


@pytest.mark.parametrize("scale", ["zero", "random"])
def test_the_hessian_is_the_derivative_of_the_gradient(curved, case, scale):
    problem, objective = case
    if problem.dtype == np.float32:
        problem = lrb.Problem(problem.X.astype(np.float64), problem.y)
    kernels = curved.compile(problem, objective)
    theta = pack(params_of(problem, SCALES[scale]))

    def gradient_at(theta: np.ndarray) -> np.ndarray:
        return pack(kernels.loss_gradient(unpack(theta, problem.n_features))[1])

    found = kernels.hessian(unpack(theta, problem.n_features))
    truth = differences_of(gradient_at, theta)
    if not objective.fit_intercept:
        truth[-1] = 0  # no parameter: a given intercept stays as it is
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", ["zero", "random"])
def test_the_hessian_is_that_of_an_independent_derivation(curved, case, scale):
    problem, objective = case
    params = params_of(problem, SCALES[scale])
    found = curved.compile(problem, objective).hessian(params)
    truth = hessian_by_jax(problem, objective, params)
    assert (found.dtype, found.shape) == (np.float64, truth.shape)
    assert (found == found.T).all()
    eps = np.finfo(problem.dtype).eps
    assert np.abs(found - truth).max() <= 50 * eps * np.abs(truth).max()
    assert np.abs(truth).max() > 0.1  # so that the limit means something


@pytest.mark.parametrize("scale", ["zero", "random"])
def test_products_are_those_with_the_hessian(curved, case, scale):
    problem, objective = case
    params = params_of(problem, SCALES[scale])
    kernels = curved.compile(problem, objective)
    hessian = kernels.hessian(params)
    eps = np.finfo(problem.dtype).eps
    for seed in (1, 2):  # the second may use what is kept of the first
        vector = np.random.default_rng(seed).normal(size=len(hessian)).astype(problem.dtype)
        product = kernels.hessian_product(params, unpack(vector, problem.n_features))
        assert [part.dtype for part in product] == [problem.dtype] * 2
        assert [part.shape for part in product] == [part.shape for part in params]
        assert np.abs(pack(product) - hessian @ vector).max() <= 50 * eps * np.abs(hessian).max()


def test_curvature_is_not_kept_for_other_params(curved, noisy):
    problem = lrb.Problem(*noisy)
    here, there = params_of(problem, 1.0), params_of(problem, 0.5)
    kernels = curved.compile(problem, lrb.Objective())
    expected = [kernels.hessian_product(params, here) for params in (here, there)]
    again = [kernels.hessian_product(params, here) for params in (here, there)]
    assert not same_bits(*expected)
    assert all(same_bits(*pair) for pair in zip(expected, again, strict=True))


def test_one_pass_gives_what_each_alone_gives(curved, case):
    problem, objective = case
    kernels, params = curved.compile(problem, objective), params_of(problem, 1.0)
    loss, gradient, hessian = kernels.loss_gradient_hessian(params)
    alone_loss, alone = kernels.loss_gradient(params)
    assert same_bits((loss, *gradient, hessian), (alone_loss, *alone, kernels.hessian(params)))


def test_a_hessian_of_too_many_features_is_refused(curved):
    X = np.eye(3, MOST_HESSIAN_FEATURES + 1)
    kernels = curved.compile(lrb.Problem(X, [0, 1, 1]), lrb.Objective())
    zero = lrb.Params(np.zeros(X.shape[1]), np.zeros(1))
    for hessian in (kernels.hessian, kernels.loss_gradient_hessian):
        with pytest.raises(UnsupportedError, match=rf"{X.shape[1]} coefficients.*hessian_product"):
            hessian(zero)
    assert kernels.hessian_product(zero, zero).coef.shape == (1, X.shape[1])


def test_the_reproducible_arithmetic_refuses_second_derivatives(curved, noisy):
    problem = lrb.Problem(*noisy)
    kernels, params = (
        curved.compile(problem, lrb.Objective(), "reproducible"),
        params_of(problem, 1),
    )
    for call in (
        lambda: kernels.hessian(params),
        lambda: kernels.loss_gradient_hessian(params),
        lambda: kernels.hessian_product(params, params),
    ):
        with pytest.raises(UnsupportedError, match=r"reproducible.*'fast'"):
            call()


# -- storage: narrow and sparse


def everything(backend, problem: lrb.Problem, arithmetic: str = "fast", **options) -> list:
    """Return what all kernels return, at one place and along runs."""
    kernels = backend.compile(problem, lrb.Objective(l2=0.1), arithmetic, **options)
    params = params_of(problem, 0.5)
    found = [kernels.loss(params), *kernels.loss_gradient(params)[1]]
    found.append(kernels.decision_function(problem.X, params))
    found.append(kernels.decision_function(problem.X[3:9], params))
    if backend.capabilities().hessian and arithmetic == "fast":
        found += [kernels.hessian(params), *kernels.hessian_product(params, params)]
    for kind in ("full-batch", "mini-batch"):
        batches = batches_for(problem, kind, 5)
        state, records = kernels.run(UpdateRule("nesterov", 0.1), start_of(problem), 5, batches)
        found += [*state, records]
    return found


def whole_numbers(noisy, storage: str, dtype: str) -> lrb.Problem:
    """Numbers that any type holds, around 0 (around 100 without a sign), stored as asked."""
    X = np.rint(10 * noisy.X) + (100 if storage == "uint8" else 0)
    X = X.astype(storage)
    X.setflags(write=False)
    return lrb.Problem(X, noisy.y, dtype=dtype)


@pytest.mark.parametrize(
    ("storage", "dtype", "arithmetic"),
    [
        ("uint8", "float64", "fast"),
        ("bool", "float64", "fast"),
        ("int8", "float32", "fast"),
        ("float32", "float64", "fast"),
        ("uint8", "float64", "reproducible"),
        ("int8", "float32", "reproducible"),
    ],
)
def test_narrow_rows_give_the_bits_of_wide_ones(backend, noisy, storage, dtype, arithmetic):
    if not backend.capabilities().narrow:
        pytest.skip(f"{backend.name} does not read narrow X")
    narrow = whole_numbers(noisy, storage, dtype)
    wide = narrow.widened()
    assert wide.X.dtype == dtype
    assert same_bits(everything(backend, narrow, arithmetic), everything(backend, wide, arithmetic))


@pytest.fixture(scope="module")
def large_sparse() -> lrb.Problem:
    """CSR data in several chunks, with an empty row and columns of very different sizes."""
    rng = np.random.default_rng(4)
    n, p = 20_000, 300
    X = sparse.random_array((n, p), density=0.2, rng=rng, format="csr")
    X.data[:] = rng.normal(size=X.nnz)
    X.data[X.indptr[5] : X.indptr[6]] = 0
    X.eliminate_zeros()
    y = X.sum(axis=1) + rng.logistic(size=n) > 0
    return lrb.Problem(X, y)


@pytest.fixture
def of_rows(backend):
    """Each backend that takes CSR data."""
    if not backend.capabilities().sparse:
        pytest.skip(f"{backend.name} takes no sparse X")
    return backend


@pytest.mark.parametrize(("index", "dtype"), [("int32", "float64"), ("int64", "float32")])
def test_sparse_rows_give_what_dense_ones_give(of_rows, noisy, row_weights, dtype, index):
    X = np.where(np.abs(noisy.X) > 0.5, noisy.X, 0.0)
    X[4] = 0
    csr = sparse.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(index), csr.indptr.astype(index)
    for array in (csr.data, csr.indices, csr.indptr):
        array.setflags(write=False)
    sparse_problem = lrb.Problem(csr, noisy.y, row_weights, dtype=dtype)
    dense_problem = lrb.Problem(X, noisy.y, row_weights, dtype=dtype)
    assert sparse_problem.sparse
    tolerance = 100 * np.finfo(dtype).eps
    for found, expected in zip(
        everything(of_rows, sparse_problem), everything(of_rows, dense_problem), strict=True
    ):
        assert np.asarray(found).dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_large_sparse_data_give_what_dense_ones_give(of_rows, large_sparse):
    dense = lrb.Problem(large_sparse.X.toarray(), large_sparse.y)
    for found, expected in zip(
        everything(of_rows, large_sparse), everything(of_rows, dense), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_the_hessian_of_very_sparse_rows_is_that_of_dense_ones(of_rows):
    X = sparse.random_array((500, 200), density=0.01, rng=np.random.default_rng(2), format="csr")
    y = np.arange(500) % 2
    objective = lrb.Objective(l2=0.1)
    params = params_of(lrb.Problem(X, y), 1.0)
    found = of_rows.compile(lrb.Problem(X, y), objective).hessian(params)
    truth = of_rows.compile(lrb.Problem(X.toarray(), y), objective).hessian(params)
    assert (found == found.T).all()
    np.testing.assert_allclose(found, truth, rtol=1e-13, atol=1e-16)


# -- threads


@pytest.fixture(scope="module")
def large() -> lrb.Problem:
    """Data in four chunks, the last one short: enough for three threads."""
    rng = np.random.default_rng(3)
    n = int(3.4 * _CHUNK_BYTES / (8 * 101))
    X = rng.normal(size=(n, 101))
    return lrb.Problem(X, X[:, 0] + rng.logistic(size=n) > 0)


@pytest.mark.parametrize("threaded", ["numpy", "numba"])
def test_the_number_of_threads_does_not_change_the_bits(large, threaded):
    backend = lrb.get_backend(threaded)
    rule, start = UpdateRule("nesterov", 0.1), start_of(large)
    found = []
    for n_threads in (1, 2, 3):
        kernels = backend.compile(large, lrb.Objective(l2=0.1), n_threads=n_threads)
        assert kernels._team.size == n_threads
        loss, gradient = kernels.loss_gradient(lrb.Params(start.theta[None, :-1], start.theta[-1:]))
        state, records = kernels.run(rule, start, 4, None)
        found.append((loss, *gradient, *state, records))
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])


@pytest.mark.parametrize("storage", ["float64", "narrow", "sparse"])
@pytest.mark.parametrize("threaded", ["numpy", "numba"])
def test_nor_those_of_any_other_kernel(large, large_sparse, threaded, storage):
    backend = lrb.get_backend(threaded)
    can = backend.capabilities()
    if not {"float64": can.hessian, "narrow": can.narrow, "sparse": can.sparse}[storage]:
        pytest.skip(f"{threaded} does not cover it")
    problem = large_sparse if storage == "sparse" else large
    if storage == "narrow":
        problem = lrb.Problem(np.rint(20 * large.X).astype(np.int8), large.y)
        assert problem.X.dtype == np.int8
    found = [everything(backend, problem, n_threads=n_threads) for n_threads in (1, 2, 3)]
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])
    if storage == "narrow":
        assert same_bits(found[0], everything(backend, problem.widened()))


def test_large_data_give_the_hessian_of_their_definition(curved, large):
    params = params_of(large, 0.1)
    kernels = curved.compile(large, lrb.Objective(l2=0.1))
    hessian = kernels.hessian(params)
    X = np.hstack([large.X, np.ones((large.n_samples, 1))])
    z = kernels.decision_function(large.X, params)
    truth = (X.T / (2 + np.exp(z) + np.exp(-z))) @ X / len(X) + 0.1 * np.diag([1.0] * 101 + [0.0])
    np.testing.assert_allclose(hessian, truth, rtol=1e-11, atol=1e-14)
    product = pack(kernels.hessian_product(params, params))
    np.testing.assert_allclose(product, truth @ pack(params), rtol=1e-11, atol=1e-14)


def test_large_data_give_the_gradient_of_the_reference(backend, large, rounding_bound):
    params = params_of(large, 0.1)
    objective = lrb.Objective(l2=0.1)
    loss, gradient = backend.compile(large, objective).loss_gradient(params)
    true_loss, truth = reference_loss_gradient(large, objective, params)
    bound, bounds = rounding_bound(large, objective, params)
    # Sums of n terms are added in chunks and lanes: their error is far below the bound's n eps.
    assert abs(loss - true_loss) <= 0.02 * bound
    assert (np.abs(pack(gradient) - pack(truth)) <= 0.02 * pack(bounds)).all()
