"""The order of rows in mini-batches: drawn on the host, a function of seed and epoch alone.

The generator is counter-based (Philox 4x64-10), keyed by (seed, epoch): a resumed run and every
backend see the same batches. Only its raw 64-bit stream is used, which NumPy keeps stable: the
shuffled order is the order that sorts one raw number per row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import Batches


def _raw(seed: int, epoch: int, size: int) -> NDArray[np.uint64]:
    generator = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    return np.asarray(generator.random_raw(size), dtype=np.uint64)


def epoch_batches(
    n_samples: int, batch_size: int, seed: int, epoch: int, replacement: bool = False
) -> Batches:
    """Return the mini-batches of one epoch.

    Parameters
    ----------
    n_samples, batch_size : int
        Rows in all and in a batch; without replacement the last batch holds what is left over.
    seed, epoch : int
        The key; epochs count from 0.
    replacement : bool, default False
        Draw each row independently instead of shuffling all.

    Returns
    -------
    Batches
        ceil(n_samples / batch_size) of them.
    """
    n_batches = -(-n_samples // batch_size)
    sizes = np.full(n_batches, batch_size, dtype=np.int64)
    if replacement:
        raw = _raw(seed, epoch, n_batches * batch_size)
        return Batches(
            (raw % np.uint64(n_samples)).astype(np.int64).reshape(n_batches, batch_size), sizes
        )
    sizes[-1] = n_samples - (n_batches - 1) * batch_size
    indices = np.zeros(n_batches * batch_size, dtype=np.int64)
    indices[:n_samples] = np.argsort(_raw(seed, epoch, n_samples), kind="stable")
    return Batches(indices.reshape(n_batches, batch_size), sizes)
