"""Who is timed: our solvers, and other libraries' on the same objective, all in one form.

A contestant prepares a problem, outside of the clock, and returns ``fit``. ``fit(tol)`` is timed:
from the arrays, in what form its library takes them, to coefficients in NumPy. All minimise
mean log-loss + |w|^2 / (2n), that is, sum of log-losses + |w|^2 / 2, with a free intercept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
from scipy import sparse

TARGET = 1e-6  # (F - F*) / F* to reach
_PLENTY = 10_000  # iterations: the tolerance decides
_GRAM = 4_000  # features from which a dense Hessian is not tried: our own limit

# Half decades from loose to tight: the loosest that reaches the target is timed.
LADDER = tuple(float(f"{10 ** (-k / 2):.2g}") for k in range(25))


@dataclass(frozen=True)
class Answer:
    """What a fit returns.

    Attributes
    ----------
    w, b : array-like
        Coefficients and intercept.
    status : str
        What the solver says of itself.
    iterations : int or None
        As the library counts them.
    more : dict
        Of our own results: passes, certified bound, seconds of the run.
    """

    w: Any
    b: Any
    status: str = "returned"
    iterations: int | None = None
    more: dict[str, Any] = field(default_factory=dict)


Fit = Callable[[float], Answer]
Prepare = Callable[[Any, Any, int], Fit]


@dataclass(frozen=True)
class Contestant:
    """Somebody to time.

    Attributes
    ----------
    name : str
    package : str
        Distribution that it needs.
    prepare : callable
        ``prepare(X, y, n_threads)`` returns ``fit``; y is 0 or 1.
    ladder : tuple of float
        Tolerances to try.
    threaded : bool
        Whether a second thread can make a difference.
    sparse, dense : bool
        Whether it takes CSR, whether it takes arrays.
    most_features : int or None
        More than these are not tried.
    refuses : callable
        ``refuses(X)`` returns why it would not take ``X``, None where nothing else speaks against
        it.
    """

    name: str
    package: str
    prepare: Prepare
    ladder: tuple[float, ...] = LADDER
    threaded: bool = True
    sparse: bool = False
    dense: bool = True
    most_features: int | None = None
    refuses: Callable[[Any], str | None] = lambda _: None

    @property
    def ours(self) -> bool:
        """Whether it is this library."""
        return self.package == "lrbackends"

    def version(self) -> str | None:
        """Return the version that is installed, None where it is not."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None

    def refusal(self, X: Any) -> str | None:
        """Return why it is not timed on ``X``, None where it is."""
        if sparse.issparse(X) and not self.sparse:
            return f"{self.name} does not take sparse X"
        if not sparse.issparse(X) and not self.dense:
            return f"{self.name} is for sparse X"
        if self.most_features is not None and X.shape[1] > self.most_features:
            return f"{self.name} would need a dense Hessian of {X.shape[1]} features"
        return self.refuses(X)


CONTESTANTS: dict[str, Contestant] = {}


def contestant(name: str, package: str, **more: Any) -> Callable[[Prepare], Prepare]:
    """Enter a ``prepare`` under a name."""

    def enter(prepare: Prepare) -> Prepare:
        CONTESTANTS[name] = Contestant(name, package, prepare, **more)
        return prepare

    return enter


# --- ours ---------------------------------------------------------------------------------------

SOLVERS = ("auto", "lbfgs", "newton", "newton-cg", "sampled-newton")
_OURS = "lrbackends"


def ours(backend: str, solver: str) -> str:
    """Return the name of one of our own contestants; see `contestant_named`."""
    return f"{_OURS} {backend} {solver}"


def contestant_named(name: str) -> Contestant:
    """Return a contestant; our own solvers enter, on any backend, when they are asked for."""
    if name not in CONTESTANTS:
        package, backend, solver = name.split(" ")
        assert package == _OURS, name
        _enter_ours(backend, solver)
    return CONTESTANTS[name]


