"""Pictures of associative memories: what they show where."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import associative, style


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn, in the place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.append(figure))
    return figures


def test_known_units_are_black_and_white_and_unknown_ones_grey_each_where_it_belongs(tmp_path):
    black, half = np.ones((3, 16)), np.repeat([[1.0, 0.0]] * 3, 8, axis=1)  # of three pictures, two are drawn
    blocks = {name: {"stored": black, "shown": half, "found": -black} for name in ("a", "b")}
    plots.completions(tmp_path / "p.png", blocks, (4, 4), columns=2)
    with Image.open(tmp_path / "p.png") as image:
        picture = np.asarray(image.convert("L")).astype(int)
    middle, pitch = associative.SIDE / 2, associative.SIDE + associative.GAP
    block = 2 * pitch + associative.BLOCK_GAP  # inches from one block to the next
    for left in (associative.NAMES, associative.NAMES + pitch, associative.NAMES + block):
        column = round(120 * (left + middle))
        places = [associative.TOP + row * pitch + middle + up for row in range(3) for up in (-0.1, 0.1)]
        black, _, upper, lower, white, _ = (picture[round(120 * place), column] for place in places)
        assert (black, upper, white) == (0, 0, 255)
        assert 100 < lower < 200
    gap = round(120 * (associative.NAMES + block - associative.BLOCK_GAP / 2))
    assert (picture[round(120 * associative.TOP) :, gap] == 255).all(), "the blocks touch"


def test_each_memory_is_a_line_against_the_number_stored(tmp_path, drawn):
    shares = {"one": [1.0, 0.5, 0.0], "other": [1.0, 1.0, 1.0]}
    plots.recalled(tmp_path / "p.png", [2, 100, 5_000], shares)
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == "log"
    assert {str(line.get_label()): list(line.get_ydata()) for line in axes.lines} == shares
    assert [list(line.get_xdata()) for line in axes.lines] == 2 * [[2, 100, 5_000]]
    assert len({line.get_color() for line in axes.lines}) == 2
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "100", "5,000"]


def test_numbers_that_lie_close_have_one_label():
    assert associative._apart([1, 10, 11, 100, 1_000]) == [1, 10, 100, 1_000]
    assert associative._apart([7]) == [7]


def test_the_capacity_of_theory_is_a_dashed_line(tmp_path, drawn):
    plots.capacity(tmp_path / "p.png", [0.1, 0.2], {"H = 100": [1.0, 0.2]}, expected=0.15)
    expected, measured = drawn[0].axes[0].lines
    assert (list(expected.get_xdata()), expected.get_linestyle()) == ([0.15, 0.15], "--")
    assert list(measured.get_ydata()) == [1.0, 0.2]
    assert measured.get_color() == style.VERMILION
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["0.15"]
