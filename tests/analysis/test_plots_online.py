"""The picture of learning online."""

from pathlib import Path

import numpy as np
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style


def drawn(path: Path, accuracies: dict, about: str = "") -> np.ndarray:
    plots.online(path, [10, 20], accuracies, [7, 28], {name: [1.0, 2.0] for name in accuracies}, about)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_each_way_has_its_colour_and_several_seeds_a_band(tmp_path):
    one = drawn(tmp_path / "one.png", {"a": [[0.2, 0.4]], "b": [[0.3, 0.5]]})
    assert one.shape == (432, 1080, 3)
    for colour in (style.VERMILION, style.BLUE):
        assert (one == list(bytes.fromhex(colour[1:]))).all(axis=-1).any()
    three = drawn(tmp_path / "three.png", {"a": [[0.1, 0.3], [0.3, 0.5]], "b": [[0.3, 0.5]]}, about="seeds 0-1")
    assert three.shape[0] > 432
    pale = [round(0.2 * channel + 0.8 * 255) for channel in bytes.fromhex(style.VERMILION[1:])]
    near = [(np.abs(picture - pale).max(axis=-1) <= 1).sum() for picture in (one, three)]
    assert near[0] < 50 < 1000 < near[1]
