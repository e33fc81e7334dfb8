"""Pictures of history compression: what they draw where."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn, in the place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.append(figure))
    return figures


def found(passed_on: float, error: float, needed: list[int]) -> dict[str, np.ndarray]:
    shape = (len(needed), 200)
    return {"passed_on": np.full(shape, passed_on), "error": np.full(shape, error), "needed": np.array(needed)}


def test_each_system_has_its_errors_and_its_share_of_solved_seeds(tmp_path, drawn):
    systems = {"with": found(1.0, 0.1, [150, 0, 120, 180]), "without": found(7.0, 0.5, [0, 0, 0, 0])}
    plots.chunking(tmp_path / "c.png", systems)
    passed, errors, solved = drawn[0].axes
    assert {float(y) for line in passed.lines[:5] for y in np.asarray(line.get_ydata())} == {1.0}
    means = [np.asarray(line.get_ydata()) for line in errors.lines if line.get_linewidth() > 1]
    np.testing.assert_allclose(means, [[0.1] * 4, [0.5] * 4])
    where, shares = (np.asarray(line) for line in solved.lines[0].get_data())
    assert where.tolist() == [0, 120, 150, 180, 200]
    assert shares.tolist() == [0, 25, 50, 75, 75]
    assert np.asarray(solved.lines[1].get_ydata()).tolist() == [0, 0]
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["with", "without", "published, with a chunker"]


def test_a_pixel_that_was_passed_on_is_marked(tmp_path):
    images, unexpected = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), bool)
    unexpected[1, 3, 0] = True
    plots.passed_on(tmp_path / "p.png", images, unexpected, about="a run")
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    marked = np.argwhere((pixels == list(bytes.fromhex(style.VERMILION[1:]))).all(axis=-1))
    across, down = 120 * (0.1 + 1.7 + 1.6 / 8), 120 * (0.4 + 1.6 * 7 / 8)  # the last row, the first column
    assert np.abs(marked.mean(axis=0) - [down, across]).max() < 3
    assert (pixels[pixels.shape[0] // 2, 60] == 0).all()
