"""What host-side solvers see of a problem: functions of one flat float64 vector, passes counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import HessianKernels, Kernels, pack
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem

Vector = NDArray[np.float64]
Compile = Callable[[Problem], Kernels]


class Point(NamedTuple):
    """A place that has been evaluated; ``hessian`` only where a solver asked for it."""

    theta: Vector
    loss: float
    gradient: Vector
    hessian: Vector | None = None


class Oracle:
    """The objective of one problem on one backend.

    Vectors hold what may move: the coefficients and, with ``fit_intercept``, the intercept last.

    Attributes
    ----------
    problem, objective : Problem, Objective
    size : int
        Entries of a vector.
    penalty : ndarray of shape (size,)
        ``l2`` for the coefficients, 0 for the intercept.
    rows_read : int
        Rows of X read so far, those of sampled problems included.
    """

    def __init__(
        self,
        problem: Problem,
        objective: Objective,
        compile: Compile,
        whole: Oracle | None = None,
    ) -> None:
        self.problem, self.objective = problem, objective
        self.kernels = compile(problem)
        self.size = problem.n_features + objective.fit_intercept
        self.penalty = np.full(self.size, objective.l2)
        self.penalty[problem.n_features :] = 0.0
        self.rows_read = 0
        self._compile, self._whole = compile, whole

    def sampled(self, rows: NDArray[np.intp], sample_weight: NDArray[np.float64]) -> Oracle:
        """Return the oracle of some rows under weights of their own."""
        part = self.problem.take(rows, sample_weight)
        return Oracle(part, self.objective, self._compile, whole=self)

    def _one_pass(self) -> None:
        self.rows_read += self.problem.n_samples
        if self._whole is not None:
            self._whole.rows_read += self.problem.n_samples

    def params(self, vector: Vector) -> Params:
        """Return a vector as ``(coef, intercept)``."""
        p = self.problem.n_features
        intercept = vector[p:] if self.size > p else np.zeros(1)
        return Params(vector[None, :p], intercept)

    def _rounded(self, theta: Vector) -> Vector:
        return theta.astype(self.problem.dtype).astype(np.float64)

    def _free(self, params: Params) -> Vector:
        return pack(params)[: self.size].astype(np.float64)

    def at(self, theta: Vector) -> Point:
        """Evaluate loss and gradient in one pass, at ``theta`` rounded to the computing type."""
        theta = self._rounded(theta)
        loss, gradient = self.kernels.loss_gradient(self.params(theta))
        self._one_pass()
        return Point(theta, loss, self._free(gradient))

    def curved_at(self, theta: Vector) -> Point:
        """Evaluate loss, gradient and Hessian in one pass."""
        theta = self._rounded(theta)
        kernels = cast(HessianKernels, self.kernels)
        loss, gradient, hessian = kernels.loss_gradient_hessian(self.params(theta))
        self._one_pass()
        return Point(theta, loss, self._free(gradient), hessian[: self.size, : self.size])

    def gradient_noise(self, point: Point) -> Vector:
        """Return about how far rounding alone may move each entry of the gradient.

        One rounding of the mean of |dz x_j| <= mean |dz| rms_j, and mean |dz| is below the loss.
        """
        size = np.append(self.problem.rms, 1.0)[: self.size]
        return float(np.finfo(self.problem.dtype).eps) * abs(point.loss) * size

    def product(self, theta: Vector, vector: Vector) -> Vector:
        """Return the Hessian at ``theta`` times ``vector``, one pass."""
        kernels = cast(HessianKernels, self.kernels)
        self._one_pass()
        return self._free(kernels.hessian_product(self.params(theta), self.params(vector)))

    def margins(self, vector: Vector) -> Vector:
        """Return (1 - 2y) (X w + b) of every row, one pass."""
        problem = self.problem
        self._one_pass()
        z = self.kernels.decision_function(problem.X, self.params(vector))
        return np.asarray(problem.sign * z, np.float64)
