"""Logistic regression as a scikit-learn estimator, on any backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call

from lrbackends._backend_choice import choose_backend, given
from lrbackends._cost_model import note, work_of
from lrbackends._linear_classifier import LinearClassifier
from lrbackends._sklearn_callbacks import CallbackSupportMixin, EpochEvents
from lrbackends._sklearn_input import (
    computed_in,
    in_scikit_learns_words,
    labels_of,
    n_entries,
    outputs_of,
    weights_of,
)
from lrbackends._strength import gap_of, penalties_of
from lrbackends.backends.protocol import ARITHMETICS, Backend, State
from lrbackends.backends.registry import get_backend
from lrbackends.callbacks import Callback, PrintLoss
from lrbackends.errors import BackendUnavailableError
from lrbackends.inference import Inference, infer
from lrbackends.objective import Objective
from lrbackends.problem import Problem
from lrbackends.solvers import FIRST_ORDER, SCHEDULES, SOLVERS
from lrbackends.trainer import Trainer

_STREAM_BATCH = 32  # rows of a mini-batch of partial_fit


@dataclass(frozen=True)
class _Stream:
    """What one call of ``partial_fit`` hands to the next."""

    seed: int
    n_calls: int = 0
    total_weight: float = 0.0
    state: State | None = None

    def seed_of_call(self) -> int:
        """Return the next call's seed, a function of the first seed and the calls done."""
        return int(np.random.SeedSequence([self.seed, self.n_calls]).generate_state(1)[0])


