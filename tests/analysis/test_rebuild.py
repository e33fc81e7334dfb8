"""The model of a run is built again from its description, and nothing else is."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.analysis.rebuild import MODEL, MOST_LAYERS, rebuild_model
from rowlstm_jax.models.cells import (
    CELLS,
    BasicLSTMCell,
    Cell,
    CoRNNCell,
    EchoStateCell,
    FullyRecurrentCell,
    GRUCell,
    JordanCell,
    LEMCell,
)
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.layers import LRU, RGLRU, RNN, S5, Block, Layer, MinGRU, MinLSTM
from rowlstm_jax.models.trees import Tree, TreeClassifier, binary_tree, quad_tree
from rowlstm_jax.runs.describe import describe

FIELDS = ("num_classes", "num_layers", "bidirectional", "readout", "dropout")
PLAIN = (
    "features",
    "forget_bias",
    "outputs",
    "decay",
    "leak_rate",
    "connections",
    "dt",
    "gamma",
    "epsilon",
    "mode",
    "clip",
    "mask",
    "visible",
)


class OwnCell(Cell):
    decay: float = 0.9
    mode: str = "a"
    clip: float | None = None

    @nn.compact
    def __call__(self, carry, inputs):
        h = self.decay * carry + nn.tanh(self.dense("input")(inputs))
        return h, h


def saved(model: nn.Module) -> dict[str, str]:
    """What config.json says of a model."""
    ways = {f"{MODEL}.recurrence", f"{MODEL}.segment"}
    return json.loads(json.dumps({k: v for k, v in describe(model, MODEL).items() if k not in ways}))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "fields",
    [
        {"recurrence": "scan", "kernel_init": nn.initializers.normal(1.0)},
        {"num_layers": 3, "bidirectional": True, "readout": "mean", "dropout": 0.25},
        {"dtype": jnp.bfloat16, "param_dtype": "bfloat16"},
        {"dtype": np.dtype("float32"), "param_dtype": jnp.dtype(jnp.bfloat16)},
    ],
    ids=["initialised in another way", "deep", "bfloat16", "dtypes"],
)
def test_the_model_is_that_of_the_run_however_it_started_and_was_computed(cell, fields):
    model = SequenceClassifier(CELLS[cell](6), 3, **fields)
    built = rebuild_model(saved(model))
    assert (type(built.cell), built.cell.features) == (type(model.cell), 6)
    assert [getattr(built, name) for name in FIELDS] == [getattr(model, name) for name in FIELDS]
    for name in ("dtype", "param_dtype"):
        before, after = getattr(model, name), getattr(built, name)
        assert before is after is None or jnp.dtype(before) == jnp.dtype(after)


@pytest.mark.parametrize(
    "cell",
    [
        BasicLSTMCell(6, forget_bias=0.0, dtype=jnp.bfloat16),
        BasicLSTMCell(6, forget_bias=1),
        BasicLSTMCell(6, forget_bias=np.float32(0.3)),
        BasicLSTMCell(np.int64(6), forget_bias=np.float64(0.3)),
        JordanCell(6, outputs=4, decay=0.5),
        EchoStateCell(6, leak_rate=1.0, connections=3),
        CoRNNCell(6, dt=0.1, gamma=1.0, epsilon=2.0),
        LEMCell(6, dt=0.21),
        FullyRecurrentCell(2, mask="10 01 11", visible=1),
        FullyRecurrentCell(1, mask="1 0"),
        OwnCell(6, decay=0.25, mode="5", clip=2.0),
        nn.MGUCell(6, reset_gate=False),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_plain_fields_of_a_cell_are_kept_own_registered_ones_included(cell, monkeypatch):
    monkeypatch.setitem(CELLS, "own", lambda hidden: OwnCell(hidden, decay=0.5))
    monkeypatch.setitem(CELLS, "flax", nn.MGUCell)
    built = rebuild_model(saved(SequenceClassifier(cell, 3))).cell
    assert type(built) is type(cell)
    kept = [name for name in (*PLAIN, "reset_gate", "dtype") if hasattr(cell, name)]
    assert [getattr(built, name) for name in kept] == [getattr(cell, name) for name in kept]


class OwnLayer(Layer):
    features: int
    decay: float = 0.9


@pytest.mark.parametrize(
    "cell",
    [
        LRU(6, state=5, r_min=0.1, r_max=0.5, max_phase=0.5),
        S5(6, spectrum="s4d_lin", step_min=0.002, step_max=0.2, dtype=jnp.bfloat16),
        MinGRU(6, param_dtype=jnp.bfloat16),
        MinLSTM(6),
        RGLRU(6, r_min=0.5),
        Block(LRU(6, state=3), norm="rms", dropout=0.25),
        Block(S5(6), norm="none", dtype=jnp.bfloat16),
        Block(RNN(LEMCell(6, dt=0.21))),
        Block(RNN(GRUCell(6))),
        RNN(nn.GRUCell(6)),
        RNN(nn.MGUCell(6, reset_gate=False)),
        RNN(JordanCell(6, outputs=4, decay=0.5)),
        RNN(BasicLSTMCell(6, forget_bias=0.0)),
    ],
    ids=lambda cell: "-".join(type(of).__name__ for of in (cell, getattr(cell, "layer", None)) if of is not None),
)
def test_layers_are_rebuilt_with_all_their_fields(cell):
    model = SequenceClassifier(cell, 3, num_layers=2, readout="mean", dropout=0.1)
    built = rebuild_model(saved(model))
    assert built == model
    assert type(getattr(built.cell, "cell", None)) is type(getattr(cell, "cell", None))


def test_a_layer_of_ones_own_is_rebuilt_where_its_class_is_given():
    model = SequenceClassifier(OwnLayer(6, decay=0.5), 3)
    assert rebuild_model(saved(model), [OwnLayer]) == model
    with pytest.raises(ValueError, match=r"OwnLayer is not in cells\.CELLS"):
        rebuild_model(saved(model))


@pytest.mark.parametrize(
    "model",
    [
        TreeClassifier(quad_tree(4), 10),
        TreeClassifier(binary_tree(7), 3, 6, "tree_lstm", dtype=jnp.bfloat16),
        TreeClassifier(Tree([[3, 0], [1, 5, 2, 4]]), 3, param_dtype=jnp.bfloat16),
        TreeClassifier(Tree([]), 3),
    ],
    ids=["quad", "binary", "ragged", "one leaf"],
)
def test_a_tree_classifier_is_rebuilt_with_its_tree(model):
    assert rebuild_model(saved(model)) == model


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (".tree.children.1.1", "1", "children names the node 1 more than once; a node has one parent"),
        (".tree.children.0.1", "x", "it must hold lists of whole numbers"),
        (".tree.children", "9", "children is 9; it must hold lists"),
        (".tree", "quad", "what is built with TreeClassifier differs in tree"),
        (".composition", "lstm", "composition is 'lstm'; it must be one of rnn, tree_lstm"),
    ],
)
def test_a_tree_that_no_run_writes_is_refused(name, text, reason):
    description = saved(TreeClassifier(binary_tree(3), 3)) | {MODEL + name: text}
    with pytest.raises(ValueError, match=reason):
        rebuild_model(description).init(jax.random.key(0), jnp.zeros((1, 3, 2)))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (OwnCell(3), "it is a OwnCell, not a SequenceClassifier"),
        (SequenceClassifier(OwnCell(6), 3), "its cell OwnCell is not in cells.CELLS, where it can be registered"),
        (
            SequenceClassifier(nn.GRUCell(6, gate_fn=nn.tanh), 3),
            "what is built with SequenceClassifier differs in cell",
        ),
        (SequenceClassifier(BasicLSTMCell(6, carry_init=nn.initializers.ones), 3), "differs in cell.carry_init"),
        (SequenceClassifier(BasicLSTMCell(6, forget_bias=jnp.float32(0.5)), 3), "can't be read as its value"),
    ],
    ids=["no classifier", "unknown cell", "cell of the same name", "carry", "array"],
)
def test_a_model_that_only_looks_alike_is_refused(model, reason):
    with pytest.raises(ValueError, match=reason):
        rebuild_model(saved(model))


def test_a_registered_cell_with_another_equation_is_refused(monkeypatch):
    description = saved(SequenceClassifier(OwnCell(6), 3))

    class Changed(OwnCell):
        @nn.compact
        def __call__(self, carry, inputs):
            h = self.decay * carry + nn.relu(self.dense("input")(inputs))
            return h, h

    Changed.__qualname__ = OwnCell.__qualname__
    monkeypatch.setitem(CELLS, "own", Changed)
    with pytest.raises(ValueError, match=r"differs in cell\..*__call__"):
        rebuild_model(description)
    monkeypatch.setitem(CELLS, "own", OwnCell)
    assert type(rebuild_model(description).cell) is OwnCell


def test_a_description_of_version_0_1_0_says_less_and_is_enough():
    brief = {name: text for name, text in saved(SequenceClassifier(LEMCell(6), 3)).items() if ".__" not in name}
    assert rebuild_model(brief).cell == LEMCell(6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".cell.features", "-1"),
        (".cell.features", "None"),
        (".cell.features", "1e9"),
        (".cell.features", "9" * 5000),
        (".cell.features", "int8(300)"),
        (".cell.features.x", "3"),
        (".cell.forget_bias", "nan"),
        (".cell.forget_bias", "1e999"),
        (".cell.forget_bias", ["x"]),
        (".cell.forget_bias", None),
        (".cell.dtype", "__import__('os')"),
        (".cell.param_dtype", "int8"),
        (".cell", "os.system"),
        (".cell.unknown", "1"),
        (".parent", "x"),
        (".name", "x"),
        (".num_layers", str(MOST_LAYERS + 1)),
        (".num_layers", "None"),
        (".num_layers", "1_0"),
        (".num_layers", "x"),
        (".bidirectional", "7"),
        ("", "object"),
    ],
)
def test_a_value_that_no_run_writes_is_refused(name, text):
    description = saved(SequenceClassifier(BasicLSTMCell(6), 3)) | {MODEL + name: text}
    with pytest.raises(ValueError, match=r".") as refused:
        rebuild_model(description)
    assert len(str(refused.value)) < 150
