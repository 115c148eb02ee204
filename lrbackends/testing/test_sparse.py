"""Rows in CSR form, where they are claimed."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import problems
from lrbackends.testing.evidence import assert_passed, gradients, hessians
from lrbackends.testing.kit import claimed
from lrbackends.testing.outcomes import assert_same_as_numpy


@claimed("sparse")
def test_loss_and_gradient_of_sparse_rows_are_those_of_50_digits(backend: Backend) -> None:
    """In each type that is claimed, two classes and more where those are claimed."""
    assert_passed(gradients(backend, "sparse"))


@claimed("sparse", "hessian")
def test_hessians_of_sparse_rows_are_those_of_the_formula(backend: Backend) -> None:
    """In each type that is claimed."""
    assert_passed(hessians(backend, "sparse"))


@claimed("sparse")
def test_training_on_sparse_rows_is_numpys(backend: Backend) -> None:
    """On all rows and on mini-batches, with an empty row, an empty column and stored zeros."""
    problem = problems.small(weighted=True)
    X = sparse.csr_array(np.where(problem.X > 0.5, problem.X, 0) * ([[1.0]] * 63 + [[0.0]]))
    X.data[::7] = 0.0
    X = sparse.csr_array(sparse.hstack([X, sparse.csr_array((64, 1))]))
    for options in ({}, {"batch_size": 10, "solver": "adam"}):
        assert_same_as_numpy(backend, X, problem.y, problem.sample_weight, l2=0.1, **options)
