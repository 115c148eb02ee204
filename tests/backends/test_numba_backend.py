import importlib
import sys
from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends import backends
from lrbackends.backends import _chunks, numba_kernels, numba_softmax
from lrbackends.backends import numba_backend as native
from lrbackends.backends.protocol import Batches, initial_state, pack
from lrbackends.errors import UnsupportedError
from lrbackends.objective import (
    EXACT_DIGITS,
    exact_sigmoid_and_loss,
    exact_softmax_and_loss,
    reference_hessian,
    reference_loss_gradient,
)
from lrbackends.solvers import FIRST_ORDER, UpdateRule

JITTED = (
    "_numba_jit",
    "numba_reproducible",
    "numba_kernels",
    "numba_softmax",
    "numba_backend",
)


def unjitted(function=None, **options):
    """Stand in for ``njit``, which is also called with options alone."""
    return function or unjitted


@pytest.fixture(scope="module")
def plain_python():
    """The backend's modules imported anew with jitting switched off: their loops run as Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba, "njit", unjitted)
        for name in JITTED:
            importlib.import_module(f"lrbackends.backends.{name}")
            patch.delitem(sys.modules, f"lrbackends.backends.{name}")
            patch.delattr(backends, name)
        module = importlib.import_module("lrbackends.backends.numba_backend")
    assert module is not importlib.import_module("lrbackends.backends.numba_backend")
    assert not hasattr(module.kernels.score, "py_func")
    return module.NumbaBackend()


def kernels_of(backend, problem, objective=None, **options):
    return backend.compile(problem, objective or lrb.Objective(l2=0.1), **options)


@pytest.fixture
def numba_backend():
    return lrb.get_backend("numba")


def stored(name: str, noisy) -> lrb.Problem:
    """The noisy rows, rounded to whole numbers, as each kind of data keeps them."""
    X = np.rint(4 * noisy.X)
    if name == "sparse":
        return lrb.Problem(sparse.csr_array(X), noisy.y)
    if name == "int8":
        return lrb.Problem(X.astype(np.int8), noisy.y)
    if name == "float32 in float64":
        return lrb.Problem(X.astype(np.float32), noisy.y, dtype="float64")
    return lrb.Problem(X, noisy.y, dtype=name)


STORED = ("float64", "float32", "int8", "float32 in float64", "sparse")


# -- the loops as plain Python


@pytest.mark.parametrize("storage", STORED)
def test_the_unjitted_loop_gives_the_same_numbers(
    plain_python, numba_backend, noisy, rounding_bound, storage
):
    problem, objective = stored(storage, noisy), lrb.Objective(l2=0.1)
    dense = stored("float32" if storage == "float32" else "float64", noisy)
    params = lrb.Params(np.array([[0.3, -0.2, 0.9]], problem.dtype), np.array([0.1], problem.dtype))
    loss, gradient = kernels_of(plain_python, problem).loss_gradient(params)
    jitted = kernels_of(numba_backend, problem).loss_gradient(params)
    bound, bounds = rounding_bound(dense, objective, params)
    assert abs(loss - jitted[0]) <= bound
    assert (np.abs(pack(gradient) - pack(jitted[1])) <= pack(bounds)).all()
    assert gradient.coef.dtype == problem.dtype


@pytest.mark.parametrize("storage", STORED)
def test_unjitted_second_derivatives_are_the_same_numbers(
    plain_python, numba_backend, noisy, storage
):
    problem, params = stored(storage, noisy), ([0.3, -0.2, 0.9], 0.1)
    vector = [1.0, -2.0, 0.5], 0.25
    plain, jitted = (kernels_of(b, problem) for b in (plain_python, numba_backend))
    tolerance = 50 * np.finfo(problem.dtype).eps
    np.testing.assert_allclose(
        plain.hessian(params), jitted.hessian(params), rtol=tolerance, atol=tolerance
    )
    products = [pack(k.hessian_product(params, vector)) for k in (plain, jitted)]
    np.testing.assert_allclose(*products, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["full-batch", "mini-batch"])
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_the_unjitted_steps_give_the_same_numbers(plain_python, numba_backend, noisy, solver, kind):
    problem, objective = lrb.Problem(*noisy), lrb.Objective()
    rule = UpdateRule(solver, 0.3)
    start = initial_state(lrb.Params(np.full((1, 3), 0.1), np.zeros(1)))
    batches = None
    if kind == "mini-batch":
        batches = Batches(np.arange(40).reshape(2, 20), np.array([20, 17]))
    plain, plain_records = kernels_of(plain_python, problem, objective).run(rule, start, 2, batches)
    jitted, records = kernels_of(numba_backend, problem, objective).run(rule, start, 2, batches)
    np.testing.assert_allclose(plain.theta, jitted.theta, rtol=1e-13)
    np.testing.assert_allclose(plain_records, records, rtol=1e-13)


@pytest.mark.parametrize("storage", STORED)
def test_the_unjitted_scores_are_the_same_numbers(plain_python, numba_backend, noisy, storage):
    problem, params = stored(storage, noisy), ([0.3, -0.2, 0.9], 0.1)
    plain, jitted = (
        kernels_of(backend, problem).decision_function(problem.X, params)
        for backend in (plain_python, numba_backend)
    )
    tolerance = 20 * np.finfo(problem.dtype).eps
    np.testing.assert_allclose(plain, jitted, rtol=tolerance, atol=tolerance)


def test_the_unjitted_threaded_path_gives_the_same_numbers(plain_python, numba_backend):
    """A few long rows make several chunks without many turns of the Python loop."""
    p = _chunks._CHUNK_BYTES // 16
    X = np.random.default_rng(0).normal(size=(5, p)) / 300
    problem = lrb.Problem(X, np.arange(5) % 2)
    params = np.full(p, 0.1), 0.0
    kernels = kernels_of(numba_backend, problem, lrb.Objective(), n_threads=2)
    assert kernels._team.size == 2
    assert len(kernels._edges) == 6
    loss, gradient = kernels.loss_gradient(params)
    plain = kernels_of(plain_python, problem, lrb.Objective(), n_threads=2)
    plain_loss, plain_gradient = plain.loss_gradient(params)
    assert plain_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(plain_gradient.coef, gradient.coef, rtol=1e-10, atol=1e-15)


# -- blocks


@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 30, 128, 1000, 100_000])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_blocks_have_whole_lanes(n_features, itemsize):
    rows = numba_kernels.block_rows(n_features, itemsize)
    assert rows % numba_kernels.LANES == 0
    assert 16 <= rows <= 512


@pytest.mark.parametrize("n_rows", [1, 3, 15, 16, 17, 31, 32, 33, 48, 100])
def test_blocks_of_every_length_are_summed(numba_backend, n_rows, rounding_bound):
    """Of 600 features a block has 16 rows: whole blocks, short ones, and one alone."""
    rng = np.random.default_rng(n_rows)
    X = rng.normal(size=(n_rows + 1, 600))
    problem = lrb.Problem(X, np.arange(n_rows + 1) == 0)
    params = lrb.Params(rng.normal(size=(1, 600)) / 25, np.array([0.1]))
    assert numba_kernels.block_rows(600, 8) == 16
    loss, gradient = kernels_of(numba_backend, problem).loss_gradient(params)
    objective = lrb.Objective(l2=0.1)
    true_loss, truth = reference_loss_gradient(problem, objective, params)
    bound, bounds = rounding_bound(problem, objective, params)
    assert abs(loss - true_loss) <= bound
    assert (np.abs(pack(gradient) - pack(truth)) <= pack(bounds)).all()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0, 700.0, 745.0, 1e5])
def test_each_sample_is_differentiated_to_the_last_digits(scale):
    """Loss, residual and curvature of single samples against 50-digit arithmetic."""
    z = scale * np.array([1.0, -1.0, 0.999, -0.5, 0.7])
    count, size = len(z), numba_kernels.LANES
    scores, dz, losses, e, curvature = (np.zeros(size) for _ in range(5))
    scores[:count] = z
    sign = np.array([1, 1, -1, -1, 1], np.int8)
    equal = np.zeros(0)
    numba_kernels._differentiate(scores, sign, equal, 0, count, losses, dz, e)
    numba_kernels._curve(e, equal, 0, count, curvature, 0)
    with localcontext() as context:
        context.prec = EXACT_DIGITS
        for s in range(count):
            m = Decimal(float(sign[s] * z[s]))
            a, loss = exact_sigmoid_and_loss(m)
            truth = loss, int(sign[s]) * a, a * exact_sigmoid_and_loss(-m)[0]
            for found, exact in zip((losses[s], dz[s], curvature[s]), truth, strict=True):
                # Beyond exp(-708) results would be below the smallest normal number.
                limit = abs(exact) * Decimal("1e-15") + Decimal("4e-308")
                assert abs(Decimal(float(found)) - exact) <= limit


# -- storage, threads and memory


def bits(kernels, params, rule=None):
    loss, gradient = kernels.loss_gradient(params)
    product = kernels.hessian_product(params, params)
    hessian = kernels.hessian(params)
    z = kernels.decision_function(kernels._problem.X, params)
    return [np.asarray(v).tobytes() for v in (loss, *gradient, *product, hessian, z)]


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 KiB: a little data are many of them."""
    monkeypatch.setattr(_chunks, "_CHUNK_BYTES", 1 << 14)


