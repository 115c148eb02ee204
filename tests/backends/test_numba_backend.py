import importlib.util

import numba
import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends import numba_backend
from lrbackends.backends._chunks import _CHUNK_BYTES
from lrbackends.backends.protocol import Batches, initial_state, pack
from lrbackends.solvers import FIRST_ORDER, UpdateRule


def unjitted(function=None, **options):
    """Stand in for ``njit``, which is also called with options alone."""
    return function or unjitted


@pytest.fixture
def plain_python(monkeypatch):
    """The backend's module loaded anew with jitting switched off: its loops run as Python."""
    spec = importlib.util.spec_from_file_location("numba_backend_unjitted", numba_backend.__file__)
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(numba, "njit", unjitted)
        spec.loader.exec_module(module)
    assert module.njit is unjitted
    assert not hasattr(module._accumulate, "py_func")
    return module.NumbaBackend()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_unjitted_loop_gives_the_same_numbers(plain_python, noisy, rounding_bound, dtype):
    problem, objective = lrb.Problem(*noisy, dtype=dtype), lrb.Objective(l2=0.1)
    params = lrb.Params(np.array([[0.3, -0.2, 0.9]], dtype), np.array([0.1], dtype))
    loss, gradient = plain_python.compile(problem, objective).loss_gradient(params)
    jitted = lrb.get_backend("numba").compile(problem, objective).loss_gradient(params)
    bound, bounds = rounding_bound(problem, objective, params)
    assert abs(loss - jitted[0]) <= bound
    assert (np.abs(pack(gradient) - pack(jitted[1])) <= pack(bounds)).all()
    assert gradient.coef.dtype == dtype


@pytest.mark.parametrize("kind", ["full-batch", "mini-batch"])
@pytest.mark.parametrize("solver", FIRST_ORDER)
def test_the_unjitted_steps_give_the_same_numbers(plain_python, noisy, solver, kind):
    problem, objective = lrb.Problem(*noisy), lrb.Objective()
    rule = UpdateRule(solver, 0.3)
    start = initial_state(lrb.Params(np.full((1, 3), 0.1), np.zeros(1)))
    batches = None
    if kind == "mini-batch":
        batches = Batches(np.arange(40).reshape(2, 20), np.array([20, 17]))
    plain, plain_records = plain_python.compile(problem, objective).run(rule, start, 2, batches)
    jitted, records = (
        lrb.get_backend("numba").compile(problem, objective).run(rule, start, 2, batches)
    )
    np.testing.assert_allclose(plain.theta, jitted.theta, rtol=1e-13)
    np.testing.assert_allclose(plain_records, records, rtol=1e-13)


def test_the_unjitted_scores_are_the_same_numbers(plain_python, noisy):
    problem, params = lrb.Problem(*noisy), ([0.3, -0.2, 0.9], 0.1)
    plain, jitted = (
        backend.compile(problem, lrb.Objective()).decision_function(problem.X, params)
        for backend in (plain_python, lrb.get_backend("numba"))
    )
    np.testing.assert_allclose(plain, jitted, rtol=1e-14, atol=1e-15)


def test_the_unjitted_threaded_path_gives_the_same_numbers(plain_python):
    """A few long rows make several chunks without many turns of the Python loop."""
    p = _CHUNK_BYTES // 16
    X = np.random.default_rng(0).normal(size=(5, p)) / 300
    problem = lrb.Problem(X, np.arange(5) % 2)
    params = np.full(p, 0.1), 0.0
    kernels = lrb.get_backend("numba").compile(problem, lrb.Objective(), n_threads=2)
    assert kernels._team.size == 2
    loss, gradient = kernels.loss_gradient(params)
    plain = plain_python.compile(problem, lrb.Objective(), n_threads=2)
    plain_loss, plain_gradient = plain.loss_gradient(params)
    assert plain_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(plain_gradient.coef, gradient.coef, rtol=1e-10, atol=1e-15)
