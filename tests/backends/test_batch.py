"""Many problems at once: every backend's batch kernels against the definition and their own."""

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.backends.batched import batch_compiler
from lrbackends.backends.protocol import Batch
from lrbackends.objective import reference_hessian, reference_loss_gradient

FORMS = ("shared", "each its own", "shared rows, own labels")


def made(form: str, n_sets: int = 5, n: int = 37, p: int = 4) -> Batch:
    """Return a batch whose last rows have weight 0 in some data sets."""
    rng = np.random.default_rng(3)
    own = form == "each its own"
    X = rng.normal(size=(n_sets if own else 1, n, p + 1))
    X[..., -1] = 1
    sign = rng.choice([-1.0, 1.0], size=(1 if form == "shared" else n_sets, n))
    weight = rng.integers(1, 4, size=(n_sets, n)).astype(float)
    weight[1::2, n // 2 :] = 0
    weight[2, :3] = 0
    return Batch(X, sign, weight / weight.sum(axis=1, keepdims=True))


def problem_of(batch: Batch, g: int) -> lrb.Problem:
    X, sign = (part[g if len(part) > 1 else 0] for part in (batch.X, batch.sign))
    return lrb.Problem(X[:, :-1], (sign < 0).astype(int), batch.weight[g])


def kernels_of(name: str, batch: Batch, n_threads: int | None = None):
    return batch_compiler(lrb.get_backend(name))(batch, n_threads)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0.0, 1.0, 50.0])
def test_batches_are_the_definition(backend_name, form, size):
    batch = made(form)
    members = np.array([4, 0, 1, 1, 2, 3, 2])
    thetas = size * np.random.default_rng(5).normal(size=(len(members), 5))
    losses, gradients, hessians = kernels_of(backend_name, batch).loss_gradient_hessian(
        thetas, members
    )
    assert losses.shape == (7,)
    assert gradients.shape == (7, 5)
    assert hessians.shape == (7, 5, 5)
    for k, g in enumerate(members):
        problem, objective = problem_of(batch, g), lrb.Objective()
        params = lrb.Params(thetas[k : k + 1, :-1], thetas[k, -1:])
        loss, gradient = reference_loss_gradient(problem, objective, params)
        hessian = reference_hessian(problem, objective, params)
        assert losses[k] == pytest.approx(float(loss), rel=1e-14)
        found = np.append(gradient.coef, gradient.intercept).astype(float)
        assert gradients[k] == pytest.approx(found, rel=1e-11, abs=1e-15)
        assert hessians[k] == pytest.approx(hessian.astype(float), rel=1e-11, abs=1e-16)


def test_the_comparison_notices_another_data_set(backend_name):
    batch = made("shared")
    thetas = np.ones((2, 5))
    losses = kernels_of(backend_name, batch).loss_gradient(thetas, np.array([0, 1]))[0]
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_without_hessians_the_same(backend_name, form):
    batch = made(form)
    thetas, members = np.random.default_rng(0).normal(size=(5, 5)), np.arange(5)
    kernels = kernels_of(backend_name, batch)
    first = kernels.loss_gradient_hessian(thetas, members)[:2]
    for one, other in zip(first, kernels.loss_gradient(thetas, members), strict=True):
        assert one == pytest.approx(other, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_differences_of_losses(backend_name, form):
    batch = made(form)
    kernels, members = kernels_of(backend_name, batch), np.arange(5)
    for theta in (np.zeros((5, 5)), np.random.default_rng(0).normal(size=(5, 5))):
        _, gradients, hessians = kernels.loss_gradient_hessian(theta, members)
        for j, step in enumerate(np.eye(5) * 1e-5):
            up, down = (kernels.loss_gradient(theta + s * step, members) for s in (1, -1))
            assert gradients[:, j] == pytest.approx((up[0] - down[0]) / 2e-5, abs=1e-9)
            assert hessians[:, j] == pytest.approx((up[1] - down[1]) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("form", FORMS)
def test_threads_change_no_bit(name, form, monkeypatch):
    batch = made(form, n_sets=40)
    thetas, members = np.random.default_rng(0).normal(size=(40, 5)), np.arange(40)
    alone = kernels_of(name, batch, 1).loss_gradient_hessian(thetas, members)
    for module in ("numpy_batch", "numba_batch"):
        monkeypatch.setattr(f"lrbackends.backends.{module}.thread_count", lambda *_: 3)
    together = kernels_of(name, batch).loss_gradient_hessian(thetas, members)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_jax_compiles_for_powers_of_two_only(compilations):
    kernels, rng = kernels_of("jax", made("shared", n_sets=3, n=41)), np.random.default_rng(0)

    def call(count):
        kernels.loss_gradient_hessian(rng.normal(size=(count, 5)), np.zeros(count, np.intp))

    call(9)
    with compilations("jax") as seen:
        for count in (10, 13, 16):
            call(count)
    assert not seen
    with compilations("jax") as seen:
        call(17)
    assert seen


def test_a_derived_backend_has_no_batches():
    class Derived(type(lrb.get_backend("numpy"))):
        pass

    assert batch_compiler(Derived()) is None


def test_a_backend_may_bring_its_own():
    class Own(type(lrb.get_backend("numpy"))):
        def compile_batch(self, batch, n_threads=None):
            return "kernels"

    assert batch_compiler(Own())(made("shared"), None) == "kernels"
