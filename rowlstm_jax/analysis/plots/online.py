"""The picture of learning online: what each way of learning reaches, and the memory that it takes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rowlstm_jax.analysis.plots.style import MARKERS, PALETTE, add_about, picture

Lines = Mapping[str, Sequence[float] | np.ndarray]


@picture
def online(
    examples: Sequence[int], accuracies: Lines, steps: Sequence[int], megabytes: Lines, about: str = ""
) -> Figure:
    """Draw accuracy over the sequences read, and memory over the time steps of a sequence; the latter logarithmic.

    For several seeds, it draws the mean, and a band from the lowest to the highest value.

    Args:
      examples: sequences read at each evaluation, [E].
      accuracies: of each way of learning, [S, E], from 0 to 1.
      steps: T, the lengths of sequences whose memory is known, [M].
      megabytes: of each way of learning, [M].
      about: seeds and model, written below.
    """
    figure = Figure(figsize=(9.0, 3.6))
    margins = {"left": 0.07, "right": 0.98, "bottom": 0.14, "top": 0.9, "wspace": 0.2}
    left, right = figure.subplots(1, 2, gridspec_kw=margins)
    for (name, values), colour, marker in zip(accuracies.items(), PALETTE, MARKERS, strict=False):
        percent, style = 100 * np.asarray(values), {"color": colour, "marker": marker, "markersize": 4}
        left.plot(examples, percent.mean(axis=0), **style)
        left.fill_between(examples, percent.min(axis=0), percent.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        right.plot(steps, megabytes[name], label=name, **style)
    seeds = max((len(values) for values in accuracies.values()), default=1)
    title = "Validation accuracy, %" + f", mean and range of {seeds} seeds" * (seeds > 1)
    left.set(xlabel="sequences read", title=title)
    left.xaxis.set_major_formatter("{x:,.0f}")
    right.set(xlabel="time steps T of a sequence", title="Memory of a gradient, MB", xscale="log", yscale="log")
    right.set_xticks(steps, [f"{of:,}" for of in steps])
    right.xaxis.set_minor_locator(NullLocator())
    right.yaxis.set_major_formatter("{x:g}")
    for axes in (left, right):
        axes.grid(True)
    right.legend(loc="lower right")
    return add_about(figure, about)
