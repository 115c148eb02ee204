"""The jobs of the five programs that this library grew from, each on every backend.

Who wants to see one done runs what its docstring names.
"""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lrbackends as lrb
from lrbackends import cli
from lrbackends.callbacks import PrintLoss
from lrbackends.datasets import load_dataset
from lrbackends.errors import SeparationWarning
from lrbackends.model_file import load_model
from lrbackends.objective import sigmoid

EXAMPLES = Path(__file__).parents[1] / "examples"
TEN_POINTS = EXAMPLES / "ten_points.csv"


def command(*arguments: object) -> str:
    """Run a command that has to succeed; return what it prints."""
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_example(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


class TestBackpropagation:
    """``lrbackends train --backend numpy --print-every 100 --l2 0.001``."""

    def test_gradient_descent_by_the_chain_rule(self, backend_name):
        """Forward, cross-entropy, backward, step: written out here, the same from the trainer."""
        data = load_dataset("digits01")
        X, y, rate = data.X_train, data.y_train, 0.1
        w, b, losses = np.zeros(64), 0.0, []
        for _ in range(25):
            a = sigmoid(X @ w + b)  # forward
            losses.append(np.mean(-y * np.log(a) - (1 - y) * np.log(1 - a)))  # cross-entropy
            dz = (a - y) / len(y)  # d loss / dz
            w, b = w - rate * (dz @ X), b - rate * dz.sum()  # chain rule: dz/dw = x, dz/db = 1
        with pytest.warns(SeparationWarning):  # zeros and ones can be told apart without error
            result = lrb.Trainer(backend_name, learning_rate=rate, epochs=25).fit(X, y)
        np.testing.assert_allclose(result.coef[0], w, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(result.intercept, b, rtol=1e-12)
        np.testing.assert_allclose(
            [result.initial_loss, *result.history["loss"][:-1]], losses, rtol=1e-12
        )
        right = ((data.X_test @ w + b > 0) == data.y_test).mean()
        assert result.accuracy(data.X_test, data.y_test) == right > 0.98

    def test_from_the_command_line(self, backend_name):
        printed = command(
            *["train", "--backend", backend_name, "--epochs", 40, "--l2", 0.001],
            *["--print-every", 10],
        )
        losses = [float(line.split()[-1]) for line in printed.splitlines() if "loss 0" in line]
        assert len(losses) >= 3
        assert losses == sorted(losses, reverse=True)
        assert "test accuracy" in printed


class TestFromScratch:
    """``python examples/from_scratch.py``."""

    def test_fit_watch_and_decide(self, backend_name, capsys):
        data = load_dataset("breast_cancer")
        model = lrb.Trainer(
            backend_name, learning_rate=0.1, epochs=100, l2=1e-3, callbacks=[PrintLoss(every=30)]
        ).fit(data.X_train, data.y_train)
        printed = [line.split(": loss ") for line in capsys.readouterr().out.splitlines()]
        assert [epoch for epoch, _ in printed] == ["epoch 30", "epoch 60", "epoch 90"]
        assert [float(loss) for _, loss in printed] == [
            round(float(model.history["loss"][e - 1]), 6) for e in (30, 60, 90)
        ]
        probability = model.predict_proba(data.X_test)
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-15)
        labels = np.where(probability[:, 1] > 0.5, "malignant", "benign")
        np.testing.assert_array_equal(model.predict(data.X_test, threshold=0.5), labels)
        assert (labels == data.y_test).mean() > 0.95

    def test_labels_may_be_a_column(self, backend_name):
        data = load_dataset("breast_cancer")
        trainer = lrb.Trainer(backend_name, epochs=10, l2=1e-3)
        flat = trainer.fit(data.X_train, data.y_train)
        with pytest.warns(Warning, match="y is a column of shape"):
            column = trainer.fit(data.X_train, data.y_train.reshape(-1, 1))
        np.testing.assert_array_equal(flat.coef, column.coef)

    def test_the_script(self, capsys, monkeypatch):
        run_example("from_scratch.py", "numpy", monkeypatch=monkeypatch)
        printed = capsys.readouterr().out
        assert "accuracy 0.97" in printed
        assert "y as a column gives the same weights: True" in printed


class TestZerosOrOnes:
    """``lrbackends train digits01 --init normal --batch-size 32 --validation-fraction 0.2`` with

    ``--plots pictures``; of MNIST ``lrbackends train train-images-idx3-ubyte.gz --digits 0,1 …``.
    """

    def test_images_in_mini_batches_with_pictures(self, backend_name, tmp_path):
        images = load_dataset("digits01")
        assert images.image_shape == (8, 8)  # rows are unrolled images
        pictures, model = tmp_path / "pictures", tmp_path / "model.json"
        printed = command(
            *["train", "digits01", "--backend", backend_name, "--init", "normal"],
            *["--batch-size", 32, "--validation-fraction", 0.2, "--epochs", 15, "--l2", 0.001],
            *["--print-every", 5, "--seed", 3, "--plots", pictures, "--save", model],
        )
        assert sorted(p.stem for p in pictures.iterdir()) == [
            *("curves", "examples", "predictions", "weights")
        ]
        lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
        assert all("validation loss 0." in line for line in lines)
        assert all("validation accuracy" in line for line in lines)
        before, after = next(
            map(float, line.split()[-2:]) for line in printed.splitlines() if "test acc" in line
        )
        assert before < 0.8 < 0.98 < after
        assert load_model(model).accuracy(images.X_test, images.y_test) == pytest.approx(
            after, abs=5e-5
        )


class TestTenPoints:
    """The toy set with patience, see `OPTIONS`; the data are in ``examples/ten_points.csv``.

    Ten students: hours of study, hours of sleep before the exam, and whether they passed. Neither
    column alone tells who passes; twice the study plus the sleep does (14.5 fails, 15.5 passes).
    """

    OPTIONS = (
        *("--target", "passed", "--test-size", "0", "--standardise", "--l2", "0.001"),
        *("--learning-rate", "0.5", "--epochs", "5000", "--patience", "20", "--min-delta", "1e-6"),
    )

    def test_the_set_is_as_described(self):
        data = load_dataset(TEN_POINTS, target="passed", test_size=0)
        assert data.X_train.shape == (10, 2)
        assert np.bincount(data.y_train).tolist() == [5, 5]
        for column in data.X_train.T:  # no threshold on one column separates
            assert column[data.y_train == 0].max() > column[data.y_train == 1].min()
            assert column[data.y_train == 1].max() > column[data.y_train == 0].min()
        score = data.X_train @ [2, 1]
        assert score[data.y_train == 0].max() == 14.5
        assert score[data.y_train == 1].min() == 15.5

    def test_all_ten_are_right_and_patience_ends_it(self, backend_name, tmp_path):
        printed = command(
            "train", TEN_POINTS, *self.OPTIONS, "--backend", backend_name, "--save", tmp_path / "m"
        )
        assert re.search(r"training accuracy +0\.5000 +1\.0000", printed)
        assert "early stopped after" in printed
        # The scaling is folded into the weights: the model takes hours.
        data = load_dataset(TEN_POINTS, target="passed", test_size=0)
        assert load_model(tmp_path / "m").accuracy(data.X_train, data.y_train) == 1.0

    def test_the_best_loss_is_returned(self, backend_name):
        """Momentum overshoots the optimum; the result is the lowest loss on the way."""
        data = load_dataset(TEN_POINTS, target="passed", test_size=0)
        X = (data.X_train - data.X_train.mean(axis=0)) / data.X_train.std(axis=0)
        result = lrb.Trainer(
            backend_name, solver="momentum", learning_rate=3.0, l2=0.05, epochs=500, patience=15
        ).fit(X, data.y_train)
        assert result.status == "early_stopped"
        assert result.loss == result.history["loss"][result.best_epoch - 1]
        assert result.loss == min(result.history["loss"]) < result.history["loss"][-1]
        assert result.n_epochs == result.best_epoch + 15


class TestTwoForms:
    """``python examples/two_forms.py``."""

    @pytest.mark.parametrize("scale", [0.0, 1.0, 30.0], ids=["zeros", "near", "far"])
    def test_cumulative_and_vectorised_give_the_same(self, scale):
        """The derivation's loop in plain Python, and what each backend makes of it."""
        data = load_dataset("digits01")
        problem = lrb.Problem(data.X_train[:80], data.y_train[:80])
        X, n = problem.X, problem.n_samples
        rng = np.random.default_rng(0)
        w, b = scale * rng.normal(size=64), np.float64(scale * rng.normal())

        dw, db = np.zeros(64), 0.0
        for x, y in zip(X, problem.y, strict=True):
            sign = 1 - 2 * y
            e = np.exp(-abs(m := sign * (x @ w + b)))
            dz = sign * (1.0 if m >= 0 else e) / (1.0 + e)
            dw += dz * x
            db += dz

        # Every form adds n rounded products: so far apart can they be.
        dw_limit = 2 * n * np.finfo(float).eps * np.abs(X).sum(axis=0)
        db_limit = 2 * n * np.finfo(float).eps * n
        for name in ("numpy", "numba", "jax"):
            kernels = lrb.get_backend(name).compile(problem, lrb.Objective())
            gradient = kernels.loss_gradient((w, b))[1]
            assert (np.abs(n * gradient.coef[0] - dw) <= dw_limit).all()
            assert abs(n * gradient.intercept[0] - db) <= db_limit
        assert (np.abs(dw) > 1e6 * dw_limit).any()  # so the limit means something
        assert abs(db) > 1e6 * db_limit

    def test_the_script(self, capsys, monkeypatch):
        run_example("two_forms.py", monkeypatch=monkeypatch)
        lines = capsys.readouterr().out.splitlines()
        apart = [float(line.split()[-1]) for line in lines if "differs by at most" in line]
        assert len(apart) == 8
        assert max(apart) < 1e-15
