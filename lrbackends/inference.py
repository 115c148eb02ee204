r"""Statistical inference at a maximum of the likelihood, penalised by L2 or not.

With S the sum of the sample weights, which count repeated rows, S times the mean log-loss is the
negative log-likelihood. Let I be the Hessian of the mean log-loss and A that of the objective, its
penalty included, both at the optimum. Then

    without a penalty   A = I, and A^-1 / S is the inverse of the observed information;
    with L2, "bayesian"     A^-1 / S: the covariance of the posterior under the prior
                            w ~ N(0, 1 / (S l2)), in Laplace's approximation;
    with L2, "frequentist"  A^-1 I A^-1 / S: how the estimates vary from sample to sample, around
                            means that the penalty has moved towards 0.

R's mgcv calls the last two Vp and Ve (Wood 2017, Generalized Additive Models). The effective number
of parameters is trace(A^-1 I), and d without a penalty.

K > 2 classes have K rows of weights, but the likelihood sees their differences alone: the same
vector added to all rows changes nothing. So what is reported are contrasts with the first class,
w_k - w_0. Their negative log-likelihood is the one with w_0 = 0, and minimising the penalty over
what they leave open turns the sum over k of |w_k|^2 into the sum over k, l >= 1 of (1[k = l] - 1/K)
times the product of the contrasts k and l.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special, stats

from lrbackends._validation import check_choice, check_number
from lrbackends.backends.protocol import Backend, HessianKernels, pack
from lrbackends.backends.registry import get_backend
from lrbackends.diagnostics import collinear_columns, separating_columns
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective, Params, as_params
from lrbackends.problem import Problem
from lrbackends.solvers.cholesky import factored

COVARIANCES = ("bayesian", "frequentist")
_SINGULAR = 100 * float(np.finfo(np.float64).eps)  # share of the largest eigenvalue
_FAR = 0.01  # standard errors from the optimum that leave every figure about what it is there
_WIDTH = 80
_NAME = 20  # columns of the table that names may fill


@dataclass(frozen=True, eq=False)
class Inference:
    """What the data say about the parameters of a model at its optimum.

    For K > 2 classes everything is about the K - 1 contrasts with the first class, and n_rows below
    is K - 1; for two classes it is 1, and the parameters are those of the model.

    Attributes
    ----------
    coef : ndarray of shape (n_rows, n_features)
    intercept : ndarray of shape (n_rows,)
        Zeros where none was fitted.
    covariance : ndarray of shape (d, d), float64
        Of ``[coef.ravel(), intercept]``; without an intercept of the coefficients alone.
    kind : str
        "bayesian" or "frequentist", see `infer`; without a penalty both are the same.
    classes : ndarray of shape (K,)
    feature_names : tuple of str
        Those of X, else x0, x1, …
    fit_intercept : bool
    l2 : float
        The penalty on the mean log-loss.
    n_observations : float
        Sum of the sample weights.
    df : float
        Effective number of parameters, intercepts included; d without a penalty.
    log_likelihood : float
        Without the penalty. Each row is one trial: for counts of successes it lacks the logarithms
        of their binomial coefficients.
    null_log_likelihood : float
        Of the model whose coefficients are all zero, with intercepts where they are fitted here.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    covariance: NDArray[np.float64]
    kind: str
    classes: NDArray[Any]
    feature_names: tuple[str, ...]
    fit_intercept: bool
    l2: float
    n_observations: float
    df: float
    log_likelihood: float
    null_log_likelihood: float

    @property
    def standard_errors(self) -> Params:
        """Of coefficients and intercepts; of intercepts NaN where none was fitted."""
        errors = np.sqrt(np.diag(self.covariance))
        split = self.coef.size
        intercept = errors[split:] if self.fit_intercept else np.full(len(self.coef), np.nan)
        return Params(errors[:split].reshape(self.coef.shape), intercept)

    @property
    def z_values(self) -> Params:
        """Estimates over their standard errors."""
        errors = self.standard_errors
        return Params(self.coef / errors.coef, self.intercept / errors.intercept)

    @property
    def p_values(self) -> Params:
        """Two-sided, of Wald's test that a parameter is 0: z is taken for standard normal."""
        return Params(*(2 * stats.norm.sf(np.abs(z)) for z in self.z_values))

    def confidence_intervals(self, level: float = 0.95) -> Params:
        """Return Wald's intervals, estimate -+ quantile times standard error.

        Parameters
        ----------
        level : float, default 0.95
            In (0, 1).

        Returns
        -------
        Params
            ``coef`` of shape (n_rows, n_features, 2) and ``intercept`` (n_rows, 2): lower and upper
            ends.
        """
        check_number("level", level, high=1.0, open_low=True, open_high=True)
        quantile = float(stats.norm.isf((1 - level) / 2))
        errors = self.standard_errors
        return Params(
            *(
                np.stack([value - quantile * error, value + quantile * error], axis=-1)
                for value, error in zip((self.coef, self.intercept), errors, strict=True)
            )
        )

    @property
    def deviance(self) -> float:
        """-2 log-likelihood: that of a model that knows each row's label is 0."""
        return -2 * self.log_likelihood

    @property
    def null_deviance(self) -> float:
        """The same of the null model."""
        return -2 * self.null_log_likelihood

    @property
    def pseudo_r2(self) -> float:
        """McFadden's: 1 - log-likelihood / null log-likelihood."""
        return 1 - self.log_likelihood / self.null_log_likelihood

    @property
    def aic(self) -> float:
        """Akaike's criterion, deviance + 2 df."""
        return self.deviance + 2 * self.df

    @property
    def bic(self) -> float:
        """Schwarz's criterion, deviance + log(n_observations) df."""
        return self.deviance + float(np.log(self.n_observations)) * self.df

    @property
    def df_model(self) -> float:
        """Effective number of parameters without the intercepts."""
        return self.df - self.fit_intercept * len(self.coef)

    @property
    def df_residual(self) -> float:
        """Observations less parameters."""
        return self.n_observations - self.df

    @property
    def likelihood_ratio_p_value(self) -> float:
        """Of the test against the null model, chi-squared of df_model; NaN with a penalty."""
        if self.l2 > 0:
            return float(np.nan)
        statistic = self.null_deviance - self.deviance
        return float(stats.chi2.sf(statistic, self.df_model))

    def summary(self, level: float = 0.95) -> str:
        """Return everything as text of at most 80 columns, ``level`` being that of the intervals.

        The tables are laid out like those of statsmodels' Logit and MNLogit.
        """
        return "\n".join([*self._head(), *self._tables(level), *self._notes()]) + "\n"

    __str__ = summary

    def _head(self) -> Iterator[str]:
        left = {
            "Classes": str(len(self.classes)),
            "Observations": f"{round(self.n_observations, 4):.12g}",
            "Df model": f"{round(self.df_model, 4):.12g}",
            "Df residuals": f"{round(self.df_residual, 4):.12g}",
            "L2 penalty": f"{self.l2:.6g}",
            "Covariance": self.kind if self.l2 > 0 else "inverse information",
        }
        right = {
            "Log-likelihood": f"{self.log_likelihood:.6g}",
            "LL of null model": f"{self.null_log_likelihood:.6g}",
            "Pseudo R-squared": f"{self.pseudo_r2:.4f}",
            "LLR p-value": "none" if self.l2 > 0 else f"{self.likelihood_ratio_p_value:.4g}",
            "AIC": f"{self.aic:.6g}",
            "BIC": f"{self.bic:.6g}",
        }
        yield "Logistic regression".center(_WIDTH).rstrip()
        yield "=" * _WIDTH
        for (a, x), (b, y) in zip(left.items(), right.items(), strict=True):
            yield f"{a + ':':<16}{x:>22}    {b + ':':<18}{y:>20}"

    def _tables(self, level: float) -> Iterator[str]:
        ends = [f"[{(1 - level) / 2:.4g}", f"{(1 + level) / 2:.4g}]"]
        parts = zip(
            Params(self.coef, self.intercept),
            self.standard_errors,
            self.z_values,
            self.p_values,
            self.confidence_intervals(level),
            strict=True,
        )
        coef, intercept = (
            np.concatenate([np.stack(part[:4], axis=-1), part[4]], axis=-1) for part in parts
        )
        for k, rows in enumerate(coef):
            yield "=" * _WIDTH
            yield _shortened(str(self.classes.tolist()[k + 1]), _NAME - 1).ljust(_NAME) + (
                f"{'coef':>11}{'std err':>11}{'z':>8}{'P>|z|':>8}{ends[0]:>11}{ends[1]:>11}"
            )
            yield "-" * _WIDTH
            for name, row in zip(self.feature_names, rows, strict=True):
                yield _line(name, row)
            if self.fit_intercept:
                yield _line("(intercept)", intercept[k])
        yield "=" * _WIDTH

    def _notes(self) -> Iterator[str]:
        first = self.classes.tolist()[0]
        notes = [f"Log-odds of each class named above its table against class {first!r}."]
        if self.l2 > 0 and self.kind == "bayesian":
            notes.append(
                "Covariance of the penalised maximum of the likelihood: the inverse Hessian, which "
                "is the posterior's under the prior w ~ N(0, "
                f"{1 / (self.n_observations * self.l2):.4g})."
            )
        elif self.l2 > 0:
            notes.append(
                "Covariance of the penalised maximum of the likelihood from sample to sample "
                "(A^-1 I A^-1); that the penalty moves it towards 0 is in none of the figures."
            )
        if self.l2 > 0:
            notes.append(
                "Estimates are shrunk towards 0, so P>|z| is not a test of exact level; df, AIC "
                "and BIC use the effective number of parameters."
            )
        for note in notes:
            yield from textwrap.wrap(note, _WIDTH)


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _line(name: str, row: NDArray[np.float64]) -> str:
    value, error, z, p, low, high = row.tolist()
    chance = "<0.001" if p < 0.001 else f"{p:.3f}"
    ratio = f"{z:.3f}" if abs(z) < 1000 else f"{z:.1e}"
    return _shortened(name, _NAME - 1).ljust(_NAME) + (
        f"{value:>#11.4g}{error:>#11.4g}{ratio:>8}{chance:>8}{low:>#11.4g}{high:>#11.4g}"
    )


