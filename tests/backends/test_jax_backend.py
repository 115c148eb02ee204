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
from lrbackends.backends import jax_backend
from lrbackends.backends.protocol import initial_state
from lrbackends.errors import UnsupportedError
from lrbackends.solvers import UpdateRule


def test_the_derivative_of_the_loss_is_right_at_zero():
    """Plain automatic differentiation of ``max(m, 0) + log1p(exp(-|m|))`` gives 0 there."""
    assert jax.grad(jax_backend._log_loss)(0.0) == 0.5
    naive = jax.grad(lambda m: jnp.maximum(m, 0) + jnp.log1p(jnp.exp(-jnp.abs(m))))
    assert naive(0.0) != 0.5


@pytest.mark.parametrize("m", [-800.0, -40.0, -1.0, -1e-12, 1e-12, 1.0, 40.0, 800.0])
def test_the_derivative_of_the_loss_is_the_sigmoid(m):
    with jax.enable_x64(True):
        slope = float(jax.grad(jax_backend._log_loss)(m))
    truth = np.exp(min(m, 0.0)) / (1 + np.exp(-abs(m)))
    assert slope == pytest.approx(truth, rel=1e-15)


def test_the_second_derivative_of_the_loss_is_right_at_zero():
    assert jax.grad(jax.grad(jax_backend._log_loss))(0.0) == 0.25


@pytest.mark.parametrize("m", [-800.0, -40.0, -1.0, -1e-12, 1e-12, 1.0, 40.0, 800.0])
def test_the_second_derivative_of_the_loss_is_that_of_the_sigmoid(m):
    with jax.enable_x64(True):
        found = float(jax.grad(jax.grad(jax_backend._log_loss))(m))
    e = np.exp(-abs(m))
    assert found == pytest.approx(e / (1 + e) ** 2, rel=1e-15)


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
for n, p in ((20_000, 30), (2_500, 130)):
    X = (20 * rng.normal(size=(n, p))).astype(np.int8)
    y = X[:, 0] + 20 * rng.logistic(size=n) > 0
    params = lrb.Params(0.01 * rng.normal(size=(1, p)), np.ones(1))
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
