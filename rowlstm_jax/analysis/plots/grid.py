"""A picture of a grid of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rowlstm_jax.analysis.plots.style import SYSTEMS, styled


@styled
def grid(path: Path, rows: Sequence[Mapping[str, Any]], caption: str) -> None:
    """Draw the test accuracies of all cells, one line a cell, one colour an order: each seed, and their mean.

    Args:
      path: the PNG to write.
      rows: each has "cell", "order" and "accuracies" [S], from 0 to 1, or none.
      caption: what the runs have in common.
    """
    cells, orders = (list(dict.fromkeys(row[key] for row in rows)) for key in ("cell", "order"))
    height = 1.1 + 0.5 * len(cells)
    figure = Figure(figsize=(7.6, height))
    axes = figure.add_axes((0.17, 0.6 / height, 0.63, 1 - 1.0 / height))
    for row in rows:
        rank, colour = orders.index(row["order"]), SYSTEMS[orders.index(row["order"]) % len(SYSTEMS)]
        # The orders of a cell lie a little below one another, the cells far enough apart.
        line = cells.index(row["cell"]) + 0.6 * (rank + 0.5) / len(orders) - 0.3
        accuracies = 100 * np.asarray(row["accuracies"])
        if not len(accuracies):
            continue
        axes.plot(accuracies, np.full(len(accuracies), line), "o", color=colour, markersize=3, alpha=0.5)
        label = row["order"] if row["cell"] == cells[0] else None
        axes.plot([accuracies.mean()], [line], "|", color=colour, markersize=11, markeredgewidth=2.2, label=label)
    axes.set_yticks(range(len(cells)), cells)
    axes.set(ylim=(len(cells) - 0.5, -0.5), xlabel="test accuracy (%): seeds, and their mean", title=caption)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.legend(title="order", loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path)
