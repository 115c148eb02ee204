"""The same data with fewer or more rows."""

import numpy as np
import pytest
from scipy import sparse

from lrbackends.benchmarking.resampling import resized

X = np.arange(120.0).reshape(40, 3)
CODES = np.arange(40) % 2


@pytest.mark.parametrize("n", [10, 39, 41, 500])
def test_rows_keep_their_labels(n):
    found, codes = resized(X, CODES, n, seed=0)
    assert found.shape == (n, 3)
    rows = (found[:, 0] / 3).astype(int)
    assert np.array_equal(found, X[rows])
    assert np.array_equal(codes, CODES[rows])


def test_fewer_rows_are_drawn_without_replacement():
    found, _ = resized(X, CODES, 30, seed=0)
    assert len(np.unique(found[:, 0])) == 30


def test_more_rows_are_drawn_again_and_again():
    found, _ = resized(X, CODES, 4_000, seed=0)
    times = np.unique(found[:, 0], return_counts=True)[1]
    assert len(times) == 40
    assert times.max() < 200  # 100 each, on average


@pytest.mark.parametrize("n", [10, 500])
def test_the_draw_depends_on_the_seed_alone(n):
    first, again, other = (resized(X, CODES, n, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [10, 90])
def test_each_class_keeps_a_row(n, seed):
    rare = np.zeros(1_000, np.int64)
    rare[[500, 700]] = 1, 2
    rows = np.arange(1_000.0)[:, None]
    found, codes = resized(rows, rare, n, seed)
    assert set(codes.tolist()) == {0, 1, 2}
    assert np.array_equal(codes, rare[found[:, 0].astype(int)])


def test_classes_are_kept_where_rows_are_drawn_again():
    rare = np.repeat([0, 1], [5_000, 1])
    _, codes = resized(np.ones((5_001, 1)), rare, 5_002, seed=1)
    assert set(codes.tolist()) == {0, 1}


@pytest.mark.parametrize("n", [20, 70])
def test_sparse_rows_stay_sparse(n):
    found, codes = resized(sparse.csr_array(X), CODES, n, seed=4)
    dense, same = resized(X, CODES, n, seed=4)
    assert isinstance(found, sparse.csr_array)
    assert np.array_equal(found.toarray(), dense)
    assert np.array_equal(codes, same)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_type_is_kept_and_the_input_not_written_to(dtype):
    rows, codes = X.astype(dtype), CODES.copy()
    rows.flags.writeable = codes.flags.writeable = False
    assert resized(rows, codes, 15, seed=0)[0].dtype == dtype