@pytest.mark.parametrize("n_features", [1, 2, 7, 16, 30, 150, 784])
@pytest.mark.parametrize(("narrow", "dtype"), [("uint8", "float64"), ("int8", "float32")])
def test_narrow_data_give_the_bits_of_wide_ones(
    numba_backend, small_chunks, narrow, dtype, n_features
):
    """In several chunks and blocks; cut by what is computed with, not by what is stored."""
    rng = np.random.default_rng(n_features)
    n = 30_000 // n_features
    X = rng.integers(0, 100, size=(n, n_features)).astype(narrow)
    y = rng.random(n) < 0.5
    params = rng.normal(size=n_features) / 100, 0.1
    ours = kernels_of(numba_backend, lrb.Problem(X, y, dtype=dtype))
    assert ours._problem.X.dtype == narrow
    assert len(ours._edges) > 10
    theirs = kernels_of(numba_backend, ours._problem.widened())
    assert theirs._problem.X.dtype == dtype
    assert bits(ours, params) == bits(theirs, params)
    batches = Batches(rng.integers(0, n, size=(3, 20)), np.array([20, 20, 7]))
    start = initial_state(lrb.Params(np.zeros((1, n_features)), np.zeros(1)))
    rule = UpdateRule("gd", 1e-4)
    for some in (None, batches):
        runs = [k.run(rule, start, 3, some)[0].theta.tobytes() for k in (ours, theirs)]
        assert runs[0] == runs[1]


