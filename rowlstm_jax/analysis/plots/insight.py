"""Pictures of what a recurrent network does over time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from rowlstm_jax.analysis.plots.style import BLUE, GREY, LIGHT_BLUE, VERMILION, add_about, add_axes, picture

LEFT, ACROSS, SIDE = 0.55, 2.6, 1.2  # inches: room for the row axis, from image to image, an image


@picture
def probabilities_over_rows(
    images: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    needed: np.ndarray,
    confidence: float = 0.99,
    about: str = "",
) -> Figure:
    """Draw images, the class probabilities after each of their rows, and a line where the class is certain.

    Args:
      images: uint8 [N, R, K], read row by row from the top.
      probabilities: float [N, R, C], after each row.
      class_names: [C].
      needed: int [N], the rows that each needed, of `diagnostics.rows_needed`; R + 1 for never.
      confidence: of `needed`.
      about: run, seeds and model, written below.
    """
    longest = max(map(len, class_names))
    across, margin = min(4, len(images)), 0.45 if longest == 1 else 0.25 + 0.055 * longest  # inches: for the names
    width, height = LEFT + ACROSS * max(2, across), 0.7 + (1.5 + margin) * math.ceil(len(images) / across)
    figure = Figure(figsize=(width, height))
    for index, (image, shares, count) in enumerate(zip(images, probabilities, needed, strict=True)):
        left, top = LEFT + ACROSS * (index % across), 0.25 + (1.5 + margin) * (index // across)
        pixels, strip = add_axes(figure, left, top, SIDE, SIDE), add_axes(figure, left + 1.25, top, 1.1, SIDE)
        _draw_probabilities(pixels, strip, image, shares, class_names, int(count))
        if index % across == 0:
            pixels.set(ylabel="row", yticks=[0, len(image) // 2, len(image)])
    bar = add_axes(figure, width - 1.35, height - 0.42, 1.1, 0.08)
    figure.colorbar(ScalarMappable(Normalize(0, 1), "Blues"), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.set_title("probability", fontsize=7, loc="center", pad=3)
    lines = (
        "Blue: the probability of each class after each row. Above an image: its class after the last row.",
        f"Orange: from here on, that class stays above {100 * confidence:g} %.",
    )
    figure.text(0.1 / width, 0.3 / height, "\n".join(lines if width > 8 else lines[1:]), fontsize=8, va="center")
    return add_about(figure, about)


def _draw_probabilities(
    pixels: Axes, strip: Axes, image: np.ndarray, shares: np.ndarray, class_names: Sequence[str], count: int
) -> None:
    """One image and, beside it, a line of class probabilities for each of its rows."""
    rows, columns = image.shape
    pixels.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, columns, rows, 0))
    when = f"sure after row {count}" if count <= rows else "never sure"
    pixels.set_title(f"{class_names[shares[-1].argmax()]}: {when}", fontsize=8)
    pixels.set_xticks([])
    extent = (-0.5, len(class_names) - 0.5, rows, 0)
    strip.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=extent)
    longest = max(map(len, class_names))
    strip.set_xticks(range(len(class_names)), class_names, rotation=90 if longest > 1 else 0, fontsize=7)
    strip.set_xlabel("class", fontsize=8, labelpad=1)
    strip.tick_params(length=0, pad=2)
    for axes in (pixels, strip):
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if count <= rows:
            axes.axhline(count, color=VERMILION, linewidth=1.5, clip_on=False)


@picture
def rows_needed(
    needed: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    rows: int,
    confidence: float = 0.99,
    about: str = "",
) -> Figure:
    """Draw how many rows the images needed: a histogram of all, and for each class its shares and its median.

    Args:
      needed: int [N], of `diagnostics.rows_needed`, from 1 to R; R + 1 for never.
      labels: int [N], the true classes.
      class_names: [C].
      rows: R.
      confidence: of `needed`.
      about: run, seeds and model, written below.
    """
    counts = np.zeros((len(class_names), rows + 1))
    np.add.at(counts, (labels, needed - 1), 1)
    height, left = 2.2 + 0.2 * len(class_names), 0.6 + 0.07 * max(map(len, class_names))
    figure = Figure(figsize=(6.4, height))
    box = {"left": left / 6.4, "right": 0.87, "bottom": 0.5 / height, "top": 1 - 0.4 / height, "hspace": 0.06}
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 0.2 * len(class_names)), gridspec_kw=box)
    above.bar(np.arange(1, rows + 2), 100 * counts.sum(axis=0) / len(needed), color=LIGHT_BLUE, width=0.9)
    above.set(ylabel="% of all", title=f"Rows until the network is sure, {len(needed):,} images")
    above.tick_params(bottom=False)
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    extent = (0.5, rows + 1.5, len(class_names) - 0.5, -0.5)
    shade = below.imshow(shares, cmap="Blues", vmin=0, aspect="auto", extent=extent)
    for index in range(len(class_names)):
        if (labels == index).any():
            median = np.median(needed[labels == index])
            below.plot([median, median], [index - 0.4, index + 0.4], color=VERMILION, linewidth=2)
    below.set_yticks(range(len(class_names)), class_names)
    ticks = range(4, rows, 4)
    below.set_xticks([*ticks, rows + 1], [*map(str, ticks), "never"])
    below.set(xlabel=f"rows until the final class stays above {100 * confidence:g} % (orange: median)")
    below.set(ylabel="true class")
    below.tick_params(axis="y", length=0)
    box = below.get_position()
    figure.colorbar(shade, cax=figure.add_axes((0.89, box.y0, 0.015, box.height)), label="% of the class")
    return add_about(figure, about)


@picture
def gates_over_time(image: np.ndarray, gates: Mapping[str, Any], layer: str = "", about: str = "") -> Figure:
    """Draw an image, and what each unit does at each of its rows.

    Units are sorted by their mean forget gate, and so by their time constant; those on the right remember longest.

    Args:
      image: uint8 [R, K].
      gates: i, j, f, o, c and h, each an array [R, H], of `diagnostics.gates_over_time`.
      layer: its name there.
      about: run, seeds and model, written below.
    """
    gates = {name: np.asarray(values, np.float32) for name, values in gates.items()}
    units = np.argsort(gates["f"].mean(axis=0), kind="stable")
    rows, columns = image.shape[:2]
    figure = Figure(figsize=(10.4, 4.8))
    margins = {"left": 0.055, "right": 0.925, "bottom": 0.1, "top": 0.94, "wspace": 0.08, "hspace": 0.25}
    (first, *upper), (words, *lower) = figure.subplots(2, 4, sharey=True, gridspec_kw=margins)
    first.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, columns, rows, 0))
    first.set(title="Image", ylabel="row", xlabel="column")
    limit = float(np.abs(gates["c"]).max())
    drawn = {
        "i": ("Input gate i", "viridis", 0, 1),
        "f": ("Forget gate f", "viridis", 0, 1),
        "o": ("Output gate o", "viridis", 0, 1),
        "j": ("Candidate j", "RdBu_r", -1, 1),
        "c": (f"Cell c = f c + i j, colours to ±{limit:.1f}", "RdBu_r", -limit, limit),
        "h": ("Output h = o tanh(c)", "RdBu_r", -1, 1),
    }
    same = {"aspect": "auto", "extent": (0, len(units), rows, 0), "interpolation": "nearest"}
    for axes, (name, (title, colours, low, high)) in zip((*upper, *lower), drawn.items(), strict=True):
        values = axes.imshow(gates[name][:, units], cmap=colours, vmin=low, vmax=high, **same)
        axes.set(title=title)
        if axes in lower:
            axes.set_xlabel("unit, sorted by mean f")
            axes.tick_params(labelleft=name == "j")
        else:
            axes.set_xticks([])
        if name in "oh":
            box = axes.get_position()
            figure.colorbar(values, cax=figure.add_axes((0.935, box.y0, 0.01, box.height)))
    lower[0].set_ylabel("row")
    words.set_axis_off()
    text = (
        f"{layer.replace('_', ' ').capitalize()}\n\n" * bool(layer)
        + "Across: the units.\nDown: the rows of the image.\n\n"
    )
    text += "Units on the right have\nthe largest mean f:\nthey remember longest."
    words.text(0.0, 0.95, text, transform=words.transAxes, va="top", fontsize=8)
    return add_about(figure, about)


HALF_LIVES = (1, 3, 10, 30, 100, 1000)  # steps


@picture
def eigenvalues(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], about: str = "") -> Figure:
    """Draw the eigenvalues of layers in the unit disc, before and after training; circles are half-lives.

    Trained eigenvalues lie close to the unit circle, so the disc is stretched there; angles are as they are.

    Args:
      before: complex [N] by the name of a layer; empty if they are not known.
      after: the same after training.
      about: run, seeds and model, written below.
    """
    side, gap, top = 3.2, 0.15, 0.85  # inches
    width, height = gap + (side + gap) * max(len(after), 1), top + side + 0.1
    figure = Figure(figsize=(width, height))
    for index, (name, values) in enumerate(after.items()):
        axes = add_axes(figure, gap + (side + gap) * index, top, side, side)
        axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03))
        axes.set_axis_off()
        axes.set_title(name.replace("_", " ").capitalize())
        for steps in (*HALF_LIVES, math.inf):
            distance, edge = _stretched(0.5 ** (1 / steps)), "0.8" if steps < math.inf else "0.2"
            axes.add_patch(Circle((0, 0), distance, facecolor="none", edgecolor=edge))
            label = f"{steps:,}" if steps < math.inf else ""
            axes.text(0, -distance, label, fontsize=7, color=GREY, ha="center", va="center")
        for points, edge, face in ((before.get(name), BLUE, "none"), (values, VERMILION, VERMILION)):
            if points is not None:
                placed = _stretched(abs(points)) * np.exp(1j * np.angle(points))
                axes.plot(placed.real, placed.imag, "o", ms=3.5, mew=0.8, mec=edge, mfc=face)
    text = ("Circles: before training. " if before else "") + "Dots: after training.\n"
    text += "Grey: half-lives in steps; black: |λ| = 1.\nFrom the centre: 1 - (1 - |λ|)^(1/3)."
    figure.text(gap / width, 1 - 0.08 / height, text, fontsize=8, va="top")
    return add_about(figure, about)


def _stretched(size: Any) -> Any:
    """Distances from the centre for |λ| from 0 to 1, with room for those close to 1."""
    return 1 - np.cbrt(1 - np.minimum(size, 1))
