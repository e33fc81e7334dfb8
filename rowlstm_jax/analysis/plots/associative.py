"""Pictures of associative memories: what they complete, and how much they store."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rowlstm_jax.analysis.plots.style import GREY, MARKERS, PALETTE, add_about, add_axes, add_canvas, picture

SIDE, GAP, BLOCK_GAP = 0.5, 0.05, 0.25  # inches: a pattern, between two of them, between two blocks
NAMES, TOP, MARGIN = 1.85, 0.42, 0.12  # inches: room for the names of the rows, for the captions, at the other edges
SHARES = {"ylim": (-0.03, 1.03), "ylabel": "share of the patterns recalled"}


@picture
def completions(
    blocks: Mapping[str, Mapping[str, np.ndarray]], shape: tuple[int, int], columns: int = 5, about: str = ""
) -> Figure:
    """Draw what memories make of pictures of which they see a part: a block of columns for each number stored.

    Args:
      blocks: by caption, then by the name of a row: states [..., R * K] from -1 (white) to 1 (black); 0, which is not
        known, is grey. All blocks have the same rows.
      shape: (R, K).
      columns: how many of the pictures of a row are drawn, the first ones.
      about: data and seed, written below.
    """
    rows, pitch = [*next(iter(blocks.values()))], SIDE + GAP
    width = NAMES + len(blocks) * (columns * pitch + BLOCK_GAP) - BLOCK_GAP + MARGIN
    height = TOP + len(rows) * pitch + MARGIN
    figure = Figure(figsize=(width, height))
    axes = add_canvas(figure, width, height)
    for number, name in enumerate(rows):
        axes.text(NAMES - 0.1, TOP + number * pitch + SIDE / 2, name, ha="right", va="center")
    for rank, (caption, block) in enumerate(blocks.items()):
        left = NAMES + rank * (columns * pitch + BLOCK_GAP)
        axes.text(left, TOP / 2, caption, va="center", weight="bold")
        for number, name in enumerate(rows):
            top = TOP + number * pitch
            for column, values in enumerate(np.reshape(block[name], (-1, *shape))[:columns]):
                extent = (left + column * pitch, left + column * pitch + SIDE, top + SIDE, top)
                axes.imshow(values, cmap="Greys", vmin=-1, vmax=1, extent=extent, interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return add_about(figure, about)


@picture
def recalled(counts: Sequence[int], shares: Mapping[str, Sequence[float]], about: str = "") -> Figure:
    """Draw which share of the stored patterns is recalled, against their number: a line for each memory.

    Args:
      counts: the numbers of stored patterns, growing.
      shares: by the name of the memory, one for each number, from 0 to 1.
      about: data and seed, written below.
    """
    figure, axes = _share_axes()
    _draw_lines(axes, counts, shares)
    axes.set(xscale="log", xlabel="stored patterns")
    axes.set_xticks(shown := _apart(counts), [f"{count:,}" for count in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    return add_about(figure, about)


@picture
def capacity(
    loads: Sequence[float], shares: Mapping[str, Sequence[float]], expected: float = 0.138, about: str = ""
) -> Figure:
    """Draw which share of random patterns is recalled, against the load N / H: a line for each size of the network.

    Args:
      loads: patterns for each unit, growing.
      shares: by the name of the size, one for each load, from 0 to 1.
      expected: the load that theory says an infinite network can have, drawn as a vertical line.
      about: how it was measured, written below.
    """
    figure, axes = _share_axes()
    axes.axvline(expected, color=GREY, linestyle="--", linewidth=1)
    axes.text(expected, 1.05, f"{expected:g}", color=GREY, ha="center", va="bottom")
    _draw_lines(axes, loads, shares)
    axes.set_xlabel("stored patterns for each unit, N / H")
    return add_about(figure, about)


def _share_axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, 3.4))
    axes = add_axes(figure, 0.65, 0.35, 4.7, 2.5)
    axes.set(**SHARES)
    axes.grid(True)
    return figure, axes


def _draw_lines(axes: Axes, places: Sequence[float], shares: Mapping[str, Sequence[float]]) -> None:
    for rank, (name, values) in enumerate(shares.items()):
        style = {"color": PALETTE[rank % len(PALETTE)], "marker": MARKERS[rank % len(MARKERS)], "markersize": 4}
        axes.plot(places, values, label=name, clip_on=False, **style)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))


def _apart(counts: Sequence[int]) -> list[int]:
    """Those numbers whose labels do not touch on a logarithmic axis."""
    shown, width = [], (counts[-1] / counts[0]) ** 0.085
    for count in counts:
        if not shown or count >= width * shown[-1]:
            shown.append(count)
    return shown
