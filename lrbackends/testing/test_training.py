"""Training is right, step by step, and ends where it should."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.testing.evidence import MORE_STEPS, assert_passed, optima, trajectories


def test_steps_on_all_rows_follow_extended_precision_and_numpy(backend: Backend) -> None:
    """Every update rule, from zero and from a random start, with weights and a penalty."""
    assert_passed(trajectories(backend, wanted=lambda run: run.batch_size is None))


def test_steps_on_mini_batches_follow_extended_precision_and_numpy(backend: Backend) -> None:
    """Every update rule sees the rows of its step, no padding, none of another step."""
    assert_passed(trajectories(backend, wanted=lambda run: run.batch_size is not None))


def test_small_steps_add_up(backend: Backend) -> None:
    """The part of the parameters that one float cannot hold is kept: a two-word update."""
    assert_passed(
        trajectories(
            backend,
            steps=MORE_STEPS,
            wanted=lambda run: run.n_steps == MORE_STEPS and not run.setting.curved,
        )
    )


def test_training_ends_where_scikit_learn_ends(backend: Backend) -> None:
    """By an update rule, and by every solver that the backend has the kernels for."""
    assert_passed(optima(backend))
