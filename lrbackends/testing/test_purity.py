"""Kernels are functions of their arguments, and leave those alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrbackends.backends.protocol import Backend, Batches, initial_state
from lrbackends.equivalence import problems, purity
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem
from lrbackends.solvers import FIRST_ORDER, UpdateRule
from lrbackends.testing.evidence import assert_passed, part


def test_calls_are_functions_of_their_arguments(backend: Backend) -> None:
    """Same arguments, same bits: in one go or two, with other calls between; none written to."""
    assert_passed(purity.measure(part(backend), backend))


def test_read_only_arrays_are_enough(backend: Backend) -> None:
    """Data, parameters, state and batches may be arrays that nobody can write to."""
    small = problems.small(weighted=True)
    X, y, weight = (_locked(part) for part in (small.X, small.y, small.exact_weight))
    problem = Problem(X, y, weight)
    for array in (problem.X, problem.y, problem.sign, problem.weight, problem.exact_weight):
        _locked(array)
    rng = np.random.default_rng(0)
    params = Params(_locked(rng.normal(size=(1, 5))), _locked(rng.normal(size=1)))
    start = initial_state(params)
    for vector in start[:4]:
        _locked(vector)
    batches = Batches(_locked(np.arange(8).reshape(2, 4)), _locked(np.array([4, 3])))
    kernels = backend.compile(problem, Objective(l2=0.1))
    kernels.loss(params)
    kernels.loss_gradient(params)
    kernels.decision_function(problem.X, params)
    for name in FIRST_ORDER:
        for some in (None, batches):
            kernels.run(UpdateRule(name, 0.01), start, 2, some)


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
