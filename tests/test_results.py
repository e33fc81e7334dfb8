"""Which model a finished run had; what else is read of it stands in test_comparison.py."""

import json

import flax.linen as nn
import numpy as np
import pytest

from rowlstm_jax.cells import CELLS, BasicLSTMCell
from rowlstm_jax.config import UserError
from rowlstm_jax.describe import describe
from rowlstm_jax.model import SequenceClassifier
from rowlstm_jax.results import Result, load_model


@pytest.fixture
def finished(tmp_path):
    """A finished run of a model."""

    def make(model: nn.Module | None) -> Result:
        if model is not None:
            (tmp_path / "config.json").write_text(json.dumps({"identity": describe(model, "recipe.model")}))
        return Result(tmp_path, "tiny", [0], 1, 1, 1, {}, {}, np.zeros(1, int), np.ones((1, 1), bool))

    return make


@pytest.mark.parametrize("cell", CELLS)
def test_the_model_is_that_of_the_run_however_it_started_and_was_computed(finished, cell):
    model = SequenceClassifier(CELLS[cell](6), 3, recurrence="scan", kernel_init=nn.initializers.normal(1.0))
    loaded = load_model(finished(model))
    assert (type(loaded.cell), loaded.cell.features, loaded.num_classes) == (type(model.cell), 6, 3)


@pytest.mark.parametrize(
    "model",
    [
        SequenceClassifier(BasicLSTMCell(6), 3, num_layers=2),
        SequenceClassifier(BasicLSTMCell(6), 3, readout="mean"),
        SequenceClassifier(BasicLSTMCell(6, forget_bias=0.0), 3),
        SequenceClassifier(nn.MGUCell(6), 3),
    ],
    ids=["two layers", "mean", "forget bias", "unknown cell"],
)
def test_a_model_that_only_looks_alike_is_refused(finished, model):
    with pytest.raises(UserError, match="is not a single layer of one of the cells lstm"):
        load_model(finished(model))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing"),
        ("", "can't be read"),
        ("[]", "is no JSON object"),
        ('{"identity": {}}', "does not say what the run's model is"),
        ('{"identity": {"recipe.model.num_classes": "x"}}', "does not say what the run's model is"),
    ],
)
def test_a_config_that_does_not_say_is_named(finished, tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=rf"config\.json {message}.*run the experiment again"):
        load_model(finished(None))
