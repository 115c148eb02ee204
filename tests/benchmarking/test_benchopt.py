"""Our solver file for benchopt, run by benchopt itself.

Without benchopt it is skipped. Two objectives: the one beside the solver file, which has the
formula of benchopt's benchmark_logreg_l2, and that benchmark's own, from a clone that
LRBACKENDS_BENCHOPT_LOGREG names.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parents[2] / "benchmarks" / "benchopt"
CLONE = "LRBACKENDS_BENCHOPT_LOGREG"
LMBD = 0.01
RUNS = 15
REACHED = 1e-9  # (F - F*) / F* after that many points of the curve
LEAKED = 0.3  # seconds; importing or compiling takes longer, these fits some milliseconds

pytestmark = [
    pytest.mark.skipif(find_spec("benchopt") is None, reason="benchopt is not installed"),
    pytest.mark.xdist_group("benchopt"),
]


@cache
def least() -> float:
    """Return the minimum of the objective, from scikit-learn."""
    X, y = load_breast_cancer(return_X_y=True)
    X, sign = (X - X.mean(axis=0)) / X.std(axis=0), 2.0 * y - 1.0
    model = LogisticRegression(
        C=1 / LMBD, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=100
    )
    beta = model.fit(X, sign).coef_[0]
    return np.logaddexp(0, -sign * (X @ beta)).sum() + LMBD / 2 * beta @ beta


def folder_of(objective: str) -> Path:
    if objective == "same formula":
        return HERE
    if CLONE not in os.environ:
        pytest.skip(f"{CLONE} does not name a clone of benchopt/benchmark_logreg_l2")
    return Path(os.environ[CLONE])


def run(folder: Path, solver: Path, tmp_path: Path) -> tuple[pd.DataFrame, str]:
    """Return benchopt's table of a few solvers on each backend, and what it said."""
    copy = tmp_path / "benchmark"  # benchopt writes into the folder
    ignore = shutil.ignore_patterns("outputs", "__cache__", ".git")
    shutil.copytree(folder, copy, ignore=ignore)
    which = "[backend=[numpy,numba,jax],solver=[auto,newton-cg]]"
    command = [sys.executable, "-m", "benchopt", "run", str(copy)]
    command += ["-s", f"{solver}{which}", "-d", str(HERE / "datasets" / "breast_cancer.py")]
    command += ["-o", f"*[lmbd={LMBD}]", "-n", str(RUNS), "-r", "1"]
    command += ["--no-plot", "--no-cache", "--output", "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.read_parquet(copy / "outputs" / "table.parquet"), done.stdout


def failures(table: pd.DataFrame, said: str) -> list[str]:
    """Return what is wrong with a run."""
    wrong = []
    curves = dict(tuple(table.groupby(["p_dataset_form", "p_solver_backend", "p_solver_solver"])))
    for backend in ("numpy", "numba", "jax"):
        for solver in ("auto", "newton-cg"):
            for form in ("dense", "sparse") if backend != "jax" else ("dense",):
                curve = curves.pop((form, backend, solver), None)
                if curve is None:
                    wrong.append(f"{backend} {solver} {form}: not run")
                    continue
                above = curve.objective_value.min() / least() - 1
                if not abs(above) <= REACHED:
                    wrong.append(f"{backend} {solver} {form}: {above:.1e} above the minimum")
                if curve.time.max() > LEAKED:
                    wrong.append(f"{backend} {solver} {form}: {curve.time.max():.2g} s for a fit")
    if curves:
        wrong.append(f"should have been skipped: {', '.join(map(str, curves))}")
    if "backend 'jax' does not cover sparse X" not in said:
        wrong.append("no reason for what was skipped")
    return wrong


@pytest.mark.parametrize("objective", ["same formula", "benchopt's own"])
def test_solver_file(objective, tmp_path):
    assert failures(*run(folder_of(objective), HERE / "solvers" / "lrbackends.py", tmp_path)) == []


MISTAKES = {  # right: wrong
    "lmbd / len(y)": "lmbd",
    "return True, str(error)": "return False, None",
    "self.run(1)": "pass",
    "self.run(min(n_steps, WARM_UP_STEPS))": "pass",
}


def test_mistakes_are_found(tmp_path):
    text = (HERE / "solvers" / "lrbackends.py").read_text()
    for right, wrong in MISTAKES.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    solver = tmp_path / "lrbackends.py"
    solver.write_text(text)
    found = "\n".join(failures(*run(HERE, solver, tmp_path)))
    for said in ("above the minimum", "s for a fit", "no reason"):
        assert said in found
