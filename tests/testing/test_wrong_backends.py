"""Each deliberately wrong backend is rejected by the test of the kit that is meant for it."""

import pytest

from lrbackends.equivalence import wrong_backends as figures
from lrbackends.testing import wrong_backends as claims
from lrbackends.testing.kit import Candidate, load_tests

GRADIENT = "test_gradient.test_loss_and_gradient_are_those_of_50_digits"
DIGITS = "test_gradient.test_the_loss_and_sigmoid_of_single_samples_have_all_their_digits"
HESSIAN = "test_hessian.test_hessians_and_products_are_those_of_the_formula"
PURITY = "test_purity.test_calls_are_functions_of_their_arguments"
ALL_ROWS = "test_training.test_steps_on_all_rows_follow_extended_precision_and_numpy"
BATCHES = "test_training.test_steps_on_mini_batches_follow_extended_precision_and_numpy"
SOFTMAX = "test_multinomial.test_softmax_and_its_gradient_are_those_of_50_digits"
PROXIMAL = "test_l1.test_proximal_steps_follow_extended_precision_and_numpy"

BY_CHECK = {"gradient": GRADIENT, "hessian": HESSIAN, "elementary": DIGITS, "purity": PURITY}
BY_NAME = {
    "one-against-rest": SOFTMAX,
    "overflowing-softmax": SOFTMAX,
    "penalty-of-one-class": SOFTMAX,
    "classes-uncoupled": (
        "test_multinomial.test_hessians_of_many_classes_are_those_of_the_formula"
    ),
    "slope-at-the-kink": "test_l1.test_the_subgradient_is_the_one_of_least_size",
    "threshold-without-rate": PROXIMAL,
    "intercept-shrunk": PROXIMAL,
    "returns-its-input": ALL_ROWS,
    "memory-forgotten": ALL_ROWS,
    "stale-batch": BATCHES,
    "padding-counted": BATCHES,
    "uncompensated-update": "test_training.test_small_steps_add_up",
    "claims-convergence": "test_training.test_training_ends_where_scikit_learn_ends",
}
MEANT = {
    name: BY_NAME.get(name) or BY_CHECK[backend.check]
    for name, backend in figures.WRONG_BACKENDS.items()
}
# Quick ones that a backend of another mistake passes.
QUICK = ("test_protocol.", "test_refusals.", "test_purity.", GRADIENT)
# The bits of these change from call to call, from compiling to compiling, or with the machine.
UNSTEADY = ("RemembersFits", "RoundsByAddress")


def candidate_of(name: str) -> Candidate:
    made, _ = claims.WRONG_BACKENDS[name]
    address = "as-registered" if name == "Misnamed" else f"{made.__module__}:{made.__qualname__}"
    return Candidate(made(), address)


@pytest.mark.parametrize(("name", "test"), MEANT.items(), ids=list(MEANT))
def test_wrong_figures_are_rejected(name, test):
    candidate = Candidate(figures.WRONG_BACKENDS[name], None)
    assert not candidate.spared(load_tests()[test])
    with pytest.raises(AssertionError, match="figures are beyond their limits"):
        candidate.run(load_tests()[test])


@pytest.mark.parametrize("test", sorted(set(MEANT.values())))
def test_without_a_mistake_nothing_is_rejected(test):
    class Right(figures.RightKernels):
        multinomial = "multinomial" in test
        l1 = "l1" in test

    Candidate(figures.WrongBackend("right", "", Right), None).run(load_tests()[test])


@pytest.mark.parametrize(
    ("name", "test"),
    [(name, test) for name, (_, tests) in claims.WRONG_BACKENDS.items() for test in tests],
)
def test_unmet_claims_are_rejected(name, test):
    candidate = candidate_of(name)
    assert not candidate.spared(load_tests()[test])
    with pytest.raises((AssertionError, ValueError)):
        candidate.run(load_tests()[test])


@pytest.mark.parametrize("name", [n for n in claims.WRONG_BACKENDS if n not in UNSTEADY])
def test_nothing_else_is_held_against_them(name):
    candidate, (_, meant) = candidate_of(name), claims.WRONG_BACKENDS[name]
    for other, test in load_tests().items():
        if other.startswith(QUICK) and other not in meant and not candidate.spared(test):
            if name == "Misnamed" and "address" in test.__code__.co_varnames:
                continue
            candidate.run(test)


def test_every_subject_has_a_backend_that_it_rejects():
    rejecting = set(MEANT.values()).union(*(tests for _, tests in claims.WRONG_BACKENDS.values()))
    subjects = [{name.partition(".")[0] for name in names} for names in (load_tests(), rejecting)]
    assert subjects[0] == subjects[1]
