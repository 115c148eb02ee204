import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.backends import jax_chunks, jax_losses
from lrbackends.backends.protocol import initial_state
from lrbackends.errors import UnsupportedError
from lrbackends.solvers import UpdateRule


def test_the_derivative_of_the_loss_is_right_at_zero():
    """Plain automatic differentiation of ``max(m, 0) + log1p(exp(-|m|))`` gives 0 there."""
    assert jax.grad(jax_losses.log_loss)(0.0) == 0.5
    naive = jax.grad(lambda m: jnp.maximum(m, 0) + jnp.log1p(jnp.exp(-jnp.abs(m))))
    assert naive(0.0) != 0.5


@pytest.mark.parametrize("m", [-800.0, -40.0, -1.0, -1e-12, 1e-12, 1.0, 40.0, 800.0])
def test_the_derivative_of_the_loss_is_the_sigmoid(m):
    with jax.enable_x64(True):
        slope = float(jax.grad(jax_losses.log_loss)(m))
    truth = np.exp(min(m, 0.0)) / (1 + np.exp(-abs(m)))
    assert slope == pytest.approx(truth, rel=1e-15)


def test_the_second_derivative_of_the_loss_is_right_at_zero():
    assert jax.grad(jax.grad(jax_losses.log_loss))(0.0) == 0.25


@pytest.mark.parametrize("m", [-800.0, -40.0, -1.0, -1e-12, 1e-12, 1.0, 40.0, 800.0])
def test_the_second_derivative_of_the_loss_is_that_of_the_sigmoid(m):
    with jax.enable_x64(True):
        found = float(jax.grad(jax.grad(jax_losses.log_loss))(m))
    e = np.exp(-abs(m))
    assert found == pytest.approx(e / (1 + e) ** 2, rel=1e-15)


def automatic(z, y):
    """The loss of more than two classes by its formula, differentiated automatically."""
    e = jnp.exp(z - z.max(axis=0))
    own = jnp.arange(len(z)) == y
    rest = jnp.where(jnp.arange(len(z)) == z.argmax(axis=0), 0, e).sum()
    return z.max() - jnp.where(own, z, 0).sum() + jnp.log1p(rest)


def of_one_sample(loss):
    """A loss of many samples as a function of the scores and the class of one."""
    return lambda z, y: loss(z[:, None], jnp.asarray([y]))[0]


SOFTMAX = {
    "ties": ([0.0, 0.0, 0.0], 1),
    "ties of the largest": ([2.0, -1.0, 2.0], 1),
    "right": ([9.0, -1.0, 2.0], 0),
    "wrong": ([9.0, -1.0, 2.0], 1),
    "surely right": ([-400.0, 400.0, 0.0], 1),
    "surely wrong": ([-400.0, 400.0, 0.0], 0),
    "nearly surely right": ([-19.0, 19.0, -18.0], 1),
}


@pytest.mark.parametrize("case", SOFTMAX)
def test_the_derivatives_of_the_loss_of_many_classes(case):
    """Both of them, from automatic differentiation, against the formulas in extended precision."""
    z, y = SOFTMAX[case]
    z = np.array(z)
    a = np.exp(z.astype(np.longdouble) - z.max())
    a /= a.sum()
    slope = a.copy()
    slope[y] = -np.delete(a, y).sum()
    curvature = -np.outer(a, a)
    np.fill_diagonal(curvature, [a[k] * np.delete(a, k).sum() for k in range(len(a))])
    loss = of_one_sample(jax_losses.softmax_loss)
    with jax.enable_x64(True):
        found = np.array(jax.grad(loss)(z, y)), np.array(jax.hessian(loss)(z, y))
        a_found, others = jax_losses.softmax(z[:, None])
    np.testing.assert_allclose(found[0], slope.astype(float), rtol=2e-15, atol=1e-300)
    np.testing.assert_allclose(found[1], curvature.astype(float), rtol=2e-15, atol=1e-300)
    np.testing.assert_allclose(
        np.array(a_found * others)[:, 0], curvature.diagonal().astype(float), rtol=2e-15
    )


def test_automatic_differentiation_alone_is_wrong_at_ties():
    z = jnp.zeros(3)
    wrong = jax.grad(automatic)(z, 1)
    right = jax.grad(of_one_sample(jax_losses.softmax_loss))(z, 1)
    np.testing.assert_allclose(right, [1 / 3, -2 / 3, 1 / 3], rtol=1e-6)
    assert np.abs(wrong - right).max() > 0.1


def test_sparse_data_are_refused_with_a_way_out(noisy):
    problem = lrb.Problem(sparse.csr_array(noisy.X), noisy.y)
    with pytest.raises(UnsupportedError, match=r"'jax'.*sparse.*toarray.*another backend"):
        lrb.get_backend("jax").compile(problem, lrb.Objective())


def test_data_may_change_after_they_were_brought_to_the_device(noisy):
    """The device's memory is a copy of ours, never the user's array."""
    problem = lrb.Problem(noisy.X.copy(), noisy.y)
    kernels = lrb.get_backend("jax").compile(problem, lrb.Objective())
    params = lrb.Params(np.ones((1, 3)), np.zeros(1))
    before = kernels.loss(params)
    problem.X[:] = 0
    assert kernels.loss(params) == before


