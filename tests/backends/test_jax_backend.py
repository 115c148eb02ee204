import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends import jax_backend
from lrbackends.backends.protocol import initial_state
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
