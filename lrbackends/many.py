"""Many fits at once: one compiled batch where they are small, else one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrbackends._strength import penalties_of, strengths_of
from lrbackends._validation import as_weights, check_number, outside_frame
from lrbackends.backends.batched import CompileBatch, batch_compiler
from lrbackends.backends.protocol import Backend, Batch, BatchKernels, require
from lrbackends.backends.registry import get_backend
from lrbackends.errors import DivergenceError
from lrbackends.objective import Objective
from lrbackends.problem import Problem
from lrbackends.result import LinearModel
from lrbackends.solvers.batched_newton import Minima, Problems, minimise_grid, minimise_many
from lrbackends.trainer import Trainer

_MOST_WORK = 8e6  # rows times squared columns up to which bookkeeping, not arithmetic, is the cost
_PAIR_BYTES = 1 << 26  # of all products of two columns
_BATCH_BYTES = 1 << 28  # of the rows of one batch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fit(LinearModel):
    """One of many fits; it predicts as `TrainingResult` does.

    Attributes
    ----------
    coef, intercept, classes : ndarray
        See `TrainingResult`.
    C : float
        Inverse strength of the penalty.
    loss : float
        Mean log-loss plus penalty, as `Trainer` states it: |w|^2 / (2 C S) with S the sum of the
        weights.
    suboptimality : float
        A certified bound on ``loss`` less its minimum; NaN where there is none.
    gradient_norm : float
        Largest absolute entry of the gradient.
    n_steps : int
    status : str
        See `TrainingResult`.
    """

    C: float
    loss: float
    suboptimality: float
    gradient_norm: float
    n_steps: int
    status: str

    @property
    def converged(self) -> bool:
        """Whether the optimum was reached."""
        return self.status == "converged"


@dataclass(frozen=True)
class Fits(Sequence[Fit]):
    """The fits of `fit_many`, in the order of the problems.

    Attributes
    ----------
    fits : tuple of Fit
    batched : int
        How many were done in batches.
    backend : str
    """

    fits: tuple[Fit, ...]
    batched: int
    backend: str

    def __len__(self) -> int:
        return len(self.fits)

    @overload
    def __getitem__(self, k: int) -> Fit: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Fit]: ...
    def __getitem__(self, k: int | slice) -> Fit | Sequence[Fit]:
        return self.fits[k]

    @property
    def coef(self) -> Array:
        """Coefficients of all, shape (n_fits, n_outputs, n_features); all have equally many."""
        return np.stack([fit.coef for fit in self.fits])

    @property
    def intercept(self) -> Array:
        """Intercepts of all, shape (n_fits, n_outputs)."""
        return np.stack([fit.intercept for fit in self.fits])

    @property
    def loss(self) -> Array:
        """Objectives of all, shape (n_fits,)."""
        return np.array([fit.loss for fit in self.fits])

    @property
    def n_steps(self) -> NDArray[np.int64]:
        """Steps of all, shape (n_fits,)."""
        return np.array([fit.n_steps for fit in self.fits])

    @property
    def status(self) -> NDArray[np.str_]:
        """Statuses of all, shape (n_fits,)."""
        return np.array([fit.status for fit in self.fits])

    @property
    def converged(self) -> bool:
        """Whether all were."""
        return all(fit.converged for fit in self.fits)


def fit_many(
    problems: Any,
    *,
    C: float | ArrayLike = 1.0,
    sample_weights: ArrayLike | None = None,
    backend: str | Backend = "numba",
    fit_intercept: bool = True,
    gap: float | None = 1e-9,
    max_steps: int = 1000,
    n_threads: int | None = None,
) -> Fits:
    """Fit many logistic regressions with L2 penalties.

    Each minimises ``C sum_i s_i loss_i + |w|^2 / 2`` over its rows of weights s_i, the intercept
    not penalised, as scikit-learn's `LogisticRegression` does. Small dense problems of two classes
    are fitted together by Newton's method, in float64 and in one compiled batch where the backend
    can (`BatchBackend`); all others by `Trainer`, one after the other.

    Parameters
    ----------
    problems : list of problems, or a pair (X, y)
        A list has a `Problem`, a pair (X, y) or a triple (X, y, sample_weight) for each fit. A pair
        stands for one data set under all of ``C`` and of ``sample_weights``.
    C : float or array-like, default 1.0
        Inverse strength, > 0; ``inf`` for none. Of a list: one for all or one for each.
    sample_weights : array-like of shape (n_sets, n_samples), optional
        For a pair: each row makes a data set, as the folds of cross-validation are; rows of weight
        0 do not belong to it. There are n_sets * len(C) fits, those of the first row first.
    backend : str or Backend, default "numba"
    fit_intercept : bool, default True
    gap : float, optional
        Largest certified (F - F*) / F*. None: go on until rounding hides any further decrease.
    max_steps : int, default 1000
        Most steps of a fit.
    n_threads : int, optional
        Default: all that the process may use.

    Returns
    -------
    Fits
        A sequence of `Fit`.

    Raises
    ------
    TypeError, ValueError
        An option, or a problem, is wrong; the message names its number.

    Examples
    --------
    >>> import lrbackends as lrb
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    >>> fits = lrb.fit_many((X, y), C=[0.1, 1.0, 10.0], backend="numpy")
    >>> [round(float(fit.coef[0, 0]), 2) for fit in fits]
    [0.09, 0.45, 0.82]
    """
    if gap is not None:
        check_number("gap", gap, open_low=True)
    check_number("max_steps", max_steps, integer=True)
    engine = get_backend(backend)
    run = _Run(engine, batch_compiler(engine), bool(fit_intercept), gap, int(max_steps), n_threads)
    if isinstance(problems, tuple) and len(problems) == 2:
        return run.of_one_data_set(*problems, sample_weights, strengths_of("C", C))
    if sample_weights is not None:
        raise ValueError(
            "sample_weights is for one data set (X, y); in a list of problems give each its own, "
            "as (X, y, sample_weight)"
        )
    return run.of_list(problems, C)


def worth_batching(problem: Problem) -> bool:
    """Whether a problem is small, dense and of two classes, so that a batch of many pays."""
    n, p = problem.X.shape
    small = n * (p + 1) ** 2 <= _MOST_WORK and 8 * n * (p + 1) ** 2 <= 2 * _PAIR_BYTES
    return not problem.sparse and problem.n_outputs == 1 and small


def shared_batch(problem: Problem, weights: Array, fit_intercept: bool) -> Batch:
    """Return the batch of one problem's rows under several weights.

    Parameters
    ----------
    problem : Problem
    weights : ndarray of shape (n_sets, n_samples)
        Of the problem's rows.
    """
    rows = _with_ones(problem, fit_intercept)[None]
    sums = weights.sum(axis=1, keepdims=True)
    return Batch(rows, problem.sign.astype(np.float64)[None], weights / sums)


def _with_ones(problem: Problem, fit_intercept: bool) -> Array:
    n, p = problem.X.shape
    rows = np.ones((n, p + fit_intercept))
    rows[:, :p] = problem.X
    return rows


@dataclass(frozen=True)
class _Run:
    """One call of `fit_many`."""

    backend: Backend
    compiler: CompileBatch | None
    fit_intercept: bool
    gap: float | None
    max_steps: int
    n_threads: int | None

    def of_one_data_set(self, X: Any, y: Any, sample_weights: Any, C: Array) -> Fits:
        problem = Problem(X, y, n_threads=self.n_threads)
        n = problem.n_samples
        weights = np.ones((1, n))
        if sample_weights is not None:
            weights = np.asarray(sample_weights, np.float64)
            if weights.ndim != 2 or weights.shape[1] != n or not len(weights):
                raise ValueError(
                    f"sample_weights has shape {weights.shape}; expected (n_sets, {n}), a row of "
                    "weights for each data set"
                )
        for k, weight in enumerate(weights):
            with _numbered(k, "row", "sample_weights"):
                _check_weight(weight, problem)
        penalised = np.flatnonzero(np.isfinite(C))
        fits: list[Fit | None] = [None] * (len(weights) * len(C))
        totals = weights.sum(axis=1)
        if self._together(problem) and len(penalised):
            # From the strongest penalty to the weakest would do as well; a grid wants l2 rising.
            values, inverse = np.unique(1.0 / C[penalised], return_inverse=True)
            shared = shared_batch(problem, weights, self.fit_intercept)
            kernels = self._kernels(shared, problem)
            minima = minimise_grid(
                kernels,
                shared,
                values / totals[:, None],
                self.fit_intercept,
                self.gap,
                self.max_steps,
            )
            for row in range(len(weights)):
                for column, at in zip(penalised.tolist(), inverse.tolist(), strict=True):
                    fits[row * len(C) + column] = self._fit_of(
                        minima, row * len(values) + at, problem, float(C[column])
                    )
        batched = sum(fit is not None for fit in fits)
        for number, fit in enumerate(fits):
            if fit is None or fit.status == "stalled":
                row, column = divmod(number, len(C))
                total, strength = float(totals[row]), float(C[column])
                fits[number] = self._alone(problem, weights[row], total, strength)
        return self._done(fits, batched)

    def of_list(self, problems: Any, C: Any) -> Fits:
        if not isinstance(problems, Sequence) or isinstance(problems, (str, bytes)):
            raise TypeError(
                "problems must be a pair (X, y), or a list of Problem, (X, y) or "
                f"(X, y, sample_weight), got {type(problems).__name__}"
            )
        made = []
        for k, entry in enumerate(problems):
            with _numbered(k, "problem"):
                made.append(self._problem(entry))
        if len(strengths := strengths_of("C", C)) == 1:
            strengths = np.repeat(strengths, len(made))
        if len(strengths) != len(made):
            raise ValueError(f"C has {len(strengths)} values for {len(made)} problems")
        fits: list[Fit | None] = [None] * len(made)
        for group in self._groups(made, strengths):
            some = [made[k] for k in group]
            batch = _stacked(some, self.fit_intercept)
            totals = np.array([problem.total_weight for problem in some])
            questions = Problems(
                batch,
                np.arange(len(group)),
                1.0 / (strengths[group] * totals),
                self.fit_intercept,
            )
            start = np.zeros((len(group), batch.X.shape[2]))
            kernels = self._kernels(batch, some[0])
            minima = minimise_many(kernels, questions, start, self.gap, self.max_steps)
            for j, k in enumerate(group):
                fits[k] = self._fit_of(minima, j, made[k], float(strengths[k]))
        batched = sum(fit is not None for fit in fits)
        for k, fit in enumerate(fits):
            if fit is None or fit.status == "stalled":
                problem = made[k]
                weight = problem.exact_weight
                with _numbered(k, "problem"):
                    fits[k] = self._alone(
                        problem, weight, problem.total_weight, float(strengths[k])
                    )
        return self._done(fits, batched)

    def _done(self, fits: list[Fit | None], batched: int) -> Fits:
        done = tuple(fit for fit in fits if fit is not None)
        _warn_of_unfinished(done, self.gap)
        return Fits(done, batched, self.backend.name)

    def _problem(self, entry: Any) -> Problem:
        if isinstance(entry, Problem):
            return entry
        if not isinstance(entry, (tuple, list)) or len(entry) not in (2, 3):
            raise TypeError(
                f"expected a Problem, (X, y) or (X, y, sample_weight), got {type(entry).__name__}"
            )
        return Problem(*entry, n_threads=self.n_threads)

    def _together(self, problem: Problem) -> bool:
        return self.compiler is not None and worth_batching(problem)

    def _groups(self, problems: list[Problem], C: Array) -> Iterator[NDArray[np.intp]]:
        """Yield the numbers of problems for one batch each: of the same shape, up to filling up.

        Rows are filled up to the next power of two at most, and a batch is kept small.
        """
        alike: dict[tuple[int, int], list[int]] = {}
        for k, problem in enumerate(problems):
            if self._together(problem) and np.isfinite(C[k]):
                key = problem.n_features, (problem.n_samples - 1).bit_length()
                alike.setdefault(key, []).append(k)
        for (p, bits), numbers in alike.items():
            size = max(1, _BATCH_BYTES // (8 * (p + 1) << bits))
            for start in range(0, len(numbers), size):
                yield np.array(numbers[start : start + size], np.intp)

    def _kernels(self, batch: Batch, problem: Problem) -> BatchKernels:
        assert self.compiler is not None
        require(self.backend, problem, Objective(), "fast", self.n_threads)
        return self.compiler(batch, self.n_threads)

    def _fit_of(self, minima: Minima, k: int, problem: Problem, C: float) -> Fit:
        p, theta = problem.n_features, minima.thetas[k]
        bound = float(minima.bounds[k])
        return Fit(
            coef=theta[None, :p].copy(),
            intercept=theta[p:].copy() if self.fit_intercept else np.zeros(1),
            classes=problem.classes,
            C=C,
            loss=float(minima.losses[k]),
            suboptimality=bound if np.isfinite(bound) else np.nan,
            gradient_norm=float(minima.gradient_norms[k]),
            n_steps=int(minima.n_steps[k]),
            status=str(minima.statuses[k]),
        )

    def _alone(self, problem: Problem, weight: Array, total: float, C: float) -> Fit:
        """Fit a problem that is too large, of another kind, or that the batch could not finish."""
        trainer = Trainer(
            self.backend,
            "auto",
            l2=penalties_of(C, 0.0, total)[0],
            fit_intercept=self.fit_intercept,
            gap=self.gap,
            epochs=self.max_steps,
            n_threads=self.n_threads,
        )
        with warnings.catch_warnings():
            from sklearn.exceptions import ConvergenceWarning

            warnings.simplefilter("ignore", ConvergenceWarning)  # all fits are warned of together
            result = trainer.fit(
                problem.X, problem.classes[problem.y], weight, classes=problem.classes
            )
        return Fit(
            coef=result.coef,
            intercept=result.intercept,
            classes=result.classes,
            C=C,
            loss=result.loss,
            suboptimality=result.suboptimality,
            gradient_norm=result.gradient_norm,
            n_steps=result.n_steps,
            status=result.status,
        )


def _stacked(problems: list[Problem], fit_intercept: bool) -> Batch:
    """Return the batch of problems with equally many columns, filled up with rows of weight 0."""
    n, d = max(p.n_samples for p in problems), problems[0].n_features + fit_intercept
    X = np.zeros((len(problems), n, d))
    sign, weight = np.ones((2, len(problems), n))
    weight[:] = 0
    for k, problem in enumerate(problems):
        rows = problem.n_samples
        X[k, :rows, : problem.n_features] = problem.X
        X[k, :rows, problem.n_features :] = 1
        sign[k, :rows] = problem.sign
        weight[k, :rows] = problem.exact_weight / rows
    return Batch(X, sign, weight)


@contextmanager
def _numbered(k: int, what: str, of: str = "") -> Iterator[None]:
    """Say in errors which of many it was."""
    try:
        yield
    except (TypeError, ValueError, DivergenceError) as error:
        place = f"in {what} {k}" + (f" of {of}" if of else "")
        if isinstance(error, DivergenceError):
            raise DivergenceError(f"{place}: {error}", error.result) from None
        raise type(error)(f"{place}: {error}") from None


def _check_weight(weight: Array, problem: Problem) -> None:
    as_weights(weight, problem.n_samples)
    labels = np.unique(problem.y[weight > 0])
    if len(labels) < 2:
        raise ValueError(
            f"only one class, {problem.classes[labels].tolist()[0]!r}, has rows of positive "
            "weight; two are needed"
        )


def _warn_of_unfinished(fits: Sequence[Fit], gap: float | None) -> None:
    unfinished = [k for k, fit in enumerate(fits) if fit.status in ("completed", "stalled")]
    if unfinished:
        from sklearn.exceptions import ConvergenceWarning

        wanted = "the optimum" if gap is None else f"gap={gap:g}"
        warnings.warn(
            f"{len(unfinished)} of {len(fits)} fits, the first is number {unfinished[0]} "
            f"({fits[unfinished[0]].status}), did not reach {wanted}; raise max_steps or gap, or "
            "standardise the columns",
            ConvergenceWarning,
            stacklevel=outside_frame(),
        )
