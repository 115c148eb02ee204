"""The command line: what it prints, where, and how it ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from dataclasses import fields, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from lrbackends import cli
from lrbackends.backends import registry
from lrbackends.benchmarking import compare as compare_module
from lrbackends.benchmarking.comparison import Comparison
from lrbackends.datasets import TEST_SIZE
from lrbackends.equivalence.wrong_backends import WRONG_BACKENDS
from lrbackends.errors import ScaleWarning
from lrbackends.model_file import load_model
from lrbackends.trainer import Trainer

QUICK = ["--backend", "numpy", "--epochs", "20", "--l2", "0.001", "--seed", "0"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments], prog_name="lrbackends")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    for line in result.stdout.splitlines():
        assert len(line) <= 80 or " in /" in line, line  # a path may be as long as it is
    return result


def words(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


def fails(*arguments: object) -> str:
    """Run what must end with exit code 2 and one line on standard error; return the line."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert re.fullmatch(r"lrbackends: error: [^\n]+\n", result.stderr)
    return result.stderr.removeprefix("lrbackends: error: ").strip()


@pytest.fixture
def table(tmp_path) -> Path:
    """40 rows with a text target and columns of different size."""
    rng = np.random.default_rng(7)
    X = rng.normal([0, 50], [1, 10], size=(40, 2))
    kind = np.where(X[:, 0] + (X[:, 1] - 50) / 10 + rng.normal(size=40) > 0, "rose", "lily")
    path = tmp_path / "flowers.csv"
    pd.DataFrame(X, columns=["width", "height"]).assign(kind=kind).to_csv(path, index=False)
    return path


# -- help and options


