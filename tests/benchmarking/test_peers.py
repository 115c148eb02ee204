"""scikit-learn beside the backends: the same objective, the same optimum, at its loosest."""

import warnings

import numpy as np
import pytest
from scipy import sparse

import lrbackends as lrb
from lrbackends.benchmarking.cells import GAP
from lrbackends.benchmarking.peers import (
    NEWTON_FEATURES,
    PEERS,
    fitter,
    loosest_tolerance,
    suited,
)

L2 = 0.01
LBFGS, NEWTON = PEERS


@pytest.fixture(scope="module")
def three(noisy):
    """Three classes, a text label each."""
    y = np.array(["x", "y", "z"])[np.argmax(noisy.X + np.array([0.5, 0.0, 0.2]), axis=1)]
    return noisy.X, y


def optimum(X, y, l2=L2):
    return lrb.Trainer("numpy", "auto", l2=l2, random_state=0).fit(X, y).loss


def entries(peer, X, y, tol, *, l2=L2, gap=GAP):
    fit, read = fitter(peer, l2=l2, target=optimum(X, y, l2) * (1 + gap), tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(fit(X, y), 1.0)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l2", [1e-3, 0.3])
def test_its_objective_is_ours(noisy, three, peer, classes, l2):
    """At a tight tolerance both are the least there is."""
    X, y = noisy if classes == 2 else three
    found = entries(peer, X, y, 1e-10, l2=l2).entries
    assert found["loss"] == pytest.approx(optimum(X, y, l2), rel=1e-12)
    assert found["gradient_norm"] < 1e-6
    assert np.shape(found["coef"]) == ((1, 3) if classes == 2 else (3, 3))


def test_the_loss_is_that_of_the_parameters(noisy):
    found = entries(NEWTON, *noisy, 0.1).entries
    coef, intercept = (
        np.array([[float.fromhex(v) for v in row] for row in values])
        for values in (found["coef"], [found["intercept"]])
    )
    z = noisy.X @ coef[0] + intercept[0, 0]
    loss = np.mean(np.logaddexp(0, -np.where(noisy.y == 1, z, -z))) + L2 / 2 * coef[0] @ coef[0]
    assert found["loss"] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("kind", ["dense", "sparse", "float32", "three classes"])
def test_the_loosest_tolerance_reaches_the_target_and_the_next_one_does_not(
    noisy, three, peer, kind
):
    X, y = three if kind == "three classes" else noisy
    gap = 1e-5 if kind == "float32" else GAP
    X = {"sparse": sparse.csr_array, "float32": np.float32}.get(kind, np.asarray)(X)
    target = optimum(X, y) * (1 + gap)
    tol = loosest_tolerance(peer, X, y, l2=L2, target=target)
    assert entries(peer, X, y, tol, gap=gap).entries["status"] == "converged"
    if tol < 0.1:
        looser = entries(peer, X, y, 10 * tol, gap=gap).entries
        assert looser["status"] == "stalled"
        assert looser["loss"] > target


def test_an_easy_target_needs_no_tight_tolerance(noisy):
    assert loosest_tolerance(LBFGS, *noisy, l2=L2, target=1.0) == 0.1


def test_a_target_below_the_optimum_is_never_reached(noisy):
    target = optimum(*noisy) * (1 - 1e-6)
    tol = loosest_tolerance(NEWTON, *noisy, l2=L2, target=target)
    assert tol == pytest.approx(1e-10)
    found = entries(NEWTON, *noisy, tol, gap=-1e-6).entries
    assert found["status"] == "stalled"
    assert found["reason"] == "tol=1e-10 does not reach the optimum"


def test_what_is_read_is_what_an_answer_needs(noisy):
    found = entries(NEWTON, *noisy, 1e-6)
    assert found.entries["status"] == "converged"
    assert found.entries["n_steps"] == found.entries["n_epochs"] >= 1
    assert found.epoch == 1.0 / found.entries["n_steps"]
    assert found.compiling is None
    assert found.bits == entries(NEWTON, *noisy, 1e-6).bits
    assert found.bits != entries(NEWTON, *noisy, 0.1, l2=0.5).bits


def test_many_features_do_not_suit_newton():
    assert suited(NEWTON_FEATURES) == PEERS
    assert suited(NEWTON_FEATURES + 1) == (LBFGS,)
