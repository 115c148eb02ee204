"""The JAX backend: only the loss is written down, its gradient comes from `jax.grad`.

The losses carry their own derivative rules (see `jax_losses`): automatic differentiation of
``max(m, 0) + log1p(exp(-|m|))`` gives 0 at m = 0, where training starts, instead of 1/2.

64-bit types are switched on around each call only; the user's JAX configuration is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from lrbackends.backends import jax_reproducible as reproducible
from lrbackends.backends._compensated import shrink, two_sum
from lrbackends.backends._gram import check_size, finish, finish_classes, no_reproducible_hessian
from lrbackends.backends.jax_chunks import (
    BLOCK_ROWS,
    Data,
    as_chunk,
    chunk_rows,
    cut,
    layout,
    total,
)
from lrbackends.backends.jax_losses import log_loss, softmax, softmax_loss
from lrbackends.backends.jax_objective import Form, Strengths, subgradient
from lrbackends.backends.protocol import (
    API_VERSION,
    Batches,
    Capabilities,
    Coefficients,
    Rule,
    State,
    coefficients_for,
    pack,
    require,
    unpack,
)
from lrbackends.objective import Objective, Params, as_params
from lrbackends.problem import Problem

_CAPACITY = 1024  # steps in one compiled call; shorter runs use the same compiled code
_CAPACITY_INDICES = 1 << 20  # bound on the mini-batch rows handed to one call

_HESSIAN_LANES = 2  # sums of blocks of rows that go on side by side, of the Hessian's size each
_PANELS = 4  # of classes, in which half a Hessian is filled


def _scores(theta: jax.Array, X: jax.Array, form: Form) -> jax.Array:
    """Return z of the rows of X, of shape (n,) for one output and (K, n) for more."""
    coef, intercept = form.split(theta)
    if not form.fit_intercept:
        intercept = lax.stop_gradient(intercept)
    if form.n_outputs == 1:
        return X @ coef + intercept[0]
    return (X @ coef.reshape(form.n_outputs, -1).T + intercept).T


def _loss_sum(
    theta: jax.Array, X: jax.Array, labels: jax.Array, weight: jax.Array, form: Form
) -> jax.Array:
    """Return the weighted sum of the rows' losses."""
    z = _scores(theta, X, form)
    if form.n_outputs == 1:
        m = labels * z
        return jnp.sum(weight * log_loss(m))
    return jnp.sum(weight * softmax_loss(z, labels))


def _penalty(theta: jax.Array, l2: jax.Array, form: Form) -> jax.Array:
    return 0.5 * ((l2 * form.split(theta)[0]) @ form.split(theta)[0])


def _objective(
    loss: jax.Array,
    n: jax.Array,
    penalty: jax.Array,
    theta: jax.Array,
    strengths: Strengths,
    form: Form,
) -> jax.Array:
    """Return the objective over ``n`` rows from the sum of their losses."""
    objective = loss / n + penalty
    if strengths.l1 is None:
        return objective
    return objective + strengths.l1.astype(theta.dtype) * jnp.abs(form.split(theta)[0]).sum()


