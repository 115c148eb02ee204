"""The kit as pytest runs it, in fresh processes and from an unrelated directory."""

import subprocess
import sys

import pytest

PLUGIN = "lrbackends.testing.pytest_plugin"


@pytest.fixture
def run(tmp_path):
    """Run pytest with these arguments; return exit code and output."""

    def pytest_in_a_process(*arguments: str, plugin: bool = True) -> tuple[int, str]:
        asked = ["-p", PLUGIN] if plugin else []
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfs", *asked, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return pytest_in_a_process


KIT = ("--pyargs", "lrbackends.testing")


def test_a_right_backend_passes_without_more_ado(run):
    code, said = run(*KIT, "--backend", "numpy", "-k", "protocol", plugin=False)
    assert code == 0, said
    assert "test_protocol.py" in said
    assert " failed" not in said


def test_an_unmet_claim_fails_and_what_is_not_claimed_is_skipped(run):
    wrong = "lrbackends.testing.wrong_backends:_SparseInName"
    code, said = run(
        *KIT, "--backend", wrong, "--backend", "numpy", "-k", "test_sparse or subgradient"
    )
    assert code == 1
    assert "figures are beyond their limits" in said
    assert "SparseInName, gradient, float64, X in CSR, random w: gradient" in said
    assert "SparseInName does not claim l1" in said
    assert "FAILED" in said
    assert "[numpy]" not in said.partition("short test summary")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which backend to test: --backend NAME, where NAME is one of numpy, numba, jax"),
        (("--backend", "nunpy"), "backend 'nunpy' is unknown; choose from"),
        (("--backend", "nowhere:Backend"), "No module named 'nowhere'"),
    ],
    ids=["none", "unknown", "module"],
)
def test_a_wrong_call_is_a_usage_error(run, arguments, message):
    code, said = run(*KIT, *arguments)
    assert code == 4
    assert f"ERROR: {message}" in said or message in said
    assert "Traceback" not in said


def test_other_runs_of_pytest_have_no_such_option(run, tmp_path):
    (tmp_path / "test_else.py").write_text("def test_else(): pass\n")
    assert run()[0] == 0
    code, said = run("--backend", "numpy")
    assert code == 4
    assert "unrecognized arguments: --backend" in said
