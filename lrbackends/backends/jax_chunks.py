"""How the fast JAX arithmetic cuts rows up, and adds up what their parts give.

For the same bits with any number of threads, sums depend on the shape alone: a reduction by XLA
over many parts, or a product whose sums run over many rows, would depend on its threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends.jax_objective import Form
from lrbackends.problem import Problem

BLOCK_ROWS = 128  # that one product may add up: XLA splits up sums of more by its threads
_CHUNK_BYTES = 1 << 20  # of X in the type computed in: a chunk's rows stay in cache between uses
_LANES = 8  # sums of chunks that may go on side by side
_AT_ONCE_BYTES = 1 << 28  # of scores that may be kept for all rows
_ALIGNMENT = 64  # what XLA asks of memory that it is to use as it lies

# X, sign and weight, or for more than two classes X, labels and weight, cut into chunks of rows,
# the last chunk filled up with rows of weight 0. X keeps its own, possibly narrow type. For more
# than two classes chunks are cut into blocks of rows, which are a second axis.
Data = tuple[jax.Array, jax.Array, jax.Array]


def chunk_rows(n_features: int, dtype: np.dtype[Any]) -> int:
    """Return the number of rows in a chunk, in whole blocks."""
    return max(1, _CHUNK_BYTES // (dtype.itemsize * n_features) // BLOCK_ROWS) * BLOCK_ROWS


def cut(rows: NDArray[Any], size: int) -> jax.Array:
    """Bring rows to the device in chunks of ``size`` at most, in one copy that is ours."""
    return _cut_exactly(rows, (max(1, min(size, len(rows))),))


def _cut_exactly(rows: NDArray[Any], sizes: tuple[int, ...]) -> jax.Array:
    """The same, in chunks of the shape ``sizes``."""
    n_chunks = -(-len(rows) // math.prod(sizes))
    shape = n_chunks, *sizes, *rows.shape[1:]
    memory = np.empty(math.prod(shape) * rows.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    ours = memory[start:][: len(memory) - _ALIGNMENT].view(rows.dtype).reshape(shape)
    flat = ours.reshape(-1, *rows.shape[1:])
    flat[: len(rows)] = rows
    flat[len(rows) :] = 0
    chunks: jax.Array = jax.device_put(ours)
    return chunks


def _block_shape(n: int, most: int) -> tuple[int, int]:
    """Return how many blocks a chunk of at most ``most`` rows has, and of how many rows.

    As even as they can be, so that little is filled up.
    """
    blocks = -(-n // BLOCK_ROWS)
    rows = -(-n // blocks)
    chunks = -(-blocks // (most // BLOCK_ROWS))
    return -(-blocks // chunks), rows


def layout(problem: Problem) -> Data:
    """Bring X, sign or labels, and weight to the device, with a leading axis of chunks."""
    most = chunk_rows(problem.n_features, problem.dtype)
    if problem.n_outputs == 1:
        return cut(problem.X, most), cut(problem.sign, most), cut(problem.weight, most)
    sizes = _block_shape(problem.n_samples, most)
    parts = problem.X, problem.y.astype(np.int32), problem.weight
    X, y, weight = (_cut_exactly(part, sizes) for part in parts)
    return X, y, weight


def as_chunk(data: Data, form: Form) -> Data:
    """Lay out the rows of a mini-batch, which are one chunk."""
    if form.n_outputs == 1:
        X, sign, weight = (part[None] for part in data)
        return X, sign, weight
    n = len(data[0])
    blocks, size = _block_shape(n, n + BLOCK_ROWS)

    def blocked(part: jax.Array) -> jax.Array:
        fill = [(0, blocks * size - n)] + [(0, 0)] * (part.ndim - 1)
        return jnp.pad(part, fill).reshape(1, blocks, size, *part.shape[1:])

    X, y, weight = map(blocked, data)
    return X, y, weight


def total(
    of_rows: Callable[..., Any],
    theta: jax.Array,
    data: Data,
    lanes: int = _LANES,
    at_once: bool = True,
) -> Any:
    """Return the sum of ``of_rows(theta, X, labels, weight)`` over chunks and blocks, X widened.

    The chunks are added up in a few lanes, and the lanes in order. Wide chunks are best taken all
    at once; narrow ones, and those whose results are large, one after the other in each lane: XLA
    does the lanes side by side, and widens no more than a chunk of each.
    """
    n_chunks = len(data[0])
    count = min(lanes, n_chunks)
    edges = [n_chunks * k // count for k in range(count + 1)]
    of_chunk = of_rows
    if data[1].ndim == 3:
        n_outputs = len(theta) // (data[0].shape[-1] + 1)
        at_once &= data[1].size * n_outputs * theta.dtype.itemsize <= _AT_ONCE_BYTES
        of_chunk = _over_blocks(of_rows)

    def one(i: int | jax.Array) -> Any:
        X, *labels = (lax.dynamic_index_in_dim(part, i, keepdims=False) for part in data)
        return of_chunk(theta, X.astype(theta.dtype), *labels)

    if at_once and n_chunks > 1 and data[0].dtype == theta.dtype:
        parts = jax.vmap(partial(of_chunk, theta))(*data)

        def one(i: int | jax.Array) -> Any:
            return jax.tree.map(lambda part: part[i], parts)

    def lane(start: int, stop: int) -> Any:
        def add(i: jax.Array, sums: Any) -> Any:
            return jax.tree.map(jnp.add, sums, one(i))

        return lax.fori_loop(start + 1, stop, add, one(start))

    sums = [lane(a, b) for a, b in pairwise(edges)]
    return reduce(lambda left, right: jax.tree.map(jnp.add, left, right), sums)


def _over_blocks(of_rows: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of a chunk: the sum over its blocks, in order."""

    def of_chunk(theta: jax.Array, *chunk: jax.Array) -> Any:
        parts = jax.vmap(partial(of_rows, theta))(*chunk)

        def add(i: jax.Array, sums: Any) -> Any:
            return jax.tree.map(lambda left, part: left + part[i], sums, parts)

        first = jax.tree.map(lambda part: part[0], parts)
        return lax.fori_loop(1, len(chunk[0]), add, first)

    return of_chunk
