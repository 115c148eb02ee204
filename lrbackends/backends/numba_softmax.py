"""The derivation's loop over the samples for K > 2 classes, jitted: in blocks, one pass over X.

A block's scores z come first, then e, a and dz of its samples in vector lanes, class by class, then
its share of each dw_k and db_k. Four rows meet five classes at a time, so that what is loaded is
used several times. In here parameters and sums are matrices, row k [w_k, b_k]; for sparse rows they
are transposed, since each non-zero meets all classes.
"""

# ruff: noqa: ARG001 (the functions of all storages have the same arguments)

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lrbackends.backends import numba_kernels as kernels
from lrbackends.backends._numba_jit import entry, jit
from lrbackends.backends.numba_kernels import (
    AS_WRITTEN,
    LANES,
    LARGEST_EXPONENT,
    SPARSE_BLOCK,
    SUMS,
    Passes,
    block_rows,
)
from lrbackends.backends.numba_reproducible import exp_of_minus, log_of_total

_JOINED = 256  # rows, at least, whose sums are added up before they join a longer sum

# -- a block of dense rows: rows first to first + count - 1 of X


@jit(fastmath=SUMS)
def _score_tile(X: Any, first: int, weights: Any, k: int, z: Any, s: int) -> None:
    """Write x . w + b of four rows and five classes to ``z[k : k + 5, s : s + 4]``."""
    p = X.shape[1]
    x0, x1, x2, x3 = X[first], X[first + 1], X[first + 2], X[first + 3]
    wa, wb, wc, wd, we = (
        weights[k],
        weights[k + 1],
        weights[k + 2],
        weights[k + 3],
        weights[k + 4],
    )
    a0 = a1 = a2 = a3 = wa[p]
    b0 = b1 = b2 = b3 = wb[p]
    c0 = c1 = c2 = c3 = wc[p]
    d0 = d1 = d2 = d3 = wd[p]
    e0 = e1 = e2 = e3 = we[p]
    for j in range(p):
        a, b, c, d, e = wa[j], wb[j], wc[j], wd[j], we[j]
        x = x0[j]
        a0, b0, c0, d0, e0 = a0 + x * a, b0 + x * b, c0 + x * c, d0 + x * d, e0 + x * e
        x = x1[j]
        a1, b1, c1, d1, e1 = a1 + x * a, b1 + x * b, c1 + x * c, d1 + x * d, e1 + x * e
        x = x2[j]
        a2, b2, c2, d2, e2 = a2 + x * a, b2 + x * b, c2 + x * c, d2 + x * d, e2 + x * e
        x = x3[j]
        a3, b3, c3, d3, e3 = a3 + x * a, b3 + x * b, c3 + x * c, d3 + x * d, e3 + x * e
    z[k, s], z[k, s + 1], z[k, s + 2], z[k, s + 3] = a0, a1, a2, a3
    z[k + 1, s], z[k + 1, s + 1], z[k + 1, s + 2], z[k + 1, s + 3] = b0, b1, b2, b3
    z[k + 2, s], z[k + 2, s + 1], z[k + 2, s + 2], z[k + 2, s + 3] = c0, c1, c2, c3
    z[k + 3, s], z[k + 3, s + 1], z[k + 3, s + 2], z[k + 3, s + 3] = d0, d1, d2, d3
    z[k + 4, s], z[k + 4, s + 1], z[k + 4, s + 2], z[k + 4, s + 3] = e0, e1, e2, e3


