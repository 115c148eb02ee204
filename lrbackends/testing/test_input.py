"""Bad input is refused, and odd input trained on, as by NumPy's backend."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from lrbackends.backends.protocol import Backend
from lrbackends.backends.registry import get_backend
from lrbackends.equivalence import problems
from lrbackends.objective import Objective
from lrbackends.testing.outcomes import assert_same_as_numpy, error_of


def test_bad_data_get_numpys_message(backend: Backend) -> None:
    """One clear sentence, which names the row, column or value."""
    for name, change in _bad_data().items():
        found = assert_same_as_numpy(backend, **(_good() | change))
        assert found.error is not None, f"{name}: no error"


def test_bad_options_get_numpys_message(backend: Backend) -> None:
    """One clear sentence, which names the option."""
    for options in (
        *({"learning_rate": 0.0}, {"epochs": -1}, {"batch_size": 0}, {"tol": np.nan}),
        *({"solver": "sgd"}, {"dtype": "float16"}, {"l2": -1.0}, {"n_threads": 0}),
        *({"init": "ones"}, {"init": (np.zeros(3), 0.0)}, {"arithmetic": "exact"}),
        *({"validation_fraction": 1.0}, {"gap": 1e-3}, {"standardize": "yes"}),
        {"validation_data": (np.zeros((2, 9)), [0, 1])},
    ):
        found = assert_same_as_numpy(backend, **_good(), **options)
        assert found.error is not None, f"{options}: no error"


def test_odd_data_are_trained_on_as_by_numpy(backend: Backend) -> None:
    """Constant or repeated columns, few rows, any layout, any labels, weights of zero."""
    for name, change in _odd_data().items():
        found = assert_same_as_numpy(backend, **(_good() | change), l2=0.1, dtype="float64")
        assert found.error is None, f"{name}: {found.error}"


def test_odd_options_are_those_of_numpy(backend: Backend) -> None:
    """No intercept, a given start, schedules, standardised columns, rows drawn with replacement."""
    start = np.linspace(-1, 1, 5), 0.5
    for options in (
        *({"fit_intercept": False}, {"init": start}, {"init": "normal"}, {"standardize": True}),
        *({"schedule": "invscaling"}, {"schedule": "optimal", "batch_size": 7}),
        *({"batch_size": 9, "replacement": True}, {"batch_size": 64}, {"batch_size": 1}),
        {"solver": "momentum", "momentum": 0.0},
    ):
        found = assert_same_as_numpy(backend, **_good(), l2=0.1, **options)
        assert found.error is None, f"{options}: {found.error}"


def test_parameters_of_another_shape_get_numpys_message(backend: Backend) -> None:
    """Kernels do not cut them or fill them up: `objective.as_params` checks them."""
    problem = problems.small()
    ours, theirs = (b.compile(problem, Objective()) for b in (backend, get_backend("numpy")))
    for coef, intercept in (
        (np.zeros((1, 4)), np.zeros(1)),
        (np.zeros((2, 5)), np.zeros(2)),
        (np.zeros((1, 5)), np.zeros(0)),
    ):
        for name in ("loss", "loss_gradient"):
            expected, found = (
                error_of(partial(getattr(kernels, name), (coef, intercept)))
                for kernels in (theirs, ours)
            )
            assert found == expected, f"{name}(): {found}\nnumpy: {expected}"


def test_what_is_handed_in_is_not_written_to(backend: Backend) -> None:
    """X, y and weights are the same bytes after a fit, and may be read-only."""
    given = _good() | {"sample_weight": problems.small(weighted=True).sample_weight}
    before = {name: value.tobytes() for name, value in given.items()}
    writable = assert_same_as_numpy(backend, **given, l2=0.1)
    for value in given.values():
        value.flags.writeable = False
    read_only = assert_same_as_numpy(backend, **given, l2=0.1)
    assert {name: value.tobytes() for name, value in given.items()} == before
    assert writable.result is not None, writable
    assert read_only.result is not None, read_only
    assert writable.result.coef.tobytes() == read_only.result.coef.tobytes()


def _good() -> dict[str, Any]:
    problem = problems.small()
    return {"X": problem.X.copy(), "y": problem.y.copy(), "sample_weight": None}


def _with(array: Any, value: Any, *where: Any) -> Any:
    """Return a copy with ``value`` in a place."""
    array = array.copy()
    array[where] = value
    return array


def _bad_data() -> dict[str, dict[str, Any]]:
    X, y, _ = _good().values()
    n = len(y)
    return {
        "NaN": {"X": _with(X, np.nan, 7, 2)},
        "infinite": {"X": _with(X, -np.inf, 0, 4)},
        "huge": {"X": X * 1e300},
        "subnormal": {"X": _with(X, 1e-310, 4, 1)},
        "complex": {"X": X * 1j},
        "text": {"X": X.astype(str).astype(object) + "x"},
        "one-dimensional": {"X": X[:, 0]},
        "three-dimensional": {"X": X[None]},
        "no rows": {"X": X[:0], "y": y[:0]},
        "no columns": {"X": X[:, :0]},
        "rows that do not match": {"X": X[:-1]},
        "sparse NaN": {"X": sparse.csr_array(_with(X, np.nan, 7, 2))},
        "one class": {"y": y * 0},
        "continuous labels": {"y": y + 0.25},
        "NaN among the labels": {"y": _with(y.astype(float), np.nan, 3)},
        "two columns of labels": {"y": np.column_stack([y, y])},
        "mixed labels": {"y": np.array([*y.tolist()[1:], "a"], dtype=object)},
        "negative weight": {"sample_weight": _with(np.ones(n), -1.0, 4)},
        "NaN weight": {"sample_weight": _with(np.ones(n), np.nan, 4)},
        "no weight": {"sample_weight": np.zeros(n)},
        "too few weights": {"sample_weight": np.ones(n - 1)},
        "weights of one class": {"sample_weight": (y == 0) * 1.0},
    }


def _odd_data() -> dict[str, dict[str, Any]]:
    X, y, _ = _good().values()
    n = len(y)
    few = [int(np.argmin(y)), int(np.argmax(y))]
    return {
        "a list": {"X": X.tolist(), "y": y.tolist()},
        "by columns": {"X": np.asfortranarray(X)},
        "every other row": {"X": np.repeat(X, 2, axis=0)[::2]},
        "backwards": {"X": X[::-1], "y": y[::-1]},
        "big-endian": {"X": X.astype(">f8")},
        "float32": {"X": X.astype(np.float32)},
        "whole numbers": {"X": np.rint(X * 10).astype(np.int64)},
        "bytes": {"X": np.rint(X * 10).astype(np.int8)},
        "booleans": {"X": X > 0},
        "two rows": {"X": X[few], "y": y[few]},
        "one column": {"X": X[:, :1]},
        "more columns than rows": {"X": np.tile(X, 30)},
        "a constant column": {"X": _with(X, 2.0, slice(None), 3)},
        "a column of zeros": {"X": _with(X, 0.0, slice(None), 3)},
        "the same column twice": {"X": _with(X, X[:, 1], slice(None), 3)},
        "zeros only": {"X": X * 0},
        "text labels": {"y": np.where(y == 1, "yes", "no")},
        "boolean labels": {"y": y == 1},
        "labels of -1 and 1": {"y": 2.0 * y - 1},
        "a column of labels": {"y": y[:, None]},
        "weights": {"sample_weight": np.arange(n) % 5},
        "one weight for all": {"sample_weight": 3.0},
        "tiny weights": {"sample_weight": np.full(n, 1e-100) * (1 + y)},
    }
