"""The regularisation path: the minima of one problem along a range of penalties."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._strength import penalties_of, strengths_of
from lrbackends._validation import check_number, outside_frame
from lrbackends.backends.protocol import Backend, HessianKernels, Kernels, require
from lrbackends.backends.registry import get_backend
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem
from lrbackends.result import LinearModel
from lrbackends.solvers import choose
from lrbackends.solvers.goal import Goal, Step
from lrbackends.solvers.optimum import minimise
from lrbackends.solvers.oracle import Oracle
from lrbackends.solvers.proximal_newton import Memory, proximal_newton

_RANGE = 1e-4  # smallest over largest penalty of a path whose values are not given

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """The minima along a range of penalties, in the order of ``Cs``.

    Attributes
    ----------
    Cs : ndarray of shape (n_values,)
    l1_ratio : float
    classes : ndarray of shape (K,)
    coefs : ndarray of shape (n_values, n_outputs, n_features)
    intercepts : ndarray of shape (n_values, n_outputs)
    losses : ndarray of shape (n_values,)
        Objectives, penalties included, as `Trainer` states them.
    gaps : ndarray of shape (n_values,)
        Certified bounds on (F - F*) / F*; infinite where there is none.
    n_steps : ndarray of shape (n_values,)
    n_passes : ndarray of shape (n_values,)
        How often the rows were read, in units of all rows.
    statuses : ndarray of str, shape (n_values,)
        See `TrainingResult`: "converged", "stalled" or "completed".
    backend, solver : str
    """

    Cs: Array
    l1_ratio: float
    classes: NDArray[Any]
    coefs: NDArray[Any]
    intercepts: NDArray[Any]
    losses: Array
    gaps: Array
    n_steps: NDArray[np.int64]
    n_passes: Array
    statuses: NDArray[np.str_]
    backend: str
    solver: str

    def __len__(self) -> int:
        return len(self.Cs)

    def __getitem__(self, k: int) -> LinearModel:
        """Return the model of the k-th value."""
        return LinearModel(self.coefs[k], self.intercepts[k], self.classes)

    @property
    def n_nonzero(self) -> NDArray[np.int64]:
        """How many features have a weight that is not 0, shape (n_values,)."""
        return np.asarray((self.coefs != 0).any(axis=1).sum(axis=1))

    def plot(self, output: int = 0) -> Any:
        """Draw the weights of one output against C; return the matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        axes = figure.subplots()
        order = np.argsort(self.Cs)
        axes.plot(self.Cs[order], self.coefs[order, output])
        axes.set(xscale="log", xlabel="C", ylabel="weights")
        return figure


def regularisation_path(
    X: Any,
    y: Any,
    Cs: int | ArrayLike = 20,
    *,
    l1_ratio: float = 0.0,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    backend: str | Backend = "numba",
    gap: float | None = 1e-6,
    max_steps: int = 1000,
    dtype: str | None = None,
    n_threads: int | None = None,
    random_state: int | None = 0,
) -> Path:
    """Minimise ``C sum_i s_i loss_i + (1 - l1_ratio) |w|^2 / 2 + l1_ratio |w|_1`` for each C.

    From the strongest penalty to the weakest, each starting where the one before ended; the data
    are checked, brought to the engine and compiled for once.

    Parameters
    ----------
    X, y, sample_weight
        See `Problem`.
    Cs : int or array-like, default 20
        Values, > 0, in any order, ``inf`` for no penalty; or how many: then four decades on a
        logarithmic scale that starts at `first_C`, with an L1 penalty the largest C whose weights
        are all 0.
    l1_ratio : float, default 0
        Share of the L1 penalty, in [0, 1].
    fit_intercept : bool, default True
    backend : str or Backend, default "numba"
    gap : float, optional
        Largest certified (F - F*) / F*. None: go on until rounding hides any further decrease.
    max_steps : int, default 1000
        Most steps of the solver for one value.
    dtype : {"float64", "float32"}, optional
    n_threads : int, optional
    random_state : int, optional
        Of solvers that sample rows.

    Returns
    -------
    Path

    Raises
    ------
    TypeError, ValueError
        An option or the data are wrong.
    UnsupportedError, BackendUnavailableError
        The backend does not cover this, or is not there.

    Examples
    --------
    >>> import lrbackends as lrb
    >>> data = lrb.load_dataset("breast_cancer")
    >>> path = lrb.regularisation_path(
    ...     data.X_train, data.y_train, 5, l1_ratio=1.0, backend="numpy"
    ... )
    >>> int(path.n_nonzero[0]), path.statuses.tolist()
    (0, ['converged', 'converged', 'converged', 'converged', 'converged'])
    """
    problem = Problem(X, y, sample_weight, dtype=dtype, n_threads=n_threads)
    path = path_of(
        problem,
        Cs,
        l1_ratio=l1_ratio,
        fit_intercept=fit_intercept,
        backend=get_backend(backend),
        gap=gap,
        max_steps=max_steps,
        n_threads=n_threads,
        random_state=random_state,
    )
    unfinished = np.flatnonzero(path.statuses != "converged")
    if len(unfinished):
        from sklearn.exceptions import ConvergenceWarning

        k = unfinished[0]
        warnings.warn(
            f"{len(unfinished)} of {len(path)} values, the first is C={path.Cs[k]:g} "
            f"({path.statuses[k]}), did not reach "
            f"{'the optimum' if gap is None else f'gap={gap:g}'}; raise max_steps or gap, or "
            "standardise the columns",
            ConvergenceWarning,
            stacklevel=outside_frame(),
        )
    return path


