"""Verifications that several tests look at."""

import pytest

from lrbackends.equivalence import EquivalenceReport, verify
from lrbackends.equivalence.wrong_backends import WRONG_BACKENDS, RightKernels, WrongBackend

STEPS = 300


@pytest.fixture(scope="session")
def calls() -> list[tuple[int, int, str]]:
    """What the progress callback of `report` was called with."""
    return []


@pytest.fixture(scope="session")
def report(backend_names, calls) -> EquivalenceReport:
    """Every check on the three backends."""
    return verify(backend_names, steps=STEPS, progress=lambda *call: calls.append(call))


@pytest.fixture(scope="session")
def failing() -> EquivalenceReport:
    """Two backends, one of them wrong."""
    right = WrongBackend("right", "", RightKernels)
    wrong = WRONG_BACKENDS["stale-batch"]
    return verify([right, wrong], steps=20, checks=["trajectory"])
