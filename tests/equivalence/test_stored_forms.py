"""Narrow and sparse X are part of the evidence, and reading them wrongly is noticed."""

import numpy as np
import pytest

import lrbackends as lrb
from lrbackends.equivalence import gradient, problems
from lrbackends.equivalence.plan import Plan

NUMPY = lrb.get_backend("numpy")


class Misreading:
    """NumPy on a problem whose X was changed by ``misread``."""

    name, api_version = "misreading", NUMPY.api_version

    def __init__(self, misread):
        self.misread = misread

    def capabilities(self):
        return NUMPY.capabilities()

    def compile(self, problem, objective, arithmetic="fast", n_threads=None):
        X = self.misread(problem.X)
        other = lrb.Problem(X, problem.y, problem.sample_weight, dtype=problem.dtype)
        return NUMPY.compile(other, objective, arithmetic, n_threads)


def signed(X):
    return X.view(np.int8) if X.dtype == np.uint8 else X


def unsigned(X):
    return X.view(np.uint8) if X.dtype == np.int8 else X


def rounded(X):
    narrow = isinstance(X, np.ndarray) and X.dtype == np.float32
    return X * np.float32(1 + 2**-20) if narrow else X


def short_of_one_entry(X):
    if isinstance(X, np.ndarray):
        return X
    X = X.copy()
    X.data[-1] = 0.0
    return X


def failed(backend, arithmetic="fast"):
    plan = Plan((backend,), arithmetic, 1)
    return {
        evidence.case.split(", ")[1]
        for dtype in ("float64", "float32")
        for setting in problems.stored(dtype)
        if plan.covers(backend, setting)
        for evidence in gradient._at_point(plan, backend, setting)
        if not evidence.passed
    }


@pytest.mark.parametrize("arithmetic", ["fast", "reproducible"])
def test_a_backend_that_reads_rightly_passes(backend_name, arithmetic):
    assert failed(lrb.get_backend(backend_name), arithmetic) == set()


@pytest.mark.parametrize(
    ("misread", "form"),
    [
        (signed, "X in uint8"),
        (unsigned, "X in int8"),
        (rounded, "X in float32"),
        (short_of_one_entry, "X in CSR"),
    ],
)
def test_a_backend_that_misreads_a_form_fails_there(misread, form):
    assert failed(Misreading(misread)) == {form}


def test_only_forms_that_a_backend_reads_are_judged():
    for arithmetic, forms in (("fast", 4), ("reproducible", 3)):
        plan = Plan((NUMPY,), arithmetic, 1)
        covered = [s for s in problems.stored("float64") if plan.covers(NUMPY, s)]
        assert len(covered) == 3 * forms
