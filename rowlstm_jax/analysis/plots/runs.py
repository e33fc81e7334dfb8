"""Pictures of a run: its samples, its predictions, its errors."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D

from rowlstm_jax.analysis.plots.style import VERMILION, add_about, add_axes, add_canvas, picture

MOST_FEATURES = 6  # of a sequence that is drawn


@picture
def samples(
    images: np.ndarray, labels: np.ndarray, indices: Sequence[int], class_names: Sequence[str], about: str = ""
) -> Figure:
    """Draw the first of some images flat, and beside it all of them as a stack in 3D.

    Args:
      images: uint8 [n, R, K] or [n, R, K, 3], the top of the stack first.
      labels: int [n].
      indices: [n], the numbers of the images in the captions.
      class_names: [C].
      about: run, seeds and model, written below.
    """
    captions = _captions("image", labels, indices, class_names)
    lines = [line for caption in captions for line in caption.split(", ")]
    width = 8.0 + 0.085 * max(0, max(map(len, lines)) - 11)  # inches: long names stand on the right
    figure = Figure(figsize=(width, 4.0))
    flat = figure.add_axes((0.56 / width, 0.13, 3.04 / width, 0.76))
    flat.imshow(images[0], cmap="gray", vmin=0, vmax=255)
    flat.set(title=captions[0], xlabel="column", ylabel="row")

    stack = Axes3D(figure, rect=(3.84 / width, 0.1, 3.36 / width, 0.85), computed_zorder=False, facecolor="none")
    figure.add_axes(stack)
    rows, columns, levels = *images.shape[1:3], max(2, len(indices))  # a single image lies on top of an empty level
    row, column = np.mgrid[: rows + 1, : columns + 1]  # the corners of the pixels
    for depth in reversed(range(len(indices))):  # the lowest is drawn first
        pixels = matplotlib.colormaps["gray"](images[depth]) if images.ndim == 3 else images[depth] / 255
        height = np.full_like(row, -depth)
        stack.plot_surface(column, row, height, facecolors=pixels, rstride=1, cstride=1, shade=False, antialiased=False)
        stack.text(columns + 2, 0, -depth, captions[depth].replace(", ", "\n"), va="center")
    stack.set(xlim=(0, columns), ylim=(rows, 0), zlim=(1 - levels, 0), xlabel="column", ylabel="row")
    every = max(1, 10 if max(rows, columns) <= 50 else max(rows, columns) // 3)
    stack.set(xticks=range(0, columns, every), yticks=range(0, rows, every), zticks=[])
    stack.set_box_aspect((1, 1, 0.5 * levels))
    return add_about(figure, about)


def _captions(
    what: str, targets: np.ndarray, indices: Sequence[int], class_names: Sequence[str], most: int = 3
) -> list[str]:
    """A caption for each example: its number, and its class or the first values of its target."""
    if class_names:
        return [f"{what} {i}, class {class_names[label]}" for i, label in zip(indices, targets, strict=True)]
    values = [", ".join(f"{value:.3g}" for value in np.ravel(target)[:most]) for target in targets]
    return [f"{what} {i}, target {of}" for i, of in zip(indices, values, strict=True)]


@picture
def sequences(
    inputs: np.ndarray, targets: np.ndarray, indices: Sequence[int], class_names: Sequence[str], about: str = ""
) -> Figure:
    """Draw some sequences over time, a line for each of the first features.

    Args:
      inputs: float [n, T, F].
      targets: classes int [n], or values [n, ...].
      indices: [n], the numbers of the sequences in the captions.
      class_names: [C]; empty if the targets are no classes.
      about: run, seeds and model, written below.
    """
    figure = Figure(figsize=(8.0, 0.6 + 1.4 * len(inputs)))
    panels = figure.subplots(len(inputs), 1, sharex=True, squeeze=False, gridspec_kw={"hspace": 0.5, "bottom": 0.12})
    captions = _captions("sequence", targets, indices, class_names)
    for axes, values, caption in zip(panels[:, 0], inputs, captions, strict=True):
        lines = axes.plot(values[:, :MOST_FEATURES], linewidth=0.8)
        axes.set_title(caption)
        axes.grid(True)
        if axes is panels[0, 0] and len(lines) > 1:
            names = [f"feature {number}" for number in range(len(lines))]
            axes.legend(lines, names, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, fontsize=7.5)
    panels[-1, 0].set_xlabel("time step")
    return add_about(figure, about)


@picture
def predictions(targets: np.ndarray, outputs: np.ndarray, about: str = "") -> Figure:
    """Draw predicted values against true ones, a point for each value of each example.

    Args:
      targets: float [N, ...].
      outputs: float [N, ...], as many values.
      about: run, seeds and model, written below.
    """
    figure = Figure(figsize=(4.6, 4.6))
    axes = add_axes(figure, 0.7, 0.4, 3.6, 3.6)
    true, predicted = targets.ravel(), outputs.reshape(targets.shape).ravel()
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8)
    axes.plot(true, predicted, ".", color=VERMILION, markersize=2, alpha=0.5)
    error = float(np.mean((predicted - true) ** 2))
    axes.set_title(f"Mean squared error {error:.4g}, N = {len(targets):,}")
    axes.set(xlabel="true value", ylabel="predicted value")
    axes.grid(True)
    return add_about(figure, about)


@picture
def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], about: str = ""
) -> Figure:
    """Draw how many examples of each class are predicted as each class; shades are logarithmic, so few errors show.

    Args:
      labels: int [N], the true classes.
      predictions: int [N].
      class_names: [C].
      about: run, seeds and model, written below.
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
    return add_about(figure, about)


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """The number of examples of each true class (row) and predicted class (column), int [C, C]; the others are [N]."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


@picture
def confident_errors(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    count: int = 16,
    about: str = "",
) -> Figure:
    """Draw the examples with a wrong prediction, those with the highest probabilities first.

    Args:
      images: uint8 [N, R, K] or [N, R, K, 3]; of sequences, float [N, T, F], the first feature is drawn.
      labels: int [N], the true classes.
      probabilities: float [N, C].
      class_names: [C].
      count: how many to draw, if there are so many.
      about: run, seeds and model, written below.
    """
    what = "image" if images.dtype == np.uint8 else "sequence"
    errors = rank_errors(labels, probabilities)
    shown = errors[:count]
    width, height = 7.6, 0.6 + 1.8 * math.ceil(len(shown) / 4)  # inches
    figure = Figure(figsize=(width, height))
    axes = add_canvas(figure, width, height)
    for panel, (index, label, scores) in enumerate(zip(shown, labels[shown], probabilities[shown], strict=True)):
        top, left = 0.9 + 1.8 * (panel // 4), 0.3 + 1.9 * (panel % 4)
        if images.dtype == np.uint8:
            tall, across = (1.3 * side / max(images.shape[1:3]) for side in images.shape[1:3])
            extent = (left, left + across, top + tall, top)
            axes.imshow(images[index], cmap="gray", vmin=0, vmax=255, extent=extent, aspect="equal")
        else:
            _draw_line(axes, images[index][:, 0], left, top)
        prediction = f"predicted {class_names[scores.argmax()]} ({100 * scores.max():.1f} %)"
        title = f"{prediction},\ntrue {class_names[label]}, {what} {index}"
        axes.text(left + 0.65, top - 0.05, title, ha="center", fontsize=7.5)
    found = f"Most confident errors: {len(shown)} of {len(errors):,}," if len(errors) else "No errors"
    axes.text(width / 2, 0.3, f"{found} on {len(labels):,} {what}s", ha="center", va="center", fontsize="large")
    return add_about(figure, about)


def _draw_line(axes: Axes, values: np.ndarray, left: float, top: float, side: float = 1.3) -> None:
    """A sequence [T] as a line in a square of a canvas."""
    span = max(float(np.ptp(values)), 1e-9)
    across = left + side * np.arange(len(values)) / max(1, len(values) - 1)
    axes.plot(across, top + side * (1 - (values - values.min()) / span), color=VERMILION, linewidth=0.7)


def rank_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The indices of the wrong predictions, the most confident first, equal ones in the given order.

    Args:
      labels: int [N], the true classes.
      probabilities: float [N, C].
    """
    errors = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return errors[np.argsort(-probabilities[errors].max(axis=1), kind="stable")]
