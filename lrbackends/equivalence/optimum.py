"""Check "optimum": where training ends is where scikit-learn's Newton solver ends.

With an L1 penalty it is where the subgradient of least size vanishes, computed in extended
precision from the parameters, and scikit-learn's objective is no lower.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

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
_TOL_WITH_ZEROS = 1e-9  # proximal gradient steps take long
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
        if plan.covers(backend, setting):
            yield from _on(plan, backend, setting)
    for setting in problems.absolute():
        if plan.covers(backend, setting):
            yield from _with_zeros(plan, backend, setting)


@cache
def _lowest(setting: Setting) -> float:
    """Return the objective that scikit-learn's saga reaches."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    problem, objective = setting.problem, setting.objective
    total = objective.l1 + objective.l2
    model = LogisticRegression(
        C=1 / (total * problem.n_samples),
        l1_ratio=objective.l1 / total,
        solver="saga",
        tol=1e-8,
        max_iter=3000,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(problem.X, problem.y)
    params = Params(model.coef_, model.intercept_)
    return float(reference_loss_gradient(problem, objective, params)[0])


def _with_zeros(plan: Plan, backend: Backend, setting: Setting) -> Iterator[Evidence]:
    """Train by proximal Newton, and by proximal steps where they get there."""
    problem, objective = setting.problem, setting.objective
    solvers = ["proximal-newton"] if plan.arithmetic == "fast" else []
    if setting.curved:
        solvers.append("gd")
    for solver in solvers:
        trainer = Trainer(
            backend,
            solver,
            l1=objective.l1,
            l2=objective.l2,
            tol=_TOL_WITH_ZEROS,
            epochs=_EPOCHS,
            arithmetic=plan.arithmetic,
        )
        try:
            result = trainer.fit(problem.X, problem.y)
        except DivergenceError as error:
            result = error.result
        loss, slope = reference_loss_gradient(problem, objective, result.params)
        note = f"{solver}, {result.n_steps:,} steps: {result.reason}"
        excess = max(0.0, float(loss) / _lowest(setting) - 1)
        for figure, value, limit in (
            ("largest subgradient", float(np.abs(pack(slope)).max()), 2 * _TOL_WITH_ZEROS),
            ("objective above scikit-learn's", excess, _OBJECTIVE_LIMIT),
            ("no zeros", float(np.count_nonzero(result.coef == 0) == 0), 0.0),
        ):
            yield Evidence(
                NAME, backend.name, setting.name, f"{solver}: {figure}", value, limit, note
            )


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