def _loss_gradient(
    theta: jax.Array, data: Data, n: jax.Array, strengths: Strengths, form: Form, one: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the objective over ``n`` rows and, by `jax.grad`, the gradient of its smooth part."""
    of_rows = jax.value_and_grad(partial(_loss_sum, form=form))
    loss, gradient = total(of_rows, theta, data)
    l2 = strengths.l2.astype(theta.dtype)
    penalty, slope = jax.value_and_grad(_penalty)(theta, l2, form)
    n = n.astype(theta.dtype)
    return _objective(loss, n, penalty, theta, strengths, form), gradient / n + slope


@partial(jax.jit, static_argnames="form")
def _loss(
    theta: jax.Array, data: Data, n: jax.Array, strengths: Strengths, form: Form
) -> jax.Array:
    """Return the objective alone."""
    loss: jax.Array = total(partial(_loss_sum, form=form), theta, data)
    penalty = _penalty(theta, strengths.l2.astype(theta.dtype), form)
    return _objective(loss, n.astype(theta.dtype), penalty, theta, strengths, form)


@partial(jax.jit, static_argnames="form")
def _hessian_product(
    theta: jax.Array, vector: jax.Array, data: Data, n: jax.Array, l2: jax.Array, form: Form
) -> jax.Array:
    """Return the derivative of the gradient along ``vector``."""
    gradient_of = jax.grad(partial(_loss_sum, form=form))

    def of_rows(theta: jax.Array, *rows: jax.Array) -> jax.Array:
        along: jax.Array
        _, along = jax.jvp(lambda theta: gradient_of(theta, *rows), (theta,), (vector,))
        return along

    product: jax.Array = total(of_rows, theta, data)
    slope: jax.Array
    _, slope = jax.jvp(
        lambda theta: jax.grad(_penalty)(theta, l2.astype(theta.dtype), form), (theta,), (vector,)
    )
    return product / n.astype(theta.dtype) + slope


def _with_ones(X: jax.Array) -> jax.Array:
    return jnp.concatenate([X, jnp.ones((len(X), 1), X.dtype)], axis=1)


@partial(jax.jit, static_argnames="form")
def _gram(theta: jax.Array, data: Data, form: Form) -> jax.Array:
    """Return the sum over the rows of weight l''(m) x x', x with a last 1; float64."""
    curvature_of = jax.vmap(jax.grad(jax.grad(log_loss)))

    def of_block(theta: jax.Array, X: jax.Array, sign: jax.Array, weight: jax.Array) -> jax.Array:
        s = weight * curvature_of(sign * _scores(theta, X, form))
        B = jnp.sqrt(s)[:, None] * _with_ones(X)
        return (B.T @ B).astype(jnp.float64)

    def blocks(part: jax.Array) -> jax.Array:
        rows = part.reshape(-1, *part.shape[2:])
        fill = [(0, -len(rows) % BLOCK_ROWS)] + [(0, 0)] * (rows.ndim - 1)
        return jnp.pad(rows, fill).reshape(-1, BLOCK_ROWS, *rows.shape[1:])

    X, sign, weight = data
    cut = blocks(X), blocks(sign), blocks(weight)
    gram: jax.Array = total(of_block, theta, cut, lanes=_HESSIAN_LANES, at_once=False)
    return (gram + gram.T) / 2  # XLA's product of B with itself is symmetric up to rounding only


def _panels(n_outputs: int) -> list[tuple[int, int]]:
    """Cut the classes into a few runs, each from its first to the one behind its last."""
    count = min(_PANELS, n_outputs)
    return list(pairwise(n_outputs * k // count for k in range(count + 1)))


@partial(jax.jit, static_argnames="form")
def _class_gram(theta: jax.Array, data: Data, form: Form) -> tuple[jax.Array, list[jax.Array]]:
    """Return sums over the rows of weight a_k (1[k = l] - a_l) x x', x with a last 1; float64.

    First those of k = l, shape (K, p + 1, p + 1), whose entries would cancel in the products that
    the others are made of: for each of `_panels` those of its k with all l up to its last.
    """

    def of_block(theta: jax.Array, X: jax.Array, _: jax.Array, weight: jax.Array) -> Any:
        a, others = softmax(_scores(theta, X, form))
        X, root = _with_ones(X), jnp.sqrt(weight)
        B = (root * jnp.sqrt(a * others))[:, :, None] * X
        same = jnp.einsum("kri,krj->kij", B, B)
        Q = ((root * a).T[:, :, None] * X[:, None, :]).reshape(len(X), -1)
        width = X.shape[1]
        rest = [-(Q[:, i * width : j * width].T @ Q[:, : j * width]) for i, j in panels]
        return jax.tree.map(lambda part: part.astype(jnp.float64), (same, rest))

    panels = _panels(form.n_outputs)
    X, y, weight = (part.reshape(-1, *part.shape[2:]) for part in data)
    same, rest = total(of_block, theta, (X, y, weight), lanes=_HESSIAN_LANES, at_once=False)
    return (same + same.transpose(0, 2, 1)) / 2, rest


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


@partial(jax.jit, static_argnames="form")
def _decision_function(X: jax.Array, theta: jax.Array, one: jax.Array, form: Form) -> jax.Array:
    """Return the scores of the rows of all chunks."""
    if X.dtype == theta.dtype:
        return _scores(theta, X.reshape(-1, X.shape[-1]), form).T
    X = X.reshape(len(X), -1, X.shape[-1])
    of_chunks: jax.Array = lax.map(lambda x: _scores(theta, x.astype(theta.dtype), form).T, X)
    return of_chunks.reshape(-1, *of_chunks.shape[2:])


class _Arithmetic(NamedTuple):
    """What differs between the two arithmetics; ``one`` is 1.0, which XLA must not know."""

    layout: Callable[[Problem], Data]
    as_chunk: Callable[[Data, Form], Data]  # rows of a mini-batch, laid out as the data are
    loss_gradient: Callable[..., tuple[jax.Array, jax.Array]]
    move: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]
    decision_function: Callable[[jax.Array, jax.Array, jax.Array, Form], jax.Array]
    rows: Callable[[NDArray[Any], np.dtype[Any]], jax.Array]  # other rows, to be scored


_ARITHMETICS = {
    "fast": _Arithmetic(
        layout,
        as_chunk,
        _loss_gradient,
        _move,
        _decision_function,
        lambda X, dtype: cut(X, chunk_rows(X.shape[1], dtype)),
    ),
    "reproducible": _Arithmetic(
        reproducible.layout,
        lambda data, _: reproducible.laid_out(*data),
        reproducible.loss_gradient,
        reproducible.move,
        reproducible.decision_function,
        lambda X, dtype: jnp.asarray(reproducible.with_ones(X.astype(dtype, copy=False))),
    ),
}


@partial(jax.jit, static_argnames=("form", "arithmetic"))
def _evaluate(
    theta: jax.Array,
    data: Data,
    n: jax.Array,
    strengths: Strengths,
    one: jax.Array,
    form: Form,
    arithmetic: _Arithmetic,
) -> tuple[jax.Array, jax.Array]:
    loss, gradient = arithmetic.loss_gradient(theta, data, n, strengths, form, one)
    return loss, subgradient(gradient, theta, strengths, form)


_Vectors = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # theta, residual, first, second


def _shrunk(
    theta: jax.Array, residual: jax.Array, threshold: jax.Array, form: Form
) -> tuple[jax.Array, jax.Array]:
    """Return theta and residual after a proximal step of the coefficients."""
    (coef, intercept), (rest, intercept_rest) = form.split(theta), form.split(residual)
    coef, rest = shrink(coef, rest, threshold, jnp.where)
    return jnp.concatenate([coef, intercept]), jnp.concatenate([rest, intercept_rest])


@partial(jax.jit, static_argnames=("update", "form", "arithmetic"))
def _run(
    vectors: _Vectors,
    n_steps: jax.Array,
    data: Data,
    n_rows: jax.Array,
    batches: tuple[jax.Array, jax.Array] | None,
    strengths: Strengths,
    coefficients: jax.Array,
    one: jax.Array,
    update: Callable[..., Any],
    form: Form,
    arithmetic: _Arithmetic,
) -> tuple[_Vectors, jax.Array]:
    """Do ``n_steps`` updates, at most as many as there are rows of ``coefficients``."""

    def step(t: jax.Array, carry: tuple[_Vectors, jax.Array]) -> tuple[_Vectors, jax.Array]:
        (theta, residual, first, second), records = carry
        some, n = data, n_rows
        if batches is not None:
            rows, n = batches[0][t], batches[1][t]
            lead = data[1].ndim  # axes that the rows are cut into
            X, labels, weight = (d.reshape(-1, *d.shape[lead:])[rows] for d in data)
            weight = jnp.where(jnp.arange(len(rows)) < n, weight, 0)
            some = arithmetic.as_chunk((X, labels, weight), form)
        loss, gradient = arithmetic.loss_gradient(theta, some, n, strengths, form, one)
        c = Coefficients(*coefficients[t])
        delta, first, second = arithmetic.move(update, gradient, first, second, c, one)
        largest = jnp.max(jnp.abs(subgradient(gradient, theta, strengths, form)))
        records = records.at[t].set(jnp.stack([loss, largest.astype(loss.dtype)]))
        theta, residual = two_sum(theta, residual + delta)
        if strengths.l1 is not None:
            theta, residual = _shrunk(theta, residual, c.threshold, form)
        return (theta, residual, first, second), records

    records = jnp.zeros((len(coefficients), 2))
    final: tuple[_Vectors, jax.Array] = lax.fori_loop(0, n_steps, step, (vectors, records))
    return final


class JaxKernels:
    """One problem on JAX; its data lie on the device."""

    def __init__(self, problem: Problem, objective: Objective, arithmetic: str) -> None:
        self._problem, self._objective = problem, objective
        self._arithmetic, self._fast = _ARITHMETICS[arithmetic], arithmetic == "fast"
        self._form = Form(problem.n_outputs, bool(objective.fit_intercept))
        with jax.enable_x64(True):
            self._data = jax.block_until_ready(self._arithmetic.layout(problem))  # type: ignore[no-untyped-call]
            self._n = jnp.asarray(problem.n_samples)
            l1 = jnp.asarray(float(objective.l1)) if objective.l1 > 0 else None
            self._strengths = Strengths(jnp.asarray(float(objective.l2)), l1)
            self._one = jnp.asarray(1.0)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        if not self._fast:
            return self.loss_gradient(params)[0]
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            return float(_loss(theta, self._data, self._n, self._strengths, self._form))

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            loss, gradient = _evaluate(
                theta,
                self._data,
                self._n,
                self._strengths,
                self._one,
                self._form,
                self._arithmetic,
            )
            return float(loss), unpack(np.asarray(gradient), self._problem.n_features)

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores; see `Kernels.decision_function`."""
        theta = pack(as_params(params, self._problem))
        with jax.enable_x64(True):
            own = X is self._problem.X
            rows = self._data[0] if own else self._arithmetic.rows(X, theta.dtype)
            scores = self._arithmetic.decision_function(
                rows, jnp.asarray(theta), self._one, self._form
            )
            return np.array(scores)[: len(X)]

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian, float64; see `HessianKernels`."""
        check_size(self._problem)
        theta, n = self._twice_differentiable(params), self._problem.n_samples
        with jax.enable_x64(True):
            if self._form.n_outputs == 1:
                gram = np.array(_gram(theta, self._data, self._form))
                return finish(gram, n, self._objective)
            same, rest = _class_gram(theta, self._data, self._form)
            K, width, _ = same.shape
            blocks = np.zeros((K, width, K, width))
            for (first, stop), part in zip(_panels(K), rest, strict=True):
                blocks[first:stop, :, :stop] = part.reshape(-1, width, stop, width)
            for k in range(K):
                blocks[k, :, k] = same[k]
        return finish_classes(blocks, n, self._objective)

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return objective, gradient and Hessian."""
        return *self.loss_gradient(params), self.hessian(params)

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``."""
        theta = self._twice_differentiable(params)
        direction = pack(as_params(vector, self._problem))
        with jax.enable_x64(True):
            product = _hessian_product(
                theta, direction, self._data, self._n, self._strengths.l2, self._form
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
        rows = coefficients_for(rule, state.step, n_steps, self._objective)
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
                coefficients[:count] = rows[start:stop]
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
                    self._strengths,
                    coefficients,
                    self._one,
                    update=rule.update,
                    form=self._form,
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
        return Capabilities(reproducible=True, multinomial=True, l1=True, narrow=True, hessian=True)

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