@jit(fastmath=SUMS)
def _add_tile(X: Any, first: int, dz: Any, k: int, s: int, dw: Any) -> None:
    """Add four rows times their dz of five classes to ``dw[k : k + 5]``."""
    p = X.shape[1]
    x0, x1, x2, x3 = X[first], X[first + 1], X[first + 2], X[first + 3]
    dwa, dwb, dwc, dwd, dwe = dw[k], dw[k + 1], dw[k + 2], dw[k + 3], dw[k + 4]
    a0, a1, a2, a3 = dz[k, s], dz[k, s + 1], dz[k, s + 2], dz[k, s + 3]
    b0, b1, b2, b3 = dz[k + 1, s], dz[k + 1, s + 1], dz[k + 1, s + 2], dz[k + 1, s + 3]
    c0, c1, c2, c3 = dz[k + 2, s], dz[k + 2, s + 1], dz[k + 2, s + 2], dz[k + 2, s + 3]
    d0, d1, d2, d3 = dz[k + 3, s], dz[k + 3, s + 1], dz[k + 3, s + 2], dz[k + 3, s + 3]
    e0, e1, e2, e3 = dz[k + 4, s], dz[k + 4, s + 1], dz[k + 4, s + 2], dz[k + 4, s + 3]
    for j in range(p):
        x, y, u, v = x0[j], x1[j], x2[j], x3[j]
        dwa[j] += (a0 * x + a1 * y) + (a2 * u + a3 * v)
        dwb[j] += (b0 * x + b1 * y) + (b2 * u + b3 * v)
        dwc[j] += (c0 * x + c1 * y) + (c2 * u + c3 * v)
        dwd[j] += (d0 * x + d1 * y) + (d2 * u + d3 * v)
        dwe[j] += (e0 * x + e1 * y) + (e2 * u + e3 * v)


@jit()
def _score(X: Any, first: int, count: int, weights: Any, z: Any, row: Any) -> None:
    """Write x . w_k + b_k of each row and class to ``z[k, s]``."""
    rows, classes = count // 4 * 4, len(weights) // 5 * 5
    for s in range(0, rows, 4):
        for k in range(0, classes, 5):
            _score_tile(X, first + s, weights, k, z, s)
    for k in range(len(weights)):
        done = rows if k < classes else 0
        kernels.score(X, first + done, count - done, weights[k], z[k], done)


@jit()
def _add(X: Any, first: int, count: int, dz: Any, slot: Any, part: Any, row: Any) -> None:
    """Add the block's share of dw and db to ``part``."""
    rows, classes, p = count // 4 * 4, len(dz) // 5 * 5, X.shape[1]
    for s in range(0, rows, 4):
        for k in range(0, classes, 5):
            _add_tile(X, first + s, dz, k, s, part)
    for k in range(len(dz)):
        done = rows if k < classes else 0
        kernels.add(X, first + done, count - done, dz[k, done:], part[k])
        part[k, p] += kernels.total(dz[k], count)


@jit()
def _join(slot: Any, part: Any) -> None:
    """Move a sum to ``slot``: sums of sums keep more digits than one long sum."""
    for k in range(len(part)):
        kernels.join(part[k], slot[k])


@jit()
def _arrange(theta: Any, weights: Any) -> None:
    """Write the flat ``theta`` to the rows of ``weights``, [w_k, b_k]."""
    K, p = weights.shape[0], weights.shape[1] - 1
    for k in range(K):
        for j in range(p):
            weights[k, j] = theta[k * p + j]
        weights[k, p] = theta[K * p + k]


@jit(inline="always")
def _by_class(slot: Any) -> Any:
    """Return sums as the rows [dw_k, db_k], which they are."""
    return slot


@jit(inline="always")
def _in_place(data: Any, blocks: Any) -> Any:
    return data


@jit(inline="always")
def _find(data: Any, rows: Any, first: int, count: int, blocks: Any) -> int:
    return first


@jit(inline="always")
def _in_blocks(data: Any, blocks: Any) -> Any:
    return blocks


@jit()
def _copy(data: Any, rows: Any, first: int, count: int, blocks: Any) -> int:
    """Copy rows ``rows[first : first + count]`` of X, or all in turn, to scratch space, widened.

    Each entry meets every class twice: narrow ones are worth widening once.
    """
    X, y, weight = data
    wide, labels, weights = blocks
    p = X.shape[1]
    for s in range(count):
        i = rows[first + s] if rows.size else first + s
        row, copied = X[i], wide[s]
        for j in range(p):
            copied[j] = row[j]
        labels[s] = y[i]
        if weight.size:
            weights[s] = weight[i]
    return 0


# -- a block of sparse rows: where each starts and stops, with the columns and values of all rows


