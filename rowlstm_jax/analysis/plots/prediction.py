"""Pictures of what a network says of single inputs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rowlstm_jax.analysis.plots.style import BLUE, GREY, add_about, add_axes, picture

SIDE, GAP = 1.3, 0.35  # inches: a picture, and what is between two


@picture
def prediction(
    shown: Sequence[np.ndarray],
    read: Sequence[np.ndarray],
    probabilities: Sequence[np.ndarray],
    class_names: Sequence[str],
    names: Sequence[str] = (),
    about: str = "",
) -> Figure:
    """Draw pictures, what the network read of them, and the probability of each class after each time step.

    Args:
      shown: the pictures as they are, uint8 [R, K] or [R, K, 3], N of them.
      read: as the network gets them, uint8, N of them.
      probabilities: float [T, C] after each time step, or [1, C] at the end, N of them.
      class_names: [C].
      names: of the pictures.
      about: run, seed and model, written below.
    """
    longest = min(16, max(map(len, class_names)))
    left, row = 0.25, SIDE + 0.7
    strip_left = left + 2 * (SIDE + GAP) + 0.25 + 0.075 * longest
    figure = Figure(figsize=(strip_left + 3.6, 0.2 + row * len(shown)))
    for number, (picture_, pixels, shares) in enumerate(zip(shown, read, probabilities, strict=True)):
        top = 0.45 + row * number
        for column, (image, title) in enumerate(((picture_, "the picture"), (pixels, "what the network reads"))):
            axes = add_axes(figure, left + column * (SIDE + GAP), top, SIDE, SIDE)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="0.7", linewidth=0.6)
            axes.set_title(title, fontsize=8)
        axes = add_axes(figure, strip_left, top, 2.6, SIDE)
        drawn = axes.imshow(
            shares.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(0, len(shares), len(shares[0]), 0)
        )
        axes.set_yticks(np.arange(len(class_names)) + 0.5, [name[:16] for name in class_names], fontsize=7)
        axes.tick_params(length=0)
        best = int(shares[-1].argmax())
        axes.get_yticklabels()[best].set(color=BLUE, fontweight="bold")
        axes.set_title(f"{class_names[best]}: {100 * shares[-1, best]:.1f} %", fontsize=9)
        axes.set_xlabel("time steps read" if len(shares) > 1 else "at the end", fontsize=8, labelpad=1)
        if len(shares) == 1:
            axes.set_xticks([])
        bar = figure.colorbar(drawn, cax=add_axes(figure, strip_left + 2.7, top, 0.08, SIDE), ticks=[0, 0.5, 1])
        bar.ax.tick_params(labelsize=7)
        bar.set_label("probability", fontsize=7)
        if names:
            width, height = figure.get_size_inches()
            figure.text(left / width, 1 - (top - 0.28) / height, names[number][-70:], fontsize=8, color=GREY)
    return add_about(figure, about)
