"""Each deliberately wrong backend is rejected, by the check that is meant for its mistake."""

import pytest

from lrbackends.backends.protocol import Backend, Kernels
from lrbackends.equivalence import verify
from lrbackends.equivalence.problems import small
from lrbackends.equivalence.wrong_backends import WRONG_BACKENDS, RightKernels, WrongBackend
from lrbackends.objective import Objective

STEPS = 300
MORE_STEPS = 3000  # what one float cannot hold takes a while to add up

# What rejects each one: the figure that the check is there for, and a case in which it must show.
REJECTED_BY = {
    "sign-error": ("gradient", "float64, w = 0"),
    "intercept-penalised": ("gradient", "float64, random w, l2"),
    "sum-not-mean": ("gradient", "float64, random w"),
    "zero-at-origin": ("gradient", "float64, w = 0"),
    "last-row-dropped": ("gradient", "float64, random w"),
    "float32-inside": ("gradient", "float64, random w"),
    "penalty-missing": ("gradient", "float64, random w, l2"),
    "loss-unpenalised": ("finite differences", "float64, random w, l2"),
    "weights-ignored": ("gradient", "float64, w = 0, weights"),
    "intercept-moves": ("gradient", "float64, random w, weights, no intercept"),
    "scores-without-intercept": ("scores", "float64, random w"),
    "hessian-unpenalised": ("hessian", "float64, random w, l2"),
    "flat-at-origin": ("hessian", "float64, w = 0"),
    "curvature-kept": ("product", "float64, two points in turn"),
    "unscaled-product": ("product", "float64, random w"),
    "cancelling-sigmoid": ("sigmoid, max ULP", "float64, |z| from 1e-20 to 700"),
    "careless-loss": ("loss, max ULP", "float64, |z| from 1e-20 to 700"),
    "one-against-rest": ("gradient", "float64, 3 classes, w = 0"),
    "overflowing-softmax": ("loss", "float32, 3 classes, large w, weights, l2"),
    "classes-uncoupled": ("hessian", "float64, 3 classes, w = 0"),
    "penalty-of-one-class": ("gradient", "float64, 3 classes, random w, weights, l2"),
    "slope-at-the-kink": ("gradient", "float64, w = 0, l1, l2"),
    "threshold-without-rate": ("median ULP", "digits01, l1, l2: gd, full batch, 300 steps"),
    "intercept-shrunk": ("median ULP", "digits01, l1, l2: gd, full batch, 300 steps"),
    "returns-its-input": ("median ULP", "digits01: gd, full batch, 300 steps"),
    "stale-batch": ("labels that differ", "digits01: gd, batches of 32, 30 steps"),
    "padding-counted": ("median ULP", "digits01: gd, batches of 32, 30 steps"),
    "memory-forgotten": ("median ULP", "digits01: momentum, full batch, 30 steps"),
    "uncompensated-update": ("median ULP", "condition 1e8: gd, full batch, 3,000 steps"),
    "memory-lost-between-calls": ("differing entries, in two parts", "momentum, full batch"),
    "steps-uncounted": ("steps miscounted", "gd, full batch"),
    "claims-convergence": ("nesterov: relative norm", "digits01, l2 = 0.01"),
    "late-records": ("records", "gd, full batch"),
    "writes-to-its-input": ("entries written to", "gd, full batch"),
    "not-deterministic": ("differing entries, repeated", "gd, full batch"),
    "reuses-its-buffer": ("differing entries", "loss_gradient"),
    "thread-dependent": ("differing entries, by threads", "20,000 rows"),
}


def test_every_wrong_backend_is_tested():
    assert REJECTED_BY.keys() == WRONG_BACKENDS.keys()


@pytest.mark.parametrize("name", WRONG_BACKENDS)
def test_it_is_rejected_by_the_check_that_is_meant_for_it(name):
    backend = WRONG_BACKENDS[name]
    steps = MORE_STEPS if name == "uncompensated-update" else STEPS
    report = verify(backend, steps=steps, checks=[backend.check])
    assert not report.passed
    assert REJECTED_BY[name] in {(row.figure, row.case) for row in report.failed}


def test_without_a_mistake_nothing_is_rejected():
    report = verify(WrongBackend("right", "", RightKernels), steps=STEPS)
    assert report.passed, report.failed


@pytest.mark.parametrize("name", WRONG_BACKENDS)
def test_it_is_a_backend_like_any_other(name):
    backend = WRONG_BACKENDS[name]
    assert isinstance(backend, Backend)
    assert isinstance(backend.compile(small(), Objective()), Kernels)
    assert backend.mistake.endswith(".")


# Mistakes that only one check can see: without it they would pass.
@pytest.mark.parametrize("name", ["cancelling-sigmoid", "reuses-its-buffer", "thread-dependent"])
def test_no_other_check_would_notice(name):
    backend = WRONG_BACKENDS[name]
    others = {"gradient", "hessian", "elementary", "purity", "trajectory"} - {backend.check}
    assert verify(backend, steps=STEPS, checks=others).passed
