"""Weights to and from other libraries: the logits of their networks, round trips, and what is refused."""

import os
from types import SimpleNamespace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.interop import from_flax, from_keras, from_tf1, from_torch, to_flax, to_keras, to_tf1, to_torch
from rowlstm_jax.models.cells import BasicLSTMCell
from tests.interop.make_tf1 import FOLDER, NETWORKS
from tests.interop.networks import (
    CELLS,
    INPUTS,
    SHAPES,
    B,
    C,
    F,
    H,
    T,
    keras_logits,
    logits,
    network,
    tf1_logits,
    torch_logits,
)

pytestmark = pytest.mark.usefixtures("quick_compiler")

each_kind = pytest.mark.parametrize("kind", CELLS)
each_shape = pytest.mark.parametrize(("num_layers", "bidirectional", "readout"), SHAPES)
TF1_NAMES = {  # in TensorFlow 1.15, of the layers of each model
    (1, False): "rnn/{cell}",
    (1, True): "bidirectional_rnn/{direction}/{cell}",
    (2, False): "rnn/multi_rnn_cell/cell_{n}/{cell}",
    (2, True): "stack_bidirectional_rnn/cell_{n}/bidirectional_rnn/{direction}/{cell}",
}
FLAX_CELLS = {"lstm": nn.OptimizedLSTMCell(H), "gru": nn.GRUCell(H), "elman": nn.SimpleCell(H)}


def close(ours, theirs):
    assert ours.shape == theirs.shape == (B, C)
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def random_like(arrays, seed=2):
    """Other random arrays with the same names, shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda array: rng.normal(0, 0.5, array.shape).astype(array.dtype), arrays)


def torch_module(kind, model):
    """The PyTorch module that the README shows."""
    torch = pytest.importorskip("torch")
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[kind]
    settings = {"num_layers": model.num_layers, "bidirectional": model.bidirectional, "batch_first": True}

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = layer(F, H, **settings)
            self.readout = torch.nn.Linear(H * (1 + model.bidirectional), C)

        def forward(self, inputs):
            outputs, final = self.rnn(inputs)
            final = final[0] if kind == "lstm" else final
            last = torch.cat([final[-2], final[-1]], -1) if model.bidirectional else final[-1]
            return self.readout(last if model.readout == "last" else outputs.mean(1))

    def answer(module):
        with torch.no_grad():
            return module(torch.from_numpy(INPUTS)).numpy()

    return SimpleNamespace(module=Classifier(), answer=answer, tensor=torch.from_numpy)


@pytest.fixture
def keras_settings(monkeypatch):
    """Keras on JAX, which it may promote ranks in; it reads the variable when it is imported."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "jax"))
    with jax.numpy_rank_promotion("allow"):
        yield


def keras_model(kind, model):
    """The Keras model that the README shows."""
    keras = pytest.importorskip("keras")
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "elman": keras.layers.SimpleRNN}[kind]
    layers = [keras.layers.Input((T, F))]
    for n in range(model.num_layers):
        recurrent = layer(H, return_sequences=n < model.num_layers - 1 or model.readout == "mean")
        layers.append(keras.layers.Bidirectional(recurrent) if model.bidirectional else recurrent)
    if model.readout == "mean":
        layers.append(keras.layers.GlobalAveragePooling1D())
    return keras.Sequential([*layers, keras.layers.Dense(C)])


@each_kind
@each_shape
def test_torch_computes_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    torch = torch_module(kind, model)
    torch.module.load_state_dict({name: torch.tensor(a) for name, a in to_torch(model, params).items()})
    close(logits(model, params), torch.answer(torch.module))
    other = torch_module(
        kind, model
    ).module  # PyTorch's own random weights, with two biases; tensors that need gradients
    close(logits(model, from_torch(model, dict(other.named_parameters()))), torch.answer(other))