@jit(fastmath=SUMS)
def _score_sparse(X: Any, first: int, count: int, weights: Any, z: Any, row: Any) -> None:
    ends, columns, values = X
    p, K = weights.shape[0] - 1, weights.shape[1]
    for s in range(count):
        for k in range(K):
            row[k] = weights[p, k]
        for t in range(ends[first + s, 0], ends[first + s, 1]):
            x, w = values[t], weights[columns[t]]
            for k in range(K):
                row[k] += x * w[k]
        for k in range(K):
            z[k, s] = row[k]


@jit(fastmath=SUMS)
def _add_sparse(X: Any, first: int, count: int, dz: Any, slot: Any, part: Any, row: Any) -> None:
    """As `_add`, straight into ``slot``: a block's sum would touch every column."""
    ends, columns, values = X
    p, K = slot.shape[0] - 1, slot.shape[1]
    for s in range(count):
        for k in range(K):
            row[k] = dz[k, s]
            slot[p, k] += dz[k, s]
        for t in range(ends[first + s, 0], ends[first + s, 1]):
            x, dw = values[t], slot[columns[t]]
            for k in range(K):
                dw[k] += row[k] * x


@jit(inline="always")
def _join_sparse(slot: Any, part: Any) -> None:
    """Do nothing: the sums are in ``slot``."""


@jit()
def _arrange_sparse(theta: Any, weights: Any) -> None:
    _arrange(theta, weights.T)


@jit(inline="always")
def _by_class_sparse(slot: Any) -> Any:
    return slot.T


@jit(inline="always")
def _find_sparse(data: Any, rows: Any, first: int, count: int, blocks: Any) -> int:
    return kernels.find_sparse(data, rows, first, count, blocks, 0)


# -- each sample of a block


