"""The JAX backend: only the loss is written down, its gradient comes from `jax.grad`.

The log-loss carries its own derivative rule because automatic differentiation of
``max(m, 0) + log1p(exp(-|m|))`` gives 0 at m = 0, where training starts, instead of 1/2.

64-bit types are switched on around each call only; the user's JAX configuration is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends import jax_reproducible as reproducible
from lrbackends.backends._compensated import two_sum
from lrbackends.backends._gram import check_size, finish, no_reproducible_hessian
from lrbackends.backends.protocol import (
    API_VERSION,
    Batches,
    Capabilities,
    Coefficients,
    Rule,
    State,
    pack,
    require,
    unpack,
)
from lrbackends.objective import Objective, Params, as_params
from lrbackends.problem import Problem

_CAPACITY = 1024  # steps in one compiled call; shorter runs use the same compiled code
_CAPACITY_INDICES = 1 << 20  # bound on the mini-batch rows handed to one call

_CHUNK_BYTES = 1 << 20  # of X in the type computed in: a chunk's rows stay in cache between uses
_GRAM_ROWS = 128  # in one product of the Hessian; chunks hold a multiple of them
_LANES = 8  # sums of chunks that may go on side by side; a Hessian has two, of its size each
_HESSIAN_LANES = 2
_ALIGNMENT = 64  # what XLA asks of memory that it is to use as it lies

# X, sign and weight; in the fast arithmetic cut into chunks of rows, the last chunk filled up with
# rows of weight 0. X keeps its own, possibly narrow type.
_Data = tuple[jax.Array, jax.Array, jax.Array]


def _chunk_rows(n_features: int, dtype: np.dtype[Any]) -> int:
    """Return how many, in whole blocks of those that one product of the Hessian takes."""
    blocks = max(1, _CHUNK_BYTES // (dtype.itemsize * n_features) // _GRAM_ROWS)
    return blocks * _GRAM_ROWS


def _cut(rows: NDArray[Any], size: int) -> jax.Array:
    """Bring rows to the device in chunks of ``size`` at most, in one copy that is ours."""
    n_chunks = -(-len(rows) // size)
    size = min(size, len(rows))
    shape = n_chunks * size, *rows.shape[1:]
    memory = np.empty(math.prod(shape) * rows.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    ours = memory[start:][: len(memory) - _ALIGNMENT].view(rows.dtype).reshape(shape)
    ours[: len(rows)] = rows
    ours[len(rows) :] = 0
    chunks: jax.Array = jax.device_put(ours.reshape(n_chunks, size, *rows.shape[1:]))
    return chunks


def _layout(problem: Problem) -> _Data:
    """Bring X, sign and weight to the device, with a leading axis of chunks."""
    size = _chunk_rows(problem.n_features, problem.dtype)
    return _cut(problem.X, size), _cut(problem.sign, size), _cut(problem.weight, size)


def _total(
    of_chunk: Callable[..., Any],
    theta: jax.Array,
    data: _Data,
    lanes: int = _LANES,
    at_once: bool = True,
) -> Any:
    """Return the sum of ``of_chunk(theta, X, sign, weight)`` over the chunks, X widened.

    The chunks are added up in a few lanes, and the lanes in order, so that the sum depends on the
    shape alone: a reduction over the axis of chunks would depend on XLA's threads. Wide chunks are
    best taken all at once; narrow ones, and those whose results are large, one after the other in
    each lane: XLA does the lanes side by side, and widens no more than a chunk of each.
    """
    n_chunks = len(data[0])
    count = min(lanes, n_chunks)
    edges = [n_chunks * k // count for k in range(count + 1)]

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


@jax.custom_jvp
def _sigmoid(m: jax.Array) -> jax.Array:
    """Return 1 / (1 + exp(-m))."""
    e = jnp.exp(-jnp.abs(m))
    return jnp.where(m >= 0, 1, e) / (1 + e)


@_sigmoid.defjvp
def _sigmoid_rule(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (m,), (dm,) = primals, tangents
    e = jnp.exp(-jnp.abs(m))
    denominator = 1 + e
    return _sigmoid(m), e / (denominator * denominator) * dm


@jax.custom_jvp
def _log_loss(m: jax.Array) -> jax.Array:
    """Return log(1 + exp(m)), the loss of a sample of margin m."""
    e = jnp.exp(-jnp.abs(m))
    return jnp.maximum(m, 0) + jnp.log1p(e)


@_log_loss.defjvp
def _log_loss_rule(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (m,), (dm,) = primals, tangents
    a = _sigmoid(m)
    return _log_loss(m), a * dm


def _scores(theta: jax.Array, X: jax.Array, fit_intercept: bool = True) -> jax.Array:
    intercept = theta[-1] if fit_intercept else lax.stop_gradient(theta[-1])
    return X @ theta[:-1] + intercept


def _loss_sum(
    theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array, fit_intercept: bool
) -> jax.Array:
    """Return the weighted sum of the rows' losses."""
    z = _scores(theta, X, fit_intercept)
    m = sign * z
    return jnp.sum(weight * _log_loss(m))


