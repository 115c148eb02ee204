"""The pictures: their content where it can be read back, and that nothing global is touched."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.datasets import load_wine

import lrbackends as lrb
from lrbackends.datasets import Dataset, load_dataset
from lrbackends.report import plots


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", digits=(3, 8))


@pytest.fixture(scope="module")
def result(digits) -> lrb.TrainingResult:
    return lrb.Trainer("numpy", epochs=12, l2=1e-3, random_state=0).fit(
        digits.X_train, digits.y_train, validation_data=(digits.X_test, digits.y_test)
    )


def lines(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_curves_show_the_history(result):
    figure = plots.curves(result, {3: 0.8, 12: 0.9}, "test")
    loss, accuracy = figure.axes
    drawn = lines(loss)
    assert drawn["training, with penalty"][0].tolist() == [0, result.initial_loss]
    np.testing.assert_array_equal(drawn["training, with penalty"][1:, 1], result.history["loss"])
    np.testing.assert_array_equal(drawn["test"][:, 1], result.history["validation_loss"])
    assert lines(accuracy)["training"].tolist() == [[3, 0.8], [12, 0.9]]
    np.testing.assert_array_equal(
        lines(accuracy)["test"][:, 1], result.history["validation_accuracy"]
    )
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_title() for axes in figure.axes)


def test_accuracy_that_was_not_recorded_is_not_drawn(noisy):
    figure = plots.curves(lrb.Trainer("numpy", epochs=3).fit(noisy.X, noisy.y))
    assert not figure.axes[1].lines
    assert figure.axes[1].texts[0].get_text() == "not recorded"


def test_weights_are_an_image_centred_at_zero(result):
    axes = plots.weights(result, image_shape=(8, 8)).axes[0]
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), result.coef.reshape(8, 8))
    low, high = image.get_clim()
    assert -low == high == np.abs(result.coef).max()


def test_each_of_several_classes_has_its_weights():
    wine = load_wine(as_frame=True)
    X = (wine.data - wine.data.mean()) / wine.data.std()
    result = lrb.Trainer("numpy", "newton", l2=0.01, gap=1e-6).fit(X, wine.target)
    image = plots.weights(result, tuple(X.columns)).axes[0].images[0]
    largest = np.argsort(-np.abs(result.coef).max(axis=0), kind="stable")
    np.testing.assert_array_equal(image.get_array(), result.coef[:, largest].T)
    strip = plots.predictions(result, X.to_numpy(), wine.target).axes[0]
    assert [t.get_text() for t in strip.get_yticklabels()] == ["0", "1", "2"]
    dots = np.concatenate([part.get_offsets()[:, 0] for part in strip.collections])
    assert dots.min() > 0.3  # the probability of the true label
    assert strip.get_xlabel() == "predicted probability of the true label"


def test_each_of_several_classes_has_its_image():
    data = load_dataset("digits")
    result = lrb.Trainer("numpy", "auto", l2=0.01, gap=1e-4).fit(data.X_train, data.y_train)
    figure = plots.weights(result, image_shape=(8, 8))
    drawn = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [a.get_title() for a in drawn] == list("0123456789")
    for axes, row in zip(drawn, result.coef, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), row.reshape(8, 8))


def test_the_largest_weights_are_bars(result):
    axes = plots.weights(result, [f"name {j}" for j in range(64)]).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    largest = np.sort(np.abs(result.coef[0]))[-20:]
    np.testing.assert_array_equal(np.abs(widths), largest)
    top = int(np.abs(result.coef[0]).argmax())
    assert axes.get_yticklabels()[-1].get_text() == f"name {top}"
    assert "20 largest of 64" in axes.get_title()


def test_mistakes_are_marked_and_nothing_else(result, digits):
    upside_down = np.where(digits.y_test == 3, 8, 3)  # all that was right is now a mistake
    for y in (digits.y_test, upside_down):
        figure = plots.predictions(result, digits.X_test, y, (8, 8), random_state=5)
        shown = [axes for axes in figure.axes if axes.images]
        red = [axes for axes in shown if axes.title.get_color() == plots._RED]
        assert len(shown) == 24
        assert len(red) == sum("is" in axes.get_title() for axes in shown)
        assert f"{24 - len(red)} predicted right, {len(red)} wrong" in figure.get_suptitle()
        for axes in shown:
            row = (digits.X_test == np.ravel(axes.images[0].get_array())).all(axis=1).argmax()
            wrong = result.predict(digits.X_test[[row]])[0] != y[row]
            assert (axes in red) == wrong
            marked = axes.spines["left"].get_edgecolor() == to_rgba(plots._RED)
            assert marked == wrong
        if y is upside_down:
            assert red


def test_rows_that_are_no_images_become_dots(result, digits):
    figure = plots.predictions(result, digits.X_test, digits.y_test)
    right, wrong = figure.axes[0].collections
    errors = int((result.predict(digits.X_test) != digits.y_test).sum())
    assert len(wrong.get_offsets()) == errors
    assert len(right.get_offsets()) == len(digits.X_test) - errors


def test_examples_carry_their_labels(digits):
    figure = plots.examples(digits.X_train, digits.y_train, (8, 8), random_state=2)
    assert {axes.get_title() for axes in figure.axes} == {"3", "8"}


def test_names_are_not_read_as_mathematics(tmp_path, noisy):
    labels = np.array(["$a_{", "b$}$"])[noisy.y]
    result = lrb.Trainer("numpy", epochs=2).fit(noisy.X, labels)
    names = ("$x{$", "price in $", "a_$^$")
    data = Dataset("odd", noisy.X, labels, noisy.X[:4], labels[:4], names, None, "odd")
    plots.save_plots(tmp_path, data, result)
    ticks = plots.weights(result, names).axes[0].get_yticklabels()
    assert {tick.get_text().replace(r"\$", "$") for tick in ticks} == set(names)


def test_the_best_epoch_is_shown_where_it_is_the_model(noisy):
    stopped = lrb.Trainer("numpy", "momentum", l2=0.1, epochs=400, patience=9, learning_rate=2.0)
    for trainer, shown in ((stopped, True), (lrb.Trainer("numpy", epochs=5), False)):
        result = trainer.fit(noisy.X, noisy.y)
        drawn = lines(plots.curves(result).axes[0])
        assert ("best epoch" in drawn) == shown
        assert not shown or drawn["best epoch"][0][0] == result.best_epoch < result.n_epochs


@pytest.mark.parametrize("images", [True, False])
def test_the_pictures_are_written(tmp_path, result, digits, images):
    data = digits if images else load_dataset("digits01")
    if not images:
        data = Dataset(**{**vars(data), "image_shape": None})
    paths = plots.save_plots(tmp_path / "new" / "folder", data, result)
    names = ["curves", "weights", "predictions"] + ["examples"] * images
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)


def test_pyplot_is_not_used():
    code = (
        "import sys, lrbackends as lrb, lrbackends.report.plots as plots, numpy as np;"
        "r = lrb.Trainer('numpy', epochs=2).fit([[0.], [1], [2], [1]], [0, 1, 1, 0]);"
        "plots.curves(r); plots.weights(r); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
