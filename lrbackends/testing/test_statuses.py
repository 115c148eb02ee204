"""However training ends, it ends so on NumPy, too, and says so in the same words."""

from __future__ import annotations

import numpy as np

from lrbackends.backends.protocol import Backend
from lrbackends.callbacks import TrainingProgress
from lrbackends.equivalence import problems
from lrbackends.testing.outcomes import Outcome, assert_same_as_numpy, outcome


def test_all_epochs_are_done(backend: Backend) -> None:
    """Status "completed"."""
    for options in ({}, {"batch_size": 10}, {"solver": "adam"}, {"epochs": 0}):
        _assert_ends("completed", _on_small(backend, **options))


def test_a_small_gradient_ends_training(backend: Backend) -> None:
    """Status "converged", after as many steps as on NumPy."""
    for options in (
        *({"tol": 1e-6}, {"tol": 1e-6, "solver": "nesterov"}),
        {"tol": 1e-2, "batch_size": 10, "schedule": "invscaling"},
    ):
        _assert_ends("converged", _on_small(backend, l2=1.0, epochs=500, **options))


def test_solvers_that_seek_the_optimum_certify_it(backend: Backend) -> None:
    """Status "converged", with the gap that was asked for."""
    for solver in ("lbfgs", "newton", "auto") if backend.capabilities().hessian else ("lbfgs",):
        options = {"solver": solver, "l2": 0.1, "gap": 1e-6, "epochs": 200}
        problem = problems.small()
        found = outcome(backend, problem.X, problem.y, **options)
        assert found.error is None, found.error
        _assert_ends("converged", found)


def test_what_rounding_does_not_allow_is_not_claimed(backend: Backend) -> None:
    """Status "stalled", with a warning."""
    problem = problems.small()
    found = outcome(backend, problem.X, problem.y, solver="lbfgs", l2=0.1, gap=1e-30, epochs=1000)
    assert found.error is None, found.error
    _assert_ends("stalled", found)
    assert "ConvergenceWarning" in {name for name, _ in found.warned}


def test_patience_ends_training(backend: Backend) -> None:
    """Status "early_stopped", with the parameters of the best epoch."""
    for options in ({}, {"validation_fraction": 0.25}, {"batch_size": 10}):
        found = _on_small(backend, patience=4, min_delta=0.1, epochs=100, **options)
        _assert_ends("early_stopped", found)


def test_a_callback_ends_training(backend: Backend) -> None:
    """Status "callback"."""

    def third(progress: TrainingProgress) -> bool:
        return progress.epoch == 3

    _assert_ends("callback", _on_small(backend, batch_size=10, callbacks=[third]))


def test_separated_classes_are_named(backend: Backend) -> None:
    """Status "separated", with a warning."""
    x = np.linspace(-2, 2, 20)
    found = assert_same_as_numpy(backend, x[:, None], (x > 0.3).astype(int))
    _assert_ends("separated", found)
    assert "SeparationWarning" in {name for name, _ in found.warned}


def test_an_explosion_is_an_error_with_the_best_parameters(backend: Backend) -> None:
    """Status "diverged", whether the loss becomes large, infinite or not a number."""
    for rate in (5.0, 1e3, 1e200):
        for options in ({}, {"batch_size": 10}):
            found = _on_small(backend, learning_rate=rate, l2=10.0, epochs=400, **options)
            assert found.error is not None, f"learning_rate={rate:g}: no error"
            assert found.error[0] == "DivergenceError", found.error
            _assert_ends("diverged", found)


def _on_small(backend: Backend, **options: object) -> Outcome:
    problem = problems.small()
    return assert_same_as_numpy(backend, problem.X, problem.y, **options)


def _assert_ends(status: str, found: Outcome) -> None:
    assert found.told.get("status") == status, f"expected status {status!r}, got {found}"
