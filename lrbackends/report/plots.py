"""Pictures of a training run: curves, weights, predictions and examples.

Every function returns a `matplotlib.figure.Figure` of its own: pyplot and its global state are not
touched, so nothing needs a display and nothing has to be closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from lrbackends.datasets import Dataset
from lrbackends.result import LinearModel, TrainingResult

DPI = 100

# Two hues that stay apart for the colour-blind and in grey (Okabe & Ito 2008).
_BLUE, _ORANGE, _GREY, _RED = "#0072B2", "#D55E00", "#777777", "#CC0000"
_MARKED = 30  # curves of at most this many points show them
_BARS = 20
_COLUMNS = 6


def save_plots(
    directory: str | os.PathLike[str],
    dataset: Dataset,
    result: TrainingResult,
    *,
    training_accuracy: Mapping[int, float] | None = None,
    held_out: str = "validation",
    random_state: int = 0,
) -> list[Path]:
    """Write the pictures that suit the data as PNG files and return their paths.

    Parameters
    ----------
    directory : str or path
        Made if it is not there.
    dataset : Dataset
        Predictions are shown on its test rows, or training rows where it has none.
    result : TrainingResult
    training_accuracy : mapping of epoch to accuracy, optional
    held_out : str, default "validation"
        What the rows are called that ``result.history`` has validation figures of.
    random_state : int, default 0
        Seed of the rows that are drawn to be shown.

    Returns
    -------
    list of Path
        curves.png, weights.png, predictions.png and, of images, examples.png.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    has_test = len(dataset.y_test) > 0
    X, y = (dataset.X_test, dataset.y_test) if has_test else (dataset.X_train, dataset.y_train)
    figures = {
        "curves": curves(result, training_accuracy, held_out),
        "weights": weights(result, dataset.feature_names, dataset.image_shape),
        "predictions": predictions(
            result, X, y, dataset.image_shape, "test" if has_test else "training", random_state
        ),
    }
    if dataset.image_shape is not None:
        figures["examples"] = examples(
            dataset.X_train, dataset.y_train, dataset.image_shape, random_state
        )
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI)
    return paths


def curves(
    result: TrainingResult,
    training_accuracy: Mapping[int, float] | None = None,
    held_out: str = "validation",
) -> Figure:
    """Draw loss and accuracy by epoch, on the training and the held-out rows.

    The training loss includes the penalty, as training minimises it; the held-out loss does not.
    """
    history = result.history
    epochs = np.arange(1, len(history["loss"]) + 1)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    _curve(
        left,
        np.append(0, epochs),
        np.append(result.initial_loss, history["loss"]),
        "training, with penalty",
        _BLUE,
    )
    if training_accuracy:
        _curve(
            right,
            np.array(list(training_accuracy)),
            np.array(list(training_accuracy.values())),
            "training",
            _BLUE,
        )
    if "validation_loss" in history:
        _curve(left, epochs, history["validation_loss"], held_out, _ORANGE)
        _curve(right, epochs, history["validation_accuracy"], held_out, _ORANGE)
    left.set(title="Mean log-loss", xlabel="epoch", ylabel="loss")
    right.set(title="Accuracy", xlabel="epoch", ylabel="share of rows predicted right")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(alpha=0.3)
        if axes.lines:
            if result.status == "early_stopped":  # then the model is that of the best epoch
                axes.axvline(
                    result.best_epoch, color=_GREY, linestyle="--", linewidth=1, label="best epoch"
                )
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=_GREY)
    figure.suptitle(f"{result.solver} on {result.backend}: {result.status.replace('_', ' ')}")
    return figure


def _curve(axes: Axes, epochs: NDArray[Any], values: NDArray[Any], label: str, colour: str) -> None:
    marker = "." if len(epochs) <= _MARKED else None
    axes.plot(epochs, values, label=label, color=colour, linewidth=1.6, marker=marker)