@jit(fastmath=AS_WRITTEN)
def _differentiate(
    z: Any, y: Any, weight: Any, first: int, count: int, samples: Any, a: Any, dz: Any
) -> None:
    """Write each sample's loss, its derivatives by z, and its probabilities ``a``."""
    losses, largest, best, rest, others = samples
    labels = y[first : first + count]
    whole = -(-count // LANES) * LANES  # so that no exponential is left over for scalar code
    for s in range(whole):
        largest[s] = z[0, s] if s < count else 0.0
        best[s] = 0
        rest[s] = 0.0
        others[s] = 0.0
    for k in range(1, len(z)):
        zk = z[k]
        for s in range(count):
            higher = zk[s] > largest[s]
            largest[s] = zk[s] if higher else largest[s]
            best[s] = k if higher else best[s]
    for k in range(len(z)):
        zk, e = z[k], a[k]
        for s in range(count, whole):
            zk[s] = 0
        for s in range(whole):
            e[s] = exp_of_minus(largest[s] - np.float64(zk[s]), LARGEST_EXPONENT)
            rest[s] += e[s] if best[s] != k else 0.0
    for s in range(whole):
        losses[s] = log_of_total(rest[s])
    for s in range(count):
        losses[s] += largest[s] - z[labels[s], s]
    for k in range(len(z)):
        ak = a[k]
        for s in range(count):
            ak[s] /= 1.0 + rest[s]
            others[s] += ak[s] if labels[s] != k else 0.0
    for k in range(len(z)):
        ak, dzk = a[k], dz[k]
        for s in range(count):
            dzk[s] = ak[s] if labels[s] != k else -others[s]
    if weight.size:
        some_weight = weight[first : first + count]
        for s in range(count):
            losses[s] *= some_weight[s]
        for k in range(len(z)):
            dzk = dz[k]
            for s in range(count):
                dzk[s] *= some_weight[s]


@jit()
def _keep(a: Any, count: int, probabilities: Any, at: int) -> None:
    for k in range(len(a)):
        ak, kept = a[k], probabilities[k, at : at + count]
        for s in range(count):
            kept[s] = ak[s]


@jit(fastmath=AS_WRITTEN)
def _bend(
    u: Any, a: Any, at: int, weight: Any, first: int, count: int, samples: Any, dz: Any
) -> None:
    """Write the derivative of each sample's dz along changes ``u`` of its scores.

    dz_k' = weight a_k (u_k - sum a_l u_l). All u are taken relative to that of the likeliest class,
    whose own difference would lose digits otherwise.
    """
    largest, own, best, mean, _ = samples
    for s in range(count):
        largest[s] = a[0, at + s]
        best[s] = 0
        mean[s] = 0.0
    for k in range(1, len(u)):
        ak = a[k, at : at + count]
        for s in range(count):
            higher = ak[s] > largest[s]
            largest[s] = ak[s] if higher else largest[s]
            best[s] = k if higher else best[s]
    for s in range(count):
        own[s] = u[best[s], s]
    for k in range(len(u)):
        ak, uk = a[k, at : at + count], u[k]
        for s in range(count):
            mean[s] += ak[s] * (uk[s] - own[s])
    for k in range(len(u)):
        ak, uk, dzk = a[k, at : at + count], u[k], dz[k]
        for s in range(count):
            dzk[s] = ak[s] * ((uk[s] - own[s]) - mean[s])
    if weight.size:
        some_weight = weight[first : first + count]
        for k in range(len(u)):
            dzk = dz[k]
            for s in range(count):
                dzk[s] *= some_weight[s]


# -- rows for weighted Gram matrices, with a last column of ones for the intercept


@jit()
def _curvature(a: Any, s: int, k: int) -> Any:
    """Return a_k times the sum of the other a; 1 - a_k would lose digits near 1."""
    others = 0.0
    for other in range(len(a)):
        if other != k:
            others += a[other, s]
    return a[k, s] * others


@jit()
def _weigh(data: Any, start: int, a: Any, gram: Any, wide: Any) -> None:
    """Write scaled rows to both parts of ``wide``, whose W'W are their share of the Hessian.

    ``mixed`` holds x times a_k for each class k, for blocks of two classes, ``alone`` x times the
    root of a_k (1 - a_k), for blocks of one.
    """
    (X, _, weight), (mixed, alone) = data, wide
    p = X.shape[1]
    for s in range(a.shape[1]):
        row = X[start + s]
        omega = np.float64(weight[start + s]) if weight.size else 1.0
        for k in range(len(a)):
            root, own = np.sqrt(omega) * a[k, s], np.sqrt(omega * _curvature(a, s, k))
            begin = k * (p + 1)
            first, second = mixed[s, begin : begin + p + 1], alone[s, begin : begin + p + 1]
            for j in range(p):
                first[j] = root * row[j]
                second[j] = own * row[j]
            first[p], second[p] = root, own


@jit()
def _add_scaled(factor: float, terms: Any, sums: Any) -> None:
    for pair in range(len(terms)):
        sums[pair] += factor * terms[pair]


@jit()
def _add_pairs(data: Any, start: int, a: Any, gram: Any, wide: Any) -> None:
    """Add the rows' share to ``gram[j, m]`` for pairs of their non-zeros, j >= m.

    The last axis has the pairs of classes (k, l), k >= l, one k after another.
    """
    (starts, columns, values), _, weight = data
    p, curvature = len(gram) - 1, wide[0][0]
    for s in range(a.shape[1]):
        omega = np.float64(weight[start + s]) if weight.size else 1.0
        at = 0
        for k in range(len(a)):
            for other in range(k):
                curvature[at + other] = -(omega * (a[k, s] * a[other, s]))
            curvature[at + k] = omega * _curvature(a, s, k)
            at += k + 1
        begin, end = starts[start + s], starts[start + s + 1]
        for t in range(begin, end):
            row = gram[columns[t]]
            for other in range(begin, t + 1):
                _add_scaled(values[t] * values[other], curvature, row[columns[other]])
            _add_scaled(values[t], curvature, gram[p, columns[t]])
        _add_scaled(1.0, curvature, gram[p, p])


# -- passes


class Storage(NamedTuple):
    """How one kind of X is read: what passes over the rows are made of."""

    source: Any  # (data, blocks) -> rows, labels and weights that blocks lie in
    find: Any  # (data, rows, first, count, blocks) -> where in there a block begins
    arrange: Any
    score: Any
    add: Any
    join: Any
    by_class: Any
    square: Any


_DENSE_PARTS = _arrange, _score, _add, _join, _by_class, _weigh
DENSE = Storage(_in_place, _find, *_DENSE_PARTS)
COPIED = Storage(_in_blocks, _copy, *_DENSE_PARTS)  # for narrow dense rows and mini-batches
SPARSE = Storage(
    kernels.in_sparse_blocks,
    _find_sparse,
    _arrange_sparse,
    _score_sparse,
    _add_sparse,
    _join_sparse,
    _by_class_sparse,
    _add_pairs,
)


def room_for(
    storage: Storage, n_features: int, n_outputs: int, dtype: Any, weighted: bool
) -> tuple[Any, ...]:
    """Return the scratch space of one thread.

    The parameters and a sum in rows, z, dz and a of a block, what else its samples have, one number
    for each class, and the block itself.
    """
    sparse, K, p = storage is SPARSE, n_outputs, n_features
    size = SPARSE_BLOCK if sparse else block_rows(p, np.dtype(dtype).itemsize)
    weights = np.empty((p + 1, K) if sparse else (K, p + 1), dtype)
    part = np.zeros((0, 0) if sparse else (K, p + 1), dtype)
    by_class = np.empty((K, size), dtype), np.empty((K, size), dtype), np.empty((K, size))
    losses, largest, rest, others = np.empty((4, size))
    samples = losses, largest, np.empty(size, np.int64), rest, others
    blocks: tuple[Any, ...] = ()
    if storage is not DENSE:
        rows = np.empty((size, 2), np.uint64) if sparse else np.empty((size, p), dtype)
        blocks = rows, np.empty(size, np.int64), np.empty(size if weighted else 0, dtype)
    return weights, part, *by_class, samples, np.empty(K, dtype), blocks


@cache
def passes_over(storage: Storage) -> Passes:
    """Return the passes, as `numba_kernels.passes_over`; curvatures are the probabilities a.

    They have shape (K, n_samples), and chunk k has ``slots[k]``, matrices as `room_for` makes them.
    """
    source, find, arrange, score, add, join, by_class, square = storage

    @jit(inline="always")
    def accumulate(
        data: Any, rows: Any, start: int, stop: int, a_kept: Any, offset: int, slot: Any, room: Any
    ) -> float:
        """Add samples start..stop-1 to ``slot``; return their loss, all unscaled.

        They are rows ``rows[start:stop]`` of X where ``rows`` is not empty. Their probabilities are
        written to ``a_kept[:, start - offset : stop - offset]`` unless that is None.
        """
        weights, part, z, dz, a, samples, row, blocks = room
        X, y, weight = source(data, blocks)
        size, loss, pending = z.shape[1], 0.0, 0
        for first in range(start, stop, size):
            count = min(size, stop - first)
            place = find(data, rows, first, count, blocks)
            score(X, place, count, weights, z, row)
            _differentiate(z, y, weight, place, count, samples, a, dz)
            loss += kernels.total(samples[0], count)
            if a_kept is not None:
                _keep(a, count, a_kept, first - offset)
            add(X, place, count, dz, slot, part, row)
            pending += count
            if pending >= _JOINED:
                join(slot, part)
                pending = 0
        join(slot, part)
        return loss

    @entry
    def gradients(
        data: Any,
        theta: Any,
        edges: Any,
        first: int,
        last: int,
        a_kept: Any,
        slots: Any,
        losses: Any,
        room: Any,
    ) -> None:
        arrange(theta, room[0])
        for k in range(first, last):
            start, stop = edges[k], edges[k + 1]
            slots[k] = 0
            losses[k] = accumulate(data, kernels.ALL_ROWS, start, stop, a_kept, 0, slots[k], room)

    @entry
    def losses(
        data: Any, theta: Any, edges: Any, first: int, last: int, losses: Any, room: Any
    ) -> None:
        weights, _, z, dz, a, samples, row, blocks = room
        X, y, weight = source(data, blocks)
        arrange(theta, weights)
        for k in range(first, last):
            losses[k] = 0
            for start in range(edges[k], edges[k + 1], z.shape[1]):
                count = min(z.shape[1], edges[k + 1] - start)
                place = find(data, kernels.ALL_ROWS, start, count, blocks)
                score(X, place, count, weights, z, row)
                _differentiate(z, y, weight, place, count, samples, a, dz)
                losses[k] += kernels.total(samples[0], count)

    @entry
    def scores(
        data: Any, theta: Any, edges: Any, first: int, last: int, scores: Any, room: Any
    ) -> None:
        weights, _, z, _, _, _, row, blocks = room
        X = source(data, blocks)[0]
        arrange(theta, weights)
        for chunk in range(first, last):  # its rows are tiled alike whatever is done beside it
            for start in range(edges[chunk], edges[chunk + 1], z.shape[1]):
                count = min(z.shape[1], edges[chunk + 1] - start)
                place = find(data, kernels.ALL_ROWS, start, count, blocks)
                score(X, place, count, weights, z, row)
                for s in range(count):
                    for k in range(len(z)):
                        scores[start + s, k] = z[k, s]

    @entry
    def products(
        data: Any,
        vector: Any,
        edges: Any,
        first: int,
        last: int,
        a_kept: Any,
        slots: Any,
        room: Any,
    ) -> None:
        weights, part, z, dz, _, samples, row, blocks = room
        X, _, weight = source(data, blocks)
        arrange(vector, weights)
        for k in range(first, last):
            slots[k] = 0
            pending = 0
            for start in range(edges[k], edges[k + 1], z.shape[1]):
                count = min(z.shape[1], edges[k + 1] - start)
                place = find(data, kernels.ALL_ROWS, start, count, blocks)
                score(X, place, count, weights, z, row)
                _bend(z, a_kept, start, weight, place, count, samples, dz)
                add(X, place, count, dz, slots[k], part, row)
                pending += count
                if pending >= _JOINED:
                    join(slots[k], part)
                    pending = 0
            join(slots[k], part)

    @entry
    def curved(
        data: Any,
        theta: Any,
        start: int,
        stop: int,
        a_kept: Any,
        slot: Any,
        gram: Any,
        wide: Any,
        room: Any,
    ) -> float:
        arrange(theta, room[0])
        loss = accumulate(data, kernels.ALL_ROWS, start, stop, a_kept, start, slot, room)
        square(data, start, a_kept, gram, wide)
        return loss

    @entry
    def finish(
        slots: Any, losses: Any, n_chunks: int, theta: Any, n: int, penalty: Any, gradient: Any
    ) -> float:
        l2, fit_intercept = penalty
        loss, square = 0.0, 0.0
        gradient[:] = 0
        for chunk in range(n_chunks):
            loss += losses[chunk]
            slot = by_class(slots[chunk])
            K, p = slot.shape[0], slot.shape[1] - 1
            for k in range(K):
                dw = gradient[k * p : (k + 1) * p]
                for j in range(p):
                    dw[j] += slot[k, j]
                gradient[K * p + k] += slot[k, p]
        n_coef = K * p
        for j in range(n_coef):
            gradient[j] = gradient[j] / n + l2 * theta[j]
            square += (l2 * theta[j]) * theta[j]
        for j in range(n_coef, len(theta)):
            gradient[j] = gradient[j] / n if fit_intercept else gradient[j] * 0
        return loss / n + 0.5 * square

    @jit(inline="always")
    def objective(
        data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
    ) -> float:
        edges, slots, losses, room = work
        arrange(theta, room[0])
        n_chunks = 1 if rows.size else len(edges) - 1
        for k in range(n_chunks):
            start, stop = (0, n) if rows.size else (edges[k], edges[k + 1])
            slots[k] = 0
            losses[k] = accumulate(data, rows, start, stop, None, 0, slots[k], room)
        value: float = finish(slots, losses, n_chunks, theta, n, penalty, gradient)
        return value

    @entry
    def evaluate(
        data: Any, theta: Any, rows: Any, n: int, penalty: Any, gradient: Any, work: Any
    ) -> float:
        value: float = objective(data, theta, rows, n, penalty, gradient, work)
        return value

    return Passes(gradients, losses, scores, products, curved, objective, evaluate, finish)
