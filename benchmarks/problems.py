"""The problems that solvers are timed on, by name: small, large, sparse and hostile ones.

All are two-class; every solver minimises mean log-loss + |w|^2 / (2n) with a free intercept. Made
data: columns correlated 0.5 with their neighbours (AR(1)), labels drawn from a logistic model.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.signal import lfilter
from scipy.special import expit

from lrbackends.datasets import load_dataset

Data = tuple[Any, NDArray[np.int64]]  # X, ndarray or csr_array; y in {0, 1}
_CORRELATION = 0.5


class MissingFileError(LookupError):
    """The problem's file is not here; the message says how to name it."""


def _file(variable: str, what: str) -> str:
    path = os.environ.get(variable)
    if not path:
        raise MissingFileError(f"{variable} does not name {what}")
    return path


def _loaded(X: NDArray[Any], y: NDArray[Any]) -> Data:
    return X, np.unique(y, return_inverse=True)[1].astype(np.int64)


def _bundled(name: str) -> Data:
    found = load_dataset(name, test_size=0.0)
    return _loaded(found.X_train, found.y_train)


def mnist_folder() -> str:
    """Return the folder with the MNIST files; MissingFileError where none is named."""
    return _file("LRBACKENDS_MNIST", "a folder with the MNIST files")


def _mnist01() -> Data:
    found = load_dataset(f"{mnist_folder()}/train-images-idx3-ubyte.gz", digits=(0, 1))
    return _loaded(found.X_train, found.y_train)


def _a9a_sparse() -> Data:
    path = _file("LRBACKENDS_A9A", "the LIBSVM file of a9a")
    found = load_dataset(path, test_size=0.0)
    X, y = _loaded(sparse.csr_array(found.X_train), found.y_train)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X, y


def _a9a() -> Data:
    X, y = _a9a_sparse()
    return X.toarray(), y


def ar1(n: int, p: int, seed: int = 0) -> Data:
    """Return Gaussian rows whose columns are correlated with their neighbours."""
    X, z, rng = _ar1_scores(n, p, seed)
    return X, _drawn(rng, z)


def _ar1_scores(
    n: int, p: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], np.random.Generator]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    fresh = np.sqrt(1 - _CORRELATION**2)
    X[:, 0] /= fresh
    for start in range(0, n, 100_000):  # by blocks: the filter's result is a copy
        rows = slice(start, start + 100_000)
        X[rows] = lfilter([fresh], [1, -_CORRELATION], X[rows], axis=1)
    w = rng.standard_normal(p) / np.sqrt(p)
    return X, X @ w, rng


def _drawn(rng: np.random.Generator, z: NDArray[np.float64]) -> NDArray[np.int64]:
    return (rng.random(len(z)) < expit(z)).astype(np.int64)


def power_law(n: int, p: int, density: float) -> Data:
    """Return CSR rows as of texts: column j drawn with probability ~ 1 / (j + 1), unit norm."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1.0, p + 1)
    edges = np.cumsum(share / share.sum())
    per_row = np.clip(rng.poisson(density * p, n), 1, p)
    rows = np.repeat(np.arange(n), per_row)
    columns = np.minimum(np.searchsorted(edges, rng.random(len(rows))), p - 1)
    X = sparse.csr_array((rng.exponential(size=len(rows)), (rows, columns)), shape=(n, p))
    X.sum_duplicates()
    norms = np.sqrt((X * X).sum(axis=1))
    X.data /= np.repeat(norms, np.diff(X.indptr))
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    z = X @ rng.standard_normal(p)
    return X, _drawn(rng, (z - z.mean()) / z.std())


def _sorted(n: int, p: int) -> Data:
    X, y = ar1(n, p)
    order = np.argsort(y, kind="stable")
    return X[order], y[order]


def _rare(n: int, p: int) -> Data:
    """Return rows of which about 0.1 % are positive, two at least."""
    X, z, rng = _ar1_scores(n, p, 0)
    wanted = max(2 / n, 1e-3)
    low, high = -40.0, 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if expit(z + middle).mean() < wanted else (low, middle)
    y = _drawn(rng, z + low)
    y[np.argsort(z)[-2:]] = 1
    return X, y


def _heavy(n: int, p: int) -> Data:
    """Return Student t features with two degrees of freedom: no variance."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, (n, p))
    return X, _drawn(rng, X @ (rng.standard_normal(p) / np.sqrt(p)))


def _twice(n: int, p: int) -> Data:
    X, y = ar1(n // 2, p)
    return np.repeat(X, 2, axis=0), np.repeat(y, 2)


def _made(make: Callable[..., Data], size: tuple[Any, ...], tiny: tuple[Any, ...]) -> _Maker:
    return lambda smoke: partial(make, *(tiny if smoke else size))()


_Maker = Callable[[bool], Data]
_MAKERS: dict[str, _Maker] = {
    "breast_cancer": lambda _: _bundled("breast_cancer"),
    "digits01": lambda _: _bundled("digits01"),
    "mnist01": lambda _: _mnist01(),
    "a9a": lambda _: _a9a(),
    "a9a_sparse": lambda _: _a9a_sparse(),
    "100000x100": _made(ar1, (100_000, 100), (500, 10)),
    "1000000x30": _made(ar1, (1_000_000, 30), (2_000, 3)),
    "20000x1000": _made(ar1, (20_000, 1_000), (200, 20)),
    "sparse_20000x50000": _made(power_law, (20_000, 50_000, 2e-3), (200, 500, 2e-2)),
    "sorted_100000x100": _made(_sorted, (100_000, 100), (500, 10)),
    "rare_100000x100": _made(_rare, (100_000, 100), (500, 10)),
    "heavy_100000x100": _made(_heavy, (100_000, 100), (500, 10)),
    "twice_100000x100": _made(_twice, (100_000, 100), (500, 10)),
}
PROBLEMS = tuple(_MAKERS)
SMALL = ("breast_cancer", "digits01")


def make(name: str, dtype: str = "float64", *, smoke: bool = False) -> Data:
    """Return (X, y) of a problem, X stored as ``dtype``.

    Raises
    ------
    MissingFileError
        It is read from a file that no environment variable names.
    """
    X, y = _MAKERS[name](smoke)
    return X.astype(dtype, copy=False), y
