"""Pictures that compare: two runs, several runs over time, systems of a benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from rowlstm_jax.analysis.plots.style import (
    BLUE,
    GREEN,
    MARKERS,
    PALETTE,
    VERMILION,
    add_about,
    add_axes,
    picture,
)

COLOURS = (BLUE, VERMILION)  # of the runs A and B
LONGEST = 120  # characters of the name of a run
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
    values: Sequence[Sequence[float]],
    intervals: Sequence[Interval],
    discordant: np.ndarray,
    pairs: Sequence[str],
    captions: Sequence[str],
    measure: str = "accuracy",
    losses: Sequence[np.ndarray] = (),
    about: str = "",
) -> Figure:
    """Draw the results of two runs over seeds, and how many examples only one of two networks gets right.

    Args:
      names: of the two runs, A and B: each says run, seeds and model.
      values: of each run, [S]: accuracies from 0 to 1, or losses.
      intervals: of each run's mean, None for one seed.
      discordant: int [P, 2], for each pair of networks the examples that only A and that only B gets right.
      pairs: the name of each pair, [P].
      captions: of both panels; the first ". " ends a line.
      measure: "accuracy" or "loss". If it is "loss", the second panel shows the losses of the examples.
      losses: of each run, [N], the mean over seeds of each example's loss.
      about: what both runs have in common, written below.
    """
    height = 3.6 + 0.16 * max(0, len(pairs) - 8)
    figure = Figure(figsize=(9.0, height))
    margins = {"left": 0.08, "right": 0.98, "bottom": 0.5 / height, "top": 1 - 0.95 / height, "wspace": 0.28}
    left, right = figure.subplots(1, 2, width_ratios=(2, 3), gridspec_kw=margins)
    for line, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        shown = name if len(name) <= LONGEST else f"{name[: LONGEST // 2]} ... {name[-LONGEST // 2 :]}"
        figure.text(0.01, 1 - (0.2 + 0.2 * line) / height, shown, color=colour, va="center")
    _draw_seeds(left, values, intervals, measure)
    if measure == "accuracy":
        _draw_discordant(right, discordant, pairs)
    else:
        _draw_losses(right, losses)
    for axes, caption in zip((left, right), captions, strict=True):
        axes.set_title(caption.replace(". ", "\n", 1))
    return add_about(figure, about)


def _draw_losses(axes: Axes, losses: Sequence[np.ndarray]) -> None:
    """A point for each example: its loss in A and in B."""
    a, b = losses
    top = float(max(a.max(), b.max()))
    axes.plot([0, top], [0, top], color="0.6", linewidth=0.8)
    axes.plot(a, b, ".", color=GREEN, markersize=2, alpha=0.5)
    axes.set(xlabel="loss of a test example in A", ylabel="loss in B")
    axes.grid(True)


def _draw_seeds(
    axes: Axes, results: Sequence[Sequence[float]], intervals: Sequence[Interval], measure: str = "accuracy"
) -> None:
    """A point for each seed, spread in the order of the seeds; beside them the mean and its interval."""
    labels, unit = [], 100 if measure == "accuracy" else 1
    for place, (values, interval, colour) in enumerate(zip(results, intervals, COLOURS, strict=True)):
        percent, mean = unit * np.asarray(values), unit * float(np.mean(values))
        spread = np.linspace(-0.14, 0.14, len(percent)) if len(percent) > 1 else np.zeros(1)
        dots = {"alpha": 0.55, "markersize": 5, "markeredgewidth": 0, "clip_on": False}  # whole at 100 % too
        axes.plot(place - 0.1 + spread, percent, "o", color=colour, **dots)
        if interval:
            ends = [[mean - unit * interval[0]], [unit * interval[1] - mean]]
            axes.errorbar(place + 0.2, mean, ends, fmt="D", color=colour, capsize=4, markersize=5)
        labels.append(f"{'AB'[place]} ({len(values)} seed{'s' * (len(values) > 1)})")
    axes.set(xlim=(-0.5, 1.5), ylabel="test accuracy, %" if unit == 100 else "test loss")
    low, high = axes.get_ylim()
    axes.set_ylim(max(0, low), min(100, high) if unit == 100 else high)  # no accuracy is outside; an interval may be
    axes.set_xticks((0, 1), labels)
    axes.set_xlabel("dots: seeds; diamond: mean and 95 % interval")
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter("{x:.4g}")


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
    axes.set_xlabel("test examples that only A (left) or only B (right) classifies correctly")
    axes.set_yticks(rows, pairs)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")


@picture
def accuracy_over_minutes(
    runs: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]], about: str = ""
) -> Figure:
    """Draw how validation accuracy grows with the minutes of training: the mean over seeds, and from least to most.

    Args:
      runs: by name the minutes [K] and the accuracies from 0 to 1 [K, S]; a run of one point is a dot.
      about: where the minutes were measured, written below.
    """
    figure = Figure(figsize=(7.6, 3.5))
    axes = add_axes(figure, 0.75, 0.15, 6.6, 2.8)
    for (name, (minutes, accuracies)), colour, marker in zip(runs.items(), PALETTE, MARKERS, strict=False):
        percent = 100 * np.asarray(accuracies)
        axes.plot(minutes, percent.mean(axis=1), color=colour, marker=marker, markersize=4, label=name)
        axes.fill_between(minutes, percent.min(axis=1), percent.max(axis=1), color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="minutes of training", ylabel="validation accuracy, %", xlim=(0, None))
    axes.set_ylim(top=min(100, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter("{x:.4g}")
    axes.grid(True)
    axes.legend(loc="lower right")
    return add_about(figure, about)


@picture
def scaling(rows: Sequence[Mapping[str, Any]], about: str = "") -> Figure:
    """Draw how the time of a training step grows with each size, one panel for each size, both axes logarithmic.

    A size with one value only has no panel, and a system that was never timed has no line.

    Args:
      rows: each has "axis" (a key of `GROWING`), "value", the "name" of the system, and "median_ms", a number or None.
      about: model and machine, written below.
    """
    values = {axis: sorted({row["value"] for row in rows if row["axis"] == axis}) for axis in GROWING}
    drawn = {axis: of for axis, of in values.items() if len(of) > 1} or {next(iter(GROWING)): [1, 2]}
    names = list(dict.fromkeys(row["name"] for row in rows if row["median_ms"] is not None))
    lines = (len(drawn) + 1) // 2
    height = 0.8 + 2.8 * lines
    figure = Figure(figsize=(9.0, height))
    margins = {"left": 0.08, "right": 0.98, "bottom": 0.5 / height, "top": 1 - 0.75 / height, "wspace": 0.2}
    panels = figure.subplots(lines, 2, gridspec_kw=margins | {"hspace": 0.3}, squeeze=False).ravel()
    for axes, (axis, ticks) in zip(panels, drawn.items(), strict=False):
        for rank, name in enumerate(names):
            mine = [row for row in rows if (row["axis"], row["name"]) == (axis, name) and row["median_ms"] is not None]
            style = {"color": PALETTE[rank % len(PALETTE)], "marker": MARKERS[rank % len(MARKERS)], "markersize": 4}
            axes.plot([row["value"] for row in mine], [row["median_ms"] for row in mine], label=name, **style)
        axes.set(xlabel=GROWING[axis], ylabel="ms", xscale="log", yscale="log")
        axes.set_xticks(ticks, [f"{value:,}" for value in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        _label_times(axes)
        axes.grid(True)
    for unused in panels[len(drawn) :]:
        unused.remove()
    figure.text(0.08, 1 - 0.2 / height, "Milliseconds a training step", va="center", size="large")
    if names:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2}
        panels[0].legend(ncols=len(names), **above)
    return add_about(figure, about)


def _label_times(axes: Axes) -> None:
    """A logarithmic vertical axis that holds two powers of ten or more, or labels between them."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    if high < 4 * low:  # two labels or more
        axes.set_ylim(low / 2, 2 * high)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
