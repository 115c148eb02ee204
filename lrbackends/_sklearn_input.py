"""Input of an estimator: labels, weights, and errors in words that scikit-learn wants to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._containers import is_frame
from lrbackends._validation import as_labels, as_matrix, as_weights, check_number, compute_dtype

# What our messages say, and what scikit-learn's contract wants to read beside it.
_WORDS = {
    "X is complex": "Complex data not supported",
    "y is complex": "Complex data not supported",
    "X must have two dimensions": "Reshape your data",
    "X has no columns": "Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is "
    "required.",
    "not a number": "an argument must be neither a string nor an object but a number",
}


@contextmanager
def in_scikit_learns_words(X: Any) -> Iterator[None]:
    """Add scikit-learn's words for what is wrong with X to errors raised inside."""
    try:
        yield
    except (TypeError, ValueError) as error:
        words = next((words for ours, words in _WORDS.items() if ours in str(error)), None)
        if words is None:
            raise
        shape = getattr(X, "shape", "unknown")
        raise type(error)(f"{error}. {words.format(shape=shape)}") from None


def refuse_other_dimensions(X: Any) -> None:
    """Raise an error where X is None, or an array or list of other than two dimensions."""
    flat = isinstance(X, (list, tuple)) and not hasattr(next(iter(X), None), "__len__")
    if X is None or flat or getattr(X, "ndim", 2) != 2:
        with in_scikit_learns_words(X):
            as_matrix(X)


def labels_of(y: Any) -> NDArray[Any]:
    """Return y as a vector of labels; a column is one, with scikit-learn's warning."""
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if len(shape) == 2 and shape[1] == 1:
        from sklearn.utils import column_or_1d

        y = column_or_1d(y, warn=True)
    return as_labels(y)


def weights_of(
    sample_weight: ArrayLike | None,
    class_weight: Mapping[Any, float] | str | None,
    labels: NDArray[Any],
) -> NDArray[np.float64] | None:
    """Return the weight of each row, its class's included; None where all count the same.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or scalar, optional
    class_weight : dict, "balanced" or None
        Weight of each label, 1 where it has none; or W / (K W_k), with W the sum of the sample
        weights, W_k that of class k, and K the classes that have any.
    labels : ndarray of shape (n_samples,)

    Raises
    ------
    TypeError, ValueError
        A weight is no finite number >= 0, or some classes have no weight while some weights are of
        no class.
    """
    weight = as_weights(sample_weight, len(labels))
    if class_weight is None:
        return weight
    if weight is None:
        weight = np.ones(len(labels))
    known, codes = np.unique(labels, return_inverse=True)
    sums = np.bincount(codes, weight)
    names = known.tolist()
    if isinstance(class_weight, str):
        present = sums > 0
        factors = np.divide(
            sums.sum(), present.sum() * sums, out=np.zeros_like(sums), where=present
        )
        return np.asarray(weight * factors[codes])
    for name, value in class_weight.items():
        check_number(f"class_weight[{name!r}]", value)
    strange = [name for name in class_weight if name not in names]
    missing = [name for name in names if name not in class_weight]
    if strange and missing:
        raise ValueError(
            f"class_weight has weights of {strange}, which are no classes of y, but none of "
            f"{missing}; its keys must be labels"
        )
    factors = np.array([float(class_weight.get(name, 1.0)) for name in names])
    return np.asarray(weight * factors[codes])


def computed_in(X: Any, dtype: str | None) -> np.dtype[Any]:
    """Return the type that training on X computes in."""
    if dtype is None and is_frame(X):
        X = as_matrix(X[:1])  # a frame has no type of its own
    return compute_dtype(X, dtype)


def n_entries(X: Any, n_samples: int, n_features: int) -> int:
    """Return how many entries X stores."""
    return int(X.nnz) if hasattr(X, "nnz") else n_samples * n_features


def outputs_of(labels: NDArray[Any]) -> int:
    """Return how many outputs a model of these labels has: one for two classes, K for more."""
    if not len(labels):
        return 1
    second = labels[(labels != labels[0]).argmax()]
    if ((labels == labels[0]) | (labels == second)).all():  # found without sorting
        return 1
    return len(np.unique(labels))
