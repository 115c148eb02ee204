"""Errors and warnings of the library, each a class of its own, to be caught or filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrbackends.result import TrainingResult


class BackendUnavailableError(RuntimeError):
    """A registered backend cannot be used here; the message says why and what would help."""


class UnsupportedError(ValueError):
    """A backend, solver or arithmetic does not cover what was asked; the message says what does."""


class DivergenceError(ArithmeticError):
    """Training produced a loss that is not finite or exploded.

    Attributes
    ----------
    result : TrainingResult
        The best parameters met before the explosion, with ``status="diverged"``.
    """

    def __init__(self, message: str, result: TrainingResult) -> None:
        super().__init__(message)
        self.result = result


class LrbackendsWarning(UserWarning):
    """Base class of every warning of this library."""


class CollinearityWarning(LrbackendsWarning):
    """Columns depend linearly on one another, unpenalised: many solutions are equally good."""


class DivergenceWarning(LrbackendsWarning):
    """The loss rose during training: the learning rate is too large."""


class DtypeWarning(LrbackendsWarning):
    """The data came in a type that had to be narrowed."""


class PrecisionWarning(LrbackendsWarning):
    """Some integers are too large to be represented exactly as floating-point numbers."""


class ScaleWarning(LrbackendsWarning):
    """Column sizes differ so much that training will be slow or inaccurate."""


class SeparationWarning(LrbackendsWarning):
    """A hyperplane separates the classes and nothing penalises the weights: no finite optimum."""
