"""The pictures of a run follow from its data: pictures or sequences, classes or values."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from rowlstm_jax.analysis.draw import draw_all
from rowlstm_jax.data import Examples
from rowlstm_jax.parallel import Evaluation

RNG = np.random.default_rng(0)
N = 40
GREY, COLOUR = RNG.integers(0, 256, (N, 8, 6), np.uint8), RNG.integers(0, 256, (N, 5, 9, 3), np.uint8)
SEQUENCES, CLASSES = RNG.normal(size=(N, 12, 2)).astype(np.float32), RNG.integers(0, 3, N).astype(np.uint8)
VALUES, NAMES = RNG.normal(size=N).astype(np.float32), ("a", "b", "c")


@pytest.mark.parametrize(
    ("inputs", "targets", "names", "pictures"),
    [
        (GREY, CLASSES, NAMES, {"samples", "confusion", "errors", "curves"}),
        (COLOUR, CLASSES, NAMES, {"samples", "confusion", "errors", "curves"}),
        (SEQUENCES, CLASSES, NAMES, {"samples", "confusion", "errors", "curves"}),
        (SEQUENCES, VALUES, (), {"samples", "predictions", "curves"}),
        (COLOUR, VALUES, (), {"samples", "predictions", "curves"}),
    ],
)
def test_each_kind_of_data_has_its_pictures(tmp_path, capsys, inputs, targets, names, pictures):
    outputs = RNG.normal(size=(1, N, len(names) or 1)).astype(np.float32)
    records = [{"step": 1, "loss": 2.0, **({"accuracy": 0.5} if names else {})}]
    folder: Any = SimpleNamespace(path=tmp_path, journal=SimpleNamespace(records=lambda: records))
    metrics: Any = None
    draw_all(folder, names, Examples(inputs, targets), Evaluation(metrics, outputs))
    assert capsys.readouterr().err == ""
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == pictures
    for path in (tmp_path / "plots").iterdir():
        assert len(np.unique(np.asarray(PIL.Image.open(path).convert("L")))) > 10, "something is drawn"


def test_every_picture_of_a_run_names_run_seeds_and_model(tmp_path, monkeypatch):
    figures: dict[str, Figure] = {}
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.update({path.stem: figure}))
    model = {"recipe.model": "SequenceClassifier", "recipe.model.cell": "GRUCell", "recipe.model.cell.features": "8"}
    identity = {"experiment": "mine", "seed": 2, "num_seeds": 2} | model
    (tmp_path / "config.json").write_text(json.dumps({"identity": identity}))
    records = [{"step": 1, "loss": [2.0, 1.0], "layer_0_forward/gradient_norm_h": [[0.1, 0.2], [0.1, 0.3]]}]
    folder: Any = SimpleNamespace(path=tmp_path, journal=SimpleNamespace(records=lambda: records))
    metrics: Any = None
    for inputs, targets, names in ((GREY, CLASSES, NAMES), (SEQUENCES, VALUES, ())):
        outputs = RNG.normal(size=(2, N, len(names) or 1)).astype(np.float32)
        draw_all(folder, names, Examples(inputs, targets), Evaluation(metrics, outputs))
    lines = {name: figure.texts[-1].get_text().replace("\n", " · ") for name, figure in figures.items()}
    about, of_first = "mine · seeds 2-3 · GRUCell(8)", " · predictions of the first seed"
    judged = dict.fromkeys(("confusion", "errors", "predictions"), about + of_first)
    assert lines == dict.fromkeys(("samples", "curves", "memory"), about) | judged
