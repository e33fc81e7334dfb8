"""Pictures of a run: its samples, its curves, its errors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from rowlstm_jax.analysis.plots.style import LIGHT_BLUE, VERMILION, Records, add_axes, add_canvas, picture


@picture
def samples(images: np.ndarray, labels: np.ndarray, indices: Sequence[int], class_names: Sequence[str]) -> Figure:
    """Draw the first of some images flat, and beside it all of them as a stack in 3D.

    Args:
      images: uint8 [n, R, K], the top of the stack first.
      labels: int [n].
      indices: [n], the numbers of the images in the captions.
      class_names: [C].
    """
    figure = Figure(figsize=(8.0, 4.0))
    captions = [f"image {i}, class {class_names[label]}" for i, label in zip(indices, labels, strict=True)]
    flat = figure.add_axes((0.07, 0.13, 0.38, 0.76))
    flat.imshow(images[0], cmap="gray", vmin=0, vmax=255)
    flat.set(title=captions[0], xlabel="column", ylabel="row")

    stack = Axes3D(figure, rect=(0.48, 0.1, 0.42, 0.85), computed_zorder=False, facecolor="none")
    figure.add_axes(stack)
    rows, columns, levels = *images.shape[1:], max(2, len(indices))  # a single image lies on top of an empty level
    row, column = np.mgrid[: rows + 1, : columns + 1]  # the corners of the pixels
    for depth in reversed(range(len(indices))):  # the lowest is drawn first
        pixels = matplotlib.colormaps["gray"](images[depth])
        height = np.full_like(row, -depth)
        stack.plot_surface(column, row, height, facecolors=pixels, rstride=1, cstride=1, shade=False, antialiased=False)
        stack.text(columns + 2, 0, -depth, captions[depth].replace(", ", "\n"), va="center")
    stack.set(xlim=(0, columns), ylim=(rows, 0), zlim=(1 - levels, 0), xlabel="column", ylabel="row")
    stack.set(xticks=range(0, columns, 10), yticks=range(0, rows, 10), zticks=[])
    stack.set_box_aspect((1, 1, 0.5 * levels))
    return figure


@picture
def curves(records: Records) -> Figure:
    """Draw loss and accuracy over the steps, of minibatches and on validation; the loss on a logarithmic axis if wide.

    For several seeds, it draws the mean, and a band from the lowest to the highest value.

    Args:
      records: any number. Of each, "loss", "accuracy", "validation_loss" and "validation_accuracy" are drawn; each is
        a number or a list over seeds.
    """
    figure = Figure(figsize=(9.0, 3.4))
    margins = {"left": 0.07, "right": 0.98, "bottom": 0.14, "top": 0.97, "wspace": 0.2}
    loss_axes, accuracy_axes = figure.subplots(1, 2, gridspec_kw=margins)
    minibatch = {"label": "minibatch", "color": LIGHT_BLUE, "linewidth": 0.8, "markersize": 2}
    validation = {"label": "validation", "color": VERMILION, "markersize": 7}
    for axes, name, corner in [(loss_axes, "loss", "upper right"), (accuracy_axes, "accuracy", "lower right")]:
        for key, line in [(name, minibatch), (f"validation_{name}", validation)]:
            steps, mean = _series(records, key)
            axes.plot(steps, mean, ".-", **line)
            low, high = _series(records, key, min)[1], _series(records, key, max)[1]
            axes.fill_between(steps, low, high, color=line["color"], alpha=0.3, lw=0)
        axes.set(xlabel="step", ylabel=name)
        axes.grid(True)
        axes.legend(handles=[line for line in axes.lines if len(line.get_xdata())], loc=corner)
    losses = _series(records, "loss")[1] + _series(records, "validation_loss")[1]
    if losses and max(losses) > 10 * min(losses):  # a logarithmic axis of less than a decade has few labels
        loss_axes.set_yscale("log")
        loss_axes.yaxis.set_major_formatter("{x:g}")
    accuracy_axes.set_ylim(accuracy_range(records))
    return figure


def _series(records: Records, key: str, of_seeds: Callable[[Any], Any] = np.mean) -> tuple[list[float], list[float]]:
    """The steps with a finite value and these values; of several seeds, their mean. A value is null if not finite."""
    points = [(r["step"], of_seeds(np.atleast_1d(np.asarray(r[key], float)))) for r in records if key in r]
    points = [(step, float(value)) for step, value in points if np.isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]


def accuracy_range(records: Records) -> tuple[float, float]:
    """Limits that show every validation accuracy, and the minibatch accuracies without their lowest tenth.

    Most of that tenth is from the first steps, which start at chance; it would flatten all later ones.
    """
    minibatch, validation = _series(records, "accuracy")[1], _series(records, "validation_accuracy")[1]
    shown = validation + sorted(minibatch)[len(minibatch) // 10 :]
    if not shown:
        return 0.0, 1.0
    margin = max(0.05 * (max(shown) - min(shown)), 0.005)
    return max(0.0, min(shown) - margin), max(shown) + margin


@picture
def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw how many examples of each class are predicted as each class; shades are logarithmic, so few errors show.

    Args:
      labels: int [N], the true classes.
      predictions: int [N].
      class_names: [C].
    """
    counts = confusion_counts(labels, predictions, len(class_names))
    shades = np.log1p(counts) / np.log1p(counts.max())
    longest = max(map(len, class_names))
    side, margin = max(4.5, 0.48 * len(class_names)), 0.5 + 0.07 * longest  # inches; the names fit into the margin
    figure = Figure(figsize=(side + margin + 0.2, side + margin + 0.4))
    axes = add_axes(figure, margin, 0.4, side, side)
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):  # a zero stays blank
        colour = "white" if shades[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(class_names)), class_names, rotation=90 if longest > 3 else 0)
    axes.set_yticks(range(len(class_names)), class_names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    accuracy = f"{100 * np.mean(labels == predictions):.2f} %"
    axes.set_title(f"Accuracy {accuracy} on {len(labels):,} examples (shade: log count)")
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """The number of examples of each true class (row) and predicted class (column), int [C, C]; the others are [N]."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


@picture
def confident_errors(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str], count: int = 16
) -> Figure:
    """Draw the test images with a wrong prediction, those with the highest probabilities first.

    Args:
      images: uint8 [N, R, R].
      labels: int [N], the true classes.
      probabilities: float [N, C].
      class_names: [C].
      count: how many to draw, if there are so many.
    """
    errors = rank_errors(labels, probabilities)
    shown = errors[:count]
    width, height = 7.6, 0.6 + 1.8 * math.ceil(len(shown) / 4)  # inches
    figure = Figure(figsize=(width, height))
    axes = add_canvas(figure, width, height)
    for panel, (index, label, scores) in enumerate(zip(shown, labels[shown], probabilities[shown], strict=True)):
        top, left = 0.9 + 1.8 * (panel // 4), 0.3 + 1.9 * (panel % 4)
        extent = (left, left + 1.3, top + 1.3, top)
        axes.imshow(images[index], cmap="gray", vmin=0, vmax=255, extent=extent, aspect="equal")
        prediction = f"predicted {class_names[scores.argmax()]} ({100 * scores.max():.1f} %)"
        title = f"{prediction},\ntrue {class_names[label]}, image {index}"
        axes.text(left + 0.65, top - 0.05, title, ha="center", fontsize=7.5)
    found = f"Most confident errors: {len(shown)} of {len(errors):,}," if len(errors) else "No errors"
    axes.text(width / 2, 0.3, f"{found} on {len(labels):,} test images", ha="center", va="center", fontsize="large")
    return figure


def rank_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The indices of the wrong predictions, the most confident first, equal ones in the given order.

    Args:
      labels: int [N], the true classes.
      probabilities: float [N, C].
    """
    errors = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return errors[np.argsort(-probabilities[errors].max(axis=1), kind="stable")]