@pytest.mark.parametrize("command", ["", *cli.main.commands])
def test_help_fits_and_is_plain(command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout


def test_without_a_command_the_help_is_shown():
    result = run()
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


def test_defaults_of_train_are_those_of_the_trainer():
    defaults = {f.name: f.default for f in fields(Trainer)}
    given = {p.name: p.default for p in cli.main.commands["train"].params}
    shared = set(defaults) & set(given)
    unset = {
        name: None if given[name] is None or given[name] is UNSET else given[name]
        for name in shared
    }
    assert unset == {name: defaults[name] for name in shared}
    # Callbacks need Python; --standardise changes the data, so that pictures show it, too.
    assert set(defaults) - shared == {"callbacks", "standardize"}
    assert given["test_size"] == TEST_SIZE


UNSET = click.Option(["--x"]).default  # how this version of click says "no default"


# -- train


def test_ten_classes_are_trained_drawn_saved_and_predicted(tmp_path):
    model, pictures = tmp_path / "digits.json", tmp_path / "pictures"
    options = ["--backend", "numpy", "--solver", "auto", "--l2", "0.01", "--gap", "1e-6"]
    result = run("train", "digits", *options, "--save", str(model), "--plots", str(pictures))
    assert result.exit_code == 0, result.output
    assert re.search(r"test accuracy +0\.1\d+ +0\.9[3-9]", result.stdout)
    assert len(list(pictures.glob("*.png"))) == 4
    table = tmp_path / "predicted.csv"
    predicted = run("predict", model, "digits", "--output", table)
    assert predicted.exit_code == 0
    frame = pd.read_csv(table)
    assert list(frame)[1:] == [f"probability of {k}" for k in range(10)]
    np.testing.assert_allclose(frame.iloc[:, 1:].sum(axis=1), 1.0)
    assert re.search(r"accuracy 0\.9[3-9]", predicted.stderr)


def test_an_absolute_penalty_makes_weights_zero(tmp_path):
    model = tmp_path / "m.json"
    options = ["--solver", "auto", "--l1", "0.02", "--save", model]
    assert run("train", *QUICK[:2], *options).exit_code == 0
    coef = load_model(model).coef
    assert 0 < np.count_nonzero(coef) < coef.size / 2


def test_train_says_what_it_did():
    result = run("train", *QUICK)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "digits01: handwritten digits 0 and 1" in result.stdout
    assert "270 training rows (133 of class 0, 137 of class 1), 90 test rows" in words(
        result.stdout
    )
    for pattern in (
        r"loss +0\.6931471806 +0\.1\d+\n",
        r"training accuracy +0\.4926 +1\.0000\n",
        r"test accuracy +0\.5000 +1\.0000\n",
        r"completed after 20 epochs: all 20 epochs done",
        r"gd on numpy, full batch, learning rate 0\.\d+, 21 passes, float64, seed 0",
        r"(?s)time: data .*import .*transfer .*compile .*run .* in all",
    ):
        assert re.search(pattern, result.stdout), pattern


def test_accuracy_before_training_is_that_of_the_start():
    result = run("train", *QUICK, "--init", "normal", "--init-scale", "1", "--epochs", "0")
    before, after = re.search(r"training accuracy +(\S+) +(\S+)", result.stdout).groups()
    assert before == after != "0.4926"


def test_options_reach_the_trainer():
    result = run(
        *["train", "--backend", "numpy", "--solver", "momentum", "--epochs", 9],
        *["--batch-size", 32, "--learning-rate", 0.25, "--l2", 0.1, "--dtype", "float32"],
        *["--patience", 3, "--min-delta", 10, "--seed", 5, "--momentum", 0.5],
    )
    assert "early stopped after 3 epochs: the training loss" in result.stdout
    assert (
        "momentum on numpy, batches of 32, learning rate 0.25, 7 passes, float32, seed 5"
        in words(result.stdout)
    )


def test_a_solver_to_the_optimum_says_how_near_it_is():
    result = run(
        *["train", "breast_cancer", "--backend", "numpy", "--standardise", "--l2", 0.01],
        *["--solver", "auto", "--gap", 1e-6],
    )
    assert re.search(
        r"converged after \d+ steps: newton \(chosen by auto\): the objective is certified to be "
        r"within \d\.\de-\d+ of its minimum",
        words(result.stdout),
    )
    assert "learning rate" not in result.stdout


def test_print_every_prints_the_loss():
    result = run("train", *QUICK, "--print-every", "5")
    assert re.findall(r"^epoch (\d+): loss 0\.\d{6}$", result.stdout, re.M) == [
        "5",
        "10",
        "15",
        "20",
    ]


def test_quiet_prints_nothing():
    result = run("train", *QUICK, "--quiet")
    assert result.output == ""


def test_a_warning_of_the_library_is_one_line():
    result = run("train", "--backend", "numpy", "--epochs", "50")
    assert result.exit_code == 0
    assert re.fullmatch(
        r"lrbackends: warning: [^\n]+ the classes are separated [^\n]+\n", result.stderr
    )
    assert "separated after 50 epochs" in result.stdout


def test_the_same_warning_is_printed_once(monkeypatch):
    def warn(*_, **__):
        for text in ("first\nline", "second", "first\nline"):
            cli.warnings.warn(text, ScaleWarning, stacklevel=1)
        raise ValueError("enough")

    monkeypatch.setattr("lrbackends.datasets.load_dataset", warn)
    assert run("train").stderr.splitlines() == [
        "lrbackends: warning: first line",
        "lrbackends: warning: second",
        "lrbackends: error: enough",
    ]


def test_plots_do_not_change_the_model(tmp_path):
    run("train", *QUICK, "--save", tmp_path / "a.json")
    result = run("train", *QUICK, "--save", tmp_path / "b.json", "--plots", tmp_path / "new" / "p")
    names = sorted(p.name for p in (tmp_path / "new" / "p").iterdir())
    assert names == ["curves.png", "examples.png", "predictions.png", "weights.png"]
    assert f"4 pictures in {tmp_path}" in result.stdout
    models = [load_model(tmp_path / name) for name in ("a.json", "b.json")]
    assert models[0].coef.tobytes() == models[1].coef.tobytes()


# -- predict


def test_a_table_is_predicted_by_the_model_it_trained(tmp_path, table):
    model, output = tmp_path / "m.json", tmp_path / "out.csv"
    assert (
        run("train", table, "--target", "kind", *QUICK, "--standardise", "--save", model).exit_code
        == 0
    )
    result = run("predict", model, table)
    frame = pd.read_csv(table)
    told = pd.read_csv(io.StringIO(result.stdout))
    assert list(told.columns) == ["prediction", "probability of lily", "probability of rose"]
    assert len(told) == 40
    np.testing.assert_allclose(told.iloc[:, 1:].sum(axis=1), 1, rtol=1e-12)
    right = int((told["prediction"] == frame["kind"]).sum())
    assert result.stderr == f"accuracy {right / 40:.4f} ({right} of 40 rows)\n"
    assert right > 28

    shuffled = frame[["height", "width"]]  # other order, no labels
    shuffled.to_csv(tmp_path / "new.csv", index=False)
    result = run("predict", model, tmp_path / "new.csv", "--output", output)
    assert result.output == ""
    pd.testing.assert_frame_equal(pd.read_csv(output), told)


def test_a_threshold_moves_the_decision(tmp_path):
    run("train", *QUICK, "--save", tmp_path / "m.json")
    ones = [
        run("predict", tmp_path / "m.json", "digits01", "--threshold", t).stdout.count("\n1,")
        for t in (0, 0.5, 1)
    ]
    assert ones[0] == 90 > ones[1] > ones[2] == 0


def test_labels_that_the_model_does_not_know_are_told(tmp_path):
    run("train", *QUICK, "--save", tmp_path / "m.json")
    result = run("predict", tmp_path / "m.json", "digits")
    accuracy, warning = result.stderr.splitlines()
    assert re.fullmatch(r"accuracy \S+ \(\d+ of 91 rows\)", accuracy)
    assert warning.startswith("lrbackends: warning: 359 rows have labels that the model does not")
    result = run("predict", tmp_path / "m.json", "digits", "--digits", "0,1")
    assert len(result.stderr.splitlines()) == 1


# -- compare, verify, backends


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> tuple[Result, Path]:
    path = tmp_path_factory.mktemp("compare") / "c.json"
    options = ["--backends", "numpy,jax", "--epochs", "20", "--rounds", "1", "--vary", "none"]
    return run("compare", *options, "--json", path), path


def test_compare_reports_and_agrees(comparison):
    result, path = comparison
    assert result.exit_code == 0
    assert result.stderr == ""
    found = Comparison.from_json(path.read_text())
    assert [row.backend for row in found.rows] == ["numpy", "jax"]
    assert found.name == "digits01"
    assert found.settings.epochs == 20
    assert found.settings.l2 == 1e-3
    assert words(found.verdict()) in words(result.stdout)
    assert "1. Which backend is fastest for this work?" in result.stdout
    assert "vary='cache' measures it" in words(result.stdout)


@pytest.mark.parametrize("fault", ["apart", "label", "failed", "none"])
def test_compare_fails_where_backends_disagree_or_fail(comparison, monkeypatch, fault):
    found = Comparison.from_json(comparison[1].read_text())
    beyond = {"apart": {"relative": 1e-9}, "label": {"labels": 1}}.get(fault)
    if beyond is not None:
        distances = replace(found.distances[0], **beyond), *found.distances[1:]
        base = replace(found.agreements[0], distances=distances)
        found = replace(found, agreements=(base, *found.agreements[1:]))
    elif fault == "failed":
        found = replace(found, rows=(found.rows[0], replace(found.rows[1], status="failed")))
    monkeypatch.setattr(compare_module, "compare", lambda *_, **__: found)
    assert run("compare").exit_code == (0 if fault == "none" else 1)


def test_compare_sends_the_options_on(monkeypatch, table):
    seen = {}

    def note(**options):
        seen.clear()
        seen.update(options)
        raise ValueError("seen")

    monkeypatch.setattr(compare_module, "compare", note)
    run("compare")
    assert seen.pop("X").shape == (270, 64)
    assert len(seen.pop("y")) == 270
    assert callable(seen.pop("first"))
    assert len(seen.pop("X_test")) == len(seen.pop("y_test")) == 90
    assert seen == {
        "backends": None,
        "solver": "gd",
        "epochs": 1000,
        "l2": 1e-3,
        "learning_rate": None,
        "batch_size": None,
        "dtype": None,
        "arithmetic": "fast",
        "shape": None,
        "vary": None,
        "sizes": None,
        "journal": None,
        "rounds": 6,
        "random_state": 0,
        "progress": None,
        "name": "digits01",
    }
    run(
        "compare",
        table,
        "--target",
        "kind",
        "--test-size",
        0,
        "--backends",
        "jax, numpy",
        "--standardise",
    )
    assert seen["backends"] == ["jax", "numpy"]
    assert not {"X_test", "y_test"} & set(seen)
    np.testing.assert_allclose(seen["X"].std(axis=0), 1)
    run("compare", "--shape", "200x5", "--vary", "size, threads", "--sizes", "10,1000")
    assert (seen["shape"], seen["vary"], seen["sizes"]) == (
        (200, 5),
        ["size", "threads"],
        (10, 1000),
    )
    assert "X" not in seen
    run("compare", "--vary", "none", "--journal", table.parent / "j.jsonl")
    assert not seen["vary"]
    assert Path(seen["journal"]) == table.parent / "j.jsonl"


def test_compare_shows_the_base_task_first_and_then_the_rest(comparison, monkeypatch):
    found = Comparison.from_json(comparison[1].read_text())
    seen = []

    def made(first, **_):
        first(found)
        seen.append(True)
        return found

    monkeypatch.setattr(compare_module, "compare", made)
    result = run("compare")
    assert seen
    assert result.stdout == comparison[0].stdout
    base, rest = (result.stdout.index(part) for part in ("What it costs", " 1. Which backend"))
    assert base < rest


def test_compare_writes_what_it_is_asked_for(comparison, monkeypatch, tmp_path):
    found = Comparison.from_json(comparison[1].read_text())
    monkeypatch.setattr(compare_module, "compare", lambda **_: found)
    result = run(
        *("compare", "--json", tmp_path / "c.json", "--markdown", tmp_path / "c.md"),
    )
    assert result.exit_code == 0
    assert Comparison.from_json((tmp_path / "c.json").read_text()) == found
    assert found.recommend() in (tmp_path / "c.md").read_text(encoding="utf-8")


@pytest.fixture
def wrong_backend(monkeypatch) -> str:
    """The name of a registered backend with the wrong sign."""
    module = types.SimpleNamespace(backend=WRONG_BACKENDS["sign-error"])
    monkeypatch.setitem(sys.modules, "bent", module)
    entry = registry._Registration("bent:backend", None, "this test")
    monkeypatch.setitem(registry._BUILT_IN, "bent", entry)
    return "bent"


def test_verify_exits_by_its_verdict(tmp_path, wrong_backend):
    options = ["--checks", "gradient", "--json", tmp_path / "v.json", "--backends"]
    result = run("verify", *options, "numpy")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert json.loads((tmp_path / "v.json").read_text())
    result = run("verify", *options, wrong_backend)
    assert result.exit_code == 1
    assert "FAIL" in result.stdout.upper()


def test_backends_shows_what_is_here_and_what_is_not(monkeypatch):
    find = registry._missing
    monkeypatch.setattr(
        registry, "_missing", lambda engine: "no wheels" if engine == "jax" else find(engine)
    )
    result = run("backends")
    assert result.exit_code == 0
    assert re.search(r"numpy +numpy \S+ +built in +float64, +yes", result.stdout)
    assert "jax is not available: no wheels" in result.stdout


# -- wrong calls and data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "No such command 'trian'.*train"),
        ("--verison", "No such option.*--version"),
        ("train --epohcs 3", "No such option.*--epohcs.*--epochs"),
        ("train --epochs many", "Invalid value for '--epochs': 'many' is not a valid integer"),
        ("train a b", "unexpected extra argument"),
        ("train --epochs -1", "epochs must be a finite number >= 0, got -1"),
        ("train --print-every 0", "print-every must be a finite number >= 1"),
        ("train --solver sgd", "solver='sgd' is unknown; choose from gd, momentum, nesterov, adam"),
        ("train --backend nunpy", "backend 'nunpy' is unknown; .* did you mean 'numpy'"),
        ("train --dtype int8", "dtype='int8' is not supported; use 'float64' or 'float32'"),
        ("train --digits 3", "'3' is not two labels like 0,1"),
        ("train missing.csv", "there is no file 'missing.csv'"),
        ("train --target y", r"target \(--target\) is for CSV and Parquet files"),
        ("train --save missing/m.json", "'--save': there is no directory 'missing'"),
        ("train --save .", "'--save': '.' is a directory"),
        (
            "train --backend numpy --learning-rate 1e9 --l2 1e-3",
            "training diverged in epoch 1: .* the largest safe learning_rate .* is 0.3",
        ),
        ("train --backend jax --threads 2", "does not cover n_threads=2"),
        ("predict missing.json digits01", "missing.json: No such file or directory"),
        ("predict m.json", "Missing argument 'DATA'"),
        ("compare --backends numpy,cupy", "backend 'cupy' is unknown"),
        ("compare --solver sgd", "solver='sgd' is unknown"),
        ("compare --vary speed", "vary='speed' is unknown; choose from size, arithmetic"),
        ("compare --shape 200", "Invalid value for '--shape'"),
        ("compare --sizes 100,many", "Invalid value for '--sizes'"),
        ("compare --sizes 3", "sizes must be a finite number >= 10, got 3"),
        ("compare --json missing/c.json", "'--json': there is no directory 'missing'"),
        ("verify --backends cupy", "backend 'cupy' is unknown"),
        ("verify --checks luck", "checks='luck' is unknown"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, fails(*arguments.split()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,0\n2,0\n3,0\n4,0\n", "y has only one class"),
        ("a,y\n1,0\n,1\n3,0\n4,1\n", r"column 0 \('a'\) of X has 1 missing or NaN values"),
        ("a,y\n1,0\nold,1\n3,0\n4,1\n", "column 'a' of .* holds text, 'old' in row 1"),
        ("a,b\n1,0\n2,1\n", "has no column 'y'; it has a, b"),
    ],
)
def test_wrong_data_are_one_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert re.search(message, fails("train", path, "--target", "y", *QUICK))


def test_a_damaged_model_is_one_line(tmp_path):
    model = tmp_path / "m.json"
    run("train", *QUICK, "--save", model)
    whole = model.read_bytes()
    model.write_bytes(whole.replace(b"0.", b"1.", 1))
    assert "is damaged" in fails("predict", model, "digits01")
    model.write_bytes(whole)
    assert "X has 30 features, but the model was" in fails("predict", model, "breast_cancer")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def bug(*_, **__):
        raise KeyError("bug")

    monkeypatch.setattr("lrbackends.datasets.load_dataset", bug)
    with pytest.raises(KeyError, match="bug"):
        run("train")


# -- in a process of its own


def process(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lrbackends", *arguments], capture_output=True, text=True, **options
    )


def test_help_imports_no_engine_and_no_library():
    code = (
        "import sys; from lrbackends.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'jax', 'scipy', 'sklearn', 'pandas', 'matplotlib', 'rich'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_piped_run_is_plain_text_of_80_columns():
    done = process("train", *QUICK, env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"})
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_error_in_a_process_is_one_line_without_traceback():
    done = process("train", "--backend", "numpy", "--learning-rate", "1e9", "--l2", "1")
    assert done.returncode == 2
    assert re.fullmatch(r"lrbackends: error: training diverged [^\n]+\n", done.stderr)


def test_a_reader_that_leaves_is_no_error():
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lrbackends",
            *["train", "--backend", "numpy", "--print-every", "1", "--epochs", "20000"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.readline()
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=30) == 141
    assert errors == b""


def test_an_interrupt_is_one_line():
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lrbackends",
            *["train", "--backend", "numpy", "--epochs", "100000000", "--l2", "1"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.readline()  # the data are loaded: it trains
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert errors == "lrbackends: error: interrupted\n"