def _penalty(theta: jax.Array, l2: jax.Array) -> jax.Array:
    return 0.5 * ((l2 * theta[:-1]) @ theta[:-1])


def _loss_gradient(
    theta: jax.Array,
    data: _Data,
    n: jax.Array,
    l2: jax.Array,
    fit_intercept: bool,
    one: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows and, by `jax.grad`, its gradient (dw and db)."""
    of_chunk = jax.value_and_grad(partial(_loss_sum, fit_intercept=fit_intercept))
    loss, gradient = _total(of_chunk, theta, data)
    penalty, slope = jax.value_and_grad(_penalty)(theta, l2.astype(theta.dtype))
    n = n.astype(theta.dtype)
    return loss / n + penalty, gradient / n + slope


@jax.jit
def _loss(theta: jax.Array, data: _Data, n: jax.Array, l2: jax.Array) -> jax.Array:
    """Return the objective alone."""
    loss: jax.Array = _total(partial(_loss_sum, fit_intercept=True), theta, data)
    return loss / n.astype(theta.dtype) + _penalty(theta, l2.astype(theta.dtype))


@partial(jax.jit, static_argnames="fit_intercept")
def _hessian_product(
    theta: jax.Array,
    vector: jax.Array,
    data: _Data,
    n: jax.Array,
    l2: jax.Array,
    fit_intercept: bool,
) -> jax.Array:
    """Return the derivative of the gradient along ``vector``."""
    gradient_of = jax.grad(partial(_loss_sum, fit_intercept=fit_intercept))

    def of_chunk(theta: jax.Array, *chunk: jax.Array) -> jax.Array:
        along: jax.Array
        _, along = jax.jvp(lambda theta: gradient_of(theta, *chunk), (theta,), (vector,))
        return along

    product: jax.Array = _total(of_chunk, theta, data)
    slope: jax.Array
    _, slope = jax.jvp(
        lambda theta: jax.grad(_penalty)(theta, l2.astype(theta.dtype)), (theta,), (vector,)
    )
    return product / n.astype(theta.dtype) + slope


@jax.jit
def _gram(theta: jax.Array, data: _Data) -> jax.Array:
    """Return the sum over the rows of weight l''(m) x x', x with a last 1; float64.

    Its products take few rows at a time: where they take many, XLA splits up sums by its threads.
    """
    curvature_of = jax.vmap(jax.grad(jax.grad(_log_loss)))

    def of_block(theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array) -> jax.Array:
        s = weight * curvature_of(sign * _scores(theta, X))
        ones = jnp.ones((len(X), 1), X.dtype)
        B = jnp.sqrt(s)[:, None] * jnp.concatenate([X, ones], axis=1)
        return (B.T @ B).astype(jnp.float64)

    def blocks(part: jax.Array) -> jax.Array:
        rows = part.reshape(-1, *part.shape[2:])
        fill = [(0, -len(rows) % _GRAM_ROWS)] + [(0, 0)] * (rows.ndim - 1)
        return jnp.pad(rows, fill).reshape(-1, _GRAM_ROWS, *rows.shape[1:])

    X, sign, weight = data
    cut = blocks(X), blocks(sign), blocks(weight)
    gram: jax.Array = _total(of_block, theta, cut, lanes=_HESSIAN_LANES, at_once=False)
    return (gram + gram.T) / 2  # XLA's product of B with itself is symmetric up to rounding only


def _move(
    update: Callable[..., Any],
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    c: Coefficients,
    one: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return (step, first, second) of an update rule."""
    step, first, second = update(gradient, first, second, c, jnp.sqrt)
    return step, first, second


@jax.jit
def _decision_function(X: jax.Array, theta: jax.Array, one: jax.Array) -> jax.Array:
    """Return the scores of the rows of all chunks."""
    if X.dtype == theta.dtype:
        return _scores(theta, X.reshape(-1, X.shape[-1]))
    of_chunks: jax.Array = lax.map(lambda x: _scores(theta, x.astype(theta.dtype)), X)
    return of_chunks.ravel()


class _Arithmetic(NamedTuple):
    """What differs between the two arithmetics; ``one`` is 1.0, which XLA must not know."""

    layout: Callable[[Problem], _Data]
    cut: Callable[[jax.Array], jax.Array]  # rows of a mini-batch, laid out as the data are
    loss_gradient: Callable[..., tuple[jax.Array, jax.Array]]
    move: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    decision_function: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    rows: Callable[[NDArray[Any], np.dtype[Any]], jax.Array]  # other rows, to be scored


_ARITHMETICS = {
    "fast": _Arithmetic(
        _layout,
        lambda rows: rows[None],
        _loss_gradient,
        _move,
        _decision_function,
        lambda X, dtype: _cut(X, _chunk_rows(X.shape[1], dtype)),
    ),
    "reproducible": _Arithmetic(
        reproducible.layout,
        reproducible.cut,
        reproducible.loss_gradient,
        reproducible.move,
        reproducible.decision_function,
        lambda X, dtype: jnp.asarray(reproducible.with_ones(X.astype(dtype, copy=False))),
    ),
}


@partial(jax.jit, static_argnames=("fit_intercept", "arithmetic"))
def _evaluate(
    theta: jax.Array,
    data: _Data,
    n: jax.Array,
    l2: jax.Array,
    fit_intercept: bool,
    one: jax.Array,
    arithmetic: _Arithmetic,
) -> tuple[jax.Array, jax.Array]:
    return arithmetic.loss_gradient(theta, data, n, l2, fit_intercept, one)


_Vectors = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # theta, residual, first, second


@partial(jax.jit, static_argnames=("update", "fit_intercept", "arithmetic"))
def _run(
    vectors: _Vectors,
    n_steps: jax.Array,
    data: _Data,
    n_rows: jax.Array,
    batches: tuple[jax.Array, jax.Array] | None,
    l2: jax.Array,
    coefficients: jax.Array,
    one: jax.Array,
    update: Callable[..., Any],
    fit_intercept: bool,
    arithmetic: _Arithmetic,
) -> tuple[_Vectors, jax.Array]:
    """Do ``n_steps`` updates, at most as many as there are rows of ``coefficients``."""

    def step(t: jax.Array, carry: tuple[_Vectors, jax.Array]) -> tuple[_Vectors, jax.Array]:
        (theta, residual, first, second), records = carry
        some, n = data, n_rows
        if batches is not None:
            rows, n = batches[0][t], batches[1][t]
            lead = data[1].ndim  # axes that the rows are cut into
            X, sign, weight = (d.reshape(-1, *d.shape[lead:])[rows] for d in data)
            weight = jnp.where(jnp.arange(len(rows)) < n, weight, 0)
            some = arithmetic.cut(X), arithmetic.cut(sign), arithmetic.cut(weight)
        loss, gradient = arithmetic.loss_gradient(theta, some, n, l2, fit_intercept, one)
        c = Coefficients(*coefficients[t])
        delta, first, second = arithmetic.move(update, gradient, first, second, c, one)
        largest = jnp.max(jnp.abs(gradient))
        records = records.at[t].set(jnp.stack([loss, largest.astype(loss.dtype)]))
        return (*two_sum(theta, residual + delta), first, second), records

    records = jnp.zeros((len(coefficients), 2))
    final: tuple[_Vectors, jax.Array] = lax.fori_loop(0, n_steps, step, (vectors, records))
    return final


class JaxKernels:
    """One problem on JAX; its data lie on the device."""

    def __init__(self, problem: Problem, objective: Objective, arithmetic: str) -> None:
        self._problem, self._objective = problem, objective
        self._arithmetic, self._fast = _ARITHMETICS[arithmetic], arithmetic == "fast"
        self._fit_intercept = bool(objective.fit_intercept)
        with jax.enable_x64(True):
            self._data = jax.block_until_ready(self._arithmetic.layout(problem))  # type: ignore[no-untyped-call]
            self._n = jnp.asarray(problem.n_samples)
            self._l2, self._one = jnp.asarray(float(objective.l2)), jnp.asarray(1.0)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        if not self._fast:
            return self.loss_gradient(params)[0]
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            return float(_loss(theta, self._data, self._n, self._l2))

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            loss, gradient = _evaluate(
                theta,
                self._data,
                self._n,
                self._l2,
                self._fit_intercept,
                self._one,
                self._arithmetic,
            )
            return float(loss), unpack(np.asarray(gradient), self._problem.n_features)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            own = X is self._problem.X
            rows = self._data[0] if own else self._arithmetic.rows(X, theta.dtype)
            scores = self._arithmetic.decision_function(rows, jnp.asarray(theta), self._one)
            return np.array(scores)[: len(X)]

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian, shape (p + 1, p + 1), float64; see `HessianKernels`."""
        check_size(self._problem.n_features)
        theta = self._twice_differentiable(params)
        with jax.enable_x64(True):
            gram = np.array(_gram(theta, self._data))
        return finish(gram, self._problem.n_samples, self._objective)

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return objective, gradient and Hessian."""
        return *self.loss_gradient(params), self.hessian(params)

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``."""
        theta = self._twice_differentiable(params)
        direction = pack(as_params(vector, self._problem))
        with jax.enable_x64(True):
            product = _hessian_product(
                theta, direction, self._data, self._n, self._l2, self._fit_intercept
            )
            return unpack(np.asarray(product), self._problem.n_features)

    def _twice_differentiable(self, params: Any) -> NDArray[Any]:
        """Return theta, or refuse: the reproducible arithmetic has first derivatives only."""
        if not self._fast:
            raise no_reproducible_hessian()
        return pack(as_params(params, self._problem))

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates; see `Kernels.run`."""
        capacity = _CAPACITY
        if batches is not None:
            width = batches.indices.shape[1]
            capacity = max(1, min(capacity, _CAPACITY_INDICES // width))
        dtype = state.theta.dtype
        vectors: Any = state[:4]
        records = np.empty((n_steps, 2))
        with jax.enable_x64(True):
            for start in range(0, max(n_steps, 1), capacity):
                stop = min(start + capacity, n_steps)
                count = stop - start
                coefficients = np.zeros((capacity, len(Coefficients._fields)), dtype)
                coefficients[:count] = rule.coefficients(state.step + start, count)
                some = None
                if batches is not None:
                    some = (
                        _padded(batches.indices[start:stop], capacity),
                        _padded(batches.sizes[start:stop], capacity),
                    )
                vectors, part = _run(
                    vectors,
                    count,
                    self._data,
                    self._n,
                    some,
                    self._l2,
                    coefficients,
                    self._one,
                    update=rule.update,
                    fit_intercept=self._fit_intercept,
                    arithmetic=self._arithmetic,
                )
                records[start:stop] = np.asarray(part)[:count]  # a slice in JAX compiles per length
            theta, residual, first, second = (np.array(v) for v in vectors)
        return State(theta, residual, first, second, state.step + n_steps), records


def _padded(rows: NDArray[Any], capacity: int) -> NDArray[Any]:
    """Return ``rows`` with zero rows appended, ``capacity`` in all."""
    filled = np.zeros((capacity, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled


class JaxBackend:
    """JAX on the CPU, gradients by `jax.grad`.

    Each kernel is compiled when a process first calls it. JAX keeps compiled code from process to
    process where it is asked to, by the environment variables JAX_COMPILATION_CACHE_DIR (a
    directory), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 and
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=0. They are JAX's own and hold for the whole process:
    its cache cannot be switched on for some calls only, so this backend leaves that to the user.
    """

    name = "jax"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(reproducible=True, narrow=True, hessian=True)

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> JaxKernels:
        """Bring the data to the device; each kernel is compiled when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        return JaxKernels(problem, objective, arithmetic)