class _Layout(NamedTuple):
    """Which of the model's parameters are reported, and how the penalty sees them."""

    places: NDArray[np.intp]  # in the order of pack
    penalty: NDArray[np.float64]  # Hessian of the penalty by the reported parameters


def _layout(problem: Problem, objective: Objective) -> _Layout:
    K, p = problem.n_outputs, problem.n_features
    first = int(K > 1)  # the first class is what the others are compared with
    rows = K - first
    places = np.arange(first * p, K * p)
    if objective.fit_intercept:
        places = np.append(places, K * p + np.arange(first, K))
    penalty = np.zeros((len(places), len(places)))
    mixed = np.eye(rows) - first / K
    penalty[: rows * p, : rows * p] = objective.l2 * np.kron(mixed, np.eye(p))
    return _Layout(places, penalty)


def infer(
    problem: Problem,
    objective: Objective,
    params: Any,
    *,
    backend: str | Backend = "numpy",
    covariance: str = "bayesian",
    n_threads: int | None = None,
) -> Inference:
    """Return covariance, standard errors and tests of a model at the optimum of its objective.

    Second derivatives come from the backend's kernels, in float64 and the fast arithmetic whatever
    the model was trained in: the reproducible one specifies none.

    Parameters
    ----------
    problem : Problem
        What the model was trained on. Weights count repeated rows, see ``problem.total_weight``.
    objective : Objective
        What it minimises, on the same rows: unpenalised or with L2.
    params : (coef, intercept)
        The optimum.
    backend : str or Backend, default "numpy"
    covariance : {"bayesian", "frequentist"}, default "bayesian"
        With a penalty: the inverse Hessian of the objective, or A^-1 I A^-1 with the Hessian I of
        the log-loss alone; see the module.
    n_threads : int, optional

    Returns
    -------
    Inference

    Raises
    ------
    UnsupportedError
        The objective has an L1 penalty, whose estimates are not normal; the backend has no second
        derivatives; or there are too many features for a Hessian.
    ValueError
        There is no such optimum, or more than one: the classes are separated, columns depend
        linearly on one another. Or the parameters are not at it: more than 0.01 standard errors
        away.
    """
    check_choice("covariance", covariance, COVARIANCES)
    if objective.l1 > 0:
        raise UnsupportedError(
            f"standard errors do not exist for l1={objective.l1:g}: coefficients that are exactly "
            "0 are not normal; use l1=0, or bootstrap the training"
        )
    engine = get_backend(backend)
    if not engine.capabilities().hessian:
        raise UnsupportedError(
            f"backend {engine.name!r} has no second derivatives, which standard errors need; use "
            "another backend"
        )
    total, names = problem.total_weight, problem.feature_names
    problem = _in_float64(problem)
    params = as_params(params, problem)
    _check_data(problem, objective, params)
    likelihood = Objective(fit_intercept=objective.fit_intercept)
    if not engine.capabilities().narrow:
        problem = problem.widened()
    kernels = cast(HessianKernels, engine.compile(problem, likelihood, "fast", n_threads))
    loss, gradient, hessian = kernels.loss_gradient_hessian(params)

    places, penalty = _layout(problem, objective)
    if problem.n_outputs > 1:
        params = Params(*(part[1:] - part[0] for part in params))
    information = hessian[np.ix_(places, places)]
    inverse = _inverse(problem, objective, information + penalty)
    slope = pack(gradient)[places] + penalty @ pack(params)[: len(places)]
    _check_optimal(float(np.sqrt(total * max(slope @ inverse @ slope, 0.0))))

    frequentist = covariance == "frequentist" and objective.l2 > 0
    sampling = inverse @ information @ inverse if frequentist else inverse
    shares = np.bincount(problem.y, problem.exact_weight) / problem.n_samples
    null = special.entr(shares).sum() if objective.fit_intercept else np.log(len(shares))
    return Inference(
        coef=params.coef,
        intercept=params.intercept,
        covariance=(sampling + sampling.T) / (2 * total),
        kind=covariance,
        classes=problem.classes,
        feature_names=names or tuple(f"x{j}" for j in range(problem.n_features)),
        fit_intercept=bool(objective.fit_intercept),
        l2=objective.l2,
        n_observations=total,
        df=float(np.vdot(inverse, information)) if objective.l2 > 0 else float(len(places)),
        log_likelihood=-total * loss,
        null_log_likelihood=-total * float(null),
    )


