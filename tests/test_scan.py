"""The one pass over X that looks for bad entries and measures the columns."""

import numpy as np
import pytest
from scipy import sparse

from lrbackends import _scan
from lrbackends._scan import scan

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)


def by_definition(X):
    return np.sqrt((X.astype(np.longdouble) ** 2).mean(axis=0)).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (100, 7), (3000, 50), (20, 3000)])
def test_columns_are_measured(dtype, shape):
    X = (np.random.default_rng(0).normal(size=shape) * 40).astype(dtype)
    np.testing.assert_allclose(scan(X, DOUBLE), by_definition(X), rtol=1e-13)
    if X.dtype.kind == "f":
        np.testing.assert_allclose(scan(sparse.csr_array(X), DOUBLE), by_definition(X), rtol=1e-13)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-100, 1e90])
def test_no_size_is_lost(form, unit):
    """Also not that of a small column beside one of usual size."""
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, unit, 0.0]
    np.testing.assert_allclose(scan(form(X), DOUBLE), by_definition(X), rtol=1e-13)


def test_small_numbers_of_float32_are_measured():
    X = (np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1e-30]).astype(np.float32)
    np.testing.assert_allclose(scan(X, SINGLE), by_definition(X), rtol=1e-7)


def test_the_bits_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(_scan, "_PART_BYTES", 1 << 12)
    X = np.random.default_rng(0).normal(size=(5000, 9))
    bits = {scan(X, DOUBLE, n_threads=n).tobytes() for n in (1, 2, 3)}
    assert len(bits) == 1


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-310, -1e-310, 1e200, -1e200])
@pytest.mark.parametrize("row", [0, 1234, 2999])
def test_a_bad_entry_is_found_wherever_it_is(form, zeros, value, row, monkeypatch):
    monkeypatch.setattr(_scan, "_PART_BYTES", 1 << 15)
    monkeypatch.setattr(_scan, "_BLOCK_BYTES", 1 << 12)
    rng = np.random.default_rng(0)
    X = np.where(rng.random((3000, 5)) < zeros, 0.0, rng.normal(size=(3000, 5)))
    scan(form(X), DOUBLE)
    X[row, 2] = value
    with pytest.raises(ValueError, match=r"row|X\[|X scale") as caught:
        scan(form(X), DOUBLE, ("a", "b", "c", "d", "e"))
    if np.isnan(value):
        place = f"column 2 ('c') of X has 1 missing or NaN values, the first in row {row};"
    elif np.isinf(value):
        place = f"({value}) in row {row}, column 2 ('c')"
    else:
        place = f"X[{row}, 2]" if abs(value) < 1 else "the largest entry is 1e+200"
    assert place in str(caught.value)


def test_the_scale_allowed_is_that_of_the_type_computed_in():
    X = np.full((4, 1), 1e20, np.float32)
    assert scan(X, DOUBLE)[0] == pytest.approx(1e20, rel=1e-6)
    with pytest.raises(
        ValueError, match=r"overflows float32 on the way; .* or use dtype='float64'"
    ):
        scan(X, SINGLE)


def test_a_float32_that_is_subnormal_is_refused_also_for_float64():
    """Engines that flush it to zero do so when they read it."""
    X = np.array([[1.0], [1e-40]], np.float32)
    with pytest.raises(ValueError, match=r"X\[1, 0\] = 1e-40 is subnormal .* give X as float64"):
        scan(X, DOUBLE)
    scan(X.astype(np.float64), DOUBLE)
