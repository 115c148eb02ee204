import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.protocol import (
    API_VERSION,
    Backend,
    Capabilities,
    Kernels,
    initial_state,
    pack,
    require,
    unpack,
)
from lrbackends.errors import UnsupportedError


def test_built_in_backends_keep_the_protocol(backend_name, noisy):
    backend = lrb.get_backend(backend_name)
    assert isinstance(backend, Backend)
    assert backend.api_version == API_VERSION
    kernels = backend.compile(lrb.Problem(*noisy), lrb.Objective())
    assert isinstance(kernels, Kernels)


def test_every_backend_refuses_what_it_lacks_in_the_same_words(backend_name, noisy):
    backend, problem = lrb.get_backend(backend_name), lrb.Problem(*noisy)
    refusals = {
        "l1": (lrb.Objective(l1=0.5), "fast", "an L1 penalty; use l2 and l1=0"),
        "reproducible": (
            lrb.Objective(),
            "reproducible",
            "arithmetic='reproducible'; use arithmetic='fast'",
        ),
    }
    for ability, (objective, arithmetic, message) in refusals.items():
        if getattr(backend.capabilities(), ability):
            assert isinstance(backend.compile(problem, objective, arithmetic), Kernels)
            continue
        with pytest.raises(UnsupportedError) as caught:
            backend.compile(problem, objective, arithmetic)
        assert str(caught.value) == f"backend {backend_name!r} does not cover {message}"


def test_every_backend_refuses_an_unknown_arithmetic_in_the_same_words(backend_name, noisy):
    with pytest.raises(ValueError) as caught:
        lrb.get_backend(backend_name).compile(lrb.Problem(*noisy), lrb.Objective(), "exact")
    assert str(caught.value) == "arithmetic='exact' is unknown; choose from fast, reproducible"


class Limited:
    """A backend that covers little."""

    name = "limited"
    api_version = API_VERSION

    def __init__(self, **covers):
        self._covers = covers

    def capabilities(self):
        return Capabilities(**self._covers)

    def compile(self, problem, objective, arithmetic="fast", n_threads=None):
        require(self, problem, objective, arithmetic, n_threads)
        return "kernels"


def test_what_a_backend_covers_is_not_refused(noisy):
    able = Limited(reproducible=True, l1=True, threads=True)
    problem, objective = lrb.Problem(*noisy), lrb.Objective(l1=1.0)
    assert able.compile(problem, objective, "reproducible", 2) == "kernels"


@pytest.mark.parametrize(
    ("objective", "arithmetic", "message"),
    [
        (lrb.Objective(), "reproducible", "arithmetic='reproducible'; use arithmetic='fast'"),
        (lrb.Objective(l1=0.5), "fast", "an L1 penalty; use l2 and l1=0"),
    ],
    ids=["reproducible", "l1"],
)
def test_what_a_backend_lacks_is_refused_with_what_works(noisy, objective, arithmetic, message):
    with pytest.raises(UnsupportedError) as caught:
        Limited().compile(lrb.Problem(*noisy), objective, arithmetic)
    assert str(caught.value) == f"backend 'limited' does not cover {message}"


def test_a_dtype_that_is_not_covered_is_refused_with_those_that_are(noisy):
    problem = lrb.Problem(*noisy, dtype="float32")
    with pytest.raises(UnsupportedError, match=r"cover dtype float32; use dtype 'float64'$"):
        Limited(dtypes=("float64",)).compile(problem, lrb.Objective())


def test_threads_that_cannot_be_limited_are_refused_with_what_works(noisy):
    with pytest.raises(UnsupportedError, match=r"n_threads=2; .*taskset.*n_threads=None") as other:
        Limited().compile(lrb.Problem(*noisy), lrb.Objective(), n_threads=2)
    with pytest.raises(UnsupportedError) as jax:
        lrb.get_backend("jax").compile(lrb.Problem(*noisy), lrb.Objective(), n_threads=2)
    assert str(jax.value) == str(other.value).replace("limited'", "jax'", 1)


def test_pack_and_unpack_are_inverse_and_copy():
    params = lrb.Params(np.array([[1.0, 2.0, 3.0]]), np.array([4.0]))
    theta = pack(params)
    assert theta.tolist() == [1.0, 2.0, 3.0, 4.0]
    coef, intercept = unpack(theta, 3)
    assert (coef.tolist(), intercept.tolist()) == ([[1.0, 2.0, 3.0]], [4.0])
    theta[:] = 0
    assert (coef.sum(), intercept.sum(), params.coef.sum()) == (6.0, 4.0, 6.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_state_has_no_memory(dtype):
    state = initial_state(lrb.Params(np.array([[1, 2]], dtype), np.array([3], dtype)))
    assert state.step == 0
    assert state.theta.tolist() == [1.0, 2.0, 3.0]
    for vector in state[1:4]:
        assert vector.tolist() == [0.0, 0.0, 0.0]
        assert vector.dtype == dtype
