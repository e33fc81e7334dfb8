"""Pictures of what a recurrent network does over time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure

from rowlstm_jax.analysis.plots.style import LIGHT_BLUE, SYSTEMS, VERMILION, Records, add_axes, picture

GRADIENT_NORMS = {  # the first that a layer has is drawn
    "gradient_norm_h": "norm of $dL/dh_t$",
    "gradient_norm_carry": "norm of $dL/d$carry$_t$",
    "gradient_norm": "norm of $dL/dx_t$",
}
LINES = 8  # training steps in one panel
KEY_ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "borderaxespad": 0.2}


@picture
def probabilities_over_rows(
    images: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    needed: np.ndarray,
    confidence: float = 0.99,
) -> Figure:
    """Draw images, the class probabilities after each of their rows, and a line where the class is certain.

    Args:
      images: uint8 [N, R, K], read row by row from the top.
      probabilities: float [N, R, C], after each row.
      class_names: [C].
      needed: int [N], the rows that each needed, of `diagnostics.rows_needed`; R + 1 for never.
      confidence: of `needed`.
    """
    rows, columns = images.shape[1:]
    longest = max(map(len, class_names))
    across, margin = min(4, len(images)), 0.3 if longest == 1 else 0.1 + 0.055 * longest  # inches: room for the names
    width, height = 0.2 + 2.6 * max(2, across), 0.6 + (1.45 + margin) * math.ceil(len(images) / across)
    figure = Figure(figsize=(width, height))
    for index, (image, shares, count) in enumerate(zip(images, probabilities, needed, strict=True)):
        left, top = 0.1 + 2.6 * (index % across), 0.25 + (1.45 + margin) * (index // across)
        pixels = add_axes(figure, left, top, 1.2, 1.2)
        pixels.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, columns, rows, 0))
        when = f"after row {count}" if count <= rows else "never"
        pixels.set_title(f"{class_names[shares[-1].argmax()]}: {when}", loc="left", fontsize=8)
        pixels.set_xticks([])
        strip = add_axes(figure, left + 1.25, top, 1.1, 1.2)
        extent = (-0.5, len(class_names) - 0.5, rows, 0)
        strip.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=extent)
        strip.set_xticks(range(len(class_names)), class_names, rotation=90 if longest > 1 else 0, fontsize=7)
        strip.tick_params(length=0, pad=2)
        for axes in (pixels, strip):
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if count <= rows:
                axes.axhline(count, color=VERMILION, linewidth=1.5, clip_on=False)
    bar = add_axes(figure, width - 1.25, height - 0.38, 1.1, 0.08)
    figure.colorbar(ScalarMappable(Normalize(0, 1), "Blues"), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    caption = f"Blue: probability after each row. Orange: above {100 * confidence:g} % from here on."
    figure.text(0.1 / width, 0.3 / height, caption, fontsize=8)
    return figure


@picture
def rows_needed(
    needed: np.ndarray, labels: np.ndarray, class_names: Sequence[str], rows: int, confidence: float = 0.99
) -> Figure:
    """Draw how many rows the images needed: a histogram of all, and for each class its shares and its median.

    Args:
      needed: int [N], of `diagnostics.rows_needed`, from 1 to R; R + 1 for never.
      labels: int [N], the true classes.
      class_names: [C].
      rows: R.
      confidence: of `needed`.
    """
    counts = np.zeros((len(class_names), rows + 1))
    np.add.at(counts, (labels, needed - 1), 1)
    height, left = 1.9 + 0.2 * len(class_names), 0.5 + 0.07 * max(map(len, class_names))
    figure = Figure(figsize=(6.4, height))
    box = {"left": left / 6.4, "right": 0.87, "bottom": 0.5 / height, "top": 1 - 0.1 / height, "hspace": 0.06}
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 0.2 * len(class_names)), gridspec_kw=box)
    above.bar(np.arange(1, rows + 2), 100 * counts.sum(axis=0) / len(needed), color=LIGHT_BLUE, width=0.9)
    above.set(ylabel="% of all")
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
    below.set(xlabel=f"rows until the final class stays above {100 * confidence:g} % (orange: median)", ylabel="class")
    below.tick_params(axis="y", length=0)
    box = below.get_position()
    figure.colorbar(shade, cax=figure.add_axes((0.89, box.y0, 0.015, box.height)), label="% of the class")
    return figure


@picture
def gates_over_time(image: np.ndarray, gates: Mapping[str, np.ndarray]) -> Figure:
    """Draw an image, and what each unit does at each of its rows.

    Units are sorted by their mean forget gate, and so by their time constant; those on the right remember longest.

    Args:
      image: uint8 [R, K].
      gates: i, f, o, c and h, each [R, H], of `diagnostics.gates_over_time`.
    """
    units = np.argsort(gates["f"].mean(axis=0), kind="stable")
    rows, columns = image.shape
    figure = Figure(figsize=(8.0, 4.6))
    margins = {"left": 0.07, "right": 0.91, "bottom": 0.1, "top": 0.94, "wspace": 0.08, "hspace": 0.2}
    panels = figure.subplots(2, 3, sharey=True, gridspec_kw=margins).flat
    first = next(panels)
    first.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, columns, rows, 0))
    first.set(title="image", xticks=[])
    limit = np.abs(gates["c"]).max()
    drawn = {
        "i": ("input gate i", "viridis", 0, 1),
        "f": ("forget gate f", "viridis", 0, 1),
        "o": ("output gate o", "viridis", 0, 1),
        "c": (f"cell c (colours to ±{limit:.1f})", "RdBu_r", -limit, limit),
        "h": ("output h", "RdBu_r", -1, 1),
    }
    same = {"aspect": "auto", "extent": (0, len(units), rows, 0), "interpolation": "nearest"}
    for axes, (name, (title, colours, low, high)) in zip(panels, drawn.items(), strict=True):
        values = axes.imshow(gates[name][:, units], cmap=colours, vmin=low, vmax=high, **same)
        axes.set(title=title)
        if name in "och":
            axes.set_xlabel("unit, sorted by mean f")
        else:
            axes.set_xticks([])
        if name in "fh":
            box = axes.get_position()
            figure.colorbar(values, cax=figure.add_axes((0.925, box.y0, 0.012, box.height)))
    for axes in figure.axes[:6:3]:
        axes.set_ylabel("row")
    return figure


@picture
def memory(records: Records) -> Figure:
    """Draw how memory develops in training: a row of panels for each layer. For several seeds, it draws the means.

    The first panel shows the gradients, the others the gates if they are known.

    Args:
      records: those are drawn that hold the values of `diagnostics.gradient_diagnostics`, as JSON values or as lists of
        them over seeds. If they have no "step", the colours of the gradients have no key.

    Raises:
      ValueError: no record has them.
    """
    records = [record for record in records if any("/gradient_norm" in key for key in record)]
    layers = sorted({key.split("/")[0] for record in records for key in record if "/gradient_norm" in key})
    if not layers:
        raise ValueError("records hold no values of memory_health.")
    has_gates = f"{layers[0]}/time_constants" in records[0]
    columns = 3 if has_gates else 1
    width, height = 0.4 + 3.5 * columns, 0.4 + 2.6 * len(layers)
    figure = Figure(figsize=(width, height))
    margins = {"left": 0.65 / width, "right": 1 - 0.15 / width, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
    margins |= {"wspace": 0.3, "hspace": 0.45}
    panels_of_layers = figure.subplots(len(layers), columns, squeeze=False, gridspec_kw=margins)
    for panels, layer in zip(panels_of_layers, layers, strict=True):
        prefix = f"{layer}/"
        own = [{key.removeprefix(prefix): value for key, value in record.items()} for record in records]
        _draw_gradients(figure, panels[0], own)
        panels[0].set_title(layer.replace("_", " "), loc="left")
        if has_gates:
            _draw_gates(panels[1], panels[2], own)
    return figure


def _draw_gradients(figure: Figure, axes: Axes, records: Records) -> None:
    name = next(key for key in GRADIENT_NORMS if key in records[0])
    chosen = np.unique(np.linspace(0, len(records) - 1, LINES).round().astype(int))
    shown = [records[index] for index in chosen]
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(shown))))
    for index, record in enumerate(shown):
        norms = _mean_of_seeds(record[name], axes=1)
        axes.plot(range(1, 1 + len(norms)), norms, color=colours(index), linewidth=1.2)
    axes.set(xlabel="time step t", ylabel=GRADIENT_NORMS[name], yscale="log")
    low, high = axes.get_ylim()
    if high < 100 * low:  # with one power of ten in view, long labels between the powers hide the name of the axis
        axes.set_ylim(0.99 * 10 ** math.floor(math.log10(low)), 1.01 * 10 ** math.ceil(math.log10(high)))
    axes.grid(True)
    if "step" not in shown[0]:
        return
    norm = BoundaryNorm(np.arange(len(shown) + 1), colours.N)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02, aspect=30)
    bar.set_ticks([index + 0.5 for index in range(len(shown))], labels=[str(record["step"]) for record in shown])
    bar.ax.tick_params(length=0, labelsize=7)
    bar.ax.set_title("step", fontsize=7)


def _draw_gates(saturation: Axes, constants: Axes, records: Records) -> None:
    steps = [record["step"] for record in records]
    for name, colour in zip("ifoj", SYSTEMS, strict=True):
        shares = [100 * _mean_of_seeds(record[f"saturated_{name}"], axes=0) for record in records]
        saturation.plot(steps, shares, ".-", color=colour, label=name, markersize=3)
    top = max(1, saturation.get_ylim()[1])  # 1 % or more
    saturation.set(xlabel="step", ylabel="saturated, % of activations", ylim=(-0.04 * top, top))
    low, median, high = np.array([_mean_of_seeds(record["time_constants"], axes=1) for record in records]).T
    constants.fill_between(steps, low, high, color=LIGHT_BLUE, alpha=0.5, linewidth=0, label="10 to 90 % of units")
    constants.plot(steps, median, ".-", color=VERMILION, label="median", markersize=3)
    constants.set(xlabel="step", ylabel="time constant, time steps")
    for axes in (saturation, constants):
        axes.grid(True)
        axes.legend(ncols=4, **KEY_ABOVE)


def _mean_of_seeds(value: Any, axes: int) -> np.ndarray:
    """The mean over seeds of a value with so many axes of its own; null becomes NaN, which is not drawn."""
    value = np.asarray(value, float)
    return value.mean(axis=0) if value.ndim > axes else value