@each_kind
@each_shape
def test_the_equations_of_torch_give_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    state = to_torch(model, params, rnn="lstm", readout="head.fc")
    close(logits(model, params), torch_logits(model, kind, state, "lstm", "head.fc"))
    other = random_like(state)
    close(
        logits(model, from_torch(model, other, "lstm", "head.fc")), torch_logits(model, kind, other, "lstm", "head.fc")
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.usefixtures("keras_settings")
@each_kind
@each_shape
def test_keras_computes_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    other = keras_model(kind, model)
    other.set_weights(to_keras(model, params))
    close(logits(model, params), np.asarray(other(INPUTS)))
    other.set_weights(random_like(other.get_weights()))  # two biases of a GRU
    close(logits(model, from_keras(model, other.get_weights())), np.asarray(other(INPUTS)))


@each_kind
@each_shape
def test_the_equations_of_keras_give_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    weights = to_keras(model, params)
    close(logits(model, params), keras_logits(model, kind, weights))
    other = random_like(weights)
    close(logits(model, from_keras(model, other)), keras_logits(model, kind, other))


@each_kind
@each_shape
def test_flax_cells_compute_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    flax = model.clone(cell=FLAX_CELLS[kind])
    close(logits(model, params), logits(flax, to_flax(model, params)))
    other = network(num_layers=num_layers, bidirectional=bidirectional, readout=readout, cell=FLAX_CELLS[kind])[1]
    close(logits(model, from_flax(model, other)), logits(flax, other))
    chex.assert_trees_all_equal(to_flax(flax, other), other)


@pytest.mark.parametrize("kind", ["lstm", "elman"])
@each_shape
def test_the_equations_of_tf1_give_the_same_logits_both_ways(kind, num_layers, bidirectional, readout):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    pattern = TF1_NAMES[num_layers, bidirectional]
    cell = "basic_lstm_cell" if kind == "lstm" else "basic_rnn_cell"

    def theirs(arrays):
        layers = [
            [
                [arrays[f"{pattern.format(n=n, direction=direction, cell=cell)}/{name}"] for name in ("kernel", "bias")]
                for direction in ("fw", "bw")[: 1 + bidirectional]
            ]
            for n in range(num_layers)
        ]
        return tf1_logits(model, kind, layers, (arrays["Variable"], arrays["Variable_1"]))

    arrays = to_tf1(model, params)
    close(logits(model, params), theirs(arrays))
    assert len(arrays) == 2 * num_layers * (1 + bidirectional) + 2
    other = random_like(arrays)
    close(logits(model, from_tf1(model, other)), theirs(other))


@pytest.mark.parametrize("name", NETWORKS)
def test_variables_of_tensorflow_itself_give_its_logits_and_come_back(name):
    cell, num_layers, bidirectional = NETWORKS[name]
    kind = "lstm" if cell == "BasicLSTMCell" else "elman"
    model = network(kind, num_layers, bidirectional, cell=BasicLSTMCell(H) if kind == "lstm" else CELLS[kind])[0]
    with np.load(FOLDER / f"{name}.npz") as stored:
        params, theirs = from_tf1(model, stored), dict(stored)
    np.testing.assert_array_equal(theirs["inputs"], INPUTS)
    close(logits(model, params), theirs["logits"])
    for variable, array in to_tf1(model, params).items():
        np.testing.assert_array_equal(array, theirs[f"{variable}:0"])
    other = model.clone(cell=FLAX_CELLS[kind])  # which adds no forget bias
    close(logits(other, from_tf1(other, theirs)), theirs["logits"])


def test_tf1_checkpoints_come_as_npz_with_scope_moments_and_other_variables(tmp_path):
    model, params = network(num_layers=2, bidirectional=False)
    arrays = to_tf1(model, params, readout=("out/w", "out/b"), scope="net", forget_bias=0.75)
    first = "net/rnn/multi_rnn_cell/cell_0/basic_lstm_cell/kernel"
    np.testing.assert_array_equal(arrays[first], params["layer_0_forward"]["kernel"])  # TF1's layout is ours
    moments = {f"{first}/Adam": arrays[first], "beta1_power": np.float32(0.9), "rnn/basic_lstm_cell/kernel": np.ones(3)}
    np.savez(tmp_path / "checkpoint.npz", **{f"{name}:0": array for name, array in (arrays | moments).items()})
    with np.load(tmp_path / "checkpoint.npz") as stored:
        back = from_tf1(model, stored, readout=("out/w", "out/b"), scope="net", forget_bias=0.75)
    chex.assert_trees_all_equal(back, params)


def test_a_tf1_checkpoint_of_more_layers_is_refused():
    model, params = network(num_layers=3, bidirectional=False)
    with pytest.raises(ValueError, match=r"cell_2/basic_lstm_cell/kernel is float32 \[10, 20\], but this model has no"):
        from_tf1(model.clone(num_layers=2), to_tf1(model, params))


TRIPS = {"torch": (to_torch, from_torch), "keras": (to_keras, from_keras), "flax": (to_flax, from_flax)}


@pytest.mark.parametrize("name", TRIPS)
@each_kind
@each_shape
def test_there_and_back_the_bits_are_the_same_but_for_a_folded_forget_bias(
    name, kind, num_layers, bidirectional, readout
):
    model, params = network(kind, num_layers, bidirectional, readout=readout)
    there, back = TRIPS[name]
    returned = back(model, there(model, params))
    chex.assert_trees_all_close(returned, params, rtol=0, atol=1.2e-7)
    for layer in set(params) - {"readout"} if kind == "lstm" else ():
        came, own = (np.split(tree[layer].pop("bias"), 4) for tree in (returned, params))
        assert [(a != b).any() for a, b in zip(came, own, strict=True)] == [False, False, True, False]  # f's
    chex.assert_trees_all_equal(returned, params)


@pytest.mark.parametrize("name", TRIPS)
def test_without_a_forget_bias_all_bits_are_the_same(name):
    model, params = network(cell=BasicLSTMCell(H, forget_bias=0.0))
    there, back = TRIPS[name]
    chex.assert_trees_all_equal(back(model, there(model, params)), params)


def test_the_forget_bias_goes_to_the_gate_f_and_the_second_bias_is_zero():
    model, params = network(num_layers=1, bidirectional=False)
    bias = params["layer_0_forward"]["bias"]
    i, j, f, o = np.split(bias, 4)
    state = to_torch(model, params)
    np.testing.assert_array_equal(state["rnn.bias_ih_l0"], np.hstack([i, f + np.float32(0.75), j, o]))
    assert not state["rnn.bias_hh_l0"].any()
    np.testing.assert_array_equal(to_keras(model, params)[2], state["rnn.bias_ih_l0"])
    np.testing.assert_array_equal(to_tf1(model, params)["rnn/basic_lstm_cell/bias"][2 * H : 3 * H], f - 0.25)


def test_the_names_of_a_state_dict_are_those_of_torch():
    model, params = network("gru", num_layers=2, bidirectional=True)
    assert {name: array.shape for name, array in to_torch(model, params).items()} == {
        f"rnn.{name}_l{n}{suffix}": shape
        for n, width in ((0, F), (1, 2 * H))
        for suffix in ("", "_reverse")
        for name, shape in {
            "weight_ih": (3 * H, width),
            "weight_hh": (3 * H, H),
            "bias_ih": (3 * H,),
            "bias_hh": (3 * H,),
        }.items()
    } | {"readout.weight": (C, 2 * H), "readout.bias": (C,)}


def test_bfloat16_tensors_of_torch_come_in():
    torch = pytest.importorskip("torch")
    model, params = network(cell=BasicLSTMCell(H, forget_bias=0.0), param_dtype=jnp.bfloat16)
    state = to_torch(model, params)
    tensors = {name: torch.from_numpy(array.astype(np.float32)).bfloat16() for name, array in state.items()}
    chex.assert_trees_all_equal(from_torch(model, tensors), params)


MODEL, PARAMS = network(num_layers=1, bidirectional=False)
STATE = to_torch(MODEL, PARAMS)
WRONG = {
    "missing": ({"rnn.bias_hh_l0": None}, r"^rnn\.bias_hh_l0 is missing; the arrays are rnn\.weight_ih_l0, rnn\.w"),
    "first missing": ({"rnn.weight_ih_l0": None}, r"^rnn\.weight_ih_l0 is missing; the arrays are rnn\.weight_hh_l0"),
    "extra": (
        {"rnn.weight_ih_l1": np.ones((2, 3))},
        r"^rnn\.weight_ih_l1 is float64 \[2, 3\], but this model has no such",
    ),
    "shape": (
        {"rnn.weight_hh_l0": np.ones((20, 4), np.float32)},
        r"hh_l0 is float32 \[20, 4\]; expected float32 \[20, 5\]\.$",
    ),
    "units": ({"rnn.bias_ih_l0": np.ones(24, np.float32)}, r"bias_ih_l0 is float32 \[24\]; expected float32 \[20\]"),
    "classes": ({"readout.bias": np.ones(4, np.float32)}, r"readout\.bias is float32 \[4\]; expected float32 \[3\]"),
    "no array": ({"rnn.weight_ih_l0": "text"}, r"weight_ih_l0 is <U4 \[\]; expected float32 \[20, 1\]"),
    "dtype": (
        {"readout.weight": np.ones((C, H))},
        r"readout\.weight is float64 \[3, 5\]; expected float32 \[3, 5\]\.$",
    ),
    "seeds": (
        {"readout.weight": np.ones((7, C, H), np.float32)},
        r"expected float32 \[3, 5\]\. If these are the weights of several seeds, \[S, \.\.\.\], choose those of one\.$",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_array_is_named_with_what_it_is_and_what_was_expected(name):
    changes, sentence = WRONG[name]
    changed = {key: array for key, array in (STATE | changes).items() if array is not None}
    with pytest.raises(ValueError, match=sentence):
        from_torch(MODEL, changed)


def test_own_parameters_are_checked_too():
    several = jax.tree.map(lambda array: np.stack([array, array]), PARAMS)
    with pytest.raises(ValueError, match=r"^layer_0_forward/bias is float32 \[2, 20\]; .* several seeds"):
        to_torch(MODEL, several)
    with pytest.raises(ValueError, match=r"^layer_0_backward/kernel is missing"):
        to_keras(MODEL.clone(bidirectional=True), PARAMS)


def test_a_wrong_number_of_keras_arrays_and_another_gru_are_refused():
    with pytest.raises(ValueError, match=r"^There are 4 arrays; expected 5: layer_0_forward/kernel, .*readout/bias\.$"):
        from_keras(MODEL, to_keras(MODEL, PARAMS)[1:])
    model, params = network("gru", num_layers=1, bidirectional=False)
    weights = to_keras(model, params)
    weights[2] = weights[2][0]  # as with reset_after=False
    with pytest.raises(ValueError, match=r"^layer_0_forward/bias is float32 \[15\]; expected float32 \[2, 15\]\.$"):
        from_keras(model, weights)


def test_tf1_has_no_such_gru():
    with pytest.raises(ValueError, match=r"^The cell is a GRUCell, which resets after the product; TensorFlow 1's"):
        to_tf1(*network("gru"))
