"""Comparing on sparse and on narrow data: backends get X as it is stored."""

import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.benchmarking.compare import compare
from lrbackends.benchmarking.distance import distance
from lrbackends.benchmarking.rows import Measured
from lrbackends.benchmarking.worker import load_data, save_data
from lrbackends.objective import Params


@pytest.mark.parametrize("form", ["float64", "float32", "uint8", "csr", "csr-int64"])
def test_data_reach_the_worker_as_they_are_stored(tmp_path, noisy, form):
    X = (noisy.X * 9).clip(0).round()
    if form.startswith("csr"):
        X = sparse.csr_array(X)
        if form == "csr-int64":
            X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    else:
        X = X.astype(form)
    save_data(tmp_path / "data.npz", X, noisy.y)
    found, y = load_data(tmp_path / "data.npz")
    for part in (found.data, found.indices, y) if sparse.issparse(X) else (found, y):
        assert part.ctypes.data % 64 == 0
    assert type(found) is type(X)
    assert found.dtype == X.dtype
    assert found.shape == X.shape
    if sparse.issparse(X):
        assert found.indices.dtype == X.indices.dtype
        assert (found != X).nnz == 0
    else:
        assert np.array_equal(found, X)
    assert np.array_equal(y, noisy.y)


@pytest.mark.parametrize("form", [sparse.csr_array, np.uint8, np.float32])
def test_labels_that_differ_are_counted_in_every_form(noisy, form):
    X = (noisy.X * 9).clip(0).round()
    of = {
        "a": Params(np.array([[0.5, 0.25, -0.5]]), np.array([0.1])),
        "b": Params(np.array([[-0.5, 0.25, -0.5]]), np.array([0.1])),
    }
    rows = form(X) if form is sparse.csr_array else X.astype(form)
    expected = distance("a", "b", of, (X,), "float64")
    assert expected.labels > 0
    assert distance("a", "b", of, (rows,), "float64") == expected


def test_sparse_data_are_compared_where_they_are_covered(noisy):
    X = sparse.csr_array(np.where(noisy.X > 0, noisy.X, 0.0))
    found = compare(
        X[:50],
        noisy.y[:50],
        X_test=X[50:],
        y_test=noisy.y[50:],
        backends=("numpy", "jax"),
        epochs=20,
        rounds=1,
        vary=(),
    )
    assert found.entries == X[:50].nnz < 50 * 3
    trained, refused = found.rows
    assert isinstance(trained, Measured)
    assert trained.test_accuracy is not None
    assert refused.status == "unsupported"
    assert "sparse X" in refused.reason
    assert "X.toarray()" in refused.reason
    plain = lrb.Trainer("numpy", epochs=20, l2=1e-3).fit(X[:50].toarray(), noisy.y[:50])
    np.testing.assert_allclose(np.array(trained.coef), plain.coef, rtol=1e-13)
    (against,) = found.distances
    assert against.b == "reference"
    assert against.within("float64")
