"""The JAX backend: only the loss is written down, its gradient comes from `jax.grad`.

The log-loss carries its own derivative rule because automatic differentiation of
``max(m, 0) + log1p(exp(-|m|))`` gives 0 at m = 0, where training starts, instead of 1/2.

64-bit types are switched on around each call only; the user's JAX configuration is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends._chunks import chunk_bounds
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

# X, sign and weight, each cut into chunks of rows; rows of weight 0 fill up the last chunk.
_Data = tuple[jax.Array, jax.Array, jax.Array]


def _chunked(problem: Problem) -> tuple[NDArray[Any], ...]:
    """Return X, sign and weight with a leading axis of chunks."""
    bounds = chunk_bounds(problem.X)
    n_rows = bounds[0][1] * len(bounds)

    def cut(rows: NDArray[Any]) -> NDArray[Any]:
        if n_rows > len(rows):
            filled = np.zeros((n_rows, *rows.shape[1:]), rows.dtype)
            filled[: len(rows)] = rows
            rows = filled
        return rows.reshape(len(bounds), -1, *rows.shape[1:])

    return cut(problem.X), cut(problem.sign), cut(problem.weight)


def _flat(rows: jax.Array) -> jax.Array:
    """Undo the cutting into chunks."""
    return rows.reshape(-1, *rows.shape[2:])


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
    e = jnp.exp(-jnp.abs(m))
    a = jnp.where(m >= 0, 1, e) / (1 + e)
    return _log_loss(m), a * dm


def _loss_sum(
    theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array, fit_intercept: bool
) -> jax.Array:
    """Return the weighted sum of the rows' losses."""
    intercept = theta[-1] if fit_intercept else lax.stop_gradient(theta[-1])
    z = X @ theta[:-1] + intercept
    m = sign * z
    return jnp.sum(weight * _log_loss(m))


def _penalty(theta: jax.Array, l2: jax.Array) -> jax.Array:
    return 0.5 * l2 * (theta[:-1] @ theta[:-1])


def _loss_gradient(
    theta: jax.Array, data: _Data, n: jax.Array | int, l2: jax.Array, fit_intercept: bool
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows and, by `jax.grad`, its gradient (dw and db).

    Each chunk of rows is differentiated on its own and the chunks are added up, so that the sums
    depend on the shape alone, not on how XLA's threads would split them.
    """
    of_chunk = jax.value_and_grad(partial(_loss_sum, fit_intercept=fit_intercept))
    losses, gradients = jax.vmap(of_chunk, in_axes=(None, 0, 0, 0))(theta, *data)
    penalty, slope = jax.value_and_grad(_penalty)(theta, l2)
    return jnp.sum(losses) / n + penalty, jnp.sum(gradients, axis=0) / n + slope


_loss_gradient_once = jax.jit(_loss_gradient, static_argnames="fit_intercept")


@jax.jit
def _scores(X: jax.Array, theta: jax.Array) -> jax.Array:
    return X @ theta[:-1] + theta[-1]


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a + b and its rounding error (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


_Vectors = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # theta, residual, first, second


@partial(jax.jit, static_argnames=("update", "fit_intercept"))
def _run(
    vectors: _Vectors,
    n_steps: jax.Array,
    data: _Data,
    n_rows: jax.Array,
    batches: tuple[jax.Array, jax.Array] | None,
    l2: jax.Array,
    coefficients: jax.Array,
    update: Callable[..., Any],
    fit_intercept: bool,
) -> tuple[_Vectors, jax.Array]:
    """Do ``n_steps`` updates, at most as many as there are rows of ``coefficients``."""

    def step(t: jax.Array, carry: tuple[_Vectors, jax.Array]) -> tuple[_Vectors, jax.Array]:
        (theta, residual, first, second), records = carry
        some, n = data, n_rows
        if batches is not None:
            rows, n = batches[0][t], batches[1][t]
            X, sign, weight = (_flat(d)[rows] for d in data)
            some = X[None], sign[None], jnp.where(jnp.arange(len(rows)) < n, weight, 0)[None]
        loss, gradient = _loss_gradient(theta, some, n, l2, fit_intercept)
        delta, first, second = update(
            gradient, first, second, Coefficients(*coefficients[t]), jnp.sqrt
        )
        records = records.at[t].set(jnp.stack([loss, jnp.max(jnp.abs(gradient))]))
        return (*_two_sum(theta, residual + delta), first, second), records

    records = jnp.zeros((len(coefficients), 2), vectors[0].dtype)
    final: tuple[_Vectors, jax.Array] = lax.fori_loop(0, n_steps, step, (vectors, records))
    return final


class JaxKernels:
    """One problem on JAX; its data lie on the device."""

    def __init__(self, problem: Problem, objective: Objective) -> None:
        self._problem = problem
        self._fit_intercept = bool(objective.fit_intercept)
        with jax.enable_x64(True):
            X, sign, weight = (jnp.asarray(part) for part in _chunked(problem))
            self._data: _Data = jax.block_until_ready((X, sign, weight))  # type: ignore[no-untyped-call]
            self._l2 = jnp.asarray(objective.l2, problem.dtype)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            loss, gradient = _loss_gradient_once(
                theta, self._data, self._problem.n_samples, self._l2, self._fit_intercept
            )
            return float(loss), unpack(np.asarray(gradient), self._problem.n_features)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores of shape (n_samples,)."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            own = X is self._problem.X
            scores = _scores(_flat(self._data[0]) if own else jnp.asarray(X), theta)
            return np.array(scores)[: len(X)]

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
                coefficients = np.zeros((capacity, 4), dtype)
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
                    self._problem.n_samples,
                    some,
                    self._l2,
                    coefficients,
                    update=rule.update,
                    fit_intercept=self._fit_intercept,
                )
                records[start:stop] = part[:count]
            theta, residual, first, second = (np.array(v) for v in vectors)
        return State(theta, residual, first, second, state.step + n_steps), records


def _padded(rows: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """Return ``rows`` with zero rows appended, ``capacity`` in all."""
    filled = np.zeros((capacity, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled


class JaxBackend:
    """JAX on the CPU, gradients by `jax.grad`."""

    name = "jax"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities()

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> JaxKernels:
        """Bring the data to the device; each kernel is compiled when it is first called."""
        require(self, problem, objective, arithmetic, n_threads)
        return JaxKernels(problem, objective)
