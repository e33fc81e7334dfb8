"""The picture of a grid of runs: networks by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rowlstm_jax.analysis.figures import percent_over_seeds
from rowlstm_jax.analysis.plots.style import add_about, add_axes, picture

FIELD, TOP, KEY = 0.4, 0.65, 0.5  # inches: the height of a field, what is above all fields, what is below
LEAST = 0.1  # percent: the error of the darkest colour
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 70, 90)  # errors in percent


@picture
def grid(rows: Sequence[Mapping[str, Any]], caption: str, about: str = "") -> Figure:
    """Draw the test accuracies of a grid of runs, a field for each network and task: mean, deviation, step size.

    Args:
      rows: each has "cell", "task" and "accuracies" [S], from 0 to 1, or none; and, if they are known, "step_size" and
        "layer". Rows of earlier versions have "order" instead of "task".
      caption: what the runs have in common.
      about: run, seeds and model, written below.
    """
    rows = sorted(rows, key=lambda row: row.get("layer", False))  # cells come first
    tasks = [row.get("task", row.get("order")) for row in rows]
    cells, columns = (list(dict.fromkeys(names)) for names in ([row["cell"] for row in rows], tasks))
    left, across = 0.2 + 0.075 * max(map(len, cells)), len(columns) * max(1.2, 0.085 * max(map(len, columns)))
    down = FIELD * len(cells)
    figure = Figure(figsize=(max(left + across + 0.75, 4.2), TOP + down + KEY))
    axes = add_axes(figure, left, TOP, across, down)
    errors = [_error(row["accuracies"]) for row in rows if row["accuracies"]] or [LEAST]
    # The colours follow the logarithm of the error; otherwise 97 and 98 % would look the same beside 70 %.
    colours = ScalarMappable(LogNorm(min(*errors, max(errors) / 3), max(errors)), "Blues_r")
    for row, task in zip(rows, tasks, strict=True):
        _draw_field(axes, columns.index(task), cells.index(row["cell"]), row, colours)
    layers = len({row["cell"] for row in rows if row.get("layer")})
    if 0 < layers < len(cells):
        axes.axhline(len(cells) - layers - 0.5, color="black", linewidth=2.5)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(cells) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(cells)), cells)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.2 / height, caption, va="center")
    key = "test accuracy, %: mean ± standard deviation over seeds"
    if any(row.get("step_size") for row in rows):
        key += "\nbelow it: the step size, chosen by validation accuracy"
    figure.text(0.1 / width, (KEY - 0.08) / height, key, va="top", fontsize=8)
    bar = figure.colorbar(colours, cax=add_axes(figure, left + across + 0.12, TOP, 0.12, down), ticks=TICKS)
    bar.ax.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
    bar.minorticks_off()
    bar.ax.invert_yaxis()
    return add_about(figure, about)


def _error(accuracies: Sequence[float]) -> float:
    """The mean error in percent, which has a logarithm."""
    return max(LEAST, 100 - 100 * float(np.mean(accuracies)))


def _draw_field(axes: Axes, column: int, line: int, row: Mapping[str, Any], colours: ScalarMappable) -> None:
    """A field with its numbers, in the colour of its mean; a grey one if the loss did not stay finite."""
    shares, size = row["accuracies"], row.get("step_size")
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    colour = colours.to_rgba(np.array([_error(shares)]))[0] if shares else np.array([0.85, 0.85, 0.85, 1.0])
    middle["color"] = "white" if colour[:3].sum() < 1.6 else "black"
    axes.add_patch(Rectangle((column - 0.5, line - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
    text = percent_over_seeds(shares) if shares else "not finite"
    axes.text(column, line - 0.14 * bool(size), text, **middle)
    if size:
        axes.text(column, line + 0.26, f"{size:g}", fontsize=6.5, **middle)
