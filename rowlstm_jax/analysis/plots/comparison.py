"""Pictures that compare: two runs, a grid of runs, systems of a benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from rowlstm_jax.analysis.plots.style import SYSTEMS, add_axes, picture

COLOURS = (SYSTEMS[1], SYSTEMS[0])  # of the runs A and B
Interval = tuple[float, float] | None
GROWING = {
    "time_steps": "time steps T",
    "hidden": "hidden units H",
    "batch_size": "batch size B",
    "devices": "devices D",
}


@picture
def comparison(
    names: Sequence[str],
    accuracies: Sequence[Sequence[float]],
    intervals: Sequence[Interval],
    discordant: np.ndarray,
    pairs: Sequence[str],
    captions: Sequence[str],
) -> Figure:
    """Draw the accuracies of two runs over seeds, and how many examples only one of two networks gets right.

    Args:
      names: of the two runs, A and B.
      accuracies: of each run, [S], from 0 to 1.
      intervals: of each run's mean, None for one seed.
      discordant: int [P, 2], for each pair of networks the examples that only A and that only B gets right.
      pairs: the name of each pair, [P].
      captions: of both panels.
    """
    height = 3.4 + 0.16 * max(0, len(pairs) - 8)
    figure = Figure(figsize=(9.0, height))
    margins = {"left": 0.08, "right": 0.98, "bottom": 0.5 / height, "top": 1 - 0.8 / height, "wspace": 0.28}
    left, right = figure.subplots(1, 2, width_ratios=(2, 3), gridspec_kw=margins)
    for line, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        figure.text(0.08, 1 - (0.2 + 0.2 * line) / height, name, color=colour, va="center")
    _draw_seeds(left, accuracies, intervals)
    _draw_discordant(right, discordant, pairs)
    for axes, caption in zip((left, right), captions, strict=True):
        axes.set_title(caption, fontsize="medium", loc="left")
    return figure


def _draw_seeds(axes: Axes, accuracies: Sequence[Sequence[float]], intervals: Sequence[Interval]) -> None:
    """A point for each seed, spread in the order of the seeds; beside them the mean and its interval."""
    labels = []
    for place, (values, interval, colour) in enumerate(zip(accuracies, intervals, COLOURS, strict=True)):
        percent, mean = 100 * np.asarray(values), 100 * float(np.mean(values))
        spread = np.linspace(-0.14, 0.14, len(percent)) if len(percent) > 1 else np.zeros(1)
        axes.plot(place - 0.1 + spread, percent, "o", color=colour, alpha=0.55, markersize=5, markeredgewidth=0)
        if interval:
            ends = [[mean - 100 * interval[0]], [100 * interval[1] - mean]]
            axes.errorbar(place + 0.2, mean, ends, fmt="D", color=colour, capsize=4, markersize=5)
        labels.append(f"{'AB'[place]} ({len(values)} seed{'s' * (len(values) > 1)})")
    axes.set(xlim=(-0.5, 1.5), ylabel="test accuracy, %")
    axes.set_xticks((0, 1), labels)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter("{x:.2f}")


def _draw_discordant(axes: Axes, discordant: np.ndarray, pairs: Sequence[str]) -> None:
    """Bars from zero to the left for A, to the right for B."""
    rows = np.arange(len(pairs))
    for colour, counts, sign, align in zip(COLOURS, discordant.T, (-1, 1), ("right", "left"), strict=True):
        axes.barh(rows, sign * counts, height=0.7, color=colour)
        for row, count in enumerate(counts):
            place = {"xytext": (3 * sign, 0), "textcoords": "offset points", "ha": align, "va": "center"}
            axes.annotate(f"{count:,}", (sign * count, row), **place)
    limit = 1.25 * max(1, int(discordant.max()))
    margin = 0.5 if len(pairs) > 1 else 0.0  # a single bar need not fill the panel
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlim=(-limit, limit), ylim=(len(pairs) - margin, margin - 1))
    axes.set_xlabel("test images that only A | only B classifies correctly")
    axes.set_yticks(rows, pairs)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")


@picture
def grid(rows: Sequence[Mapping[str, Any]], caption: str) -> Figure:
    """Draw the test accuracies of a grid of runs, one line for each cell, one colour for each order: seeds and means.

    Args:
      rows: each has "cell", "order" and "accuracies" [S], from 0 to 1, or none.
      caption: what the runs have in common.
    """
    cells, orders = (list(dict.fromkeys(row[key] for row in rows)) for key in ("cell", "order"))
    height, means = 1.1 + 0.5 * len(cells), {}
    figure = Figure(figsize=(7.6, height))
    axes = add_axes(figure, 0.17 * 7.6, 0.4, 0.63 * 7.6, height - 1.0)
    for row in rows:
        if not row["accuracies"]:
            continue
        rank, accuracies = orders.index(row["order"]), 100 * np.asarray(row["accuracies"])
        colour = SYSTEMS[rank % len(SYSTEMS)]
        line = cells.index(row["cell"]) + 0.6 * (rank + 0.5) / len(orders) - 0.3  # the orders of a cell lie close
        axes.plot(accuracies, np.full(len(accuracies), line), "o", color=colour, markersize=3, alpha=0.5)
        mean = axes.plot([accuracies.mean()], [line], "|", color=colour, markersize=11, markeredgewidth=2.2)
        means.setdefault(row["order"], mean[0])
    axes.set_yticks(range(len(cells)), cells)
    axes.set(ylim=(len(cells) - 0.5, -0.5), xlabel="test accuracy (%): seeds, and their mean", title=caption)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.legend(means.values(), means.keys(), title="order", loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


@picture
def scaling(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how the time of a training step grows with each size, one panel for each size, both axes logarithmic.

    Args:
      rows: each has "axis" (a key of `GROWING`), "value", the "name" of the system, and "median_ms", a number or None.
    """
    figure = Figure(figsize=(9.0, 6.4))
    margins = {"left": 0.08, "right": 0.98, "bottom": 0.08, "top": 0.97, "wspace": 0.2, "hspace": 0.25}
    names = list(dict.fromkeys(row["name"] for row in rows))
    panels = figure.subplots(2, 2, gridspec_kw=margins).flat
    for axes, (axis, label) in zip(panels, GROWING.items(), strict=True):
        for name, colour in zip(names, SYSTEMS, strict=False):
            mine = [row for row in rows if (row["axis"], row["name"]) == (axis, name) and row["median_ms"] is not None]
            values, times = [row["value"] for row in mine], [row["median_ms"] for row in mine]
            axes.plot(values, times, ".-", color=colour, label=name)
        axes.set(xlabel=label, ylabel="ms a training step", xscale="log", yscale="log")
        ticks = sorted({row["value"] for row in rows if row["axis"] == axis})
        axes.set_xticks(ticks, [f"{value:,}" for value in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(True)
        axes.legend()
    return figure
