"""The picture of a tree: where its nodes stand, what each has read and says."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style
from rowlstm_jax.analysis.plots.trees import ACROSS, BARS, DOWN, MARGIN, SIDE, layout
from rowlstm_jax.models import Tree, binary_tree, quad_tree
from rowlstm_jax.tasks import order_index

DIGITS = [str(digit) for digit in range(10)]
CROSSED = Tree([[0, 2], [5, 1], [3, 4], [6, 7]])


@pytest.mark.parametrize("tree", [quad_tree(4), binary_tree(7), CROSSED, Tree([[0], [1]]), Tree([])])
def test_a_node_stands_over_its_leaves_and_no_lines_cross(tree):
    across, levels, below = layout(tree)
    leaves = across[: tree.num_leaves]
    assert sorted(leaves) == [*range(tree.num_leaves)]
    assert sorted(below[tree.root]) == [*range(tree.num_leaves)]
    for node, children in enumerate(tree.children, tree.num_leaves):
        places = sorted(leaves[leaf] for leaf in below[node])
        assert places == [*range(int(places[0]), int(places[0]) + len(places))], "a leaf of another node between"
        assert across[node] == np.mean(places)
        assert sorted(below[node]) == sorted(leaf for child in children for leaf in below[child])
        assert levels[node] == 1 + max(levels[child] for child in children)


def test_pixels_that_a_node_has_not_read_are_grey_and_the_largest_bar_is_dark(tmp_path):
    tree, image = quad_tree(2), np.zeros((1, 28, 28), np.uint8)
    image[0, :14] = 255  # the upper half
    shares = np.zeros((1, 5, 10))
    shares[0, :, 9], shares[0, 4, 0], shares[0, 4, 9] = 1, 0.75, 0.25
    plots.nodes(tmp_path / "nodes.png", image, order_index("patches_14", 28, 28), tree, shares, DIGITS)
    with Image.open(tmp_path / "nodes.png") as drawn:
        assert drawn.format == "PNG"
        picture = np.asarray(drawn.convert("RGB")).astype(int)
    dpi = style.STYLE["figure.dpi"]
    wide = picture.shape[1] / dpi

    def at(node: int, x: float, y: float) -> list[int]:
        """The pixel at a place in a node, in parts of its side from its upper left corner."""
        place, top = (1.5, MARGIN) if node == 4 else (node, MARGIN + DOWN)
        middle = wide / 2 + ACROSS * (place - 1.5)
        return picture[round(dpi * (top + SIDE * y)), round(dpi * (middle + SIDE * (x - 0.5)))].tolist()

    quadrants = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    assert [at(4, *place) for place in quadrants] == 2 * [[255] * 3] + 2 * [[0] * 3]
    for leaf in range(4):
        read = [255] * 3 if leaf < 2 else [0] * 3
        assert [at(leaf, *place) for place in quadrants] == [read if n == leaf else [150] * 3 for n in range(4)]
    blue, light = (list(bytes.fromhex(colour[1:])) for colour in (style.BLUE, style.LIGHT_BLUE))
    half = 1 + (0.04 + BARS / 2) / SIDE  # the middle of the bars
    assert at(4, 0.05, half) == blue
    assert at(4, 0.95, half) not in (blue, light)
    assert at(4, 0.95, half + 0.3 * BARS / SIDE) == light
    assert at(0, 0.95, half) == blue
    assert at(0, 0.05, half) not in (blue, light)


def test_colour_pictures_and_several_images_are_drawn_and_long_names_are_cut(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.append(figure))
    images, names = np.zeros((2, 4, 4, 3), np.uint8), ["T-shirt/top", "Ankle boot"]
    index = order_index("patches_2", 4, 4, 3)
    for count in (1, 2):
        shares = np.tile([0.3, 0.7], (count, 7, 1))
        plots.nodes(tmp_path / "n.png", images[:count], index, binary_tree(4), shares, names, "mine · seed 3")
    one, two = (figure.get_size_inches()[1] for figure in figures)
    assert two - one == pytest.approx(3 * DOWN)
    texts = [text.get_text() for text in figures[1].axes[0].texts]
    assert texts.count("Ankle: 70 %") == 14
    assert "Bars: the probability of T-shirt/top (left) to Ankle boot" in texts[-1]
    assert figures[1].texts[-1].get_text() == "mine · seed 3"
