"""Pictures of history compression: how a chunker and its automatiser learn, and what is passed on of an image."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rowlstm_jax.analysis.plots.style import MARKERS, PALETTE, VERMILION, add_about, add_axes, picture

SMOOTH = 50  # sequences that a mean of errors is over


@picture
def chunking(
    found: Mapping[str, Mapping[str, np.ndarray]], lag: int = 20, published: float = 13 / 17, about: str = ""
) -> Figure:
    """Draw how many inputs an automatiser does not expect, the error of the target, and when each seed solved the task.

    Args:
      found: by the name of each system, the first with a chunker: `passed_on` and `error`, [S, N], of each training
        sequence; and `needed`, int [S], the sequences until the task was solved, 0 for never.
      lag: L, one less than the inputs of a sequence.
      published: share of runs that solved it within 5,000 sequences.
      about: run, seeds and model, written below.
    """
    figure = Figure(figsize=(10.0, 3.6))
    margins = {"left": 0.04, "right": 0.98, "bottom": 0.14, "top": 0.78, "wspace": 0.25}
    passed, errors, solved = figure.subplots(1, 3, gridspec_kw=margins)
    first = next(iter(found.values()))
    for (name, of), colour in zip(found.items(), PALETTE, strict=False):
        _draw_seeds(errors, of["error"], SMOOTH, colour)
        needed = np.sort(of["needed"][of["needed"] > 0])
        steps = np.concatenate([[0], needed, [of["error"].shape[1]]])
        shares = np.arange(len(needed) + 1) / len(of["needed"])
        line = "-" if of is first else "--"  # several may lie on each other, at 0
        solved.step(steps, 100 * np.append(shares, shares[-1]), line, where="post", color=colour, label=name)
    _draw_seeds(passed, first["passed_on"], 1, PALETTE[0])
    passed.set(
        xscale="log",
        ylim=(0, lag + 2.5),
        yticks=range(0, lag + 1, max(1, lag // 4)),
        title="Unexpected inputs of a sequence,\nwhich the chunker reads",
    )
    errors.set(ylim=(0, 0.65), title="Error of the target,\nmean of 50 sequences")
    solved.plot([5000], [100 * published], "k*", label="published, with a chunker", clip_on=False)
    solved.set(ylim=(-3, 103), title="% of seeds that solved it")
    passed.xaxis.set_major_formatter("{x:,.0f}")  # its own would need the parser of mathematics
    passed.axhline(lag + 1, color="0.6", linewidth=0.8)
    passed.text(1.2, lag + 1.1, "all inputs", fontsize=7, color="0.35", va="bottom")
    for axes in (passed, errors, solved):
        axes.set_xlabel("training sequences")
    for axes in (errors, solved):
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    handles, labels = solved.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncols=len(labels), fontsize=8)
    return add_about(figure, about)


def _draw_seeds(axes: Axes, values: np.ndarray, smooth: int, colour: str) -> None:
    """A thin line for each seed [S, N] and a thick one for the mean, each value a mean of `smooth` values."""
    count = values.shape[1] // smooth * smooth
    means = values[:, :count].reshape(len(values), -1, smooth).mean(axis=2)
    where = smooth * (np.arange(means.shape[1]) + 1)
    axes.plot(where, means.T, color=colour, alpha=0.25, linewidth=0.6)
    axes.plot(where, means.mean(axis=0), color=colour, linewidth=1.6)


@picture
def passed_on(images: np.ndarray, unexpected: np.ndarray, names: Sequence[str] = (), about: str = "") -> Figure:
    """Draw images of two colours, and a mark at each pixel that was passed on.

    Args:
      images: [N, R, K], 0 or 1.
      unexpected: bool [N, R, K].
      names: [N], above the images.
      about: run, seeds and model, written below.
    """
    figure = Figure(figsize=(0.1 + 1.7 * len(images), 2.2))
    for index, (image, marked) in enumerate(zip(images, unexpected, strict=True)):
        axes = add_axes(figure, 0.1 + 1.7 * index, 0.4, 1.6, 1.6)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1.6)
        rows, columns = np.nonzero(marked)
        axes.plot(columns, rows, MARKERS[1], color=VERMILION, markersize=2.2)
        name = f"{names[index]}: " if names else ""
        axes.set_title(f"{name}{marked.sum()} of {marked.size}", fontsize=8)
        axes.set_axis_off()
    return add_about(figure, about)
