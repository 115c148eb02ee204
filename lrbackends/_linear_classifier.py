"""What the estimators share: their input, the result that they keep, and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from lrbackends._sklearn_input import (
    in_scikit_learns_words,
    labels_of,
    refuse_other_dimensions,
    weights_of,
)
from lrbackends.result import LinearModel, TrainingResult


class LinearClassifier(SparseCoefMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose parameters are ``coef_`` and ``intercept_``."""

    class_weight: Mapping[Any, float] | str | None
    random_state: int | np.random.RandomState | None
    result_: Any  # a TrainingResult, or None where several were averaged

    # -- input

    def _data(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, reset: bool
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Return labels and weights, those of their classes included; check names of columns."""
        refuse_other_dimensions(X)
        validate_data(self, X, y, reset=reset, skip_check_array=True)
        with in_scikit_learns_words(X):
            labels = labels_of(y)
        return labels, weights_of(sample_weight, self.class_weight, labels)

    def _seed(self) -> int | None:
        seed = self.random_state
        if seed is None or isinstance(seed, Integral):
            return seed if seed is None else int(seed)
        return int(check_random_state(seed).randint(2**31 - 1))

    def _dense_coef(self) -> NDArray[Any]:
        coef: Any = self.coef_
        return np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef)

    # -- what training leaves

    def _keep(self, result: TrainingResult) -> None:
        self.result_ = result
        self.coef_, self.intercept_, self.classes_ = result.coef, result.intercept, result.classes
        self.n_iter_ = np.array([result.n_epochs], dtype=np.int32)
        self.history_, self.status_ = result.history, result.status
        self.converged_, self.backend_ = result.converged, result.backend

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    # -- prediction

    def _model(self, X: Any) -> LinearModel:
        """Return the fitted model, ``coef_`` as it is now, where X fits it."""
        check_is_fitted(self)
        refuse_other_dimensions(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        coef, intercept = self._dense_coef(), np.asarray(self.intercept_)
        result: TrainingResult | None = getattr(self, "result_", None)
        if result is None:  # parameters that were set, as for scikit-learn's callbacks
            return LinearModel(coef, intercept, self.classes_)
        return replace(result, coef=coef, intercept=intercept, classes=self.classes_)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return scores: X coef' + intercept.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, K) for K > 2 classes
            Of two classes, a positive score is for ``classes_[1]``.
        """
        with in_scikit_learns_words(X):
            return self._model(X).decision_function(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of the largest score of each row, shape (n_samples,)."""
        with in_scikit_learns_words(X):
            return self._model(X).predict(X)

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, shape (n_samples, K)."""
        with in_scikit_learns_words(X):
            return self._model(X).predict_proba(X)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return their logarithms, from log-sigmoid or log-softmax, shape (n_samples, K)."""
        with in_scikit_learns_words(X):
            return self._model(X).predict_log_proba(X)