def _in_float64(problem: Problem) -> Problem:
    """Return the problem computed in float64; narrower X is not copied."""
    if problem.dtype == np.float64:
        return problem
    return Problem(
        problem.X,
        problem.classes[problem.y],
        problem.sample_weight,
        dtype="float64",
        classes=problem.classes,
        warn_of_scale=False,
    )


def _check_data(problem: Problem, objective: Objective, params: Params) -> None:
    """Refuse what has no finite optimum."""
    if not all(np.isfinite(part).all() for part in params):
        raise ValueError("params have NaN or infinite entries; train the model first")
    if not objective.fit_intercept and params.intercept.any():
        raise ValueError("params have an intercept, but the objective has fit_intercept=False")
    absent = np.flatnonzero(np.bincount(problem.y, minlength=len(problem.classes)) == 0)
    if len(absent):
        raise ValueError(
            f"y has no row of class {problem.classes.tolist()[absent[0]]!r}, so its weights have "
            "no finite optimum; leave it out of classes"
        )
    if objective.l2 > 0:
        return
    separated = separating_columns(problem, objective, params)
    if separated is not None:
        raise ValueError(
            f"the classes are separated {separated}; without a penalty there is no finite optimum "
            "and there are no standard errors: set l2 > 0"
        )


def _inverse(
    problem: Problem, objective: Objective, hessian: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the inverse of the Hessian, or say what makes it singular."""
    diagonal = np.diag(hessian)
    if (diagonal > 0).all():
        size = np.sqrt(diagonal)
        values = linalg.eigvalsh(hessian / np.outer(size, size))
        factor = factored(hessian) if values[0] > _SINGULAR * values[-1] else None
        if factor is not None:
            scaled = factor.solve_scaled(np.eye(len(hessian)))
            return np.asarray(scaled / np.outer(factor.scale, factor.scale))
    empty = np.flatnonzero(problem.rms == 0)
    if len(empty) and objective.l2 == 0:
        name = f" ({problem.feature_names[empty[0]]!r})" if problem.feature_names else ""
        raise ValueError(
            f"column {empty[0]}{name} of X is all zero, so its weight has no standard error; drop "
            "it or set l2 > 0"
        )
    collinear = collinear_columns(problem, objective) if objective.l2 == 0 else None
    if collinear is not None:
        raise ValueError(
            f"{collinear} of X are linearly dependent, so their weights have no standard errors; "
            "drop one or set l2 > 0"
        )
    raise ValueError(
        "the Hessian is singular to rounding, so there are no standard errors; set l2 larger, or "
        "standardise the columns"
    )


def _check_optimal(distance: float) -> None:
    """Refuse parameters that are too many of their standard errors from the optimum.

    By Newton's step, whose length in the metric of the covariance is sqrt(S g' A^-1 g).
    """
    if not distance <= _FAR:
        raise ValueError(
            f"the parameters are {distance:.2g} standard errors from the optimum of this objective "
            f"and at most {_FAR:g} are allowed; train on with a smaller tol or with "
            "solver='newton', on the same rows, weights and penalty"
        )
