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
from lrbackends.objective import (
    Params,
    accuracy,
    log_sigmoid,
    log_softmax,
    predicted,
    scores,
    sigmoid,
    softmax,
)
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
    """A model that can predict, wherever it came from.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        One output for two classes, one for each of more.
    intercept : ndarray of shape (n_outputs,)
    classes : ndarray of shape (K,)
        With one output a positive score predicts ``classes[1]``.
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
        """Return scores of shape (n_samples, n_outputs)."""
        if not self._reproducible:
            return scores(X, Params(self.coef, intercept)).reshape(-1, len(self.coef))
        z = np.empty((X.shape[0], len(self.coef)), self.coef.dtype)
        for k, theta in enumerate(np.column_stack([self.coef, intercept])):
            for rows, block in dense_blocks(X, self.coef.dtype):
                z[rows, k] = reproducible.scores_of_rows(block, theta)
        return z

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return scores X coef' + intercept, (n_samples,) for two classes, else (n_samples, K).

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
            huge = ~np.isfinite(z).all(axis=1)
            if huge.any():  # with the row scaled to 1 its terms cannot overflow and cancel to NaN
                for rows, block in dense_blocks(matrix, dtype):
                    some = block[huge[rows]]
                    size = np.abs(some).max(axis=1, keepdims=True, initial=0.0)
                    scaled = self._scores(some / size, np.zeros_like(self.intercept))
                    z[rows][huge[rows]] = scaled * size
            return np.asarray(z[:, 0] if len(self.coef) == 1 else z)

    def _finite_scores(self, X: Any) -> NDArray[Any]:
        """Return scores whose differences are numbers."""
        limit = np.finfo(self.coef.dtype).max / 4
        return np.asarray(np.clip(self.decision_function(X), -limit, limit))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, shape (n_samples, K), each in [0, 1]."""
        z = self._finite_scores(X)
        if self._reproducible:
            return _reproducible_probabilities(z)
        return softmax(z) if z.ndim == 2 else np.column_stack([sigmoid(-z), sigmoid(z)])

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of each probability with all its digits, shape (n_samples, K)."""
        z = self._finite_scores(X)
        return log_softmax(z) if z.ndim == 2 else np.column_stack([log_sigmoid(-z), log_sigmoid(z)])

    def predict(self, X: Any, threshold: float = 0.5) -> NDArray[Any]:
        """Return class labels, shape (n_samples,): those of the largest score.

        Of two classes ``classes[1]`` is predicted where its probability exceeds ``threshold``.
        """
        validation.check_number("threshold", threshold, high=1.0)
        if threshold == 0.5:  # scores decide, so that rounding of the probabilities cannot
            return np.asarray(self.classes[predicted(self.decision_function(X))])
        if len(self.classes) > 2:
            raise ValueError(
                f"threshold={threshold:g} is for two classes; of {len(self.classes)} the most "
                "probable is predicted"
            )
        return np.asarray(self.classes[(self.predict_proba(X)[:, 1] > threshold).astype(np.intp)])

    def accuracy(self, X: Any, y: Any) -> float:
        """Return the share of rows of X whose predicted label is the one in y."""
        problem = Problem(X, y, dtype=self.coef.dtype, classes=self.classes)
        return accuracy(self.decision_function(problem.X), problem)


def _reproducible_probabilities(z: NDArray[Any]) -> NDArray[Any]:
    """Return sigmoid or softmax of scores by the operations of docs/reproducible-arithmetic.md."""
    if z.ndim == 1:
        both = [reproducible.sigmoid_and_loss(m.astype(np.float64))[0] for m in (-z, z)]
        return np.column_stack(both).astype(z.dtype)
    wide = z.astype(np.float64)
    e = reproducible.exp_of_minus(wide.max(axis=1, keepdims=True) - wide)
    rest = np.zeros(len(z))
    for k in range(z.shape[1]):  # left to right, without the first of the largest
        rest += np.where(wide.argmax(axis=1) == k, 0.0, e[:, k])
    return np.asarray((e / (1.0 + rest)[:, None]).astype(z.dtype))


@dataclass(frozen=True)
class TrainingResult(LinearModel):
    """A trained model and how training went.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
        One output for two classes, one for each of more.
    intercept : ndarray of shape (n_outputs,)
    classes : ndarray of shape (K,)
        With one output a positive score predicts ``classes[1]``.
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
        Seconds: ``data`` (validation, step size), ``import`` (loading the engine), ``transfer``
        (bringing the data to it), ``compile``, ``run``, ``checks`` (for separation and
        collinearity, without a penalty) and ``total``.
        Solvers that seek the optimum compile within ``run``, at the first call of each kernel.
    backend, solver, arithmetic, dtype : str
    state : State
        The solver's state at the returned parameters (standardised ones with ``standardize``).
    total_weight : float
        Sum of the sample weights as they were given; the number of rows without any.
    feature_names : tuple of str or None
        Column names where X had them.
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
    total_weight: float = np.nan
    feature_names: tuple[str, ...] | None = None

    @property
    def _reproducible(self) -> bool:
        return self.arithmetic == "reproducible"

    @property
    def converged(self) -> bool:
        """Whether the tolerance, or the optimum, was reached."""
        return self.status == "converged"