# Prints the bits of all kernels' answers on data of several chunks; XLA reads the number of threads
# when it starts.
BITS = """
import hashlib
import numpy as np
import lrbackends as lrb
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for n, p, K in ((20_000, 30, 2), (2_500, 130, 2), (5_000, 30, 5)):
    X = (20 * rng.normal(size=(n, p))).astype(np.int8)
    if K == 2:
        y = X[:, 0] + 20 * rng.logistic(size=n) > 0
    else:
        y = (X[:, :K] + 20 * rng.gumbel(size=(n, K))).argmax(axis=1)
    rows = 1 if K == 2 else K
    params = lrb.Params(0.01 * rng.normal(size=(rows, p)), np.ones(rows))
    for problem in (lrb.Problem(X, y), lrb.Problem(X, y).widened()):
        kernels = lrb.get_backend("jax").compile(problem, lrb.Objective(l2=0.1))
        loss, gradient, hessian = kernels.loss_gradient_hessian(params)
        product = kernels.hessian_product(params, params)
        for part in (np.float64(loss), *gradient, hessian, *product):
            digest.update(part.tobytes())
print(digest.hexdigest())
"""


def test_the_number_of_threads_does_not_change_the_bits():
    found = {
        subprocess.run(
            [sys.executable, "-c", BITS],
            env={**os.environ, "NPROC": str(threads)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in (1, 3)
    }
    assert len(found) == 1


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
@pytest.mark.parametrize("K", [2, 3])
def test_other_strengths_and_rates_compile_nothing(noisy, compilations, K, arithmetic):
    def work(rate: float, l2: float, l1: float, shift: float) -> None:
        y = (noisy.y + (noisy.X[:, 0] > 1)) % K
        problem = lrb.Problem(noisy.X + shift, y)
        kernels = lrb.get_backend("jax").compile(problem, lrb.Objective(l2, l1), arithmetic)
        params = lrb.Params(np.zeros((problem.n_outputs, 3)), np.zeros(problem.n_outputs))
        kernels.loss(params)
        kernels.loss_gradient(params)
        kernels.decision_function(problem.X, params)
        kernels.run(UpdateRule("gd", rate), initial_state(params), 3, None)
        if arithmetic == "fast":
            kernels.hessian(params)
            kernels.hessian_product(params, params)

    with compilations("jax") as seen:
        work(0.1, 0.2, 0.01, 0.0)
    assert list(seen) != []
    with compilations("jax") as seen:
        work(0.3, 0.0, 0.05, 1.0)
    assert list(seen) == []


@pytest.mark.parametrize("n", [1, 127, 128, 129, 256, 257, 1000, 26_112, 26_113, 100_000])
def test_blocks_hold_all_rows_and_few_more(n):
    most = 26_112
    blocks, rows = jax_chunks._block_shape(n, most)
    chunks = -(-n // (blocks * rows))
    assert rows <= jax_chunks.BLOCK_ROWS
    assert blocks * rows <= most
    assert n <= chunks * blocks * rows < n + (blocks + chunks) * rows / 8 + 128


# Prints how much compiled code JAX found in its cache.
HITS = """
import numpy as np
from jax import monitoring
import lrbackends as lrb
seen = []
monitoring.register_event_listener(lambda name, **_: seen.append(name))
kernels = lrb.get_backend("jax").compile(lrb.Problem(np.eye(4, 2), [0, 1, 0, 1]), lrb.Objective())
kernels.hessian(lrb.Params(np.ones(2), np.zeros(1)))
print(seen.count("/jax/compilation_cache/cache_hits"))
"""


def test_compiled_code_is_kept_where_jax_is_asked_to(tmp_path):
    asked = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    hits = [
        int(
            subprocess.run(
                [sys.executable, "-c", HITS],
                env={**os.environ, **asked},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for _ in range(2)
    ]
    assert hits[0] == 0
    assert hits[1] >= 1
    assert any("_gram" in file.name for file in tmp_path.iterdir())


def train(noisy) -> bytes:
    return (
        lrb.Trainer("jax", "adam", epochs=7, batch_size=20, random_state=0)
        .fit(*noisy)
        .state[0]
        .tobytes()
    )


def test_the_users_configuration_is_not_touched(noisy):
    assert jax.config.jax_enable_x64 is False
    before = dict(jax.config.values)
    result = lrb.Trainer("jax", epochs=5).fit(*noisy)
    assert result.coef.dtype == np.float64
    assert dict(jax.config.values) == before
    assert jnp.asarray(1.0).dtype == jnp.float32


def test_the_users_configuration_does_not_change_the_bits(noisy):
    expected = train(noisy)
    jax.config.update("jax_enable_x64", True)
    try:
        assert train(noisy) == expected
        assert jnp.asarray(1.0).dtype == jnp.float64
    finally:
        jax.config.update("jax_enable_x64", False)


def test_64_bits_also_in_a_thread_of_the_user(noisy):
    expected, found = train(noisy), []
    thread = threading.Thread(target=lambda: found.append(train(noisy)))
    thread.start()
    thread.join()
    assert found == [expected]


def test_results_are_plain_numpy_that_can_be_written_to(noisy):
    problem = lrb.Problem(*noisy)
    kernels = lrb.get_backend("jax").compile(problem, lrb.Objective())
    start = initial_state(lrb.Params(np.zeros((1, 3)), np.zeros(1)))
    state, records = kernels.run(UpdateRule("gd", 0.1), start, 2, None)
    _, gradient = kernels.loss_gradient(lrb.Params(np.zeros((1, 3)), np.zeros(1)))
    for array in (*state[:4], records, *gradient, kernels.decision_function(problem.X, gradient)):
        assert type(array) is np.ndarray
        assert array.flags.writeable
