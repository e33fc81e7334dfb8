"""The picture of two runs side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rowlstm_jax.analysis.plots.style import SYSTEMS, styled

COLOURS = (SYSTEMS[1], SYSTEMS[0])


@styled
def comparison(
    path: Path,
    names: Sequence[str],
    accuracies: Sequence[Sequence[float]],
    intervals: Sequence[tuple[float, float] | None],
    discordant: np.ndarray,
    pairs: Sequence[str],
    captions: Sequence[str],
) -> None:
    """Draw the accuracies of two runs over seeds, and how many examples only one of two networks gets right.

    Args:
      path: the PNG to write.
      names: of the two runs, A and B.
      accuracies: of each run, [S], shares of one.
      intervals: of each run's mean, None where there is none.
      discordant: int [P, 2], for each pair of networks the examples that A's and that B's alone gets right.
      pairs: the name of each pair, [P].
      captions: of both panels.
    """
    height = 3.4 + 0.16 * max(0, len(pairs) - 8)
    figure = Figure(figsize=(9.0, height))
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.5 / height, top=1 - 0.8 / height, wspace=0.28)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    for line, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        figure.text(0.08, 1 - (0.2 + 0.2 * line) / height, name, color=colour, va="center")
    _draw_seeds(left, accuracies, intervals)
    _draw_discordant(right, discordant, pairs)
    for axes, caption in zip((left, right), captions, strict=True):
        axes.set_title(caption, fontsize="medium", loc="left")
    figure.savefig(path)


def _draw_seeds(
    axes: Axes, accuracies: Sequence[Sequence[float]], intervals: Sequence[tuple[float, float] | None]
) -> None:
    """A point a seed, spread in the order of the seeds; beside them the mean and its interval."""
    for place, (values, interval, colour) in enumerate(zip(accuracies, intervals, COLOURS, strict=True)):
        percent, mean = 100 * np.asarray(values), 100 * float(np.mean(values))
        spread = np.linspace(-0.14, 0.14, len(percent)) if len(percent) > 1 else np.zeros(1)
        axes.plot(place - 0.1 + spread, percent, "o", color=colour, alpha=0.55, markersize=5, markeredgewidth=0)
        if interval:
            low, high = 100 * interval[0], 100 * interval[1]
            axes.errorbar(
                place + 0.2, mean, [[mean - low], [high - mean]], fmt="D", color=colour, capsize=4, markersize=5
            )
    axes.set(xlim=(-0.5, 1.5), ylabel="test accuracy, %")
    axes.set_xticks(
        (0, 1),
        [
            f"{name} ({len(values)} seed{'s' * (len(values) > 1)})"
            for name, values in zip("AB", accuracies, strict=True)
        ],
    )
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter("{x:.2f}")


def _draw_discordant(axes: Axes, discordant: np.ndarray, pairs: Sequence[str]) -> None:
    """Bars to the left for A, to the right for B, from one zero, so that their balance shows."""
    rows = np.arange(len(pairs))
    for side, colour in enumerate(COLOURS):
        widths = discordant[:, side] * (1 if side else -1)
        axes.barh(rows, widths, height=0.7, color=colour)
        for row, count in enumerate(discordant[:, side]):
            offset, align = (3, "left") if side else (-3, "right")
            axes.annotate(
                f"{count:,}", (widths[row], row), (offset, 0), textcoords="offset points", ha=align, va="center"
            )
    limit = 1.25 * max(1, int(discordant.max()))
    margin = 0.5 if len(pairs) > 1 else 0.0  # a lone bar need not fill the panel
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(
        xlim=(-limit, limit),
        ylim=(len(pairs) - margin, margin - 1),
        xlabel="test images that only A | only B classifies rightly",
    )
    axes.set_yticks(rows, pairs)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
