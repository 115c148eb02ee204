"""The reproducible arithmetic, where it is claimed: the specified bits, everywhere."""

from __future__ import annotations

from lrbackends.backends.protocol import Backend
from lrbackends.equivalence import environments, golden, purity
from lrbackends.equivalence.plan import Plan
from lrbackends.testing.evidence import STEPS, assert_passed, needs_of_case, trajectories
from lrbackends.testing.kit import claimed, claims


@claimed("reproducible")
def test_hashes_are_the_golden_ones(backend: Backend) -> None:
    """Every case that the backend claims to cover, to the last bit."""
    expected = golden.stored()
    cases = {
        name: case
        for name, case in golden.CASES.items()
        if all(claims(backend, ability) for ability in needs_of_case(case))
    }
    wrong = [
        name for name, case in cases.items() if golden.hash_of(backend, case) != expected[name]
    ]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)} hashes differ:", *wrong])


@claimed("reproducible")
def test_training_gives_numpys_bits(backend: Backend) -> None:
    """On real data, step by step; where it does not, the step and number are named."""
    assert_passed(
        trajectories(
            backend,
            arithmetic="reproducible",
            wanted=lambda run: run.solver == "gd" and run.setting.name == "breast_cancer",
        )
    )


@claimed("reproducible")
def test_calls_are_functions_of_their_arguments(backend: Backend) -> None:
    """Same arguments, same bits: in one go or two, with other calls between; none written to."""
    assert_passed(purity.measure(Plan((backend,), "reproducible", STEPS), backend))


@claimed("reproducible")
def test_hashes_are_the_golden_ones_in_other_environments(backend: Backend) -> None:
    """With other numbers of threads and cores, other vector instructions, another BLAS kernel."""
    jobs = environments.jobs(Plan((backend,), "reproducible", STEPS))
    assert_passed(row for job in jobs for row in job.measure())