@pytest.mark.parametrize("storage", ["dense", "sparse"])
def test_the_number_of_threads_does_not_change_any_bits(numba_backend, small_chunks, storage):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2000, 20)) * (rng.random((2000, 20)) < 0.5)
    data = X if storage == "dense" else sparse.csr_array(X)
    problem = lrb.Problem(data, X[:, 0] + rng.logistic(size=2000) > 0)
    params = rng.normal(size=20), 0.1
    found = []
    for n_threads in (1, 2, 4):
        kernels = kernels_of(numba_backend, problem, n_threads=n_threads)
        assert kernels._team.size == n_threads
        found.append(bits(kernels, params))
    assert found[0] == found[1] == found[2]


def test_the_loss_alone_is_the_loss_with_the_gradient(numba_backend, noisy, row_weights):
    for weight in (None, row_weights):
        kernels = kernels_of(numba_backend, lrb.Problem(*noisy, weight))
        params = [0.3, -0.2, 0.9], 0.1
        assert kernels.loss(params) == kernels.loss_gradient(params)[0]


def test_kept_curvatures_are_those_of_the_parameters(numba_backend, noisy):
    """Whatever is asked in between, a product is the Hessian's at its own parameters."""
    problem = lrb.Problem(*noisy)
    kernels, vector = kernels_of(numba_backend, problem), ([1.0, -1.0, 0.5], 0.2)
    for scale in (0.0, 1.0, 0.0, 2.0):
        params = [scale, -scale, scale], scale
        truth = kernels.hessian(params) @ np.append(*vector)
        for _ in range(2):
            found = pack(kernels.hessian_product(params, vector))
            np.testing.assert_allclose(found, truth, rtol=1e-13)
            kernels.loss_gradient(([0.5 * scale, 0.0, 0.0], 0.0))
            np.testing.assert_allclose(
                pack(kernels.hessian_product(params, vector)), truth, rtol=1e-13
            )


