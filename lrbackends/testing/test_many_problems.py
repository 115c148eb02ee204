"""Many small problems at once, where a backend has ``compile_batch``."""

from __future__ import annotations

import numpy as np

from lrbackends.backends.protocol import Backend, Batch, BatchBackend
from lrbackends.equivalence.figures import summation_limit
from lrbackends.equivalence.gradient import errors
from lrbackends.equivalence.problems import Setting
from lrbackends.objective import Objective, Params, reference_hessian, reference_loss_gradient
from lrbackends.problem import Problem
from lrbackends.testing.kit import BATCHES, claimed

_SETS, _ROWS, _FEATURES = 3, 37, 4
_MEMBERS = np.array([2, 0, 0, 2])  # one occurs twice, one not at all


@claimed(BATCHES)
def test_losses_and_gradients_are_those_of_each_problem(backend: Backend) -> None:
    """Rows of their own or shared ones, of which some have no weight in some problems."""
    assert isinstance(backend, BatchBackend)
    for shared in (True, False):
        batch = _batch(shared)
        thetas = np.random.default_rng(1).normal(size=(len(_MEMBERS), _FEATURES + 1))
        kernels = backend.compile_batch(batch)
        losses, gradients = kernels.loss_gradient(thetas, _MEMBERS)
        again, same, hessians = kernels.loss_gradient_hessian(thetas, _MEMBERS)
        for k, g in enumerate(_MEMBERS):
            problem = _problem(batch, int(g))
            params = Params(thetas[k : k + 1, :-1], thetas[k, -1:])
            loss, slope = reference_loss_gradient(problem, Objective(), params)
            exact = np.append(slope.coef[0], slope.intercept)
            setting = Setting("", problem, Objective(), params)
            limit = summation_limit(_ROWS)
            for found, gradient in ((losses[k], gradients[k]), (again[k], same[k])):
                worst = max(errors(setting, found, gradient, loss, exact))
                assert worst <= limit, f"problem {g}: error {worst:.3g} units, limit {limit:.3g}"
            hessian = reference_hessian(problem, Objective(), params)
            worst = float(np.abs(hessians[k] - hessian).max() / np.abs(hessian).max())
            bound = limit * float(np.finfo(np.float64).eps) * 10  # the scores are below 10
            assert worst <= bound, f"problem {g}: Hessian off by {worst:.3g}, limit {bound:.3g}"


def _batch(shared: bool) -> Batch:
    """Return a batch in whose data sets different rows have no weight."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1 if shared else _SETS, _ROWS, _FEATURES + 1))
    X[..., -1] = 1
    sign = rng.choice([-1.0, 1.0], size=X.shape[:2])
    weight = rng.integers(1, 4, size=(_SETS, _ROWS)).astype(float)
    weight[1:, _ROWS // 2 :] = 0
    weight[2, :3] = 0
    return Batch(X, sign, weight / weight.sum(axis=1, keepdims=True))


def _problem(batch: Batch, g: int) -> Problem:
    X, sign = (part[0 if batch.shared else g] for part in (batch.X, batch.sign))
    return Problem(X[:, :-1], (sign < 0).astype(int), batch.weight[g])
