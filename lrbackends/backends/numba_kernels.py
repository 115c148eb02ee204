"""The derivation's loop over the samples, jitted: rows in blocks, each row read once.

A block's scores z come first, then m, e, a and dz of its samples in vector lanes, then its share of
dw and db. The rows of the next block are scored in the loop that adds this block's share, so that
memory is read all the time. How rows are read is in the functions of a `Storage`, one for each way
that X may be kept; the passes over the rows are written once.
"""

# ruff: noqa: ARG001 (the functions of all storages have the same arguments)

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lrbackends.backends._numba_jit import entry, jit
from lrbackends.backends.numba_reproducible import exp_of_minus, log_of_one_plus

# Sums of products may be reordered, which lets them run in vector lanes; nothing else is relaxed.
SUMS = {"reassoc", "contract", "nsz"}
# The exponential's two-word ln 2 needs the order that is written.
AS_WRITTEN = {"contract"}

LARGEST_EXPONENT = 708.0  # beyond it exp(-x) is taken at 708: smaller ones are subnormal
_BLOCK_BYTES = 1 << 16
SPARSE_BLOCK = 64  # rows
LANES = 16  # samples whose exponentials are taken together; blocks have whole lanes

ALL_ROWS = np.zeros(0, np.int64)  # stands for the rows as they lie, where a mini-batch could be


