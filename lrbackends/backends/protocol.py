"""What a backend is: the only module that the author of another backend has to read.

A *backend* says what it can do and compiles one problem into *kernels*; the kernels evaluate the
objective and run update rules in native code. Everything else (validation, step sizes, mini-batch
order, early stopping, results) is written once, outside the backends.

Parameters travel in two forms. `Params` is the pair ``(coef, intercept)`` that users see. Inside a
training run they are one flat vector, ``theta = [coef.ravel(), intercept]``, because update rules
work coordinate by coordinate; `pack` and `unpack` convert. Two classes have one output, K > 2 have
K (see `objective`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem

API_VERSION = 1
MOST_HESSIAN_FEATURES = 4000  # coefficients; a Hessian of more would not fit beside the data


@dataclass(frozen=True)
class Capabilities:
    """What a backend covers; what it does not cover is refused with a reason, never approximated.

    Attributes
    ----------
    dtypes : tuple of str
        Types that it computes in, float64 among them.
    reproducible, sparse, multinomial, l1 : bool
        Whether it offers the reproducible arithmetic, CSR data, more than two classes and the
        absolute penalty.
    narrow : bool
        Whether it reads X in a narrower type than it computes in (see `Problem`); one that does not
        is given a widened copy.
    hessian : bool
        Whether its kernels are `HessianKernels`.
    threads : bool
        Whether ``n_threads`` is honoured.
    devices : tuple of str
        Where it computes.
    """

    dtypes: tuple[str, ...] = ("float64", "float32")
    reproducible: bool = False
    sparse: bool = False
    multinomial: bool = False
    l1: bool = False
    narrow: bool = False
    hessian: bool = False
    threads: bool = False
    devices: tuple[str, ...] = ("cpu",)


class State(NamedTuple):
    """Everything that a training run carries from step to step; all vectors have theta's shape.

    Attributes
    ----------
    theta, residual : ndarray of shape (n_outputs * (n_features + 1),)
        The parameters and the part of them that one float cannot hold: their sum is the exact
        running total of the updates (a two-word, or compensated, update).
    first, second : ndarray
        The rule's memory: velocity or first moment, second moment; zeros where it has none.
    step : int
        Updates done so far.
    """

    theta: NDArray[Any]
    residual: NDArray[Any]
    first: NDArray[Any]
    second: NDArray[Any]
    step: int


class Batches(NamedTuple):
    """Rows for each of several mini-batch steps, drawn once on the host for every backend.

    Attributes
    ----------
    indices : ndarray of shape (n_steps, batch_size), int64
        Row numbers; in row t only the first ``sizes[t]`` count, the rest is padding with zeros.
    sizes : ndarray of shape (n_steps,), int64
    """

    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]


class Coefficients(NamedTuple):
    """What a rule needs to know of one step: scalars, the same for every coordinate."""

    rate: Any
    decay1: Any
    gain1: Any  # 1 - decay1
    decay2: Any
    gain2: Any  # 1 - decay2
    epsilon: Any
    threshold: Any = 0.0  # how far a proximal step moves each coefficient towards 0: rate * l1


class Rule(Protocol):
    """An update rule: how one step moves the parameters. Written once, compiled by each backend."""

    @property
    def name(self) -> str:
        """Name of the solver that it belongs to."""

    @property
    def proximal(self) -> bool:
        """Whether a step followed by shrinking by ``threshold`` minimises an L1 penalty, too."""

    def update(
        self, gradient: Any, first: Any, second: Any, c: Coefficients, sqrt: Any
    ) -> tuple[Any, Any, Any]:
        """Return (step to add, new first, new second).

        A pure function of one coordinate in plain arithmetic, so that it works on scalars and
        arrays of any engine; ``sqrt`` is the engine's own square root.
        """

    def coefficients(self, step: int, n_steps: int) -> NDArray[np.float64]:
        """Return the first six `Coefficients` of the ``n_steps`` steps after ``step``, a row each.

        `coefficients_for` adds the last.
        """


@runtime_checkable
class Kernels(Protocol):
    """One problem compiled on one backend. Return values are synchronised and plain NumPy."""

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return scores X coef' + intercept for validated ``X``.

        Of shape (n_samples,) for one output, (n_samples, n_outputs) for more. The problem's own
        array may be passed; it is then not transferred again.
        """

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates in native code, on all rows or on the given mini-batches.

        With an L1 penalty the rule is handed the gradient of the rest of the objective, and each
        update ends with a proximal step: the coefficients are shrunk by ``threshold``.

        Returns the new state and, per step, the objective and the largest absolute entry of the
        gradient *before* the update, shape (n_steps, 2). On a mini-batch both are those of the
        batch: its mean over ``sizes[t]`` rows, with the problem's mean-one weights. With
        ``n_steps=0`` it only compiles, so that compiling can be timed apart. ``state`` is not
        written to, and equal arguments give equal bits: stopped runs are replayed.
        """


@runtime_checkable
class HessianKernels(Kernels, Protocol):
    """Kernels that know second derivatives too, each in one pass over X.

    With d = n_outputs * (n_features + 1) parameters in the order of `pack`, the Hessian of the
    objective is that of `objective.reference_hessian`: for one output X' diag(weight a (1 - a)) X /
    n plus ``l2`` on the coefficients' diagonal, where X has a last column of ones. Without an
    intercept the intercepts' rows and columns are zero. An L1 penalty has no part in it.
    """

    def hessian(self, params: Any) -> NDArray[np.float64]:
        """Return the Hessian of the objective at ``params``, shape (d, d).

        For at most `MOST_HESSIAN_FEATURES` coefficients; above, UnsupportedError.
        """

    def loss_gradient_hessian(self, params: Any) -> tuple[float, Params, NDArray[np.float64]]:
        """Return the objective, its gradient and its Hessian at ``params`` from the same pass."""

    def hessian_product(self, params: Any, vector: Any) -> Params:
        """Return the Hessian at ``params`` times ``vector``, which has the form of `Params`.

        Several products at the same ``params`` may share what depends on ``params`` alone.
        """


@dataclass(frozen=True)
class Batch:
    """The data of several two-class problems of one shape, which are evaluated together.

    Attributes
    ----------
    X : ndarray of shape (n_sets or 1, n_rows, d), float64
        Rows, with a last column of ones for an intercept; one entry where all data sets have the
        same rows and differ in their weights, as the folds of cross-validation do.
    sign : ndarray of shape (n_sets or 1, n_rows), float64
        1 - 2y.
    weight : ndarray of shape (n_sets, n_rows), float64
        Weights of the rows, with sum 1 for each data set; 0 for rows that it does not have.
    """

    X: NDArray[np.float64]
    sign: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def shared(self) -> bool:
        """Whether all data sets have the same rows."""
        return len(self.X) == 1


class BatchKernels(Protocol):
    """A `Batch` compiled on one backend, for problems of two classes without any penalty.

    ``thetas`` has the parameters of each of B problems, shape (B, d), and ``members`` says which
    data set of the batch each is about, shape (B,): a data set may occur several times, as when
    only penalties differ, or not at all. Everything is float64.
    """

    def loss_gradient(
        self, thetas: NDArray[np.float64], members: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weighted mean log-losses and gradients, shapes (B,) and (B, d)."""

    def loss_gradient_hessian(
        self, thetas: NDArray[np.float64], members: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the same and the Hessians, shape (B, d, d)."""


@runtime_checkable
class BatchBackend(Protocol):
    """A backend that evaluates many small problems at once; others fit one after the other."""

    def compile_batch(self, batch: Batch, n_threads: int | None = None) -> BatchKernels:
        """Bring the data to the engine and return the kernels of this batch."""


@runtime_checkable
class Backend(Protocol):
    """An engine: says what it can do and compiles problems."""

    name: str
    api_version: int

    def capabilities(self) -> Capabilities:
        """Return what this backend covers."""

    def compile(
        self,
        problem: Problem,
        objective: Objective,
        arithmetic: str = "fast",
        n_threads: int | None = None,
    ) -> Kernels:
        """Bring the data to the engine and return the kernels of this problem."""


ARITHMETICS = ("fast", "reproducible")


def require(
    backend: Backend,
    problem: Problem,
    objective: Objective,
    arithmetic: str,
    n_threads: int | None = None,
) -> None:
    """Raise UnsupportedError unless the backend covers this; every backend's compile calls it."""
    can = backend.capabilities()

    def refuse(what: str, instead: str) -> None:
        raise UnsupportedError(f"backend {backend.name!r} does not cover {what}; {instead}")

    if arithmetic not in ARITHMETICS:
        raise ValueError(f"arithmetic={arithmetic!r} is unknown; choose from fast, reproducible")
    if arithmetic == "reproducible" and not can.reproducible:
        refuse("arithmetic='reproducible'", "use arithmetic='fast'")
    if problem.dtype.name not in can.dtypes:
        refuse(f"dtype {problem.dtype.name}", f"use dtype {' or '.join(map(repr, can.dtypes))}")
    if problem.sparse and not can.sparse:
        refuse("sparse X", "densify it with X.toarray() or choose another backend")
    if problem.sparse and arithmetic == "reproducible":
        refuse(
            "sparse X in arithmetic='reproducible'",
            "densify it with X.toarray() or use arithmetic='fast'",
        )
    if problem.n_outputs > 1 and not can.multinomial:
        refuse(f"{len(problem.classes)} classes", "keep two of them or choose another backend")
    if objective.l1 > 0 and not can.l1:
        refuse("an L1 penalty", "use l2 and l1=0")
    if n_threads is not None and not can.threads:
        refuse(
            f"n_threads={n_threads}",
            "its thread pool cannot be limited after import, so set the CPU affinity of the "
            "process (taskset) and leave n_threads=None",
        )


def coefficients_for(
    rule: Rule, step: int, n_steps: int, objective: Objective
) -> NDArray[np.float64]:
    """Return all `Coefficients` of the ``n_steps`` steps after ``step``, shape (n_steps, 7).

    Raises
    ------
    UnsupportedError
        The objective has an L1 penalty and the rule takes no proximal steps.
    """
    if objective.l1 > 0 and not rule.proximal:
        raise UnsupportedError(
            f"solver {rule.name!r} takes no proximal steps, which l1={objective.l1:g} needs; use "
            "solver='gd', or 'proximal-newton' for the optimum"
        )
    rows = rule.coefficients(step, n_steps)
    return np.column_stack([rows, rows[:, 0] * objective.l1])


def pack(params: Params) -> NDArray[Any]:
    """Return ``params`` as one flat vector, ``[coef.ravel(), intercept]``."""
    return np.concatenate([params.coef.ravel(), params.intercept.ravel()])


def unpack(theta: NDArray[Any], n_features: int) -> Params:
    """Return the flat vector ``theta`` as ``(coef, intercept)``, copied."""
    n_outputs = len(theta) // (n_features + 1)
    split = n_outputs * n_features
    return Params(theta[:split].reshape(n_outputs, n_features).copy(), theta[split:].copy())


def initial_state(params: Params) -> State:
    """Return the state before the first step."""
    theta = pack(params)
    return State(theta, np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta), 0)
