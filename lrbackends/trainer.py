"""The common interface: problem x objective x backend x solver x stopping -> `TrainingResult`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lrbackends import solvers
from lrbackends._first_order import FirstOrderRun
from lrbackends._validation import check_choice, check_dtype, check_number
from lrbackends.backends.protocol import ARITHMETICS, Backend, State
from lrbackends.callbacks import Callback
from lrbackends.objective import Objective
from lrbackends.result import TrainingResult

INITS = ("zeros", "normal")


@dataclass(frozen=True)
class Trainer:
    """Train a logistic regression on any backend; softmax for more than two classes.

    Minimises the weighted mean log-loss + ``l1 |w|_1 + (l2/2) |w|^2``; the intercept is not
    penalised. Every backend does the same steps on the same rows and is stopped by the same rules.

    Parameters
    ----------
    backend : str or Backend, default "numba"
        A name from `available_backends`, or a backend object.
    solver : str, default "gd"
        An update rule: "gd", "momentum", "nesterov" or "adam". Or a solver that seeks the optimum:
        "lbfgs"; "newton" (the whole Hessian); "newton-cg" (Hessian products, for many features);
        "sampled-newton" (few passes where there are many more rows than features);
        "proximal-newton" (with an L1 penalty); "auto" chooses one of these five by
        `solvers.choose`.
    l2, l1 : float, default 0
        Penalties, >= 0. With ``l1`` weights become exactly 0; "gd" takes proximal steps then.
    fit_intercept : bool, default True
    standardize : bool, default False
        Train as if each column had mean 0 and deviation 1 (without an intercept: deviation 1), so
        that penalties and steps treat columns alike. X is neither copied nor changed, and the
        parameters returned are those of X.
    init : {"zeros", "normal"} or (coef, intercept), default "zeros"
        Where training starts; "normal" draws from a normal distribution of deviation ``init_scale``
        by ``random_state``.
    learning_rate : float, optional
        Default: 1/L, with L the smoothness of the objective (see `solvers.smoothness`); 0.001 for
        adam, whose steps do not scale with the gradient.
    schedule : {"constant", "invscaling", "optimal"}, default "constant"
        How the learning rate falls from step to step; see `solvers.UpdateRule`.
    epochs : int, default 1000
        Passes over the rows; without mini-batches also the number of steps. For a solver that seeks
        the optimum: its most steps.
    batch_size : int, optional
        Rows in a mini-batch. Default: all.
    replacement : bool, default False
        Draw mini-batches with replacement instead of shuffling.
    patience : int, optional
        Stop when the monitored loss (validation if there is any, else training) has not fallen by
        more than ``min_delta`` for that many epochs, and return the best parameters met.
    min_delta : float, default 0
    tol : float, default 0
        Stop when no entry of the gradient over all rows exceeds it; 0 never stops.
    gap : float, optional
        Stop when (F - F*) / F*, the relative distance of the objective from its minimum, is
        certified to be at most that. For solvers that seek the optimum; without ``gap`` and ``tol``
        they go on until rounding hides any further decrease.
    validation_fraction : float, optional
        Set aside this share of the rows, in (0, 1), for validation: stratified, seeded.
    arithmetic : {"fast", "reproducible"}, default "fast"
    dtype : {"float64", "float32"}, optional
        Default: that of the data, float64 for everything that is not float32.
    n_threads : int, optional
        Default: all that the process may use.
    random_state : int, optional
        Seed of mini-batches, random start and validation split. Default: drawn and reported.
    momentum : float, default 0.9
        Decay of the velocity, or of adam's first moment, in [0, 1).
    decay2 : float, default 0.999
        Decay of adam's second moment, in [0, 1).
    epsilon : float, default 1e-8
        Added to adam's denominator.
    init_scale : float, default 0.01
    callbacks : sequence of callables, default ()
        See `callbacks.Callback`.

    Raises
    ------
    TypeError, ValueError
        An option is wrong; the message names it and what would work.
    """

    backend: str | Backend = "numba"
    solver: str = "gd"
    _: KW_ONLY
    l2: float = 0.0
    l1: float = 0.0
    fit_intercept: bool = True
    standardize: bool = False
    init: str | tuple[ArrayLike, ArrayLike] = "zeros"
    learning_rate: float | None = None
    schedule: str = "constant"
    epochs: int = 1000
    batch_size: int | None = None
    replacement: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    tol: float = 0.0
    gap: float | None = None
    validation_fraction: float | None = None
    arithmetic: str = "fast"
    dtype: str | None = None
    n_threads: int | None = None
    random_state: int | None = None
    momentum: float = 0.9
    decay2: float = 0.999
    epsilon: float = 1e-8
    init_scale: float = 0.01
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, solvers.SOLVERS)
        check_choice("arithmetic", self.arithmetic, ARITHMETICS)
        check_choice("schedule", self.schedule, solvers.SCHEDULES)
        if isinstance(self.init, str):
            check_choice("init", self.init, INITS)
        elif not isinstance(self.init, (tuple, list)) or len(self.init) != 2:
            raise TypeError(
                f"init must be {' or '.join(map(repr, INITS))} or (coef, intercept), "
                f"got {self.init!r}"
            )
        for name in ("replacement", "standardize"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if not isinstance(self.callbacks, (tuple, list)) or not all(map(callable, self.callbacks)):
            raise TypeError(f"callbacks must be a list of callables, got {self.callbacks!r}")
        Objective(self.l2, self.l1, self.fit_intercept)
        check_number("epochs", self.epochs, integer=True)
        check_number("min_delta", self.min_delta)
        check_number("tol", self.tol)
        check_number("momentum", self.momentum, high=1.0, open_high=True)
        check_number("decay2", self.decay2, high=1.0, open_high=True)
        check_number("epsilon", self.epsilon, open_low=True)
        check_number("init_scale", self.init_scale)
        if self.gap is not None:
            check_number("gap", self.gap, open_low=True)
            if self.solver in solvers.FIRST_ORDER:
                raise ValueError(
                    f"gap={self.gap:g} needs a solver that certifies it: choose from "
                    f"{', '.join((*solvers.OPTIMUM, *solvers.PROXIMAL))} or auto; "
                    f"solver={self.solver!r} takes tol"
                )
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, open_low=True)
        if self.validation_fraction is not None:
            fraction = self.validation_fraction
            check_number("validation_fraction", fraction, high=1.0, open_low=True, open_high=True)
        for name in ("batch_size", "patience", "n_threads"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low=1, integer=True)
        if self.random_state is not None:
            check_number("random_state", self.random_state, high=2**63, integer=True)
        if self.dtype is not None:
            check_dtype(self.dtype)

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[Any, Any] | None = None,
        *,
        classes: ArrayLike | None = None,
        state: State | None = None,
    ) -> TrainingResult:
        """Train on ``X`` and ``y``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, 1)
        sample_weight : array-like of shape (n_samples,), optional
            A weight of 2 counts as a repeated row.
        validation_data : (X, y), optional
            Rows that loss and accuracy are reported on after each epoch.
        classes : array-like of shape (K,), optional
            All labels that there are, ascending, where ``y`` may lack some: these rows are some of
            more, and not looked through for separation and collinearity.
        state : State, optional
            An earlier result's ``state``, to go on from instead of ``init``; for update rules.

        Returns
        -------
        TrainingResult

        Raises
        ------
        TypeError, ValueError
            The data cannot be trained on.
        UnsupportedError, BackendUnavailableError
            The backend does not cover this, or is not there.
        DivergenceError
            The loss exploded; the best parameters are in its ``result``.
        """
        if self.solver in solvers.FIRST_ORDER:
            return FirstOrderRun(
                self, X, y, sample_weight, validation_data, classes, state
            ).result()
        from lrbackends._optimum import OptimumRun  # brings SciPy's linear algebra

        return OptimumRun(self, X, y, sample_weight, validation_data, classes, state).result()
