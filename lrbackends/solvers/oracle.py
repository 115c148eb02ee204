"""What host-side solvers see of a problem: functions of one flat float64 vector, passes counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import HessianKernels, Kernels, pack
from lrbackends.objective import Objective, Params, reference_loss_gradient
from lrbackends.problem import Problem

Vector = NDArray[np.float64]
Compile = Callable[[Problem, Objective], Kernels]


class Point(NamedTuple):
    """A place that has been evaluated; ``hessian`` only where a solver asked for it."""

    theta: Vector
    loss: float
    gradient: Vector
    hessian: Vector | None = None


class Oracle:
    """The objective of one problem on one backend, without its L1 term.

    Vectors hold what may move: the coefficients, row after row, and then, with ``fit_intercept``,
    the intercepts.

    Parameters
    ----------
    problem, objective : Problem, Objective
    compile : callable
        Returns the kernels of a problem and an objective.
    scale : ndarray of shape (n_features,), optional
        The penalties are those of the coefficients times ``scale``, as of standardised columns.

    Attributes
    ----------
    problem, objective : Problem, Objective
    size : int
        Entries of a vector.
    penalty, l1 : ndarray of shape (size,)
        ``l2`` and ``l1`` of each coefficient, 0 for intercepts.
    rows_read : int
        Rows of X read so far, those of sampled problems included.
    """

    def __init__(
        self,
        problem: Problem,
        objective: Objective,
        compile: Compile,
        *,
        scale: Vector | None = None,
        whole: Oracle | None = None,
    ) -> None:
        self.problem, self.objective = problem, objective
        outputs, p = problem.n_outputs, problem.n_features
        self.size = outputs * (p + objective.fit_intercept)
        columns = np.ones(p) if scale is None else scale
        intercepts = np.zeros(self.size - outputs * p)
        self.penalty = np.append(np.tile(objective.l2 * columns**2, outputs), intercepts)
        self.l1 = np.append(np.tile(objective.l1 * columns, outputs), intercepts)
        # Penalties that differ among coefficients are added here, not by the kernels.
        self._own_penalty = self.penalty if scale is not None and objective.l2 > 0 else None
        l2 = objective.l2 if self._own_penalty is None else 0.0
        self.kernels = compile(problem, Objective(l2, 0.0, objective.fit_intercept))
        self.rows_read = 0
        self._compile, self._scale, self._whole = compile, scale, whole

    def sampled(self, rows: NDArray[np.intp], sample_weight: NDArray[np.float64]) -> Oracle:
        """Return the oracle of some rows under weights of their own."""
        part = self.problem.take(rows, sample_weight)
        return Oracle(part, self.objective, self._compile, scale=self._scale, whole=self)

    def _one_pass(self) -> None:
        self.rows_read += self.problem.n_samples
        if self._whole is not None:
            self._whole.rows_read += self.problem.n_samples

    def params(self, vector: Vector) -> Params:
        """Return a vector as ``(coef, intercept)``."""
        outputs, p = self.problem.n_outputs, self.problem.n_features
        free = outputs * p
        intercept = vector[free:] if self.size > free else np.zeros(outputs)
        return Params(vector[:free].reshape(outputs, p), intercept)

    def centred(self, vector: Vector) -> Vector:
        """Return the vector of the same probabilities whose free parts sum up to 0 over outputs.

        Of several outputs, these are the intercepts and the weights that no penalty fixes.
        """
        outputs = self.problem.n_outputs
        if outputs == 1:
            return vector
        rows, free = self.rows_of(vector), self.rows_of(self.penalty + self.l1)[0] == 0
        rows = np.where(free, rows - rows.mean(axis=0), rows)
        p = self.problem.n_features
        return np.concatenate([rows[:, :p].ravel(), rows[:, p:].ravel()])

    def rows_of(self, vector: Vector) -> Vector:
        """Return a vector with a row for each output, shape (n_outputs, p + 1 or p)."""
        coef, intercept = self.params(vector)
        has_intercept = self.size > coef.size
        return np.column_stack([coef, intercept]) if has_intercept else coef

    def _rounded(self, theta: Vector) -> Vector:
        return theta.astype(self.problem.dtype).astype(np.float64)

    def _free(self, params: Params) -> Vector:
        return pack(params)[: self.size].astype(np.float64)

    def at(self, theta: Vector) -> Point:
        """Evaluate loss and gradient in one pass, at ``theta`` rounded to the computing type."""
        theta = self._rounded(theta)
        loss, gradient = self.kernels.loss_gradient(self.params(theta))
        self._one_pass()
        return self._penalised(Point(theta, loss, self._free(gradient)))

    def curved_at(self, theta: Vector) -> Point:
        """Evaluate loss, gradient and Hessian in one pass.

        The Hessian of K outputs is made regular where it never is: a number added to all
        intercepts, or to all weights of a feature that is not penalised, changes no probability.
        Gradients, and so steps, have no part along these directions.
        """
        theta = self._rounded(theta)
        kernels = cast(HessianKernels, self.kernels)
        loss, gradient, whole = kernels.loss_gradient_hessian(self.params(theta))
        self._one_pass()
        hessian = whole[: self.size, : self.size]
        point = self._penalised(Point(theta, loss, self._free(gradient), hessian))
        if self.problem.n_outputs > 1:
            fixed = self.penalty + self.l1
            _fill_null_space(hessian, self.problem.n_outputs, self.problem.n_features, fixed)
        return point

    def _penalised(self, point: Point) -> Point:
        penalty = self._own_penalty
        if penalty is None:
            return point
        slope = penalty * point.theta
        if point.hessian is not None:
            point.hessian[np.diag_indices(self.size)] += penalty
        loss = point.loss + 0.5 * float(slope @ point.theta)
        return point._replace(loss=loss, gradient=point.gradient + slope)

    def exact_gradient(self, theta: Vector) -> Vector:
        """Return the gradient by the formulas, computed in extended precision."""
        free = Objective(0.0, 0.0, self.objective.fit_intercept)
        _, gradient = reference_loss_gradient(self.problem, free, self.params(theta))
        self._one_pass()
        return self._free(gradient) + self.penalty * theta

    def gradient_noise(self, point: Point) -> Vector:
        """Return about how far rounding alone may move each entry of the gradient.

        One rounding of the mean of |dz x_j| <= mean |dz| rms_j, and mean |dz| is below the loss.
        """
        outputs = self.problem.n_outputs
        size = np.append(np.tile(self.problem.rms, outputs), np.ones(outputs))[: self.size]
        return float(np.finfo(self.problem.dtype).eps) * abs(point.loss) * size

    def product(self, theta: Vector, vector: Vector) -> Vector:
        """Return the Hessian at ``theta`` times ``vector``, one pass."""
        kernels = cast(HessianKernels, self.kernels)
        self._one_pass()
        product = self._free(kernels.hessian_product(self.params(theta), self.params(vector)))
        if self._own_penalty is not None:
            product += self._own_penalty * vector
        if self.problem.n_outputs > 1:  # regular as in `curved_at`
            product += self._null_space_size * (vector - self.centred(vector))
        return product

    @cached_property
    def _null_space_size(self) -> Vector:
        """A positive number for each entry, about as large as the Hessian's diagonal."""
        outputs = self.problem.n_outputs
        columns = np.append(self.problem.rms**2, 1.0)
        spread = np.append(np.tile(columns[:-1], outputs), np.tile(columns[-1], outputs))
        return spread[: self.size] / outputs

    def scores(self, vector: Vector) -> Vector:
        """Return X w + b of every row, (n_samples,) or (n_samples, n_outputs), one pass."""
        self._one_pass()
        z = self.kernels.decision_function(self.problem.X, self.params(vector))
        return np.asarray(z, np.float64)

    def spread(self, vector: Vector) -> Vector:
        """Return how far a change of the parameters moves each row's scores apart.

        The change of the margin for two classes, the largest of any difference for more: the rate
        at which a row's curvature can change. Shape (n_samples,), one pass.
        """
        z = self.scores(vector)
        return np.abs(z) if z.ndim == 1 else z.max(axis=1) - z.min(axis=1)


def _fill_null_space(hessian: Vector, outputs: int, n_features: int, fixed: Vector) -> None:
    """Add c_j 11' to the block of outputs of each feature j that is not ``fixed``, in place.

    With c_j the mean of the block's diagonal, the intercept being the last feature.
    """
    places = np.arange(len(hessian))
    free = outputs * n_features
    blocks = places[:free].reshape(outputs, n_features).T
    if free < len(hessian):
        blocks = np.vstack([blocks, places[free:]])
    blocks = blocks[fixed[blocks[:, 0]] == 0]
    size = hessian[blocks, blocks].mean(axis=1)
    hessian[blocks[:, :, None], blocks[:, None, :]] += size[:, None, None]
