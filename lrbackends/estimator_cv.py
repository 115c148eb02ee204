"""Logistic regression that chooses its penalty by cross-validation, with scikit-learn's interface.

All folds and values of C are fitted in one batch where they are small (see `many`), else along
paths of warm starts (see `path`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_method_params

from lrbackends._backend_choice import choose_backend, given
from lrbackends._cost_model import MANY, Work, note, work_of
from lrbackends._linear_classifier import LinearClassifier
from lrbackends._sklearn_input import in_scikit_learns_words, n_entries
from lrbackends._strength import gap_of
from lrbackends._validation import as_matrix
from lrbackends.backends.protocol import Backend
from lrbackends.backends.registry import get_backend
from lrbackends.estimator import LogisticRegression
from lrbackends.many import fit_many, worth_batching
from lrbackends.objective import Params, log_loss, log_softmax, predicted, scores, sigmoid, softmax
from lrbackends.path import path_of
from lrbackends.problem import Problem

_LARGEST_LOSS = -float(np.log(np.finfo(np.float64).eps))  # log_loss of scikit-learn clips there


class LogisticRegressionCV(LinearClassifier):
    """Logistic regression whose ``C`` and ``l1_ratio`` are those of the best scores in hold-out.

    Parameters, attributes and the choice itself are those of scikit-learn's `LogisticRegressionCV`
    as version 1.10 will have them: ``l1_ratios`` and ``use_legacy_attributes`` have its defaults,
    and of what it deprecates ``penalty`` is not offered.

    Parameters
    ----------
    Cs : int or array-like, default 10
        Values of ``C``, ``inf`` for no penalty; or how many, on a logarithmic scale from 1e-4 to
        1e4.
    l1_ratios : array-like, default (0.0,)
        Values of ``l1_ratio``, see `LogisticRegression`.
    cv : int, splitter or iterable of (train, test), default None
        None: five stratified folds.
    scoring : str, callable or None, default None
        scikit-learn's name of a score, or ``scorer(estimator, X, y)``. None: accuracy.
    refit : bool, default True
        Fit all rows with the values whose mean score is best. Else coefficients, ``C_`` and
        ``l1_ratio_`` are means of each fold's own best.
    use_legacy_attributes : bool, default False
        Give ``C_``, ``l1_ratio_``, ``coefs_paths_``, ``scores_`` and ``n_iter_`` the forms that
        they have up to scikit-learn 1.9: the first two with an entry for each output, the next two
        as dicts of the labels, with the axes (fold, C, l1_ratio).
    backend, tol, max_iter, fit_intercept, class_weight, random_state, dtype, n_threads
        See `LogisticRegression`. "balanced" looks at all rows, as in scikit-learn.

    Attributes
    ----------
    Cs_ : ndarray of shape (n_cs,)
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
    C_, l1_ratio_ : float
        The chosen ones.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, n_outputs, n_dof)
        Coefficients and then, with ``fit_intercept``, the intercept.
    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Steps done.
    coef_, intercept_, classes_, n_features_in_, feature_names_in_, backend_, backend_reason_
        See `LogisticRegression`; so are, with ``refit``, ``result_``, ``history_``, ``status_``
        and ``converged_``.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> import lrbackends as lrb
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = lrb.LogisticRegressionCV(Cs=20, backend="numpy").fit(scale(X), y)
    >>> round(model.C_, 3), model.scores_.shape
    (0.234, (5, 1, 20))
    """

    C_: Any
    l1_ratio_: Any
    scores_: Any
    coefs_paths_: Any
    n_iter_: Any

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 - scikit-learn's convention
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "refit": ["boolean"],
        "use_legacy_attributes": ["boolean"],
        **{
            name: LogisticRegression._parameter_constraints[name]
            for name in (
                *("tol", "max_iter", "fit_intercept", "class_weight"),
                *("random_state", "dtype", "n_threads"),
            )
        },
    }

    def __init__(
        self,
        *,
        Cs: int | ArrayLike = 10,
        l1_ratios: ArrayLike = (0.0,),
        cv: Any = None,
        scoring: str | Callable[..., float] | None = None,
        refit: bool = True,
        use_legacy_attributes: bool = False,
        backend: str | Backend = "auto",
        tol: float = 1e-9,
        max_iter: int = 1000,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        dtype: str | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.use_legacy_attributes = use_legacy_attributes
        self.backend = backend
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.random_state = random_state
        self.dtype = dtype
        self.n_threads = n_threads

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Choose ``C`` and ``l1_ratio``, and train.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            For training and for scores.
        **params
            For the splitter and the scorer, as scikit-learn's metadata routing has it.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            An option, the data or a fold are wrong; the message says what.
        UnsupportedError, BackendUnavailableError
            The backend does not cover this, or is not there.
        """
        _raise_for_params(params, self, "fit")
        labels, weight = self._data(X, y, sample_weight, reset=True)
        Cs, l1_ratios = self._values()
        with in_scikit_learns_words(X):
            problem = Problem(X, labels, weight, dtype=self.dtype, n_threads=self.n_threads)
            matrix = problem.X
            if problem.n_samples < len(labels):  # rows of weight 0 are scored all the same
                matrix = as_matrix(X, problem.dtype, narrow=True)
        routed = self._routed(sample_weight, params)
        splitter = check_cv(self.cv, labels, classifier=True)
        folds = list(splitter.split(matrix, labels, **routed.splitter.split))
        options, works = self._options(problem, len(folds) * len(Cs), l1_ratios)
        search = _Search(problem, weight, folds, Cs, options)
        found = [search.along(float(ratio)) for ratio in l1_ratios]
        for work in works:
            note(options.backend.name, work)
        coefs = np.stack([some.coefs for some in found], axis=1)
        n_iter = np.stack([some.n_steps for some in found], axis=1)
        values = np.empty((len(folds), len(l1_ratios), len(Cs)))
        score = _score_of(self.scoring, problem.classes, sample_weight, params)
        for fold, (_, test) in enumerate(folds):
            rows = _Rows(matrix, matrix[test], labels[test], np.asarray(test))
            values[fold] = score(rows, coefs[fold], routed.scorer.score)
        self.Cs_, self.l1_ratios_, self.classes_ = Cs, l1_ratios, problem.classes
        self._choose(values, coefs, X, labels, weight, options.backend)
        self.scores_, self.coefs_paths_, self.n_iter_ = values, coefs, n_iter
        if self.use_legacy_attributes:
            self._in_legacy_form()
        return self

    def _values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        Cs = (
            np.logspace(-4, 4, int(self.Cs))
            if isinstance(self.Cs, Integral)
            else np.asarray(self.Cs, np.float64)
        )
        if Cs.ndim != 1 or not len(Cs) or not (Cs > 0).all():
            raise ValueError(f"Cs must be a number of values or values > 0, got {self.Cs!r}")
        ratios = np.asarray(self.l1_ratios, np.float64)
        if ratios.ndim != 1 or not len(ratios) or not ((ratios >= 0) & (ratios <= 1)).all():
            raise ValueError(f"l1_ratios must be values in [0, 1], got {self.l1_ratios!r}")
        return Cs, ratios

    def _options(
        self, problem: Problem, n_fits: int, l1_ratios: NDArray[np.float64]
    ) -> tuple[_Options, list[Work]]:
        backend = self.backend
        works = [self._work(problem, n_fits, float(ratio)) for ratio in l1_ratios]
        if isinstance(backend, str) and backend == "auto":
            uncovered = "" if self.n_threads is None else f"n_threads={self.n_threads}"
            choice = choose_backend(works, uncovered)
            backend, self.backend_reason_ = choice.backend, choice.reason
        else:
            self.backend_reason_ = given(backend)
        options = _Options(
            get_backend(backend),
            bool(self.fit_intercept),
            gap_of(float(self.tol), problem.dtype),
            int(self.max_iter),
            self.n_threads,
        )
        return options, works

    def _work(self, problem: Problem, n_fits: int, l1_ratio: float) -> Work:
        """Return what fitting all folds and values of C for one ratio amounts to."""
        n, p = problem.X.shape
        batched = l1_ratio == 0 and worth_batching(problem)
        return work_of(
            (n, p),
            problem.n_outputs,
            n_entries(problem.X, n, p),
            "float64" if batched else problem.dtype.name,
            problem.sparse,
            MANY if batched else "auto",
            n_fits if batched else int(self.max_iter),
            l1=l1_ratio,
            fits=1 if batched else n_fits,
        )

    def _choose(
        self,
        values: NDArray[np.float64],
        coefs: NDArray[np.float64],
        X: Any,
        labels: NDArray[Any],
        weight: NDArray[np.float64] | None,
        backend: Backend,
    ) -> None:
        """Set ``C_``, ``l1_ratio_`` and the parameters.

        Of equal scores the one of the first C counts, then that of the first l1_ratio.
        """
        by_value = values.transpose(0, 2, 1)  # (fold, C, l1_ratio)
        n_folds, shape = len(values), by_value.shape[1:]
        self.backend_ = backend.name
        if self.refit:
            c, r = np.unravel_index(by_value.sum(axis=0).argmax(), shape)
            self.C_, self.l1_ratio_ = float(self.Cs_[c]), float(self.l1_ratios_[r])
            options = {name: getattr(self, name) for name in _SHARED} | {"backend": backend}
            best = LogisticRegression(self.C_, l1_ratio=self.l1_ratio_, **options)
            self._keep(best.fit(X, labels, weight).result_)
            return
        c, r = np.unravel_index(by_value.reshape(n_folds, -1).argmax(axis=1), shape)
        self.C_, self.l1_ratio_ = float(self.Cs_[c].mean()), float(self.l1_ratios_[r].mean())
        mean = coefs[np.arange(n_folds), r, c].mean(axis=0)
        p = self.n_features_in_
        self.coef_ = mean[:, :p]
        self.intercept_ = mean[:, p] if self.fit_intercept else np.zeros(len(mean))
        self.result_ = None

    def _in_legacy_form(self) -> None:
        outputs = self.coef_.shape[0]
        labels = self.classes_[1:] if outputs == 1 else self.classes_
        self.C_, self.l1_ratio_ = np.full(outputs, self.C_), np.full(outputs, self.l1_ratio_)
        paths = np.moveaxis(self.coefs_paths_, (3, 0, 2, 1, 4), (0, 1, 2, 3, 4))
        values = np.swapaxes(self.scores_, 1, 2)
        self.coefs_paths_ = dict(zip(labels, paths, strict=True))
        self.scores_ = {label: values.copy() for label in labels}
        self.n_iter_ = np.swapaxes(self.n_iter_, 1, 2)[None]

    # -- scores and metadata

    def _scorer(self) -> Any:
        return get_scorer("accuracy" if self.scoring is None else self.scoring)

    def score(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> float:
        """Return the score by ``scoring`` of predictions for X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        **params
            For the scorer, by scikit-learn's metadata routing.
        """
        _raise_for_params(params, self, "score")
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        if _routing_enabled():
            params = process_routing(self, "score", **params).scorer.score
        return float(self._scorer()(self, X, y, **params))

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> Any:
        if _routing_enabled():
            return process_routing(self, "fit", sample_weight=sample_weight, **params)
        given = dict(params)
        if sample_weight is not None:
            given["sample_weight"] = sample_weight
        return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=given))

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata are handed to the splitter and the scorer."""
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
            .add(
                scorer=self._scorer(),
                method_mapping=MethodMapping()
                .add(caller="score", callee="score")
                .add(caller="fit", callee="score"),
            )
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = LogisticRegression(backend=self.backend)._covers_sparse()
        return tags


_SHARED = (  # options of the plain estimator
    *("tol", "max_iter", "fit_intercept", "random_state", "dtype", "n_threads"),
)


class _Options(NamedTuple):
    backend: Backend
    fit_intercept: bool
    gap: float | None
    max_steps: int
    n_threads: int | None


class _Found(NamedTuple):
    coefs: NDArray[np.float64]  # (n_folds, n_cs, n_outputs, n_dof)
    n_steps: NDArray[np.int64]  # (n_folds, n_cs)


class _Search:
    """The fits of all folds.

    Parameters
    ----------
    problem : Problem
        Without rows of weight 0.
    weight : ndarray of shape (n_rows,) or None
        Of all rows.
    folds : sequence of (train, test)
        Numbers of rows.
    """

    def __init__(
        self,
        problem: Problem,
        weight: NDArray[np.float64] | None,
        folds: Sequence[tuple[Any, Any]],
        Cs: NDArray[np.float64],
        options: _Options,
    ) -> None:
        self._problem, self._Cs, self._options = problem, Cs, options
        self._given = np.ones(problem.n_samples) if weight is None else weight[weight > 0]
        self._train = []
        for fold, (train, _) in enumerate(folds):
            rows = np.arange(len(weight) if weight is not None else problem.n_samples)[train]
            if weight is not None:
                rows = (np.cumsum(weight > 0) - 1)[rows[weight[rows] > 0]]
            labels = np.unique(problem.y[rows])
            if len(labels) < 2:
                raise ValueError(
                    f"fold {fold} of cv trains on only one class, of the {len(problem.classes)} "
                    f"classes {problem.classes.tolist()}; use fewer folds, or stratified ones"
                )
            self._train.append(rows)

    def along(self, l1_ratio: float) -> _Found:
        """Fit every fold for every C."""
        backend, fit_intercept, gap, max_steps, n_threads = self._options
        if l1_ratio == 0 and worth_batching(self._problem):
            weights = np.zeros((len(self._train), self._problem.n_samples))
            for fold, rows in enumerate(self._train):
                np.add.at(weights[fold], rows, self._given[rows])  # a row may come twice
            fits = fit_many(
                (self._problem.X, self._problem.y),
                C=self._Cs,
                sample_weights=weights,
                backend=backend,
                fit_intercept=fit_intercept,
                gap=gap,
                max_steps=max_steps,
                n_threads=n_threads,
            )
            shape = len(weights), len(self._Cs)
            coefs = self._with_intercepts(fits.coef, fits.intercept)
            return _Found(coefs.reshape(*shape, *coefs.shape[1:]), fits.n_steps.reshape(shape))
        paths = [
            path_of(
                Problem(
                    self._problem.X[rows],
                    self._problem.y[rows],
                    self._given[rows],
                    dtype=self._problem.dtype,
                    classes=np.arange(len(self._problem.classes)),
                    n_threads=n_threads,
                    warn_of_scale=False,
                ),
                self._Cs,
                l1_ratio=l1_ratio,
                fit_intercept=fit_intercept,
                backend=backend,
                gap=gap,
                max_steps=max_steps,
                n_threads=n_threads,
            )
            for rows in self._train
        ]
        return _Found(
            np.stack([self._with_intercepts(path.coefs, path.intercepts) for path in paths]),
            np.stack([path.n_steps for path in paths]),
        )

    def _with_intercepts(
        self, coefs: NDArray[Any], intercepts: NDArray[Any]
    ) -> NDArray[np.float64]:
        parts = [coefs, intercepts[..., None]] if self._options.fit_intercept else [coefs]
        return np.concatenate(parts, axis=-1).astype(np.float64, copy=False)


class _Rows(NamedTuple):
    """The rows of a fold that are held out."""

    whole: Any
    X: Any
    labels: NDArray[Any]
    numbers: NDArray[np.intp]


_Score = Callable[[_Rows, NDArray[np.float64], dict[str, Any]], NDArray[np.float64]]


def _score_of(
    scoring: Any, classes: NDArray[Any], sample_weight: Any, params: dict[str, Any]
) -> _Score:
    """Return what scores many models on one fold, coefs (n_l1_ratios, n_cs, n_outputs, n_dof).

    Accuracy and log-loss are computed for all models at once, the rest by scikit-learn's scorers.
    """
    plain = not params and not _routing_enabled()
    if plain and (scoring is None or scoring in ("accuracy", "neg_log_loss")):
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64).ravel()

        def at_once(
            rows: _Rows, coefs: NDArray[np.float64], _: dict[str, Any]
        ) -> NDArray[np.float64]:
            y = np.searchsorted(classes, rows.labels)
            own = None
            if weight is not None:
                own = np.broadcast_to(weight, rows.whole.shape[:1])[rows.numbers]
            each = [
                -np.minimum(log_loss(z, y), _LARGEST_LOSS)
                if scoring == "neg_log_loss"
                else predicted(z) == y
                for z in _scores(rows.X, coefs)
            ]
            values: NDArray[np.float64] = np.average(each, axis=1, weights=own)
            return values.reshape(coefs.shape[:2])

        return at_once
    scorer = _with_labels(get_scorer("accuracy" if scoring is None else scoring), classes)

    def one_by_one(
        rows: _Rows, coefs: NDArray[np.float64], given: dict[str, Any]
    ) -> NDArray[np.float64]:
        own = _check_method_params(rows.whole, given, indices=rows.numbers)
        models = (_Scored(z, classes) for z in _scores(rows.X, coefs))
        values = [scorer(model, rows.X, rows.labels, **own) for model in models]
        return np.array(values, np.float64).reshape(coefs.shape[:2])

    return one_by_one


def _scores(X: Any, coefs: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the scores of all models, each (n_rows,) or (n_rows, n_outputs)."""
    outputs, p = coefs.shape[2], X.shape[1]
    flat = coefs.reshape(-1, coefs.shape[3])
    intercept = flat[:, p] if flat.shape[1] > p else np.zeros(len(flat))
    # One product for all; a second row keeps a single model from being taken for one output.
    z = np.atleast_2d(scores(X, Params(flat[:, :p], intercept)).T)
    return [part[0] if outputs == 1 else part.T for part in z.reshape(-1, outputs, X.shape[0])]


def _with_labels(scorer: Any, classes: NDArray[Any]) -> Any:
    """Tell a scorer of all classes, of which a fold may lack some, as scikit-learn does."""
    function = getattr(scorer, "_score_func", None)
    known = inspect.signature(function).parameters if function is not None else {}
    if "labels" not in known:
        return scorer
    more = {"pos_label": classes[-1]} if len(classes) == 2 and "pos_label" in known else {}
    return make_scorer(
        function,
        greater_is_better=scorer._sign == 1,
        response_method=scorer._response_method,
        **{"labels": classes} | more | scorer._kwargs,
    )


class _Scored(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model whose scores on the only rows that it is asked about are known."""

    def __init__(self, z: Any, classes: Any) -> None:
        self.z, self.classes = z, classes
        self.classes_ = classes

    def decision_function(self, X: Any) -> NDArray[Any]:  # noqa: ARG002
        return np.asarray(self.z)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ARG002
        return np.asarray(self.classes_[predicted(self.z)])

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: ARG002
        z = self.z
        return softmax(z) if z.ndim == 2 else np.column_stack([sigmoid(-z), sigmoid(z)])

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        z = self.z
        return log_softmax(z) if z.ndim == 2 else np.log(self.predict_proba(X))
