"""The kit itself: which tests concern whom, how it is run without pytest, what it says."""

import inspect
import subprocess
import sys

import pytest

import lrbackends as lrb
from lrbackends.backends.protocol import API_VERSION, Capabilities
from lrbackends.equivalence.wrong_backends import WRONG_BACKENDS
from lrbackends.errors import BackendUnavailableError
from lrbackends.testing import check_backend, kit
from lrbackends.testing.evidence import assert_passed
from lrbackends.testing.outcomes import assert_same_as_numpy
from lrbackends.testing.wrong_backends import Around, Wrong

QUICK = ("test_protocol.", "test_refusals.", "test_hessian.")


@pytest.fixture
def quick(monkeypatch):
    """Leave only a few quick tests in the kit."""
    tests = {name: test for name, test in kit.load_tests().items() if name.startswith(QUICK)}
    monkeypatch.setattr(kit, "load_tests", lambda: tests)
    return tests


def test_every_test_says_what_has_to_hold():
    for name, test in kit.load_tests().items():
        assert inspect.getdoc(test), name
        assert set(inspect.signature(test).parameters) <= {"backend", "address"}, name
        assert "backend" in inspect.signature(test).parameters, name


def test_a_right_backend_passes(quick):
    check_backend("numpy")
    check_backend(lrb.get_backend("numpy"))
    check_backend("lrbackends.backends.numpy_backend:NumpyBackend")


def test_every_failure_is_told_in_full(quick):
    with pytest.raises(AssertionError) as caught:
        check_backend(WRONG_BACKENDS["hessian-unpenalised"])
    message = str(caught.value)
    n = len([t for t in quick.values() if not kit.find(WRONG_BACKENDS["sign-error"]).spared(t)])
    assert message.startswith(f"backend 'hessian-unpenalised' fails 2 of the {n} tests")
    assert "test_hessian.test_hessians_and_products_are_those_of_the_formula: Symmetric" in message
    assert "float64, random w, l2: hessian" in message
    assert "limit 8 (largest error against" in message
    assert "test_hessians_and_products_in_float32" in message


def test_an_error_of_the_backend_is_told_with_its_place(quick):
    class Broken(Wrong):
        class kernels(Around):
            def run(self, rule, state, n_steps, batches):
                raise ZeroDivisionError("by the backend")

    with pytest.raises(AssertionError, match=r"in run\n(.|\n)*ZeroDivisionError: by the backend"):
        check_backend(Broken())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nunpy", ValueError, "is unknown; choose from"),
        ("no_such_module:Backend", BackendUnavailableError, "No module named 'no_such_module'"),
        ("lrbackends.problem:Problem", BackendUnavailableError, "failed to load from"),
        ("lrbackends.objective:Objective", BackendUnavailableError, "API version None"),
        (3, TypeError, "must be a name or a Backend object"),
    ],
)
def test_what_is_no_backend_is_refused(name, error, message):
    with pytest.raises(error, match=message):
        check_backend(name)


def test_without_assertions_nothing_is_tested():
    code = "import lrbackends.testing as t; t.check_backend('numpy')"
    ended = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "RuntimeError: the conformance kit consists of assertions" in ended.stderr


def test_pytest_is_not_needed():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import lrbackends.testing\n"
        "assert 'numpy' not in sys.modules\n"
        "from lrbackends.testing import kit\n"
        "kit.load_tests()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


class Claiming(Wrong):
    """A backend that claims what it is told to."""

    def __init__(self, **claimed):
        self.name, self.covers = "claiming", Capabilities(**claimed)


@pytest.mark.parametrize("ability", ["multinomial", "l1", "sparse", "reproducible", "threads"])
def test_a_claim_is_tested_or_else_its_refusal(ability):
    def concerning(**claimed):
        candidate = kit.Candidate(Claiming(**claimed), "claiming")
        return {name for name, test in kit.load_tests().items() if not candidate.spared(test)}

    claimed, not_claimed = concerning(**{ability: True}), concerning()
    assert len(not_claimed - claimed) == 1
    assert (not_claimed - claimed).pop().startswith("test_refusals.")
    assert claimed - not_claimed


def test_the_reason_why_a_test_is_spared_names_the_claim():
    candidate = kit.Candidate(Claiming(dtypes=("float64",)), None)
    tests = kit.load_tests()
    reasons = {
        "test_l1.test_the_subgradient_is_the_one_of_least_size": "claiming does not claim l1",
        "test_hessian.test_hessians_and_products_in_float32_are_those_of_the_formula": (
            "claiming does not claim hessian and float32"
        ),
        "test_determinism.test_another_process_gives_the_same_bits": (
            "another process cannot load an object: give a name or module:attribute"
        ),
        "test_protocol.test_kernels_are_complete": "",
    }
    assert {name: candidate.spared(tests[name]) for name in reasons} == reasons
    threads = kit.Candidate(Claiming(threads=True), None)
    assert threads.spared(tests["test_refusals.test_a_number_of_threads_is_refused"]) == (
        "claiming claims threads"
    )


def test_no_evidence_is_no_proof():
    with pytest.raises(AssertionError, match="nothing was measured"):
        assert_passed([])


def test_other_errors_warnings_and_numbers_than_numpys_are_noticed(noisy):
    class Other(Wrong):
        class kernels(Around):
            def run(self, rule, state, n_steps, batches):
                after, records = super().run(rule, state, n_steps, batches)
                return after._replace(theta=after.theta * (1 + 1e-13)), records

    backend = Other()
    with pytest.raises(AssertionError, match=r"parameters are .* apart, limit 2e-15"):
        assert_same_as_numpy(backend, *noisy, l2=0.1)
    backend.covers = Capabilities(dtypes=("float32",))
    with pytest.raises(AssertionError, match="does not cover dtype float64"):
        assert_same_as_numpy(backend, *noisy, l2=0.1)
    assert backend.api_version == API_VERSION
