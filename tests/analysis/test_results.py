"""Which model a finished run had; what else is read of it stands in test_comparison.py."""

import json

import flax.linen as nn
import numpy as np
import pytest

from rowlstm_jax.analysis.results import Result, load_model, load_weights
from rowlstm_jax.errors import UserError
from rowlstm_jax.models.cells import CELLS, BasicLSTMCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.files import write_arrays


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


def weights(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """One seed's, of an LSTM of 2 units that reads 3 features, and 4 classes."""
    shapes = {"layer_0_forward/kernel": (5, 8), "layer_0_forward/bias": (8,), "readout/kernel": (2, 4)}
    arrays = {name: np.zeros((1, *shape), np.float32) for name, shape in (shapes | {"readout/bias": (4,)}).items()}
    return {name: array for name, array in (arrays | changed).items() if array.size}


WRONG = {
    "another shape": {"readout/kernel": np.zeros((1, 4, 2), np.float32)},
    "two seeds": {"readout/bias": np.zeros((2, 4), np.float32)},
    "one more": {"readout/more": np.zeros(1, np.float32)},
    "one in the place of several": {"readout": np.zeros(1, np.float32)},
    "one less": {"readout/bias": np.zeros(0, np.float32)},
    "no numbers": {"readout/bias": np.full((1, 4), "x")},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_of_another_model_are_refused(finished, tmp_path, wrong):
    model = SequenceClassifier(BasicLSTMCell(2), 4)
    result = finished(model)
    write_arrays(tmp_path / "weights.npz", weights())
    assert load_weights(result, model, 7, 3)["readout"]["kernel"].shape == (1, 2, 4)
    write_arrays(tmp_path / "weights.npz", weights(**WRONG[wrong]))
    with pytest.raises(
        UserError, match=r"weights\.npz does not hold the weights of the model.*run the experiment again"
    ):
        load_weights(result, model, 7, 3)