class LogisticRegression(CallbackSupportMixin, LinearClassifier):  # type: ignore[misc]
    """Logistic regression, softmax for more than two classes, with scikit-learn's interface.

    Minimises, with s_i the weight of row i (its class's included),

        C sum_i s_i loss_i  +  (1 - l1_ratio)/2 |w|^2  +  l1_ratio |w|_1,

    as scikit-learn's `LogisticRegression` does; the intercept is not penalised. For `Trainer`,
    which takes means, that is ``l2 = (1 - l1_ratio) / (C S)`` and ``l1 = l1_ratio / (C S)`` with S
    the sum of the weights; with ``validation_fraction`` S counts the rows set aside, too.

    Parameters
    ----------
    C : float, default 1.0
        Inverse strength of the penalty, > 0; ``inf`` for none.
    l1_ratio : float, default 0.0
        Share of the L1 penalty, in [0, 1]: 0 is L2, 1 is L1, between them the elastic net.
    backend : str or Backend, default "auto"
        A name from `available_backends`, or a backend object; never replaced by another.
        "auto" takes the one that ``lrbackends calibrate`` has measured to be the quickest for such
        data on this machine, and by a rule numpy or numba where that was not run; ``backend_`` says
        which, ``backend_reason_`` why. Backends differ by rounding, so name one where the last
        digits have to be those of another machine.
    solver : str, default "auto"
        See `Trainer`; "auto" takes what suits the data among those that seek the optimum.
    tol : float, default 1e-9
        Solvers that seek the optimum stop when (F - F*) / F*, the relative distance of the
        objective from its minimum, is *certified* to be at most ``tol``; with 0, and in float32
        with less than 1e-6, when rounding hides any further decrease. Update rules, which certify
        nothing, stop when no entry of the gradient of the mean exceeds it, as scikit-learn does.
    max_iter : int, default 1000
        Most steps of a solver that seeks the optimum, epochs of an update rule.
    fit_intercept : bool, default True
    standardize : bool, default False
        Penalise, and step, as if each column had mean 0 and deviation 1; ``coef_`` is that of X.
    class_weight : dict, "balanced" or None, default None
        Multiplies the sample weights. "balanced": the sum of all weights over K times that of the
        class. A weight of a label that is not in ``y`` is ignored where all others are given.
    random_state : int, RandomState or None, default None
        Of mini-batches, row samples and the validation split.
    warm_start : bool, default False
        Start from ``coef_`` and ``intercept_`` of the previous fit.
    arithmetic : {"fast", "reproducible"}, default "fast"
        "reproducible": the same bits from every backend; for update rules.
    dtype : {"float64", "float32"} or None, default None
        None: float32 for float32 data, else float64.
    n_threads : int or None, default None
        None: all that the process may use.
    learning_rate : float or None, default None
        Of update rules. None: 1/L, or 0.001 for adam; in `partial_fit` of the rows of each call.
    schedule : {"constant", "invscaling", "optimal"}, default "constant"
        How the learning rate of an update rule falls; over all calls of `partial_fit`.
    batch_size : int or None, default None
        Rows in a mini-batch of an update rule. None: all of them; in `partial_fit` 32.
    patience : int or None, default None
        Stop when the loss, of the validation rows if there are any, has not fallen by more than
        ``min_delta`` for that many epochs, and keep the best parameters met.
    min_delta : float, default 0.0
    validation_fraction : float or None, default None
        Share of the rows to set aside for that, in (0, 1): stratified.
    verbose : int, default 0
        Above 0 the loss is printed: of each step, and of each hundredth epoch of an update rule.
    callbacks : sequence of callables or None, default None
        See `callbacks.Callback`. scikit-learn's own (1.9) are given to `set_callbacks`.

    Attributes
    ----------
    coef_ : ndarray or CSR of shape (1, n_features) or (K, n_features)
    intercept_ : ndarray of shape (1,) or (K,)
    classes_ : ndarray of shape (K,)
    n_iter_ : ndarray of shape (1,)
        Steps or epochs done.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X had names that are strings.
    history_ : mapping of str to ndarray
        See `TrainingResult`.
    status_ : str
        See `TrainingResult`.
    converged_ : bool
    backend_ : str
        Name of the backend that trained.
    backend_reason_ : str
        Why that one: predicted seconds of all, or the rule.
    result_ : TrainingResult

    Notes
    -----
    A weight of 2 counts as a repeated row and one of 0 as a missing row: the objective is the same,
    so update rules on full batches differ by rounding, solvers that seek the optimum by ``tol``.
    Mini-batches are drawn from rows, however heavy: with weights of 0 they are those of the
    remaining rows, bit for bit, but a row of weight 2 is one row of its batch, and two of weight 1
    come in any batches, so that there the equality holds in expectation.

    ``penalty``, deprecated in scikit-learn 1.8, is not offered: ``C`` and ``l1_ratio`` say it all.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import lrbackends as lrb
    >>> X, y = load_iris(return_X_y=True)
    >>> model = lrb.LogisticRegression(backend="numpy").fit(X, y)
    >>> model.status_, round(model.score(X, y), 2)
    ('converged', 0.97)
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012 - scikit-learn's convention
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "backend": "no_validation",  # get_backend lists the names
        "solver": [StrOptions(set(SOLVERS))],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "arithmetic": [StrOptions(set(ARITHMETICS))],
        "dtype": [StrOptions({"float64", "float32"}), None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "schedule": [StrOptions(set(SCHEDULES))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "min_delta": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "verbose": ["verbose"],
        "callbacks": [list, tuple, None],
    }

    def __init__(
        self,
        C: float = 1.0,
        *,
        l1_ratio: float = 0.0,
        backend: str | Backend = "auto",
        solver: str = "auto",
        tol: float = 1e-9,
        max_iter: int = 1000,
        fit_intercept: bool = True,
        standardize: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        arithmetic: str = "fast",
        dtype: str | None = None,
        n_threads: int | None = None,
        learning_rate: float | None = None,
        schedule: str = "constant",
        batch_size: int | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        validation_fraction: float | None = None,
        verbose: int = 0,
        callbacks: Sequence[Callback] | None = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.backend = backend
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.class_weight = class_weight
        self.random_state = random_state
        self.warm_start = warm_start
        self.arithmetic = arithmetic
        self.dtype = dtype
        self.n_threads = n_threads
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.patience = patience
        self.min_delta = min_delta
        self.validation_fraction = validation_fraction
        self.verbose = verbose
        self.callbacks = callbacks

    # -- training

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train on ``X`` and ``y``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Arrays, frames, Arrow tables, tensors and sparse matrices; see `Problem`.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), optional
            A weight of 2 counts as a repeated row.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            An option, or the data, are wrong; the message names what, and what would work.
        UnsupportedError, BackendUnavailableError
            The backend does not cover this, or is not there.
        DivergenceError
            The loss exploded.
        """
        labels, weight = self._data(X, y, sample_weight, reset=True)
        init: Any = "zeros"
        if self.warm_start and hasattr(self, "coef_"):
            init = self._previous(labels, weight)
        seeks = self.solver not in FIRST_ORDER
        tol = float(self.tol)
        trainer = self._trainer(
            X,
            labels,
            float(len(labels) if weight is None else weight.sum()),
            solver=self.solver,
            init=init,
            tol=0.0 if seeks else tol,
            gap=gap_of(tol, computed_in(X, self.dtype)) if seeks else None,
            epochs=int(self.max_iter),
            batch_size=self.batch_size,
            patience=self.patience,
            min_delta=float(self.min_delta),
            validation_fraction=self.validation_fraction,
            standardize=bool(self.standardize),
            random_state=self._seed(),
        )
        self._stream: _Stream | None = None
        return self._train(trainer, X, y, sample_weight, labels, weight)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Do one epoch of mini-batch steps on some rows, going on from earlier calls.

        The update rule is ``solver`` ("gd", plain SGD, where that is "auto"). Its state, the step
        count of schedules, and a seed that differs from call to call are carried on; all backends
        do the same steps on the same mini-batches. The penalty is that of `fit` on all rows seen
        so far: S is the sum of their weights. After `fit` it goes on from its parameters.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            A call may lack classes.
        classes : array-like of shape (K,), optional
            All labels that will come; needed in the first call.
        sample_weight : array-like of shape (n_samples,), optional
            Rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, UnsupportedError, BackendUnavailableError, DivergenceError
            As for `fit`; or an option does not go with learning piece by piece.
        """
        solver = "gd" if self.solver == "auto" else self.solver
        self._refuse_whole_data_options(solver)
        _check_partial_fit_first_call(self, classes)
        fitted = hasattr(self, "coef_")
        labels, weight = self._data(X, y, sample_weight, reset=not fitted)
        total = float(len(labels) if weight is None else weight.sum())
        stream: _Stream = getattr(self, "_stream", None) or _Stream(self._seed_of_stream())
        total += stream.total_weight
        trainer = self._trainer(
            X,
            labels,
            total,
            self.classes_,
            solver=solver,
            init=(self._dense_coef(), self.intercept_) if fitted else "zeros",
            epochs=1,
            batch_size=self.batch_size or _STREAM_BATCH,
            random_state=stream.seed_of_call(),
        )
        self._train(trainer, X, y, sample_weight, labels, weight, stream.state, self.classes_)
        self._stream = _Stream(stream.seed, stream.n_calls + 1, total, self.result_.state)
        return self

    def _refuse_whole_data_options(self, solver: str) -> None:
        if solver not in FIRST_ORDER:
            raise ValueError(
                f"solver={solver!r} needs all rows at once; for partial_fit choose from "
                f"{', '.join(FIRST_ORDER)}, or auto"
            )
        for name, instead in {
            "patience": "watch the loss of your own validation rows between calls",
            "validation_fraction": "watch the loss of your own validation rows between calls",
            "standardize": "scale the columns with StandardScaler.partial_fit",
        }.items():
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs all rows at once; {instead}"
                )
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows at once; give partial_fit the weights, as "
                "sklearn.utils.class_weight.compute_class_weight finds them, in a dict"
            )

    def _seed_of_stream(self) -> int:
        seed = self._seed()
        return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed

    def _previous(self, labels: NDArray[Any], weight: NDArray[np.float64] | None) -> Any:
        """Return the parameters of the fit before, which must fit these data."""
        coef = self._dense_coef()
        if coef.shape[1] != self.n_features_in_:
            raise ValueError(
                f"warm_start=True goes on from {coef.shape[1]} features, but X has "
                f"{self.n_features_in_}; set warm_start=False"
            )
        classes = np.unique(labels if weight is None else labels[weight > 0])
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True goes on from the classes {self.classes_.tolist()}, but y has "
                f"{classes.tolist()}; set warm_start=False"
            )
        return coef, self.intercept_

    def _backend(
        self,
        X: Any,
        labels: NDArray[Any],
        classes: NDArray[Any] | None,
        options: Mapping[str, Any],
    ) -> str | Backend:
        """Return the backend to train on, and keep why."""
        if not (isinstance(self.backend, str) and self.backend == "auto"):
            self.backend_reason_ = given(self.backend)
            return self.backend
        if classes is not None and getattr(self, "_stream", None) is not None:
            return self.backend_  # a stream stays where it began
        solver = options["solver"]
        choice = choose_backend(
            work_of(
                (len(labels), self.n_features_in_),
                outputs_of(labels if classes is None else classes),
                n_entries(X, len(labels), self.n_features_in_),
                computed_in(X, self.dtype).name,
                hasattr(X, "nnz"),
                solver,
                options["epochs"],
                batch_size=options["batch_size"],
                l1=float(self.l1_ratio),
            ),
            self._uncovered(solver, options),
        )
        self.backend_reason_ = choice.reason
        return choice.backend

    def _uncovered(self, solver: str, options: Mapping[str, Any]) -> str:
        """Return an option that changes how long backends take, and is not calibrated for."""
        if self.arithmetic != "fast":
            return f"arithmetic={self.arithmetic!r}"
        if self.n_threads is not None:
            return f"n_threads={self.n_threads}"
        if options.get("standardize") and solver in FIRST_ORDER:
            return f"standardize=True with solver={solver!r}"
        return ""

    def _trainer(
        self,
        X: Any,
        labels: NDArray[Any],
        total_weight: float,
        classes: NDArray[Any] | None = None,
        **options: Any,
    ) -> Trainer:
        l2, l1 = penalties_of(float(self.C), float(self.l1_ratio), total_weight)
        backend, solver = self._backend(X, labels, classes, options), options["solver"]
        callbacks = list(self.callbacks or ())
        if self.verbose:
            callbacks.append(PrintLoss(100 if solver in FIRST_ORDER else 1))
        return Trainer(
            backend,
            l2=l2,
            l1=l1,
            fit_intercept=bool(self.fit_intercept),
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            arithmetic=self.arithmetic,
            dtype=self.dtype,
            n_threads=self.n_threads,
            callbacks=callbacks,
            **options,
        )

    def _train(
        self,
        trainer: Trainer,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        labels: NDArray[Any],
        weight: NDArray[np.float64] | None,
        state: State | None = None,
        classes: NDArray[Any] | None = None,
    ) -> Self:
        """Train, tell scikit-learn's callbacks, and keep the result."""
        events = None
        if hasattr(self, "_init_callback_context"):
            known = np.unique(labels) if classes is None else classes
            metadata = None if sample_weight is None else {"sample_weight": sample_weight}
            events = EpochEvents(
                self,
                trainer.epochs,
                {"X": X, "y": y, "metadata": metadata},
                {"classes_": known, "result_": None},
            )
            if getattr(self, "_skl_callbacks", None):
                trainer = replace(trainer, callbacks=[*trainer.callbacks, events])
        with in_scikit_learns_words(X):
            result = trainer.fit(X, labels, weight, classes=classes, state=state)
        self._keep(result)
        self._note(X, labels, trainer)
        if events is not None:
            events.end()
        return self

    def _note(self, X: Any, labels: NDArray[Any], trainer: Trainer) -> None:
        """Let the cost model know what this process has loaded and compiled."""
        if trainer.arithmetic == "fast":
            result, n, p = self.result_, len(labels), self.n_features_in_
            shape, entries, sparse = (n, p), n_entries(X, n, p), hasattr(X, "nnz")
            outputs, batch = len(result.coef), trainer.batch_size
            work = work_of(
                shape, outputs, entries, result.dtype, sparse, result.solver, 1, batch_size=batch
            )
            note(result.backend, work)

    # -- inference

    def inference(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        covariance: str = "bayesian",
    ) -> Inference:
        """Return standard errors, p-values and the like; see `inference.infer`.

        Parameters
        ----------
        X, y, sample_weight
            What the model was fitted on, which it does not keep.
        covariance : {"bayesian", "frequentist"}, default "bayesian"

        Returns
        -------
        Inference
        """
        self._model(X)
        if self.standardize and np.isfinite(self.C):
            raise ValueError(
                "inference is about the penalty on X itself; with standardize=True scale the "
                "columns in a pipeline, or set C=inf"
            )
        labels = labels_of(y)
        weight = weights_of(sample_weight, self.class_weight, labels)
        problem = Problem(
            X,
            labels,
            weight,
            dtype=self.dtype,
            classes=self.classes_,
            n_threads=self.n_threads,
            warn_of_scale=False,
        )
        penalties = penalties_of(float(self.C), float(self.l1_ratio), problem.total_weight)
        objective = Objective(*penalties, bool(self.fit_intercept))
        return infer(
            problem,
            objective,
            (self._dense_coef(), self.intercept_),
            backend=self.backend_ if isinstance(self.backend, str) else self.backend,
            covariance=covariance,
            n_threads=self.n_threads,
        )

    def summary(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, *, level: float = 0.95
    ) -> str:
        """Return the table of `inference` as text, like that of statsmodels.

        Parameters
        ----------
        X, y, sample_weight
            What the model was fitted on.
        level : float, default 0.95
            Of the confidence intervals.
        """
        return self.inference(X, y, sample_weight).summary(level)

    # -- what scikit-learn asks

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.arithmetic == "fast" and self._covers_sparse()
        return tags

    def _covers_sparse(self) -> bool:
        if isinstance(self.backend, str) and self.backend == "auto":
            return True
        try:
            return get_backend(self.backend).capabilities().sparse
        except (TypeError, ValueError, BackendUnavailableError):
            return False  # training says why