def weights(
    model: LinearModel,
    feature_names: Sequence[str] | None = None,
    image_shape: tuple[int, int] | None = None,
) -> Figure:
    """Draw the weights: as an image where rows are images, else the largest ones as bars.

    Blue pulls towards ``classes[0]``, red towards ``classes[1]``. Of more classes each has a
    picture of its own, in which red pulls towards it and blue away.
    """
    if len(model.classes) > 2:
        return _weights_of_classes(model, feature_names, image_shape)
    coef, (first, second) = model.coef[0], map(_plain, model.classes.tolist())
    if image_shape is None:
        return _weight_bars(coef, feature_names, first, second)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    largest = float(np.abs(coef).max()) or 1.0
    drawn = axes.imshow(coef.reshape(image_shape), cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(drawn, label=f"weight (blue: {first}, red: {second})")
    axes.set(title=f"Weight of each pixel, {first} against {second}", xlabel="column", ylabel="row")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _weights_of_classes(
    model: LinearModel, feature_names: Sequence[str] | None, image_shape: tuple[int, int] | None
) -> Figure:
    """Draw each class's weights as an image, or those of the features that matter most in rows."""
    coef, names = model.coef, [_short(str(c)) for c in model.classes.tolist()]
    largest = float(np.abs(coef).max()) or 1.0
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    if image_shape is not None:
        n_rows = -(-len(names) // _COLUMNS)
        figure = Figure(figsize=(9, 1.0 + 1.6 * n_rows), layout="constrained")
        grid: Any = figure.subplots(n_rows, _COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, row, name in zip(grid.flat, coef, names, strict=False):
            drawn = axes.imshow(row.reshape(image_shape), **scale)
            axes.set_title(name, fontsize=10)
        figure.colorbar(drawn, ax=grid, label="weight")
        figure.suptitle("Weight of each pixel for each class (red: towards it, blue: away)")
        return figure
    shown = np.argsort(-np.abs(coef).max(axis=0), kind="stable")[:_BARS]
    features = feature_names or [f"x{j}" for j in range(coef.shape[1])]
    size = 3.4 + 0.5 * len(names), 1.6 + 0.3 * len(shown)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(coef[:, shown].T, aspect="auto", **scale)
    axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 4 else 0)
    axes.set_yticks(range(len(shown)), [_short(features[j]) for j in shown])
    p = coef.shape[1]
    title = f"The {len(shown)} features of largest weight, of {p}" if len(shown) < p else "Weights"
    axes.set(title=title, xlabel="class (red: towards it, blue: away)", ylabel="feature")
    figure.colorbar(drawn, label="weight")
    return figure


def _weight_bars(
    coef: NDArray[Any], feature_names: Sequence[str] | None, first: str, second: str
) -> Figure:
    shown = np.argsort(-np.abs(coef), kind="stable")[:_BARS][::-1]
    names = feature_names or [f"x{j}" for j in range(len(coef))]
    figure = Figure(figsize=(7, 1.4 + 0.26 * len(shown)), layout="constrained")
    axes = figure.subplots()
    values = coef[shown]
    axes.barh(range(len(shown)), values, color=np.where(values > 0, "#B2182B", "#2166AC"))
    axes.set_yticks(range(len(shown)), [_short(names[j]) for j in shown])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set(
        title=f"The {len(shown)} largest of {len(coef)} weights"
        if len(shown) < len(coef)
        else "Weights",
        xlabel=f"weight (blue: towards {first}, red: towards {second})",
        ylabel="feature",
    )
    return figure


def _plain(label: object) -> str:
    """Return a label or name as it is, and not read as mathematics."""
    return str(label).replace("$", r"\$")


def _short(name: str, width: int = 28) -> str:
    return _plain(name if len(name) <= width else name[: width - 1] + "…")


def predictions(
    model: LinearModel,
    X: NDArray[Any],
    y: ArrayLike,
    image_shape: tuple[int, int] | None = None,
    part: str = "test",
    random_state: int = 0,
) -> Figure:
    """Draw what the model makes of a random batch of rows, with the mistakes marked.

    Images are shown with their predicted label and its probability; other rows as dots by their
    true label, at the probability of ``classes[1]``, or of more classes at that of the true one.
    """
    labels = np.asarray(y)
    rows = _draw(len(labels), 24 if image_shape else 200, random_state)
    probability = model.predict_proba(X[rows])
    predicted, truth = model.predict(X[rows]), labels[rows]
    wrong = predicted != truth
    which = f"All {len(labels)}" if len(rows) == len(labels) else f"{len(rows)} random"
    title = f"{which} {part} rows: {int((~wrong).sum())} predicted right, {int(wrong.sum())} wrong"
    if image_shape is None and len(model.classes) > 2:
        return _probability_of_truth(model, probability, truth, wrong, title)
    if image_shape is None:
        return _probability_strip(model, probability[:, 1], truth, wrong, title)
    captions = [
        f"{_plain(p)} ({q:.0%})" + (f"\nis {_plain(t)}" if w else "")
        for p, q, t, w in zip(predicted, probability.max(axis=1), truth, wrong, strict=True)
    ]
    figure = _gallery(X[rows], image_shape, captions, wrong)
    figure.suptitle(title + "\npredicted label (its probability); mistakes in red")
    return figure


def _probability_strip(
    model: LinearModel,
    probability: NDArray[Any],
    truth: NDArray[Any],
    wrong: NDArray[Any],
    title: str,
) -> Figure:
    figure, axes = _strip(model, probability, truth, wrong)
    axes.axvline(0.5, color=_GREY, linestyle="--", linewidth=1)
    axes.set(title=title, xlabel=f"predicted probability of {_plain(model.classes.tolist()[1])}")
    return figure


def _probability_of_truth(
    model: LinearModel,
    probability: NDArray[Any],
    truth: NDArray[Any],
    wrong: NDArray[Any],
    title: str,
) -> Figure:
    own = probability[np.arange(len(truth)), np.searchsorted(model.classes, truth)]
    figure, axes = _strip(model, own, truth, wrong)
    axes.set(title=title, xlabel="predicted probability of the true label")
    return figure


def _strip(
    model: LinearModel, probability: NDArray[Any], truth: NDArray[Any], wrong: NDArray[Any]
) -> tuple[Figure, Axes]:
    """Draw a dot for each row, in a band for each true label."""
    bands = len(model.classes)
    figure = Figure(figsize=(8, 2.2 + 0.7 * bands), layout="constrained")
    axes = figure.subplots()
    height = np.searchsorted(model.classes, truth) + np.random.default_rng(0).uniform(
        -0.3, 0.3, len(truth)
    )
    axes.scatter(probability[~wrong], height[~wrong], s=22, color=_BLUE, alpha=0.6, label="right")
    axes.scatter(probability[wrong], height[wrong], s=60, color=_RED, marker="x", label="wrong")
    axes.set_yticks(range(bands), [_short(str(c)) for c in model.classes.tolist()])
    axes.set(ylabel="true label", xlim=(-0.03, 1.03), ylim=(-0.5, bands - 0.5))
    figure.legend(loc="outside right center", frameon=False)
    return figure, axes


def examples(
    X: NDArray[Any], y: ArrayLike, image_shape: tuple[int, int], random_state: int = 0
) -> Figure:
    """Draw a few random rows as images with their labels."""
    rows = _draw(len(X), 12, random_state)
    figure = _gallery(X[rows], image_shape, [_plain(label) for label in np.asarray(y)[rows]])
    figure.suptitle("Random training rows and their labels")
    return figure


def _draw(n: int, size: int, random_state: int) -> NDArray[np.intp]:
    return np.random.default_rng(random_state).choice(n, size=min(size, n), replace=False)


def _gallery(
    X: NDArray[Any],
    image_shape: tuple[int, int],
    captions: Sequence[str],
    marked: NDArray[Any] | None = None,
) -> Figure:
    n_rows = -(-len(X) // _COLUMNS)
    figure = Figure(figsize=(8, 0.7 + 1.5 * n_rows), layout="constrained")
    grid: Any = figure.subplots(n_rows, _COLUMNS, squeeze=False)
    for axes in grid.flat[len(X) :]:
        axes.set_axis_off()
    low, high = float(X.min()), float(X.max())
    for k, (axes, image, caption) in enumerate(zip(grid.flat, X, captions, strict=False)):
        bad = marked is not None and bool(marked[k])
        axes.imshow(image.reshape(image_shape), cmap="gray_r", vmin=low, vmax=high)
        axes.set_title(caption, fontsize=9, color=_RED if bad else "black")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=_RED if bad else _GREY, linewidth=3 if bad else 0.5)
    return figure