def block_rows(n_features: int, itemsize: int) -> int:
    """Return how many rows a block has: few enough for the cache, enough for streams and lanes."""
    return min(512, max(16, _BLOCK_BYTES // (n_features * itemsize) // LANES * LANES))


# -- a block of dense rows: rows first to first + count - 1 of X


@jit(fastmath=SUMS)
def score(X: Any, first: int, count: int, theta: Any, z: Any, at: int) -> None:
    """Write x . w + b of each row to ``z``, from entry ``at`` on."""
    rows, p = X[first : first + count], X.shape[1]
    for s in range(count):
        zs = theta[p]
        for j in range(p):
            zs += rows[s, j] * theta[j]
        z[at + s] = zs


@jit(fastmath=SUMS)
def add(X: Any, first: int, count: int, dz: Any, dw: Any) -> None:
    """Add the rows times their ``dz`` to ``dw``, four rows at a time."""
    rows, p = X[first : first + count], X.shape[1]
    whole = count // 4 * 4
    for s in range(0, whole, 4):
        dz0, dz1, dz2, dz3 = dz[s], dz[s + 1], dz[s + 2], dz[s + 3]
        for j in range(p):
            dw[j] += (dz0 * rows[s, j] + dz1 * rows[s + 1, j]) + (
                dz2 * rows[s + 2, j] + dz3 * rows[s + 3, j]
            )
    for s in range(whole, count):
        for j in range(p):
            dw[j] += dz[s] * rows[s, j]


@jit(fastmath=SUMS)
def _add_and_score(
    X: Any, first: int, second: int, count: int, dz: Any, dw: Any, theta: Any, z: Any
) -> None:
    """Do `add` of one block and `score` of the next, equally long one in the same loop.

    The four rows are a quarter of a block apart, mostly in pages of their own: processors read
    ahead along one line in each page.
    """
    rows, following, p = X[first : first + count], X[second : second + count], X.shape[1]
    quarter = count // 4
    for s0 in range(quarter):
        s1, s2, s3 = s0 + quarter, s0 + 2 * quarter, s0 + 3 * quarter
        dz0, dz1, dz2, dz3 = dz[s0], dz[s1], dz[s2], dz[s3]
        z0 = z1 = z2 = z3 = theta[p]
        for j in range(p):
            w = theta[j]
            z0 += following[s0, j] * w
            z1 += following[s1, j] * w
            z2 += following[s2, j] * w
            z3 += following[s3, j] * w
            dw[j] += (dz0 * rows[s0, j] + dz1 * rows[s1, j]) + (
                dz2 * rows[s2, j] + dz3 * rows[s3, j]
            )
        z[s0], z[s1], z[s2], z[s3] = z0, z1, z2, z3


@jit()
def join(part: Any, slot: Any) -> None:
    """Move the sum of a block to ``slot``: sums of sums keep more digits than one long sum."""
    for j in range(len(part)):
        slot[j] += part[j]
        part[j] = 0


@jit(inline="always")
def _advance(
    X: Any,
    first: int,
    count: int,
    second: int,
    next_count: int,
    dz: Any,
    slot: Any,
    part: Any,
    theta: Any,
    z: Any,
) -> None:
    """Add a block's share of dw to ``slot``, and write the scores of the following one to ``z``."""
    if count == next_count and count % 4 == 0:
        _add_and_score(X, first, second, count, dz, part, theta, z)
    else:
        add(X, first, count, dz, part)
        score(X, second, next_count, theta, z, 0)
    join(part, slot)


@jit(inline="always")
def _in_place(data: Any, blocks: Any) -> Any:
    """Return the rows, labels and weights of X itself; narrow entries are widened as they are met.

    A loop over narrow entries has the lanes of the widest type in it, hence the same sums.
    """
    return data


@jit(inline="always")
def _find(data: Any, rows: Any, first: int, count: int, blocks: Any, half: int) -> int:
    """Return where a block lies: where it is."""
    return first


@jit(inline="always")
def _in_blocks(data: Any, blocks: Any) -> Any:
    """Return scratch space for the rows, labels and weights of two blocks."""
    return blocks


@jit()
def _copy(data: Any, rows: Any, first: int, count: int, blocks: Any, half: int) -> int:
    """Copy rows ``rows[first:first + count]`` of X, widened, to half of the scratch space."""
    X, sign, weight = data
    wide, signs, weights = blocks
    begin, p = half * (len(signs) // 2), X.shape[1]
    for s in range(count):
        i = rows[first + s]
        row, copied = X[i], wide[begin + s]
        for j in range(p):
            copied[j] = row[j]
        signs[begin + s] = sign[i]
        if weight.size:
            weights[begin + s] = weight[i]
    return begin


# -- a block of sparse rows: where each starts and stops, with the columns and values of all rows


@jit(fastmath=SUMS)
def _score_sparse(X: Any, first: int, count: int, theta: Any, z: Any, at: int) -> None:
    ends, columns, values = X
    for s in range(count):
        score = theta[len(theta) - 1]
        for k in range(ends[first + s, 0], ends[first + s, 1]):
            score += values[k] * theta[columns[k]]
        z[at + s] = score


@jit(fastmath=SUMS)
def _advance_sparse(
    X: Any,
    first: int,
    count: int,
    second: int,
    next_count: int,
    dz: Any,
    slot: Any,
    part: Any,
    theta: Any,
    z: Any,
) -> None:
    """As `_advance`, straight into ``slot``: a block's sum would touch every column."""
    ends, columns, values = X
    for s in range(count):
        residual = dz[s]
        for k in range(ends[first + s, 0], ends[first + s, 1]):
            slot[columns[k]] += residual * values[k]
    _score_sparse(X, second, next_count, theta, z, 0)


@jit(inline="always")
def in_sparse_blocks(data: Any, blocks: Any) -> Any:
    """Return where the rows of a block lie, and scratch space for its labels and weights."""
    ends, signs, weights = blocks
    return (ends, data[0][1], data[0][2]), signs, weights


@jit()
def find_sparse(data: Any, rows: Any, first: int, count: int, blocks: Any, half: int) -> int:
    """Write where rows first to first + count - 1, or those of ``rows``, start and stop."""
    X, sign, weight = data
    ends, signs, weights = blocks
    begin, starts = half * (len(signs) // 2), X[0]
    for s in range(count):
        i = rows[first + s] if rows.size else first + s
        ends[begin + s, 0], ends[begin + s, 1] = starts[i], starts[i + 1]
        signs[begin + s] = sign[i]
        if weight.size:
            weights[begin + s] = weight[i]
    return begin


# -- each sample of a block


@jit(fastmath=AS_WRITTEN)
def _differentiate(
    z: Any, sign: Any, weight: Any, first: int, count: int, losses: Any, dz: Any, e: Any
) -> None:
    """Write each sample's loss and its derivative by z; ``e`` is left too."""
    some_sign = sign[first : first + count]
    whole = -(-count // LANES) * LANES  # so that no exponential is left over for scalar code
    for s in range(count, whole):
        z[s] = 0
    for s in range(whole):
        e[s] = exp_of_minus(abs(np.float64(z[s])), LARGEST_EXPONENT)
        losses[s] = log_of_one_plus(e[s])
    for s in range(count):
        m = np.float64(some_sign[s] * z[s])
        a = (1.0 if m >= 0 else e[s]) / (1.0 + e[s])
        losses[s] += max(m, 0.0)
        dz[s] = some_sign[s] * a
    if weight.size:
        some_weight = weight[first : first + count]
        for s in range(count):
            losses[s] *= some_weight[s]
            dz[s] *= some_weight[s]


@jit()
def _curve(e: Any, weight: Any, first: int, count: int, curvature: Any, at: int) -> None:
    """Write each sample's second derivative by z, weight a (1 - a) = weight e / (1 + e)^2."""
    some = curvature[at : at + count]
    for s in range(count):
        some[s] = e[s] / ((1.0 + e[s]) * (1.0 + e[s]))
    if weight.size:
        some_weight = weight[first : first + count]
        for s in range(count):
            some[s] *= some_weight[s]


@jit(fastmath=SUMS)
def total(values: Any, count: int) -> Any:
    """Return the sum of the first ``count`` values."""
    result = values[0] * 0
    for s in range(count):
        result += values[s]
    return result


# -- rows for weighted Gram matrices, with a last column of ones for the intercept


@jit()
def _weigh(data: Any, start: int, curvature: Any, gram: Any, wide: Any) -> None:
    """Write rows of X times the root of their curvatures to ``wide``: its W'W is their share."""
    X, (scaled_rows,) = data[0], wide
    p = X.shape[1]
    for s in range(len(curvature)):
        root = np.sqrt(np.float64(curvature[s]))
        row, scaled = X[start + s], scaled_rows[s]
        for j in range(p):
            scaled[j] = root * row[j]
        scaled[p] = root


@jit()
def _add_pairs(data: Any, start: int, curvature: Any, gram: Any, wide: Any) -> None:
    """Add the rows' share to the lower triangle of ``gram``, pair by pair of their non-zeros."""
    starts, columns, values = data[0]
    p = len(gram) - 1
    for s in range(len(curvature)):
        c = np.float64(curvature[s])
        begin, end = starts[start + s], starts[start + s + 1]
        for k in range(begin, end):
            share = c * values[k]
            row = gram[columns[k]]
            for other in range(begin, k):
                row[columns[other]] += share * values[other]
            row[columns[k]] += share * values[k]
            gram[p, columns[k]] += share
        gram[p, p] += c


# -- passes


class Storage(NamedTuple):
    """How one kind of X is read: what passes over the rows are made of."""

    source: Any  # (data, blocks) -> rows, labels and weights that blocks lie in
    find: Any  # (data, rows, first, count, blocks, half) -> where in there a block begins
    score: Any
    advance: Any
    square: Any


DENSE = Storage(_in_place, _find, score, _advance, _weigh)
GATHERED = Storage(_in_blocks, _copy, score, _advance, _weigh)  # for mini-batches of dense rows
SPARSE = Storage(in_sparse_blocks, find_sparse, _score_sparse, _advance_sparse, _add_pairs)


def room_for(storage: Storage, n_features: int, dtype: Any, weighted: bool) -> tuple[Any, ...]:
    """Return the scratch space of one thread: z, dz, losses and e, a block's dw, two blocks."""
    sparse = storage is SPARSE
    size = SPARSE_BLOCK if sparse else block_rows(n_features, np.dtype(dtype).itemsize)
    samples = np.empty(size, dtype), np.empty(size, dtype), np.empty(size), np.empty(size)
    part = np.zeros(0 if sparse else n_features, dtype)
    if storage is DENSE:
        return *samples, part, ()
    rows = np.empty((2 * size, 2), np.uint64) if sparse else np.empty((2 * size, n_features), dtype)
    weights = np.empty(2 * size if weighted else 0, dtype)
    return *samples, part, (rows, np.empty(2 * size, np.int8), weights)


class Passes(NamedTuple):
    """The passes over the data of one storage; rows are cut into chunks at ``edges``.

    Chunk k is rows edges[k] to edges[k + 1] - 1 and has its own entry of ``losses`` and row of
    ``slots``, [dw, db], all sums and unscaled; chunks first to last - 1 are done.
    """

    gradients: Any  # (data, theta, edges, first, last, curvature, slots, losses, room)
    losses: Any  # (data, theta, edges, first, last, losses, room)
    scores: Any  # (data, theta, edges, first, last, z, room)
    products: Any  # (data, vector, edges, first, last, curvature, slots, room)
    curved: Any  # (data, theta, start, stop, curvature, slot, gram, wide, room) -> loss
    objective: Any  # (data, theta, rows, n, penalty, gradient, work) -> objective
    evaluate: Any  # the same, called by Python
    finish: Any  # (slots, losses, n_chunks, theta, n, penalty, gradient) -> objective


@cache
def passes_over(storage: Storage) -> Passes:
    """Return the passes; each is compiled when it is first called."""
    source, find, score, advance, square = storage

    @jit(inline="always")
    def accumulate(
        data: Any,
        theta: Any,
        rows: Any,
        start: int,
        stop: int,
        curvature: Any,
        offset: int,
        slot: Any,
        room: Any,
    ) -> float:
        """Add samples start..stop-1 to ``slot``, [dw, db]; return their loss, all unscaled.

        They are rows ``rows[start:stop]`` of X where ``rows`` is not empty. Their curvatures are
        written to ``curvature[start - offset : stop - offset]`` unless that is None.
        """
        z, dz, losses, e, part, blocks = room
        X, sign, weight = source(data, blocks)
        size, half, loss = len(z), 0, 0.0
        count = min(size, stop - start)
        place = find(data, rows, start, count, blocks, half)
        score(X, place, count, theta, z, 0)
        for first in range(start, stop, size):
            _differentiate(z, sign, weight, place, count, losses, dz, e)
            loss += total(losses, count)
            slot[len(slot) - 1] += total(dz, count)
            if curvature is not None:
                _curve(e, weight, place, count, curvature, first - offset)
            half = 1 - half
            next_count = min(size, stop - first - count)
            next_place = find(data, rows, first + count, next_count, blocks, half)
            advance(X, place, count, next_place, next_count, dz, slot, part, theta, z)
            place, count = next_place, next_count
        return loss

    @entry
    def gradients(
        data: Any,
        theta: Any,
        edges: Any,
        first: int,
        last: int,
        curvature: Any,
        slots: Any,
        losses: Any,
        room: Any,
    ) -> None:
        for k in range(first, last):
            start, stop = edges[k], edges[k + 1]
            slots[k] = 0
            losses[k] = accumulate(data, theta, ALL_ROWS, start, stop, curvature, 0, slots[k], room)

    @entry
    def losses(
        data: Any, theta: Any, edges: Any, first: int, last: int, losses: Any, room: Any
    ) -> None:
        z, dz, some, e, _, blocks = room
        X, sign, weight = source(data, blocks)
        for k in range(first, last):
            losses[k] = 0
            for start in range(edges[k], edges[k + 1], len(z)):
                count = min(len(z), edges[k + 1] - start)
                place = find(data, ALL_ROWS, start, count, blocks, 0)
                score(X, place, count, theta, z, 0)
                _differentiate(z, sign, weight, place, count, some, dz, e)
                losses[k] += total(some, count)

    @entry
    def scores(data: Any, theta: Any, edges: Any, first: int, last: int, z: Any, room: Any) -> None:
        size, blocks = len(room[0]), room[5]
        X = source(data, blocks)[0]
        for start in range(edges[first], edges[last], size):
            count = min(size, edges[last] - start)
            score(X, find(data, ALL_ROWS, start, count, blocks, 0), count, theta, z, start)

    @entry
    def products(
        data: Any,
        vector: Any,
        edges: Any,
        first: int,
        last: int,
        curvature: Any,
        slots: Any,
        room: Any,
    ) -> None:
        z, dz, _, _, part, blocks = room
        X = source(data, blocks)[0]
        size, half = len(z), 0
        for k in range(first, last):
            slots[k] = 0
            slot, start, stop = slots[k], edges[k], edges[k + 1]
            count = min(size, stop - start)
            place = find(data, ALL_ROWS, start, count, blocks, half)
            score(X, place, count, vector, z, 0)
            for begin in range(start, stop, size):
                for s in range(count):
                    dz[s] = curvature[begin + s] * z[s]
                slot[len(slot) - 1] += total(dz, count)
                half = 1 - half
                next_count = min(size, stop - begin - count)
                next_place = find(data, ALL_ROWS, begin + count, next_count, blocks, half)
                advance(X, place, count, next_place, next_count, dz, slot, part, vector, z)
                place, count = next_place, next_count

    @entry
    def curved(
        data: Any,
        theta: Any,
        start: int,
        stop: int,
        curvature: Any,
        slot: Any,
        gram: Any,
        wide: Any,
        room: Any,
    ) -> float:
        loss = accumulate(data, theta, ALL_ROWS, start, stop, curvature, start, slot, room)
        square(data, start, curvature, gram, wide)
        return loss

    @jit(inline="always")
    def objective(
        data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
    ) -> float:
        """Write the gradient over ``n`` samples into ``gradient``; return the objective.

        A mini-batch is one chunk.
        """
        edges, slots, losses, room = work
        n_chunks = 1 if rows.size else len(edges) - 1
        for k in range(n_chunks):
            start, stop = (0, n) if rows.size else (edges[k], edges[k + 1])
            slot = slots[k]
            slot[:] = 0
            losses[k] = accumulate(data, theta, rows, start, stop, None, 0, slot, room)
        value: float = finish(slots, losses, n_chunks, theta, n, penalty, gradient)
        return value

    @entry
    def evaluate(
        data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
    ) -> float:
        value: float = objective(data, theta, rows, n, penalty, gradient, work)
        return value

    return Passes(gradients, losses, scores, products, curved, objective, evaluate, finish)


@entry
def finish(
    slots: Any, losses: Any, n_chunks: int, theta: Any, n: int, penalty: Any, gradient: Any
) -> float:
    """Turn the chunks' sums over ``n`` samples into the objective and its gradient."""
    l2, fit_intercept = penalty
    p = len(theta) - 1
    loss, square = 0.0, 0.0
    gradient[:] = 0
    for k in range(n_chunks):
        loss += losses[k]
        slot = slots[k]
        for j in range(p + 1):
            gradient[j] += slot[j]
    for j in range(p):
        gradient[j] = gradient[j] / n + l2 * theta[j]
        square += (l2 * theta[j]) * theta[j]
    gradient[p] = gradient[p] / n if fit_intercept else gradient[p] * 0
    return loss / n + 0.5 * square
