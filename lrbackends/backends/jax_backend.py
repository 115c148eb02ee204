"""The JAX backend: only the loss is written down, its gradient comes from `jax.grad`.

The log-loss carries its own derivative rule because automatic differentiation of
``max(m, 0) + log1p(exp(-|m|))`` gives 0 at m = 0, where training starts, instead of 1/2.

64-bit types are switched on around each call only; the user's JAX configuration is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends import jax_reproducible as reproducible
from lrbackends.backends._chunks import chunk_bounds
from lrbackends.backends._compensated import two_sum
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

# X, sign and weight; in the fast arithmetic cut into chunks of rows, the last chunk filled up with
# rows of weight 0.
_Data = tuple[jax.Array, jax.Array, jax.Array]


def _layout(problem: Problem) -> _Data:
    """Bring X, sign and weight to the device, with a leading axis of chunks."""
    bounds = chunk_bounds(problem.X)
    n_rows = bounds[0][1] * len(bounds)

    def cut(rows: NDArray[Any]) -> jax.Array:
        if n_rows > len(rows):
            rows = _padded(rows, n_rows)
        return jnp.asarray(rows.reshape(len(bounds), -1, *rows.shape[1:]))

    return cut(problem.X), cut(problem.sign), cut(problem.weight)


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
    return 0.5 * ((l2 * theta[:-1]) @ theta[:-1])


def _loss_gradient(
    theta: jax.Array,
    data: _Data,
    n: jax.Array,
    l2: jax.Array,
    fit_intercept: bool,
    one: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows and, by `jax.grad`, its gradient (dw and db).

    Each chunk of rows is differentiated on its own and the chunks are added up, so that the sums
    depend on the shape alone, not on how XLA's threads would split them.
    """
    of_chunk = jax.value_and_grad(partial(_loss_sum, fit_intercept=fit_intercept))
    losses, gradients = jax.vmap(of_chunk, in_axes=(None, 0, 0, 0))(theta, *data)
    penalty, slope = jax.value_and_grad(_penalty)(theta, l2.astype(theta.dtype))
    n = n.astype(theta.dtype)
    return jnp.sum(losses) / n + penalty, jnp.sum(gradients, axis=0) / n + slope


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
    return X @ theta[:-1] + theta[-1]


class _Arithmetic(NamedTuple):
    """What differs between the two arithmetics; ``one`` is 1.0, which XLA must not know."""

    layout: Callable[[Problem], _Data]
    cut: Callable[[jax.Array], jax.Array]  # rows of a mini-batch, laid out as the data are
    loss_gradient: Callable[..., tuple[jax.Array, jax.Array]]
    move: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    decision_function: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    widened: Callable[[NDArray[Any]], NDArray[Any]]


_ARITHMETICS = {
    "fast": _Arithmetic(
        _layout, lambda rows: rows[None], _loss_gradient, _move, _decision_function, lambda X: X
    ),
    "reproducible": _Arithmetic(
        reproducible.layout,
        reproducible.cut,
        reproducible.loss_gradient,
        reproducible.move,
        reproducible.decision_function,
        reproducible.with_ones,
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
        self._problem = problem
        self._arithmetic = _ARITHMETICS[arithmetic]
        self._fit_intercept = bool(objective.fit_intercept)
        with jax.enable_x64(True):
            self._data = jax.block_until_ready(self._arithmetic.layout(problem))  # type: ignore[no-untyped-call]
            self._n = jnp.asarray(problem.n_samples)
            self._l2, self._one = jnp.asarray(float(objective.l2)), jnp.asarray(1.0)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

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
            if X is self._problem.X:
                rows = self._data[0].reshape(-1, self._data[0].shape[-1])
            else:
                rows = jnp.asarray(self._arithmetic.widened(X))
            scores = self._arithmetic.decision_function(rows, jnp.asarray(theta), self._one)
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
    """JAX on the CPU, gradients by `jax.grad`."""

    name = "jax"
    api_version = API_VERSION

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""
        return Capabilities(reproducible=True)

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