def _enter_ours(backend: str, solver: str) -> None:
    def refuses(X: Any) -> str | None:
        from lrbackends import get_backend

        can = get_backend(backend).capabilities()
        if sparse.issparse(X) and not can.sparse:
            return f"{backend} does not take sparse X"
        if X.dtype.name not in can.dtypes:
            return f"{backend} does not compute in {X.dtype.name}"
        if solver != "lbfgs" and not can.hessian:  # auto may choose one that needs them
            return f"{backend} has no second derivatives"
        return None

    @contestant(
        ours(backend, solver),
        _OURS,
        ladder=(TARGET,),  # the bound on (F - F*) / F* that is asked for; certified, so no other
        sparse=True,
        most_features=_GRAM if solver in ("newton", "sampled-newton") else None,
        refuses=refuses,
    )
    def prepare(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
        from lrbackends import Trainer  # the process's affinity says how many threads

        def fit(gap: float) -> Answer:
            trainer = Trainer(backend, solver, l2=1 / len(y), gap=gap, random_state=0)
            result = trainer.fit(X, y)
            more = {
                "passes": float(result.n_passes),
                "certified": result.suboptimality / (result.loss - result.suboptimality),
                "solver": result.solver,
                "run_seconds": float(result.timings["run"]),
            }
            return Answer(result.coef, result.intercept, result.status, None, more)

        return fit


# --- scikit-learn and what follows its interface ------------------------------------------------


def _estimator(make: Callable[[float], Any], X: Any, y: Any, most: int | None = _PLENTY) -> Fit:
    """Return a fit of ``make(tol)``, whose coefficients are where scikit-learn has them."""

    def fit(tol: float) -> Answer:
        model = make(tol).fit(X, y)
        iterations = getattr(model, "n_iter_", None)
        count = None if iterations is None else int(np.max(iterations))
        spent = most is not None and count is not None and count >= most
        status = "iterations spent" if spent else "returned"
        return Answer(model.coef_, model.intercept_, status, count)

    return fit


def _intercept_scaling(n: int) -> float:
    """Return the value of a column of ones' stand-in, for those that penalise its coefficient.

    Large enough for the penalty to be lost below the target, where few rows let it weigh more;
    larger ones only make their problem worse conditioned.
    """
    return 10.0 if n >= 10_000 else 50.0


def _enter_scikit_learn(name: str, solver: str, **more: Any) -> None:
    dual = more.pop("dual", False)

    @contestant(name, "scikit-learn", sparse=True, **more)
    def prepare(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
        from sklearn.linear_model import LogisticRegression

        settings = {"C": 1.0, "solver": solver, "max_iter": _PLENTY, "random_state": 0}
        if solver == "liblinear":
            settings |= {"intercept_scaling": _intercept_scaling(len(y)), "dual": dual}

        def make(tol: float) -> Any:
            return LogisticRegression(tol=tol, **settings)

        return _estimator(make, X, y)


_enter_scikit_learn("scikit-learn lbfgs", "lbfgs")
_enter_scikit_learn("scikit-learn newton-cholesky", "newton-cholesky", most_features=_GRAM)
_enter_scikit_learn("scikit-learn newton-cg", "newton-cg")
_enter_scikit_learn("scikit-learn saga", "saga", threaded=False)
_enter_scikit_learn("scikit-learn liblinear", "liblinear", threaded=False)
_enter_scikit_learn("scikit-learn liblinear dual", "liblinear", threaded=False, dual=True)


@contestant("scikit-learn-intelex lbfgs", "scikit-learn-intelex", sparse=True)
def _intelex(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    from sklearnex.linear_model import LogisticRegression

    return _estimator(lambda tol: LogisticRegression(C=1.0, tol=tol, max_iter=_PLENTY), X, y)


def _enter_glum(solver: str, **more: Any) -> None:
    @contestant(f"glum {solver}", "glum", sparse=True, **more)
    def prepare(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
        from glum import GeneralizedLinearRegressor

        settings = {"family": "binomial", "alpha": 1 / len(y), "l1_ratio": 0, "solver": solver}

        def make(tol: float) -> Any:
            return GeneralizedLinearRegressor(**settings, gradient_tol=tol, max_iter=_PLENTY)

        return _estimator(make, X, y.astype(X.dtype))


_enter_glum("irls-ls", most_features=_GRAM)
_enter_glum("lbfgs")


def _enter_skglm(solver: str) -> None:
    @contestant(f"skglm {solver}", "skglm", sparse=True)
    def prepare(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
        from skglm import GeneralizedLinearEstimator, solvers
        from skglm.datafits import Logistic
        from skglm.penalties import L1_plus_L2

        # It works by columns, so it is given columns.
        columns = X.tocsc() if sparse.issparse(X) else np.asfortranarray(X)
        penalty = L1_plus_L2(1 / len(y), l1_ratio=0.0)

        def make(tol: float) -> Any:
            how = getattr(solvers, solver)(ws_strategy="fixpoint", tol=tol, max_iter=1_000)
            return GeneralizedLinearEstimator(Logistic(), penalty, how)

        return _estimator(make, columns, 2.0 * y - 1.0, most=None)


_enter_skglm("AndersonCD")
_enter_skglm("ProxNewton")


@contestant("cyanure", "cyanure", sparse=True)
def _cyanure(X: Any, y: Any, n_threads: int) -> Fit:
    from cyanure.estimators import Classifier

    settings = {"loss": "logistic", "penalty": "l2", "lambda_1": 1 / len(y), "verbose": False}
    settings |= {"fit_intercept": True, "n_threads": n_threads, "max_iter": _PLENTY}
    return _estimator(lambda tol: Classifier(**settings, tol=tol), X, y, most=None)


def _enter_snapml(name: str, *, dual: bool) -> None:
    @contestant(name, "snapml", sparse=True)
    def prepare(X: Any, y: Any, n_threads: int) -> Fit:
        """Give it a column for the intercept: its primal solver leaves its own at zero."""
        from snapml import LogisticRegression

        scale = _intercept_scaling(len(y))
        column = np.full((len(y), 1), scale, X.dtype)
        if sparse.issparse(X):
            wide = sparse.csr_matrix(sparse.hstack([X, sparse.csr_array(column)]))
        else:
            wide = np.hstack([X, column])
        settings = {"regularizer": 1.0, "dual": dual, "n_jobs": n_threads, "max_iter": _PLENTY}

        def fit(tol: float) -> Answer:
            model = LogisticRegression(**settings, tol=tol).fit(wide, y)
            w = np.ravel(model.coef_)
            return Answer(w[:-1], scale * w[-1], "returned", int(np.max(model.n_iter_)))

        return fit


_enter_snapml("snapml primal", dual=False)
_enter_snapml("snapml dual", dual=True)


# --- optimisers on an objective written with their own library ----------------------------------


def _jax(X: Any, y: Any) -> tuple[Any, ...]:
    """Return jax, objective, start and data: X and y are on the device before the clock starts."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", X.dtype == np.float64)
    l2 = 1 / len(y)

    def objective(theta: Any, data: Any) -> Any:
        X, sign = data
        w, b = theta
        return jnp.mean(jnp.logaddexp(0.0, sign * (X @ w + b))) + l2 / 2 * (w @ w)

    start = (jnp.zeros(X.shape[1], X.dtype), jnp.zeros((), X.dtype))
    data = (jnp.asarray(X), jnp.asarray(1 - 2 * y, X.dtype))
    return jax, objective, start, data


def _compiled(solve: Callable[..., Any]) -> Fit:
    def fit(tol: float) -> Answer:
        (w, b), iterations = solve(tol)
        count = int(iterations)
        status = "iterations spent" if count >= _PLENTY else "returned"
        return Answer(np.asarray(w), np.asarray(b), status, count)

    return fit


@contestant("jaxopt L-BFGS", "jaxopt")
def _jaxopt(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    jax, objective, start, data = _jax(X, y)
    import jaxopt

    @jax.jit
    def solve(start: Any, data: Any, tol: Any) -> Any:
        solver = jaxopt.LBFGS(objective, maxiter=_PLENTY, tol=tol, implicit_diff=False)
        found = solver.run(start, data)
        return found.params, found.state.iter_num

    return _compiled(lambda tol: solve(start, data, tol))


@contestant("optax L-BFGS", "optax")
def _optax(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    jax, objective, start, data = _jax(X, y)
    import optax

    @jax.jit
    def solve(start: Any, data: Any, tol: Any) -> Any:
        def loss(theta: Any) -> Any:
            return objective(theta, data)

        optimiser = optax.lbfgs()
        value_and_gradient = optax.value_and_grad_from_state(loss)

        def step(carry: Any) -> Any:
            theta, state = carry
            value, gradient = value_and_gradient(theta, state=state)
            update, state = optimiser.update(
                gradient, state, theta, value=value, grad=gradient, value_fn=loss
            )
            return optax.apply_updates(theta, update), state

        def unfinished(carry: Any) -> Any:
            _, state = carry
            count = optax.tree.get(state, "count")
            size = optax.tree.norm(optax.tree.get(state, "grad"))
            return (count == 0) | ((count < _PLENTY) & (size > tol))

        theta, state = jax.lax.while_loop(unfinished, step, (start, optimiser.init(start)))
        return theta, optax.tree.get(state, "count")

    return _compiled(lambda tol: solve(start, data, tol))


@contestant("optimistix L-BFGS", "optimistix")
def _optimistix(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    jax, objective, start, data = _jax(X, y)
    import optimistix

    @jax.jit
    def solve(start: Any, data: Any, tol: Any) -> Any:
        solver = optimistix.LBFGS(rtol=tol, atol=tol)
        found = optimistix.minimise(
            objective, solver, start, args=data, max_steps=_PLENTY, throw=False
        )
        return found.value, found.stats["num_steps"]

    return _compiled(lambda tol: solve(start, data, tol))


@contestant("torch L-BFGS", "torch")
def _torch(X: Any, y: Any, n_threads: int) -> Fit:
    import torch

    torch.set_num_threads(n_threads)
    rows, labels = torch.from_numpy(X), torch.from_numpy(y.astype(X.dtype))
    l2 = 1 / len(y)

    def fit(tol: float) -> Answer:
        w = torch.zeros(X.shape[1], dtype=rows.dtype, requires_grad=True)
        b = torch.zeros((), dtype=rows.dtype, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [w, b],
            max_iter=_PLENTY,
            max_eval=2 * _PLENTY,
            tolerance_grad=tol,
            tolerance_change=0.0,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            optimiser.zero_grad()
            z = rows @ w + b
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z, labels)
            loss = loss + l2 / 2 * (w @ w)
            loss.backward()
            return loss

        optimiser.step(closure)
        count = optimiser.state[w]["n_iter"]
        status = "iterations spent" if count >= _PLENTY else "returned"
        return Answer(w.detach().numpy(), b.detach().numpy(), status, count)

    return fit


@contestant("NumPy Newton", "numpy", most_features=_GRAM)
def _newton(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    """Textbook Newton: full steps from zero until the decrement is below the tolerance."""
    return _newton_by(lambda A, s: (A * s[:, None]).T @ A, X, y)


@contestant("NumPy Newton syrk", "numpy", most_features=_GRAM)
def _newton_syrk(X: Any, y: Any, n_threads: int) -> Fit:  # noqa: ARG001
    """Return the same, where NumPy sees that the Gram matrix is symmetric and calls syrk."""

    def gram(A: Any, s: Any) -> Any:
        scaled = A * np.sqrt(s)[:, None]
        return scaled.T @ scaled

    return _newton_by(gram, X, y)


def _newton_by(gram: Callable[[Any, Any], Any], X: Any, y: Any) -> Fit:
    from scipy.linalg import cho_factor, cho_solve

    n, p = X.shape
    l2 = X.dtype.type(1 / n)
    y = y.astype(X.dtype)

    def fit(tol: float) -> Answer:
        w, b = np.zeros(p, X.dtype), X.dtype.type(0)
        H = np.empty((p + 1, p + 1), X.dtype)
        for step in range(1, 101):
            a = 1 / (1 + np.exp(-(X @ w + b)))
            dz = (a - y) / n
            s = a * (1 - a) / n
            gradient = np.append(X.T @ dz + l2 * w, dz.sum())
            H[:p, :p] = gram(X, s)
            H[np.arange(p), np.arange(p)] += l2
            H[p, :p] = H[:p, p] = s @ X
            H[p, p] = s.sum()
            move = cho_solve(cho_factor(H), gradient)
            w, b = w - move[:p], b - move[p]
            if gradient @ move < tol:
                return Answer(w, b, "returned", step)
        return Answer(w, b, "iterations spent", step)

    return fit
