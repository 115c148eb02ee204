"""`verify`: three right backends pass every check, and what is asked wrongly is refused."""

from itertools import combinations
from types import SimpleNamespace

import pytest

from lrbackends.backends import registry
from lrbackends.backends.protocol import Capabilities
from lrbackends.equivalence import CHECKS, verify
from lrbackends.equivalence.wrong_backends import WRONG_BACKENDS, RightKernels, WrongBackend
from lrbackends.errors import BackendUnavailableError, UnsupportedError

RIGHT = WrongBackend("right", "", RightKernels)


class Reproducible(WrongBackend):
    """Claims to offer the reproducible arithmetic."""

    def capabilities(self) -> Capabilities:
        return Capabilities(reproducible=True)


def test_the_three_backends_pass(report):
    assert report.passed, list(report.failed)


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_looks_at_every_backend(report, backend_names, check):
    looked_at = {row.backend for row in report.rows if row.check == check}
    assert looked_at >= set(backend_names)


def test_trajectories_are_compared_pairwise(report, backend_names):
    pairs = {"-".join(pair) for pair in combinations(backend_names, 2)}
    assert {row.backend for row in report.rows} == {*backend_names, *pairs}


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("batch", ["full batch", "batches of 32"])
def test_each_solver_runs_on_all_problems(report, solver, batch):
    cases = {row.case for row in report.rows if row.check == "trajectory"}
    problems = {case.split(":")[0] for case in cases if f": {solver}" in case and batch in case}
    assert len(problems) == (6 if solver == "gd" else 5)  # the others take no proximal steps
    assert problems >= {"condition 1e8", "4 classes, weights, l2, random start"}


def test_trajectories_keep_the_contract_of_the_fast_arithmetic(report):
    limits = {
        (row.figure, "-" in row.backend): row.limit
        for row in report.rows
        if row.check == "trajectory"
    }
    for pair in (False, True):
        assert limits["median ULP", pair] == 4.0
        assert limits["labels that differ", pair] == 0.0
        assert limits["max ULP", pair] is None
    assert limits["relative norm", True] == 2e-15


def test_gradients_are_checked_in_both_types_at_zero_random_and_large_parameters(report):
    cases = {row.case for row in report.rows if row.check == "gradient"}
    for dtype in ("float64", "float32"):
        for point in ("w = 0", "random w", "large w", "random w, weights, no intercept"):
            assert f"{dtype}, {point}" in cases


def test_each_row_says_what_the_figure_means(report):
    assert all(row.note for row in report.rows)


def test_metadata_says_what_was_verified(report, backend_names):
    facts = report.metadata
    assert facts["backends"] == list(backend_names)
    assert facts["arithmetic"] == "fast"
    assert facts["checks"] == list(CHECKS)
    assert facts["versions"].keys() >= {"python", "numpy", "numba", "jax", "scikit-learn"}
    assert facts["seconds"] > 0


def test_progress_counts_the_jobs(report, calls):
    done, totals, labels = zip(*calls, strict=True)
    assert list(done) == list(range(totals[0] + 1))
    assert set(totals) == {totals[0]}
    assert labels[-1] == ""
    assert all(labels[:-1])


def test_several_right_backends_agree_to_the_last_bit():
    twins = [RIGHT, WrongBackend("twin", "", RightKernels)]
    rows = verify(twins, steps=30, checks="trajectory").rows
    between = [row for row in rows if row.backend == "right-twin"]
    assert between
    assert all(row.value == 0 for row in between)


def test_the_reproducible_arithmetic_has_no_tolerance_between_backends():
    kernels = WRONG_BACKENDS["not-deterministic"].kernels
    pair = [Reproducible("right", "", RightKernels), Reproducible("shaky", "", kernels)]
    report = verify(pair, arithmetic="reproducible", steps=30, checks=["trajectory"])
    between = {row.figure for row in report.failed if row.backend == "right-shaky"}
    assert {"max ULP", "relative norm"} <= between
    assert not [row for row in report.failed if row.backend == "right"]


def test_the_reproducible_arithmetic_is_refused_by_a_backend_without_it():
    with pytest.raises(UnsupportedError, match="'right' does not cover arithmetic='reproducible'"):
        verify(RIGHT, arithmetic="reproducible")


def test_by_default_all_available_backends_are_verified(monkeypatch):
    missing = "jax is not installed; pip install jax"
    monkeypatch.setattr(registry, "_missing", lambda engine: missing if engine == "jax" else None)
    facts = verify(checks=["elementary"]).metadata
    assert facts["backends"] == ["numpy", "numba"]
    assert facts["skipped"] == {"jax": missing}


def test_a_backend_that_was_asked_for_must_be_available(monkeypatch):
    monkeypatch.setattr(registry, "_missing", lambda engine: f"{engine} is not installed")
    with pytest.raises(BackendUnavailableError, match="jax is not installed"):
        verify(["jax"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": "nunba"}, "did you mean 'numba'"),
        ({"backends": []}, "backends is empty"),
        ({"backends": ["numpy", "numpy"]}, "'numpy' twice"),
        ({"checks": ["gradients"]}, "checks='gradients' is unknown; choose from gradient"),
        ({"checks": []}, "checks is empty"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 1.5}, "steps must be an integer"),
        ({"arithmetic": "exact"}, "arithmetic='exact' is unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        verify(**{"backends": "numpy", **options})


def test_something_that_is_no_backend_is_refused():
    with pytest.raises(TypeError, match="name or a Backend object"):
        verify([SimpleNamespace(name="numpy")])


def test_the_reproducible_arithmetic_is_exact_where_its_specification_is():
    assert verify("numpy", arithmetic="reproducible", checks=["elementary"]).passed
