"""Second derivatives are right, where they are claimed."""

from __future__ import annotations

import numpy as np

from lrbackends.backends.protocol import MOST_HESSIAN_FEATURES, Backend, HessianKernels
from lrbackends.errors import UnsupportedError
from lrbackends.objective import Objective, Params
from lrbackends.problem import Problem
from lrbackends.testing.evidence import assert_passed, hessians
from lrbackends.testing.kit import claimed


@claimed("hessian")
def test_hessians_and_products_are_those_of_the_formula(backend: Backend) -> None:
    """Symmetric, penalised, right at w = 0, and the same in one pass as alone."""
    assert_passed(hessians(backend))


@claimed("hessian", "float32")
def test_hessians_and_products_in_float32_are_those_of_the_formula(backend: Backend) -> None:
    """The same points, with the rounding errors of float32."""
    assert_passed(hessians(backend, "float32"))


@claimed("hessian")
def test_a_hessian_that_would_not_fit_beside_the_data_is_refused(backend: Backend) -> None:
    """Above so many features there are products only."""
    p = MOST_HESSIAN_FEATURES + 1
    problem = Problem(np.eye(4, p), [0, 1, 0, 1])
    kernels = backend.compile(problem, Objective(l2=0.1))
    params = Params(np.zeros((1, p)), np.zeros(1))
    assert isinstance(kernels, HessianKernels)
    for kernel in (kernels.hessian, kernels.loss_gradient_hessian):
        try:
            kernel(params)
        except UnsupportedError:
            continue
        raise AssertionError(f"{kernel.__name__}() makes a Hessian of {p:,} features")
    product = kernels.hessian_product(params, params)
    assert np.array_equal(product.coef, params.coef), "the product with zeros is not zero"
