"""The model and the weights of a finished run; what else is read of it stands in test_comparison.py."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.analysis.results import Result
from rowlstm_jax.errors import UserError
from rowlstm_jax.models.cells import CELLS, BasicLSTMCell, Cell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.files import write_arrays
from rowlstm_jax.tasks import ORDERS


@pytest.fixture
def finished(tmp_path):
    """A finished run of a model that reads images in an order."""

    def make(model: nn.Module | None = None, order: object = "rows") -> Result:
        if model is not None:
            (tmp_path / "config.json").write_text(json.dumps({"identity": describe(model, "recipe.model")}))
        protocol = {"fields": {"order": order}}
        return Result(tmp_path, "tiny", [0], 1, 1, 1, protocol, {}, np.zeros(1, int), np.ones((1, 1), bool))

    return make


def save(result: Result, model: nn.Module, inputs: tuple[int, int]) -> dict:
    """Write weights.npz with the initial weights of a model, and return them."""
    params = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, *inputs)))["params"]
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree.leaves_with_path(params)}
    write_arrays(result.directory / "weights.npz", {name: np.asarray(leaf)[None] for name, leaf in named.items()})
    return params


@pytest.mark.parametrize(
    ("cell", "fields"),
    [
        ("gru", {"num_layers": 2, "readout": "mean"}),
        ("jordan", {"bidirectional": True}),
        ("lstm", {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16, "num_layers": 2, "bidirectional": True}),
    ],
)
def test_model_and_weights_compute_what_the_run_computed(finished, cell, fields):
    model = SequenceClassifier(CELLS[cell](3), 4, **fields)
    result = finished(model, "patches")
    params = save(result, model, (49, 16))
    inputs = jax.random.uniform(jax.random.key(2), (2, 49, 16))
    loaded = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), result.params())
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), loaded, params)
    np.testing.assert_array_equal(
        result.module().apply({"params": loaded}, inputs), model.apply({"params": params}, inputs)
    )


class MyCell(Cell):
    @nn.compact
    def __call__(self, carry, inputs):
        h = nn.tanh(self.dense("input")(inputs) + carry)
        return h, h


def test_the_weights_of_a_model_that_cannot_be_rebuilt_are_those_of_the_model_that_is_given(finished):
    model = SequenceClassifier(MyCell(3), 4)
    result = finished(model)
    save(result, model, (28, 28))
    with pytest.raises(
        UserError, match=r"can't be rebuilt from config.json: its cell MyCell .*params\(model\), or model\(model\)\.$"
    ):
        result.params()
    assert result.params(model)["readout"]["kernel"].shape == (1, 3, 4)
    with pytest.raises(UserError, match=r"readout/bias is \(1, 4\) there and \(1, 5\) in the model"):
        result.params(SequenceClassifier(MyCell(3), 5))


@pytest.mark.parametrize(("field", "text"), [("readout", "foo"), ("num_classes", "-3"), ("dropout", "0.5")])
def test_a_model_that_refuses_its_fields_is_not_returned(finished, tmp_path, field, text):
    result = finished(SequenceClassifier(BasicLSTMCell(3), 4))
    config = json.loads((tmp_path / "config.json").read_text())
    config["identity"][f"recipe.model.{field}"] = text
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"can't be rebuilt from config\.json: .*[^.]\. Build it in Python"):
        result.module()


def test_a_model_of_any_size_is_described_without_making_it(finished):
    largest = 2**31 - 1
    assert finished(SequenceClassifier(CELLS["jordan"](largest), largest)).module().cell.features == largest


@pytest.mark.parametrize("order", ["nowhere", None, ["rows"]])
def test_an_order_that_is_not_known_is_named(finished, order):
    with pytest.raises(UserError, match=r"reads in the order .*; add it to ORDERS first\.$"):
        finished(SequenceClassifier(BasicLSTMCell(3), 4), order).params()


def test_an_own_order_gives_the_shape_of_the_inputs(finished, monkeypatch):
    monkeypatch.setitem(ORDERS, "own", lambda rows, columns: np.arange(6).reshape(3, 2))
    result, model = finished(order="own"), SequenceClassifier(BasicLSTMCell(3), 4)
    save(result, model, (3, 2))
    assert result.params(model)["layer_0_forward"]["kernel"].shape == (1, 2 + 3, 4 * 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is no run: it has no config\.json"),
        ("", r"config\.json can't be read"),
        ("[]", r"config\.json is no JSON object"),
        ("{}", r"config\.json does not say what the run's model is"),
        ('{"identity": 3}', r"config\.json does not say what the run's model is"),
        ('{"identity": {}}', "can't be rebuilt from config.json: it is not described"),
        ('{"identity": {"recipe.model.num_classes": 3}}', "recipe.model.num_classes is not a text"),
    ],
)
def test_a_config_that_does_not_say_is_named(finished, tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        finished().module()


def weights(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """One seed's, of an LSTM of 2 units that reads rows, and 4 classes."""
    shapes = {"layer_0_forward/kernel": (30, 8), "layer_0_forward/bias": (8,), "readout/kernel": (2, 4)}
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
    result = finished(SequenceClassifier(BasicLSTMCell(2), 4))
    write_arrays(tmp_path / "weights.npz", weights())
    assert result.params()["readout"]["kernel"].shape == (1, 2, 4)
    write_arrays(tmp_path / "weights.npz", weights(**WRONG[wrong]))
    with pytest.raises(
        UserError, match=r"weights\.npz does not hold the weights of this model: readout.* in the model\."
    ):
        result.params()