def test_a_read_only_array_compiles_nothing_new(numba_backend, noisy, compilations):
    params = [0.3, -0.2, 0.9], 0.1
    writable, frozen = noisy.X.copy(), noisy.X.copy()
    frozen.flags.writeable = False
    before = bits(kernels_of(numba_backend, lrb.Problem(writable, noisy.y)), params)
    with compilations("numba") as seen:
        after = bits(kernels_of(numba_backend, lrb.Problem(frozen, noisy.y)), params)
    assert list(seen) == []
    assert before == after


def test_64_bit_indices_give_the_bits_of_32_bit_ones(numba_backend, noisy):
    X = sparse.csr_array(np.rint(noisy.X))
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    problems = [lrb.Problem(data, noisy.y) for data in (X, wide)]
    assert [p.X.indices.dtype for p in problems] == [np.int32, np.int64]
    params = [0.3, -0.2, 0.9], 0.1
    assert bits(kernels_of(numba_backend, problems[0]), params) == bits(
        kernels_of(numba_backend, problems[1]), params
    )


def test_very_wide_sparse_data_need_no_more_room_than_they_take(numba_backend):
    rng = np.random.default_rng(0)
    X = sparse.random_array((4000, 300_000), density=3e-4, rng=rng, format="csr")
    X.data[:] = 1.0
    kernels = kernels_of(numba_backend, lrb.Problem(X, rng.random(4000) < 0.5))
    slots, _ = kernels._slots()
    assert slots.nbytes <= max(X.data.nbytes, 8 * 300_001)
    loss, gradient = kernels.loss_gradient((np.zeros(300_000), 0.0))
    assert loss == pytest.approx(np.log(2.0), rel=1e-14)
    dz = 0.5 * kernels._problem.sign
    np.testing.assert_allclose(gradient.coef[0], X.T.dot(dz) / 4000, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_hessians_of_too_many_features_are_refused(numba_backend, kind):
    X = np.eye(3, 4001)
    data = X if kind == "dense" else sparse.csr_array(X)
    kernels = kernels_of(numba_backend, lrb.Problem(data, [0, 1, 0]))
    with pytest.raises(UnsupportedError, match="4001 coefficients"):
        kernels.hessian((np.zeros(4001), 0.0))
    assert kernels.hessian_product((np.zeros(4001), 0.0), (np.ones(4001), 0.0)).coef.shape == (
        1,
        4001,
    )


# -- more than two classes


def classes_of(noisy, K: int, storage: str = "float64") -> lrb.Problem:
    """The noisy rows, rounded, with K labels and 1 to 3 as weights."""
    rows = stored(storage, noisy)
    n = rows.n_samples
    weight = 1.0 + np.arange(n) % 3
    return lrb.Problem(
        rows.X, np.random.default_rng(K).permutation(n) % K, weight, dtype=rows.dtype
    )


def params_of(problem: lrb.Problem) -> lrb.Params:
    rng = np.random.default_rng(problem.n_outputs)
    coef = rng.normal(size=(problem.n_outputs, problem.n_features)) / 4
    coef[:, ::2] = 0.0
    return lrb.Params(coef.astype(problem.dtype), coef.sum(axis=1).astype(problem.dtype))


PENALTIES = {"l2": lrb.Objective(l2=0.1), "elastic net": lrb.Objective(l2=0.1, l1=0.05)}


@pytest.mark.parametrize(
    ("storage", "arithmetic"),
    [("float64", "fast"), ("int8", "fast"), ("sparse", "fast"), ("float64", "reproducible")],
)
def test_the_unjitted_softmax_gives_the_same_numbers(
    plain_python, numba_backend, noisy, storage, arithmetic
):
    """Six classes are a tile of five and one more."""
    problem, objective = classes_of(noisy, 6, storage), PENALTIES["elastic net"]
    params, tolerance = params_of(problem), 30 * np.finfo(problem.dtype).eps
    batches = Batches(np.arange(14).reshape(2, 7), np.array([7, 5]))
    found = []
    for backend in (plain_python, numba_backend):
        kernels = kernels_of(backend, problem, objective, arithmetic=arithmetic)
        loss, gradient = kernels.loss_gradient(params)
        parts = [loss, pack(gradient), kernels.decision_function(problem.X, params)]
        for some in (None, batches):
            state, records = kernels.run(UpdateRule("gd", 0.2), initial_state(params), 2, some)
            parts += [state.theta, records]
        if arithmetic == "fast":
            parts += [pack(kernels.hessian_product(params, params)), kernels.hessian(params)]
        found.append(parts)
    for plain, jitted in zip(*found, strict=True):
        np.testing.assert_allclose(plain, jitted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n_rows", [3, 4, 5, 7, 18, 300])
@pytest.mark.parametrize("K", [3, 4, 5, 6, 9, 10, 11])
def test_tiles_of_every_size_are_summed(numba_backend, K, n_rows, penalty):
    """Rows and classes left over by tiles of four and five; sums of more than 256 rows."""
    rng = np.random.default_rng(K)
    X, y = rng.normal(size=(n_rows + K, 3)), np.arange(n_rows + K) % K
    problem, objective = lrb.Problem(X, y), PENALTIES[penalty]
    params = params_of(problem)
    kernels = kernels_of(numba_backend, problem, objective)
    loss, gradient, hessian = kernels.loss_gradient_hessian(params)
    true_loss, truth = reference_loss_gradient(problem, objective, params)
    assert loss == pytest.approx(float(true_loss), rel=1e-14)
    np.testing.assert_allclose(pack(gradient), pack(truth).astype(float), rtol=0, atol=1e-14)
    true_hessian = reference_hessian(problem, objective, params).astype(float)
    np.testing.assert_allclose(hessian, true_hessian, rtol=0, atol=1e-14)
    vector = lrb.Params(rng.normal(size=(K, 3)), rng.normal(size=K))
    product = pack(kernels.hessian_product(params, vector))
    np.testing.assert_allclose(product, true_hessian @ pack(vector), rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0, 300.0, 700.0, 1e5])
def test_each_sample_of_many_classes_is_differentiated_to_the_last_digits(scale):
    """Loss, residuals and curvature of single samples against 50-digit arithmetic."""
    table = np.array([[1.0, -0.5, 0.25], [1.0, 0.999, 1.0], [-1.0, -0.25, 0.5], [0.0, 0.0, 0.125]])
    z, u = scale * table, np.array([1.0, -2.0, 0.5])
    labels, size = np.array([0, 1, 0, 2]), numba_kernels.LANES
    count, K = z.shape
    samples = (
        np.zeros(size),
        np.zeros(size),
        np.zeros(size, np.int64),
        np.zeros(size),
        np.zeros(size),
    )
    scores, a, dz, bent, change = (np.zeros((K, size)) for _ in range(5))
    scores[:, :count], change[:, :count] = z.T, u[:, None]
    equal = np.zeros(0)
    numba_softmax._differentiate(scores, labels, equal, 0, count, samples, a, dz)
    losses = samples[0].copy()
    numba_softmax._bend(change, a, 0, equal, 0, count, samples, bent)
    with localcontext() as context:
        context.prec = 10 * EXACT_DIGITS  # 1 - a may have hundreds of zeros
        for s in range(count):
            exact_z = [Decimal(float(v)) for v in z[s]]
            residuals, loss = exact_softmax_and_loss(exact_z, int(labels[s]))
            total = sum(v.exp() for v in exact_z)
            p = [v.exp() / total for v in exact_z]
            v = [Decimal(float(one)) for one in u]
            curves = [
                p[k] * sum(p[m] * (v[k] - v[m]) for m in range(K) if m != k) for k in range(K)
            ]
            truth = (loss, *residuals, *curves)
            for value, exact in zip((losses[s], *dz[:, s], *bent[:, s]), truth, strict=True):
                # Beyond exp(-708) = 3.4e-308 probabilities are taken at that; three times 3 u.
                limit = abs(exact) * Decimal("4e-15") + Decimal("3.1e-307")
                assert abs(Decimal(float(value)) - exact) <= limit


@pytest.mark.parametrize("storage", ["float64", "int8", "sparse"])
@pytest.mark.parametrize("K", [3, 10])
def test_many_classes_have_the_same_bits_for_any_number_of_threads(
    numba_backend, small_chunks, storage, K
):
    rng = np.random.default_rng(1)
    rows = lrb.problem.Problem(rng.normal(size=(2000, 20)), np.arange(2000) % 2)
    problem = classes_of(rows, K, storage)
    params = params_of(problem)
    found = []
    for n_threads in (1, 2, 4):
        kernels = kernels_of(numba_backend, problem, PENALTIES["elastic net"], n_threads=n_threads)
        assert kernels._team.size == n_threads
        assert len(kernels._edges) > 4
        state, _ = kernels.run(UpdateRule("gd", 0.1), initial_state(params), 3, None)
        found.append((bits(kernels, params), state.theta.tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("K", [3, 10])
def test_narrow_rows_of_many_classes_give_the_bits_of_wide_ones(numba_backend, noisy, K):
    narrow = classes_of(noisy, K, "int8")
    wide, params = narrow.widened(), params_of(narrow)
    assert narrow.X.dtype != wide.X.dtype
    assert bits(kernels_of(numba_backend, narrow), params) == bits(
        kernels_of(numba_backend, wide), params
    )


@pytest.mark.parametrize("gradient", [-0.4, -0.1, 0.0, 0.1, 0.4, np.nan])
@pytest.mark.parametrize("coefficient", [-2.0, 0.0, 3.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_slope_is_that_of_the_objective(gradient, coefficient, dtype):
    objective = lrb.Objective(l1=0.25)
    g, w = dtype(gradient), dtype(coefficient)
    one = lrb.Params(np.array([[w]]), np.zeros(1, dtype))
    slope = lrb.Params(np.array([[g]]), np.zeros(1, dtype))
    truth = lrb.objective.absolute_penalty(objective, 0.0, one, slope)[1].coef[0, 0]
    found = np.array([g])
    native._penalise(0.0, np.array([w]), found, (1, 0.25, dtype(0.25)))
    np.testing.assert_array_equal(found[0], truth)


def test_two_classes_compile_nothing_of_more_and_the_other_way_round(
    numba_backend, noisy, monkeypatch
):
    def refuse(*_):
        raise AssertionError("not asked for")

    with monkeypatch.context() as patch:
        patch.setattr(numba_softmax, "passes_over", refuse)
        kernels_of(numba_backend, lrb.Problem(*noisy)).loss(([0.1, 0.2, 0.3], 0.0))
    many = classes_of(noisy, 3)
    with monkeypatch.context() as patch:
        patch.setattr(native, "passes_over", refuse)
        kernels_of(numba_backend, many).loss(params_of(many))