def path_of(
    problem: Problem,
    Cs: int | ArrayLike,
    *,
    l1_ratio: float,
    fit_intercept: bool,
    backend: Backend,
    gap: float | None,
    max_steps: int,
    n_threads: int | None = None,
    random_state: int | None = 0,
) -> Path:
    """Return the path of a problem that has been checked; see `regularisation_path`."""
    l1_ratio = float(check_number("l1_ratio", l1_ratio, high=1.0))
    check_number("max_steps", max_steps, integer=True)
    if gap is not None:
        check_number("gap", gap, open_low=True)
    given: Any = Cs
    if isinstance(given, Integral):
        count = int(check_number("Cs", given, low=1, integer=True))
        given = first_C(problem, l1_ratio, fit_intercept) * np.geomspace(1.0, 1 / _RANGE, count)
    if np.ndim(given) > 1 or not np.size(given):
        raise ValueError(f"Cs must be a number of values or a list of them, got {Cs!r}")
    values = strengths_of("Cs", given)
    steps = _Steps(problem, backend, l1_ratio, bool(fit_intercept), n_threads, random_state)
    rows: dict[int, tuple[Any, ...]] = {}
    theta = np.zeros(problem.n_outputs * (problem.n_features + bool(fit_intercept)))
    for k in np.argsort(values):
        row = _walk(steps, float(values[k]), theta, Goal(gap), int(max_steps))
        rows[int(k)], theta = row[1:], row[0]
    columns = zip(*(rows[k] for k in range(len(values))), strict=True)
    coefs, intercepts, losses, gaps, n_steps, n_passes, statuses = map(np.array, columns)
    return Path(
        values,
        l1_ratio,
        problem.classes,
        coefs.astype(problem.dtype),
        intercepts.astype(problem.dtype),
        losses,
        gaps,
        n_steps,
        n_passes,
        statuses,
        backend.name,
        steps.solver,
    )


def first_C(problem: Problem, l1_ratio: float, fit_intercept: bool = True) -> float:
    """Return where a path begins whose values are not given.

    With an L1 penalty the largest C whose weights are all 0: ``l1_ratio`` over the largest slope of
    the log-loss there, the intercepts being the best ones. Without, the same for
    ``l1_ratio = 0.01``.
    """
    weight, y = problem.exact_weight, problem.y
    share = np.bincount(y, weight, minlength=len(problem.classes)) / problem.n_samples
    if not fit_intercept:
        share = np.full(len(share), 1.0 / len(share))
    residual = weight[:, None] * (share - (y[:, None] == np.arange(len(share))))
    slope = np.abs(np.asarray(problem.X.T @ residual)).max() / problem.n_samples
    if slope == 0:
        return 1.0
    return float(max(l1_ratio, 1e-2) / (slope * problem.total_weight))


class _Steps:
    """What makes the steps for each value: kernels are compiled once, without any penalty."""

    def __init__(
        self,
        problem: Problem,
        backend: Backend,
        l1_ratio: float,
        fit_intercept: bool,
        n_threads: int | None,
        random_state: int | None,
    ) -> None:
        if not backend.capabilities().narrow:
            problem = problem.widened()
        self.problem, self.l1_ratio, self._fit_intercept = problem, l1_ratio, fit_intercept
        require(backend, problem, Objective(), "fast", n_threads)
        plain = Objective(0.0, 0.0, fit_intercept)
        kernels = backend.compile(problem, plain, "fast", n_threads)

        def compile(some: Problem, objective: Objective) -> Kernels:
            if some is problem:
                return kernels
            return backend.compile(some, objective, "fast", n_threads)  # a sample of the rows

        self._compile, self._random_state, self._memory = compile, random_state, Memory()
        self.solver = choose(problem, l1_ratio, hessian=isinstance(kernels, HessianKernels))

    def oracle(self, C: float) -> Oracle:
        """Return the objective of one value."""
        l2, l1 = penalties_of(C, self.l1_ratio, self.problem.total_weight)
        objective = Objective(l2, l1, self._fit_intercept)
        # With a scale, here of ones, penalties are added outside of the kernels.
        scale = np.ones(self.problem.n_features)
        return Oracle(self.problem, objective, self._compile, scale=scale)

    def steps(self, oracle: Oracle, theta: Array, goal: Goal) -> Iterator[Step]:
        """Return the solver's steps from ``theta``."""
        if self.solver == "proximal-newton":
            return proximal_newton(oracle, theta, goal, self._memory)
        rng = np.random.default_rng(self._random_state)
        return minimise(self.solver, oracle, theta, goal, rng)


def _walk(steps: _Steps, C: float, theta: Array, goal: Goal, max_steps: int) -> tuple[Any, ...]:
    """Minimise for one value; return where that led and what `Path` has of it."""
    oracle = steps.oracle(C)
    last: Step | None = None
    status, count = "stalled" if goal.gap is not None else "converged", -1
    for step in steps.steps(oracle, theta, goal):
        last, count = step, count + 1
        if goal.met(step):
            status = "converged"
            break
        if count >= max_steps:
            status = "completed"
            break
    assert last is not None
    params: Params = oracle.params(last.point.theta)
    least = abs(last.point.loss) - last.bound  # F* is at least that
    gap = last.bound / least if least > 0 else np.inf
    passes = oracle.rows_read / steps.problem.n_samples
    return (
        last.point.theta,
        params.coef.copy(),
        params.intercept.copy(),
        last.point.loss,
        gap,
        count,
        passes,
        status,
    )
