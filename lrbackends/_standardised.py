"""Kernels in standardised coordinates, made of any backend's kernels of X itself.

The data are read by the backend, in its own arithmetic; what is done here is a change of
coordinates and one update of the rule, the same for every backend.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends._compensated import shrink, two_sum
from lrbackends.backends.protocol import (
    Batches,
    Coefficients,
    Kernels,
    Rule,
    State,
    coefficients_for,
    initial_state,
    pack,
    unpack,
)
from lrbackends.objective import Objective, Params, absolute_penalty, as_params
from lrbackends.problem import Problem
from lrbackends.scaling import Scaling


class _Probe:
    """A rule that leaves the parameters alone and keeps the gradient as its first moment."""

    name = "probe"
    proximal = False

    @staticmethod
    def update(gradient: Any, first: Any, second: Any, c: Any, sqrt: Any) -> tuple[Any, Any, Any]:  # noqa: ARG004
        return gradient - gradient, gradient, second

    def coefficients(self, step: int, n_steps: int) -> NDArray[np.float64]:  # noqa: ARG002
        return np.zeros((n_steps, 6))


class StandardisedKernels:
    """One problem in standardised coordinates; see `backends.protocol.Kernels`.

    Parameters
    ----------
    plain : Kernels
        Those of X itself, without penalties.
    problem, objective : Problem, Objective
        The penalties are those of the standardised coefficients.
    scaling : Scaling
    """

    def __init__(
        self, plain: Kernels, problem: Problem, objective: Objective, scaling: Scaling
    ) -> None:
        self._plain, self._problem = plain, problem
        self._objective, self._scaling = objective, scaling

    def _penalised(self, loss: float, gradient: Params, params: Params) -> tuple[float, Params]:
        """Return objective and gradient without the L1 term, from those of X without penalties."""
        l2 = params.coef.dtype.type(self._objective.l2)
        dw, db = self._scaling.gradient(gradient)
        square = float(np.add.reduce((params.coef * params.coef).ravel()))
        return loss + 0.5 * self._objective.l2 * square, Params(dw + l2 * params.coef, db)

    def loss(self, params: Any) -> float:
        """Return the objective at ``params``."""
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params: Any) -> tuple[float, Params]:
        """Return the objective and its gradient at ``params``."""
        params = as_params(params, self._problem)
        loss, gradient = self._plain.loss_gradient(self._scaling.to_columns(params))
        return self._with_l1(*self._penalised(loss, gradient, params), params)

    def _with_l1(self, loss: float, gradient: Params, params: Params) -> tuple[float, Params]:
        loss, gradient = absolute_penalty(self._objective, loss, params, gradient)
        return float(loss), gradient

    def decision_function(self, X: NDArray[Any], params: Any) -> NDArray[Any]:
        """Return the scores of rows of X."""
        columns = self._scaling.to_columns(as_params(params, self._problem))
        return self._plain.decision_function(X, columns)

    def run(
        self, rule: Rule, state: State, n_steps: int, batches: Batches | None
    ) -> tuple[State, NDArray[np.float64]]:
        """Do ``n_steps`` updates, each with one native gradient; see `Kernels.run`."""
        theta, residual, first, second, step = state
        update, p = rule.update, self._problem.n_features
        dtype, n_coef = theta.dtype, self._problem.n_outputs * p
        coefficients = coefficients_for(rule, step, n_steps, self._objective).astype(dtype)
        records = np.empty((n_steps, 2))
        if n_steps == 0:
            self._plain.run(_PROBE, state, 0, batches)
        for t in range(n_steps):
            batch = None
            if batches is not None:
                batch = Batches(batches.indices[t : t + 1], batches.sizes[t : t + 1])
            params, c = unpack(theta, p), Coefficients(*coefficients[t])
            here = initial_state(self._scaling.to_columns(params))
            probed, record = self._plain.run(_PROBE, here, 1, batch)
            loss, gradient = self._penalised(float(record[0, 0]), unpack(probed.first, p), params)
            records[t, 0], slope = self._with_l1(loss, gradient, params)
            records[t, 1] = np.abs(pack(slope)).max()
            delta, first, second = update(pack(gradient), first, second, c, np.sqrt)
            theta, residual = two_sum(theta, residual + delta)
            if self._objective.l1 > 0:
                moved = shrink(theta[:n_coef], residual[:n_coef], c.threshold, np.where)
                theta[:n_coef], residual[:n_coef] = moved
        return State(theta, residual, first, second, step + n_steps), records


_PROBE = _Probe()
