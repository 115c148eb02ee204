"""What a training run returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends import _validation as validation
from lrbackends.backends import numpy_reproducible as reproducible
from lrbackends.backends.protocol import State
from lrbackends.objective import Params, accuracy, scores, sigmoid
from lrbackends.problem import Problem, dense_blocks

STATUSES = (
    "completed",
    "converged",
    "early_stopped",
    "callback",
    "stalled",
    "separated",
    "diverged",
)


@dataclass(frozen=True)
class LinearModel:
    """A two-class model that can predict, wherever it came from.

    Attributes
    ----------
    coef : ndarray of shape (1, n_features)
    intercept : ndarray of shape (1,)
    classes : ndarray of shape (2,)
        A positive score predicts ``classes[1]``.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    classes: NDArray[Any]

    @property
    def params(self) -> Params:
        """``(coef, intercept)``."""
        return Params(self.coef, self.intercept)

    @property
    def _reproducible(self) -> bool:
        """Whether it predicts in the reproducible arithmetic, too."""
        return False

    def _scores(self, X: Any, intercept: NDArray[Any]) -> NDArray[Any]:
        if not self._reproducible:
            return scores(X, Params(self.coef, intercept))
        z, theta = np.empty(X.shape[0], self.coef.dtype), np.append(self.coef[0], intercept)
        for rows, block in dense_blocks(X, self.coef.dtype):
            z[rows] = reproducible.scores_of_rows(block, theta)
        return z

    def _sigmoid(self, z: NDArray[Any]) -> NDArray[Any]:
        if self._reproducible:
            return reproducible.sigmoid_and_loss(z.astype(np.float64))[0].astype(z.dtype)
        return sigmoid(z)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return scores X coef' + intercept, shape (n_samples,).

        X is array-like or sparse, of shape (n_samples, n_features).
        """
        dtype = self.coef.dtype
        matrix = validation.as_matrix(X, dtype, narrow=True)
        if matrix.shape[1] != self.coef.shape[1]:
            raise ValueError(
                f"X has {matrix.shape[1]} features, but the model was trained on "
                f"{self.coef.shape[1]}"
            )
        validation.check_finite(matrix, validation.feature_names_of(X))
        with np.errstate(over="ignore", invalid="ignore"):
            z = self._scores(matrix, self.intercept)
            huge = ~np.isfinite(z)
            if huge.any():  # with the row scaled to 1 its terms cannot overflow and cancel to NaN
                for rows, block in dense_blocks(matrix, dtype):
                    some = block[huge[rows]]
                    size = np.abs(some).max(axis=1, initial=0.0)
                    scaled = self._scores(some / size[:, None], np.zeros_like(self.intercept))
                    z[rows][huge[rows]] = scaled * size
            return z

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, shape (n_samples, 2), each in [0, 1]."""
        z = self.decision_function(X)
        return np.column_stack([self._sigmoid(-z), self._sigmoid(z)])

    def predict(self, X: Any, threshold: float = 0.5) -> NDArray[Any]:
        """Return class labels, shape (n_samples,).

        ``classes[1]`` is predicted where its probability exceeds ``threshold``.
        """
        validation.check_number("threshold", threshold, high=1.0)
        z = self.decision_function(X)
        # The sign of the score decides at 1/2, so that rounding of the sigmoid cannot.
        positive = z > 0 if threshold == 0.5 else self._sigmoid(z) > threshold
        return np.asarray(self.classes[positive.astype(np.intp)])

    def accuracy(self, X: Any, y: Any) -> float:
        """Return the share of rows of X whose predicted label is the one in y."""
        problem = Problem(X, y, dtype=self.coef.dtype, classes=self.classes)
        return accuracy(self.decision_function(problem.X), problem)


@dataclass(frozen=True)
class TrainingResult(LinearModel):
    """A trained two-class model and how training went.

    Attributes
    ----------
    coef : ndarray of shape (1, n_features)
    intercept : ndarray of shape (1,)
    classes : ndarray of shape (2,)
        A positive score predicts ``classes[1]``.
    loss : float
        The objective (penalty included) on all training rows at the returned parameters.
    gradient_norm : float
        Largest absolute entry of its gradient there; NaN where it was not computed.
    suboptimality : float
        A certified upper bound on ``loss`` less the minimum of the objective (see
        `solvers.certificate`); NaN where none was needed.
    history : mapping of str to ndarray of shape (n_epochs,)
        ``loss`` after each epoch and, with validation data, ``validation_loss`` (mean log-loss
        without penalty) and ``validation_accuracy``.
    initial_loss : float
        The objective before the first step.
    best_epoch : int
        Epochs done when the monitored loss was lowest; 0 means before the first step.
    n_epochs, n_steps : int
        Epochs and updates done, those after the best epoch included.
    n_passes : float
        How often the training rows were read, in units of all rows.
    status : str
        "completed": all epochs done; "converged": the gradient norm reached ``tol``, the certified
        suboptimality ``gap``, or neither was asked for and rounding allows no further decrease;
        "stalled": it does not allow what was asked for;
        "early_stopped": ``patience`` ran out; "callback": a callback asked to stop;
        "separated": a hyperplane separates the classes and nothing penalises the weights;
        "diverged": the loss exploded.
    reason : str
        The status in a sentence.
    learning_rate : float
        The step that was used; NaN for solvers that seek the optimum.
    random_state : int
        The seed that was used.
    timings : mapping of str to float
        Seconds: ``import`` (loading the engine), ``data`` (validation and transfer), ``compile``,
        ``run``, ``checks`` (for separation and collinearity, without a penalty) and ``total``.
        Solvers that seek the optimum compile within ``run``, at the first call of each kernel.
    backend, solver, arithmetic, dtype : str
    state : State
        The solver's state at the returned parameters.
    """

    loss: float
    gradient_norm: float
    suboptimality: float
    history: Mapping[str, NDArray[np.float64]]
    initial_loss: float
    best_epoch: int
    n_epochs: int
    n_steps: int
    n_passes: float
    status: str
    reason: str
    learning_rate: float
    random_state: int
    timings: Mapping[str, float]
    backend: str
    solver: str
    arithmetic: str
    dtype: str
    state: State = field(repr=False)

    @property
    def _reproducible(self) -> bool:
        return self.arithmetic == "reproducible"

    @property
    def converged(self) -> bool:
        """Whether the tolerance, or the optimum, was reached."""
        return self.status == "converged"
