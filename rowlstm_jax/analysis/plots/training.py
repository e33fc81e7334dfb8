"""Pictures of training, step by step: loss and metrics, gradients and gates."""

import math
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from rowlstm_jax.analysis.plots.style import (
    GREY,
    LIGHT_BLUE,
    MARKERS,
    PALETTE,
    VERMILION,
    Records,
    add_about,
    picture,
)

GRADIENT_NORMS = {  # the first that a layer has is drawn
    "gradient_norm_h": "Norm of dL/dhₜ",
    "gradient_norm_carry": "Norm of dL/dcarryₜ",
    "gradient_norm": "Norm of dL/dxₜ",
}
GATES = {"i": "input i", "f": "forget f", "o": "output o", "j": "candidate j"}
CORNERS: dict[str, Any] = {"loss": "upper right", "accuracy": "lower right"}  # of the keys to the curves
LINES = 8  # training steps in one panel
KEY_ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (0, 0.99), "borderaxespad": 0, "fontsize": 7.5}
KEY_ABOVE |= {"columnspacing": 1.0, "handlelength": 1.4, "handletextpad": 0.5}
LEAST_SHARE = 0.1  # % of saturated activations that a panel shows


@picture
def curves(records: Records, about: str = "") -> Figure:
    """Draw loss, accuracy and further metrics over the steps; the loss on a logarithmic axis if wide.

    Light points are minibatches, dark ones are the validation set.

    For several seeds, it draws the mean, and a band from the lowest to the highest value.

    Args:
      records: any number. Of each, "loss", "accuracy", "validation_loss" and "validation_accuracy" are drawn, and each
        metric that also has a record train_<name> or validation_<name>; each is a number or a list over seeds.
      about: run, seeds and model, written below.
    """
    accurate = any("accuracy" in record or "validation_accuracy" in record for record in records) or not records
    named = {key.partition("_")[2]: None for of in records for key in of if key.startswith(("train_", "validation_"))}
    names = ["loss", *["accuracy"] * accurate, *(name for name in named if name not in ("loss", "accuracy"))]
    columns = 1 + accurate
    rows = math.ceil(len(names) / columns)
    height = 0.3 + 3.2 * rows
    figure = Figure(figsize=(9.0, height))
    margins = {"left": 0.075, "right": 0.98, "bottom": 0.5 / height, "top": 1 - 0.6 / height, "wspace": 0.2}
    panels = figure.subplots(rows, columns, gridspec_kw=margins | {"hspace": 0.4}, squeeze=False).ravel()
    for unused in panels[len(names) :]:
        unused.remove()
    title = "Training: minibatches and validation set"
    figure.text(margins["left"], 1 - 0.2 / height, title, va="center", size="large")
    for axes, name in zip(panels, names, strict=False):
        _draw_metric(axes, records, name)
    losses = _series(records, "loss")[1] + _series(records, "validation_loss")[1]
    if losses and max(losses) > 10 * min(losses):  # a logarithmic axis of less than a decade has few labels
        _use_log(panels[0])
    if accurate:
        panels[1].set_ylim(accuracy_range(records))
    return add_about(figure, about)


def _draw_metric(axes: Axes, records: Records, name: str) -> None:
    """One metric over the steps, of minibatches and of the validation set."""
    minibatch = {"color": LIGHT_BLUE, "linewidth": 0.8, "markersize": 2}
    validation = {"color": VERMILION, "markersize": 7}
    seeds, handles = _num_seeds(records, name), []
    for key, label, line in ((name, "minibatch", minibatch), (f"validation_{name}", "validation set", validation)):
        steps, mean = _series(records, key)
        if not steps:
            continue
        handles += axes.plot(steps, mean, ".-", label=label + f", mean of {seeds} seeds" * (seeds > 1), **line)
        low, high = _series(records, key, np.min)[1], _series(records, key, np.max)[1]  # NaN where the mean is
        axes.fill_between(steps, low, high, color=line["color"], alpha=0.3, lw=0)
    if seeds > 1:
        handles.append(Patch(color="0.5", alpha=0.3, label="bands: lowest to highest seed"))
    axes.set(xlabel="step", title=name.replace("_", " ").capitalize())
    axes.grid(True)
    if handles:
        axes.legend(handles=handles, loc=CORNERS.get(name, "best"))


