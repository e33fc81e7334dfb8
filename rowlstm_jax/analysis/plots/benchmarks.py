"""Pictures of the benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from rowlstm_jax.analysis.plots.style import SYSTEMS, styled

GROWING = {
    "time_steps": "time steps T",
    "hidden": "hidden units H",
    "batch_size": "batch size B",
    "devices": "devices D",
}


@styled
def scaling(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw how the time of a training step grows with each size, both axes logarithmic, one panel a size.

    Args:
      path: the PNG to write.
      rows: each has "axis" (a key of `GROWING`), "value", "name" of the system, and "median_ms", or None there.
    """
    figure = Figure(figsize=(9.0, 6.4))
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.08, top=0.97, wspace=0.2, hspace=0.25)
    names = list(dict.fromkeys(row["name"] for row in rows))
    for axes, (axis, label) in zip(figure.subplots(2, 2).flat, GROWING.items(), strict=True):
        values = sorted({row["value"] for row in rows if row["axis"] == axis})
        for name, colour in zip(names, SYSTEMS, strict=False):
            mine = [row for row in rows if (row["axis"], row["name"]) == (axis, name) and row["median_ms"] is not None]
            axes.plot(
                [row["value"] for row in mine], [row["median_ms"] for row in mine], ".-", color=colour, label=name
            )
        axes.set(xlabel=label, ylabel="ms a training step", xscale="log", yscale="log")
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(True)
        axes.legend()
    figure.savefig(path)
