import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbackends.solvers import epoch_batches

seeds = st.integers(0, 2**63)
epochs = st.integers(0, 2**40)

# The mini-batches of 4 of 10 rows in epoch 3 of seed 2024.
SHUFFLED = [[1, 0, 8, 2], [3, 7, 6, 4], [5, 9, 0, 0]]
DRAWN = [[9, 4, 6, 3], [7, 9, 0, 4], [5, 7, 0, 4]]


@given(n=st.integers(1, 300), size=st.integers(1, 300), seed=seeds, epoch=epochs)
def test_every_row_comes_exactly_once_in_an_epoch(n, size, seed, epoch):
    indices, sizes = epoch_batches(n, size, seed, epoch)
    assert indices.shape == (-(-n // size), size)
    assert indices.dtype == sizes.dtype == np.int64
    assert sizes.sum() == n
    assert (sizes[:-1] == size).all()
    rows = indices.ravel()
    assert sorted(rows[:n].tolist()) == list(range(n))
    assert not rows[n:].any()


@given(n=st.integers(1, 300), size=st.integers(1, 300), seed=seeds, epoch=epochs)
def test_with_replacement_all_batches_are_full(n, size, seed, epoch):
    indices, sizes = epoch_batches(n, size, seed, epoch, replacement=True)
    assert indices.shape == (-(-n // size), size)
    assert (sizes == size).all()
    assert indices.min() >= 0
    assert indices.max() < n


def test_with_replacement_rows_repeat_and_are_evenly_drawn():
    indices, _ = epoch_batches(10, 10_000, seed=3, epoch=0, replacement=True)
    counts = np.bincount(indices.ravel(), minlength=10)
    # 10,000 draws of 1 in 10: the deviation is 30, and 5 of them are never reached by chance.
    assert np.abs(counts - 1000).max() < 150


@pytest.mark.parametrize("replacement", [False, True])
def test_the_order_is_a_function_of_seed_and_epoch_alone(replacement):
    def order(seed, epoch):
        return epoch_batches(50, 7, seed, epoch, replacement).indices.tobytes()

    np.random.default_rng(0).random()
    assert order(1, 2) == order(1, 2)
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (2**32, 0), (2**63, 0)]
    assert len({order(*key) for key in keys}) == len(keys)


def test_the_batch_size_does_not_change_the_order():
    whole = epoch_batches(50, 50, 4, 2).indices.ravel()
    assert epoch_batches(50, 7, 4, 2).indices.ravel()[:50].tolist() == whole.tolist()


def test_the_order_stays_what_it_was():
    """A stored order: a change would silently change every mini-batch result."""
    shuffled = epoch_batches(10, 4, seed=2024, epoch=3)
    assert shuffled.indices.tolist() == SHUFFLED
    assert shuffled.sizes.tolist() == [4, 4, 2]
    drawn = epoch_batches(10, 4, seed=2024, epoch=3, replacement=True)
    assert drawn.indices.tolist() == DRAWN


def test_the_stored_order_is_that_of_philox():
    """Salmon et al. (2011): the raw 64-bit stream keyed by (seed, epoch), sorted or reduced."""
    raw = np.random.Philox(key=[2024, 3]).random_raw(12)
    assert np.argsort(raw[:10]).tolist() == np.ravel(SHUFFLED)[:10].tolist()
    assert (raw % 10).tolist() == np.ravel(DRAWN).tolist()