def _use_log(axes: Axes) -> None:
    """A logarithmic vertical axis whose labels are short, so that they stay in the picture."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _num_seeds(records: Records, name: str) -> int:
    return max((np.size(r[key]) for r in records for key in (name, f"validation_{name}") if key in r), default=1)


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
def memory(records: Records, about: str = "") -> Figure:
    """Draw how memory develops in training: a row of panels for each layer. For several seeds, it draws the means.

    The first panel shows the gradients, the others the gates if they are known.

    Args:
      records: those are drawn that hold the values of `diagnostics.gradient_diagnostics`, as JSON values or as lists of
        them over seeds. If they have no "step", the colours of the gradients have no key.
      about: run, seeds and model, written below.

    Raises:
      ValueError: no record has them.
    """
    records = [record for record in records if any("/gradient_norm" in key for key in record)]
    layers = sorted({key.split("/")[0] for record in records for key in record if "/gradient_norm" in key})
    if not layers:
        raise ValueError("records hold no values of memory_health.")
    has_gates = f"{layers[0]}/time_constants" in records[0]
    columns = 3 if has_gates else 1
    width, height = 0.4 + 3.5 * columns, 0.2 + 3.0 * len(layers)
    figure = Figure(figsize=(width, height))
    margins = {
        "left": 0.6 / width,
        "right": 1 - 0.15 / width,
        "bottom": 0.5 / height,
        "top": 1 - (0.75 if has_gates else 0.55) / height,
    }
    margins |= {"wspace": 0.22, "hspace": 1.05 / 1.95}
    panels_of_layers = figure.subplots(len(layers), columns, squeeze=False, gridspec_kw=margins)
    for row, (panels, layer) in enumerate(zip(panels_of_layers, layers, strict=True)):
        own = [{key.removeprefix(f"{layer}/"): value for key, value in record.items()} for record in records]
        norms = next(own[0][key] for key in GRADIENT_NORMS if key in own[0])
        title = layer.replace("_", " ") + f", mean of {len(norms)} seeds" * (np.ndim(norms) > 1)
        figure.text(0.6 / width, 1 - (0.18 + 3.0 * row) / height, title, va="center", weight="bold")
        _draw_gradients(figure, panels[0], own)
        if has_gates:
            _draw_saturation(panels[1], own)
            _draw_time_constants(panels[2], own)
    return add_about(figure, about)


def _draw_gradients(figure: Figure, axes: Axes, records: Records) -> None:
    name = next(key for key in GRADIENT_NORMS if key in records[0])
    chosen = np.unique(np.linspace(0, len(records) - 1, LINES).round().astype(int))
    shown = [records[index] for index in chosen]
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(shown))))
    for index, record in enumerate(shown):
        norms = _mean_of_seeds(record[name], axes=1)
        axes.plot(range(1, 1 + len(norms)), norms, color=colours(index), linewidth=1.2)
    axes.set(xlabel="time step t", title=f"{GRADIENT_NORMS[name]}, L the loss")
    _use_log(axes)
    axes.grid(True)
    if "step" not in shown[0]:
        return
    norm = BoundaryNorm(np.arange(len(shown) + 1), colours.N)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02, aspect=30)
    bar.set_ticks([index + 0.5 for index in range(len(shown))], labels=[str(record["step"]) for record in shown])
    bar.ax.tick_params(length=0, labelsize=7)
    bar.ax.set_title("step", fontsize=7)


def _draw_saturation(axes: Axes, records: Records) -> None:
    """The share of saturated activations of each gate; a sentence instead of four lines that lie on zero."""
    axes.set(xlabel="step")
    axes.set_title("Saturated activations, %", pad=20)
    steps = [record["step"] for record in records]
    shares = {g: [100 * _mean_of_seeds(record[f"saturated_{g}"], axes=0) for record in records] for g in GATES}
    if np.nan_to_num(np.array([*shares.values()], float)).max() < LEAST_SHARE:
        axes.set(xlim=(min(steps), max(steps) + (min(steps) == max(steps))), ylim=(0, 1))
        text = f"{', '.join(GATES.values())}:\nless than {LEAST_SHARE:g} % at every logged step"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    for (gate, values), colour, marker in zip(shares.items(), PALETTE, MARKERS, strict=False):
        axes.plot(steps, values, f"{marker}-", color=colour, label=GATES[gate], markersize=2.5, linewidth=1)
    axes.set_ylim(bottom=0)
    axes.grid(True)
    axes.legend(ncols=4, **KEY_ABOVE)


def _draw_time_constants(axes: Axes, records: Records) -> None:
    steps = [record["step"] for record in records]
    low, median, high = np.array([_mean_of_seeds(record["time_constants"], axes=1) for record in records]).T
    axes.fill_between(steps, low, high, color=LIGHT_BLUE, alpha=0.5, linewidth=0, label="10 to 90 % of units")
    axes.plot(steps, median, ".-", color=VERMILION, label="median of units", markersize=3)
    axes.set(xlabel="step")
    axes.set_title("Time constant of the units, time steps", pad=20)
    axes.grid(True)
    axes.legend(ncols=2, **KEY_ABOVE)


def _mean_of_seeds(value: Any, axes: int) -> np.ndarray:
    """The mean over seeds of a value with so many axes of its own; null becomes NaN, which is not drawn."""
    value = np.asarray(value, float)
    return value.mean(axis=0) if value.ndim > axes else value
