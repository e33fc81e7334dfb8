"""The picture of reading orders."""

import math
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rowlstm_jax.analysis.plots.style import add_about, add_canvas, picture

DPI, SHARPNESS = 120, 2  # the file has twice as many pixels in each direction
# All lengths are in pixels, before the sharpness.
WIDTH, TOP, BOTTOM = 900, 32, 36  # of the picture
CARD_WIDTH, CARD_HEIGHT, CARD_GAP = 416, 148, 40  # two cards in a row
SIDE, SEQUENCE_WIDTH = 112, 280  # of the two drawings in a card
LINES, LINE_GAP = 7, 4  # a sequence of one feature is wrapped
TIME = matplotlib.colormaps["viridis"]


@picture
def orders(image: np.ndarray, indices: Mapping[str, np.ndarray], about: str = "") -> Figure:
    """Draw for each order when it reads each pixel of an image, and the sequence that results.

    The colour of a pixel is the time step that reads it first, its darkness is its value. A line follows an order that
    mostly steps from a pixel to its neighbour. A sequence runs from left to right, its features from top to bottom. A
    sequence with one feature is wrapped like text.

    Args:
      image: uint8 [R, K].
      indices: by name, int [T, F]: the positions in the flattened image that each time step reads.
      about: which image it is, written below.
    """
    height = TOP + math.ceil(len(indices) / 2) * CARD_HEIGHT + BOTTOM
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=SHARPNESS * DPI)
    axes = add_canvas(figure, WIDTH, height)
    for number, (name, index) in enumerate(indices.items()):
        left, top = 14 + (number % 2) * (CARD_WIDTH + CARD_GAP), TOP + (number // 2) * CARD_HEIGHT
        if number < 2:
            axes.text(left + SIDE / 2, 14, "reading time", ha="center", va="center", color="0.35")
            middle = left + CARD_WIDTH - SEQUENCE_WIDTH / 2
            axes.text(middle, 14, "sequence, from first to last time step", ha="center", va="center", color="0.35")
        _draw_card(axes, left, top, name, image, index)
    left, right, top = WIDTH / 2 - 90, WIDTH / 2 + 150, height - 26  # of the key to the colours
    _draw(axes, (left, right, top + 12, top), np.zeros((1, 240)), np.linspace(0, 1, 240)[None])
    axes.text(left - 8, top + 6, "first time step", ha="right", va="center")
    axes.text(right + 8, top + 6, "last", va="center")
    return add_about(figure, about)


def _draw_card(axes: Axes, left: float, top: float, name: str, image: np.ndarray, index: np.ndarray) -> None:
    """Draw one order: its name and size above the image and the sequence."""
    steps, features = index.shape
    axes.text(left, top + 10, name, va="center", weight="bold")
    size = f"T = {steps}, F = {features}"
    axes.text(left + CARD_WIDTH, top + 10, size, va="center", ha="right", color="0.35")
    top += 22
    _draw(axes, (left, left + SIDE, top + SIDE, top), image, first_time(index, image.shape))
    if features == 1:
        row, column = np.divmod(index[:, 0], image.shape[1])
        x, y = left + (column + 0.5) * SIDE / image.shape[1], top + (row + 0.5) * SIDE / image.shape[0]
        jump = np.hypot(np.diff(row), np.diff(column)) > 1
        if np.mean(jump) < 0.5:
            breaks = np.flatnonzero(jump) + 1  # a missing point breaks the line
            axes.plot(np.insert(x, breaks, np.nan), np.insert(y, breaks, np.nan), color="0.1", linewidth=0.4)

    left += CARD_WIDTH - SEQUENCE_WIDTH
    lines = lay_out(image, index)
    line_height = (SIDE + LINE_GAP) / len(lines)
    for values, time in lines:
        _draw(axes, (left, left + SEQUENCE_WIDTH, top + line_height - LINE_GAP, top), values, time)
        top += line_height


def _draw(axes: Axes, extent: tuple[float, float, float, float], values: np.ndarray, time: np.ndarray) -> None:
    """Draw values from 0 (the pale colour of their time) to 255 (black); a value without a time is white."""
    colours = np.where(np.isnan(time)[..., None], 1.0, 0.5 * TIME(0.08 + 0.8 * np.nan_to_num(time))[..., :3] + 0.5)
    axes.imshow(colours * (1 - values[..., None] / 255), extent=extent, interpolation="nearest", aspect="auto")


def first_time(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """When each pixel is read first, float [R, K]: 0 at the first step, 1 at the last, NaN for never.

    Args:
      index: int [T, F].
      shape: (R, K).
    """
    time = np.full(math.prod(shape), np.nan)
    positions, first = np.unique(index, return_index=True)
    time[positions] = first // index.shape[1] / max(len(index) - 1, 1)
    return time.reshape(shape)


def lay_out(image: np.ndarray, index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The lines of a drawn sequence: the values, and the time of each from 0 to 1, NaN after the last.

    Args:
      image: [R, K].
      index: int [T, F].

    Returns:
      One pair of arrays [F, T]; with a single feature, seven pairs [1, T / 7 rounded up].
    """
    time = np.broadcast_to(np.linspace(0, 1, len(index))[:, None], index.shape)
    values = image.ravel()[index]
    if index.shape[1] > 1:
        return [(values.T, time.T)]
    padding = ((0, -len(index) % LINES), (0, 0))
    values, time = np.pad(values, padding), np.pad(time, padding, constant_values=np.nan)
    return list(zip(values.reshape(LINES, 1, -1), time.reshape(LINES, 1, -1), strict=True))
