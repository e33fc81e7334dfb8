"""The picture of what a recursive network says at every node of its tree."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rowlstm_jax.analysis.plots.style import BLUE, GREY, LIGHT_BLUE, add_about, add_canvas, picture
from rowlstm_jax.models import Tree

# All lengths are in inches.
SIDE, BARS, NAME = 0.56, 0.34, 0.18  # of a node: what it has read, its bars, its class
ACROSS, DOWN, MARGIN = 0.66, 1.35, 0.15  # from leaf to leaf, from level to level, around the trees


@picture
def nodes(
    images: np.ndarray,
    index: np.ndarray,
    tree: Tree,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    about: str = "",
) -> Figure:
    """Draw the tree over each image: at every node the pixels below it, and the probability of each class.

    Args:
      images: uint8 [N, R, K] or [N, R, K, 3].
      index: int [T, F], the positions in the flattened image that each leaf reads.
      tree: over the T leaves.
      probabilities: float [N, nodes, C], in the order of the nodes' numbers.
      class_names: [C].
      about: run, seed and model, written below.
    """
    across, levels, below = layout(tree)
    wide, tall = 2 * MARGIN + ACROSS * max(tree.num_leaves, 8), DOWN * (max(levels) + 1)
    figure = Figure(figsize=(wide, height := MARGIN + tall * len(images) + 0.2))
    axes = add_canvas(figure, wide, height)
    left = (wide - ACROSS * tree.num_leaves) / 2
    for number, (image, shares) in enumerate(zip(images, probabilities, strict=True)):
        top = MARGIN + tall * number
        middles = [left + ACROSS * (place + 0.5) for place in across]
        tops = [top + DOWN * (levels[tree.root] - level) for level in levels]
        for node, children in enumerate(tree.children, tree.num_leaves):
            for child in children:
                ends = tops[node] + SIDE + BARS + NAME, tops[child]
                axes.plot([middles[node], middles[child]], ends, color="0.75", linewidth=0.8, zorder=0)
        for node, leaves in enumerate(below):
            mask = np.isin(np.arange(image.size), index[leaves]).reshape(image.shape)
            _draw_node(axes, (middles[node], tops[node]), np.where(mask, image, 150), shares[node], class_names)
    says = f"Grey: not read. Bars: the probability of {class_names[0]} (left) to {class_names[-1]}; blue: the largest."
    axes.text(MARGIN, height - 0.1, says, fontsize=8, va="center", color=GREY)
    return add_about(figure, about)


def _draw_node(
    axes: Axes, at: tuple[float, float], pixels: np.ndarray, shares: np.ndarray, class_names: Sequence[str]
) -> None:
    """What a node has read, and below it a bar for each class; `at` is the middle of its upper edge."""
    (middle, top), best, width = at, int(shares.argmax()), SIDE / len(shares)
    left, floor = middle - SIDE / 2, top + SIDE + 0.04 + BARS
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(left, left + SIDE, top + SIDE, top))
    colours = [BLUE if number == best else LIGHT_BLUE for number in range(len(shares))]
    places = left + width * (np.arange(len(shares)) + 0.5)
    axes.fill_between([left, left + SIDE], floor - BARS, floor, color="0.96", linewidth=0)
    axes.bar(places, -BARS * shares, 0.85 * width, floor, color=colours)
    says = f"{class_names[best][:6].strip()}: {100 * shares[best]:.0f} %"
    axes.text(middle, floor + 0.08, says, ha="center", va="center", fontsize=6.5, color=BLUE)


def layout(tree: Tree) -> tuple[list[float], list[int], list[list[int]]]:
    """Where nodes are drawn so that no lines cross.

    Returns:
      For each node its place from left to right, in leaves; its level, 0 for leaves; and the leaves below it.
    """
    below = [[leaf] for leaf in range(tree.num_leaves)] + [[] for _ in tree.children]
    levels = [0] * tree.num_nodes
    for level, nodes in enumerate(tree.levels, 1):
        for node in nodes:
            children = tree.children[node - tree.num_leaves]
            below[node], levels[node] = [leaf for child in children for leaf in below[child]], level
    place = {leaf: number for number, leaf in enumerate(below[tree.root])}
    return [float(np.mean([place[leaf] for leaf in leaves])) for leaves in below], levels, below
