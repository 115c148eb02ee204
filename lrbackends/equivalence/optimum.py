"""Check "optimum": where training ends is where scikit-learn's Newton solver ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from lrbackends.backends.protocol import Backend, pack
from lrbackends.equivalence import problems
from lrbackends.equivalence.evidence import Evidence
from lrbackends.equivalence.figures import relative_norm
from lrbackends.equivalence.plan import Job, Plan, per_backend
from lrbackends.equivalence.problems import Setting
from lrbackends.errors import DivergenceError
from lrbackends.objective import Params, reference_loss_gradient
from lrbackends.solvers import OPTIMUM
from lrbackends.trainer import Trainer

NAME = "optimum"
_TOL = 1e-13
_EPOCHS = 20_000

# No entry of the gradient exceeds 1e-13, so its norm g is below 1e-12, and the curvature of the
# three problems is above mu = 1.2e-3. Objectives are then within g^2 / (2 mu) < 1e-21 of the least,
# which leaves rounding, and parameters within g / mu < 1e-9 of the best, whose norm is above 2.
_OBJECTIVE_LIMIT = 1e-14
_PARAMS_LIMIT = 1e-9


def jobs(plan: Plan) -> Iterator[Job]:
    """Plan the check."""
    return per_backend(plan, measure, "optimum")


@cache
def _best(setting: Setting) -> Params:
    """Return scikit-learn's optimum, which minimises C times the sum of losses + |w|^2 / 2."""
    from sklearn.linear_model import LogisticRegression

    problem = setting.problem
    C = 1 / (setting.objective.l2 * problem.n_samples)
    model = LogisticRegression(C=C, tol=_TOL, max_iter=1000, solver="newton-cholesky")
    model.fit(problem.X, problem.y, problem.sample_weight)
    return Params(model.coef_, model.intercept_)


def measure(plan: Plan, backend: Backend) -> Iterable[Evidence]:
    """Return the evidence on one backend."""
    for setting in problems.penalised():
        yield from _on(plan, backend, setting)


def _on(plan: Plan, backend: Backend, setting: Setting) -> Iterator[Evidence]:
    for solver in _solvers(plan, backend):
        yield from _by(solver, plan, backend, setting)


def _solvers(plan: Plan, backend: Backend) -> tuple[str, ...]:
    """Return an update rule and every solver that the backend has the kernels for."""
    if plan.arithmetic == "reproducible":
        return ("nesterov",)
    return ("nesterov", *(OPTIMUM if backend.capabilities().hessian else ("lbfgs",)))


def _by(solver: str, plan: Plan, backend: Backend, setting: Setting) -> Iterator[Evidence]:
    problem = setting.problem
    trainer = Trainer(
        backend,
        solver,
        l2=setting.objective.l2,
        tol=_TOL,
        epochs=_EPOCHS,
        arithmetic=plan.arithmetic,
        random_state=0,
    )
    try:
        result = trainer.fit(problem.X, problem.y, problem.sample_weight)
    except DivergenceError as error:
        result = error.result
    best = _best(setting)
    ours, theirs = (
        reference_loss_gradient(problem, setting.objective, params)[0]
        for params in (result.params, best)
    )
    note = f"against scikit-learn; {solver}, {result.n_steps:,} steps: {result.reason}"
    for figure, value, limit in (
        (f"{solver}: objective, relative", float(abs(ours - theirs) / theirs), _OBJECTIVE_LIMIT),
        (f"{solver}: relative norm", relative_norm(pack(result.params), pack(best)), _PARAMS_LIMIT),
    ):
        yield Evidence(NAME, backend.name, setting.name, figure, value, limit, note)
