"""The diagnostics of a network against plain NumPy loops and a loop unrolled in Python; and for any model at all."""

import dataclasses
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.models.cells import CELLS, BasicLSTMCell, ElmanCell
from rowlstm_jax.models.classifier import SequenceClassifier
from rowlstm_jax.models.diagnostics import (
    gates_over_time,
    gradient_diagnostics,
    missing_diagnostics,
    probabilities_over_time,
    rows_needed,
    time_constants,
)
from tests.reference import cross_entropy, lstm, sigmoid

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H, C = 2, 3, 3, 5, 3


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, F)).astype(np.float32), np.array([2, 0])


def test_the_last_probabilities_over_time_are_those_of_the_whole_sequence():
    inputs, _ = batch()
    model = SequenceClassifier(BasicLSTMCell(H), C, dtype=jnp.bfloat16)
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    over_time = jax.jit(lambda params: probabilities_over_time(model, params, inputs))(variables["params"])
    chex.assert_shape(over_time, (B, T, C))
    expected = jax.nn.softmax(jax.jit(model.apply)(variables, inputs).astype(jnp.float32))
    np.testing.assert_allclose(over_time[:, -1], expected, rtol=0.01)
    np.testing.assert_allclose(over_time.sum(axis=-1), 1, rtol=1e-5)


def test_rows_needed_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    probabilities = np.asarray(jax.nn.softmax(6 * rng.normal(size=(200, 9, 3)).cumsum(axis=1)))
    expected = []
    for example in probabilities:
        needed = len(example) + 1
        while needed > 1 and example[needed - 2, example[-1].argmax()] > 0.9:
            needed -= 1
        expected.append(needed)
    assert {1, 9, 10} < set(expected), "the examples are too easy"
    assert jax.jit(rows_needed, static_argnums=1)(probabilities, 0.9).tolist() == expected


def test_rows_needed_asks_for_the_final_class_and_for_more_than_the_confidence():
    sure_of_another, exactly, from_the_start = [[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5]] * 2, [[0.9, 0.1]] * 2
    assert rows_needed(jnp.array([sure_of_another, exactly, from_the_start]), 0.5).tolist() == [2, 3, 1]


def numpy_loss(params, inputs, labels, readout, step, displaced, by):
    """The loss where c or h was displaced after a step: what the total derivative is the limit of."""
    kernel, bias = params["layer_0_forward"]["kernel"], params["layer_0_forward"]["bias"]
    c, h, outputs = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        i, j, f, o = np.split(np.hstack([inputs[:, t], h]) @ kernel + bias, 4, axis=1)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j) + by * (t == step and displaced == "c")
        h = sigmoid(o) * np.tanh(c) + by * (t == step and displaced == "h")
        outputs.append(h)
    features = h if readout == "last" else np.mean(outputs, axis=0)
    return cross_entropy(features @ params["readout"]["kernel"] + params["readout"]["bias"], labels)


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_gradients_by_c_and_h_agree_with_finite_differences_of_numpy(readout):
    inputs, labels = batch()
    with jax.enable_x64(True):
        model = SequenceClassifier(BasicLSTMCell(H), C, readout=readout, param_dtype=jnp.float64)
        params = jax.jit(model.init)(jax.random.key(0), np.float64(inputs))["params"]
        health = jax.jit(gradient_diagnostics, static_argnums=0)(model, params, np.float64(inputs), labels)
    params = jax.tree.map(np.asarray, params)
    for displaced in "ch":
        squares = np.zeros(T)
        for step, b, unit in np.ndindex(T, B, H):
            by = np.zeros((B, H))
            by[b, unit] = 1e-5
            above, below = (numpy_loss(params, inputs, labels, readout, step, displaced, s * by) for s in (1, -1))
            squares[step] += ((above - below) / 2e-5) ** 2
        np.testing.assert_allclose(health[f"layer_0_forward/gradient_norm_{displaced}"], np.sqrt(squares), rtol=1e-5)


def unrolled_loss(model, params, inputs, labels, displacements):
    """The same model as a Python loop, each carry displaced after its step, and the output h with it."""
    outputs = inputs
    for layer in range(model.num_layers):
        read = []
        for direction in ("forward", "backward")[: 1 + model.bidirectional]:
            name = f"layer_{layer}_{direction}"
            carry, seen = model.cell.initialize_carry(jax.random.key(0), (B, F)), [None] * T
            for t in range(T) if direction == "forward" else reversed(range(T)):
                carry, _ = model.cell.apply({"params": params[name]}, carry, outputs[:, t])
                carry = jax.tree.map(lambda state, by, t=t: state + by[t], carry, displacements[name])
                seen[t] = jax.tree.leaves(carry)[-1]  # h: of an LSTM's (c, h), or a GRU's only one
            read.append(jnp.stack(seen, axis=1))
        outputs = jnp.concatenate(read, axis=-1)
    logits = outputs.mean(axis=1) @ params["readout"]["kernel"] + params["readout"]["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.parametrize(
    ("cell", "shape"),
    [(nn.GRUCell, {"num_layers": 2}), (nn.OptimizedLSTMCell, {"bidirectional": True}), (nn.MGUCell, {})],
)
def test_gradients_of_any_cell_agree_with_an_unrolled_loop(cell, shape):
    inputs, labels = batch()
    model = SequenceClassifier(cell(H), C, readout="mean", **shape)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    layers = sorted(params.keys() - {"readout"})
    carry = model.cell.initialize_carry(jax.random.key(0), (B, F))
    zeros = {name: jax.tree.map(lambda leaf: jnp.zeros((T, *leaf.shape)), carry) for name in layers}
    gradients = jax.jit(jax.grad(lambda by: unrolled_loss(model, params, inputs, labels, by)))(zeros)
    expected = {
        f"{name}/gradient_norm_carry": np.sqrt(sum((leaf**2).sum(axis=(1, 2)) for leaf in jax.tree.leaves(tree)))
        for name, tree in gradients.items()
    }
    health = jax.jit(gradient_diagnostics, static_argnums=0)(model, params, inputs, labels)
    chex.assert_trees_all_close(health, expected, rtol=1e-4)


@pytest.mark.parametrize("recurrence", ["fused", "scan"])
def test_gates_agree_with_numpy_in_both_directions(recurrence):
    inputs, _ = batch()
    model = SequenceClassifier(BasicLSTMCell(H, forget_bias=0.5), C, bidirectional=True, recurrence=recurrence)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    gates = jax.jit(lambda params: gates_over_time(model, params, inputs))(params)
    assert sorted(gates) == ["layer_0_backward", "layer_0_forward"]
    for name, found in gates.items():
        chex.assert_shape(list(found.values()), (T, B, H))
        flip = slice(None, None, -1 if name == "layer_0_backward" else 1)
        kernel, bias = np.float64(params[name]["kernel"]), np.float64(params[name]["bias"])
        c, h = np.zeros((B, H)), np.zeros((B, H))
        for t in range(T)[flip]:
            i, j, f, o = np.split(np.hstack([inputs[:, t], h]) @ kernel + bias, 4, axis=1)
            _, (c, h) = lstm(kernel, bias, inputs[:, t : t + 1], 0.5, (c, h))
            expected = {"i": sigmoid(i), "j": np.tanh(j), "f": sigmoid(f + 0.5), "o": sigmoid(o), "c": c, "h": h}
            now = {gate: values[t] for gate, values in found.items()}
            chex.assert_trees_all_close(now, jax.tree.map(np.float32, expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of", ["cell", "model"])
def test_gates_of_a_model_in_bfloat16_are_those_that_its_cell_computes(of):
    inputs, _ = batch()
    half = BasicLSTMCell(H, dtype=jnp.bfloat16)
    model = SequenceClassifier(half, C) if of == "cell" else SequenceClassifier(BasicLSTMCell(H), C, dtype=jnp.bfloat16)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    gates = jax.jit(lambda params: gates_over_time(model, params, inputs))(params)["layer_0_forward"]
    assert {gates[name].dtype for name in "ijfo"} == {jnp.dtype(jnp.bfloat16)}
    carry = half.initialize_carry(jax.random.key(0), (B, F))
    for t in range(T):
        carry, _ = half.apply({"params": params["layer_0_forward"]}, carry, inputs[:, t])
        np.testing.assert_allclose(gates["c"][t], carry[0], atol=5e-3)
        np.testing.assert_allclose(gates["h"][t], carry[1], atol=5e-3)


class Flat(nn.Module):
    """No recurrence, no cell and no layers."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(C)(nn.tanh(nn.Dense(H)(inputs)).reshape(len(inputs), -1))


class FlaxRNN(nn.Module):
    """What Flax's own documentation shows: `nn.RNN` over a cell."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        return nn.Dense(C)(nn.RNN(nn.GRUCell(H))(inputs)[:, -1])


class Counting(ElmanCell):
    """Also counts the steps: part of its carry has no gradient; and it calls its base class."""

    def __call__(self, carry: Any, inputs: jax.Array) -> Any:
        h, output = super().__call__(carry[0], inputs)
        return (h, carry[1] + 1), output

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return super().initialize_carry(rng, input_shape), jnp.zeros((), jnp.int32)


class Derived(ElmanCell):
    """Has a field that its constructor does not take."""

    scale: float = dataclasses.field(init=False)

    def __post_init__(self):
        self.scale = 1.0
        super().__post_init__()

    @nn.compact
    def __call__(self, carry, inputs):
        return super().__call__(self.scale * carry, inputs)


class Forgetful(nn.RNNCellBase):
    """Carries a count and nothing else."""

    features: int

    @nn.compact
    def __call__(self, carry, inputs):
        return carry + 1, nn.Dense(self.features)(inputs)

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((), jnp.int32)

    @property
    def num_feature_axes(self):
        return 1


def measured(model):
    inputs, labels = batch()
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    return jax.device_get(jax.jit(gradient_diagnostics, static_argnums=0)(model, params, inputs, labels))


@pytest.mark.parametrize("model", [Flat(), FlaxRNN(), SequenceClassifier(Forgetful(H), C, readout="mean")])
def test_of_a_model_without_a_known_carry_the_gradient_by_the_inputs_is_measured(model):
    inputs, labels = batch()
    found = measured(model)
    assert set(found) == {"input/gradient_norm"}
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    logits = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    squares = np.zeros(T)
    for b, t, feature in np.ndindex(B, T, F):
        by = np.zeros((B, T, F), np.float32)
        by[b, t, feature] = 1e-2
        above, below = (cross_entropy(np.float64(logits(inputs + sign * by)), labels) for sign in (1, -1))
        squares[t] += ((above - below) / 2e-2) ** 2
    np.testing.assert_allclose(found["input/gradient_norm"], np.sqrt(squares), rtol=5e-3)


def test_inputs_that_are_whole_numbers_have_no_gradient():
    class Words(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return nn.Dense(C)(nn.Embed(5, H)(inputs[..., 0]).mean(axis=1))

    words = jnp.ones((B, T, 1), jnp.int32)
    params = Words().init(jax.random.key(0), words)["params"]
    assert gradient_diagnostics(Words(), params, words, jnp.zeros(B, jnp.int32)) == {}


@pytest.mark.parametrize("cell", [Counting, Derived])
def test_a_cell_of_ones_own_that_computes_what_elmans_does_is_measured_like_it(cell):
    expected = measured(SequenceClassifier(ElmanCell(H), C, num_layers=2))
    assert set(expected) == {f"layer_{n}_forward/gradient_norm_carry" for n in range(2)}
    chex.assert_trees_all_close(measured(SequenceClassifier(cell(H), C, num_layers=2)), expected, rtol=1e-6)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "lstm"])
def test_every_other_cell_has_the_gradient_by_its_carry(cell):
    (norms,) = measured(SequenceClassifier(CELLS[cell](H), C)).values()
    assert np.isfinite(norms).all()
    assert norms.any()


def test_what_a_model_does_not_offer_is_said_in_a_sentence_and_refused():
    inputs, _ = batch()
    lstm = SequenceClassifier(BasicLSTMCell(H), C, num_layers=2)
    assert missing_diagnostics(lstm) == {}
    assert set(missing_diagnostics(lstm.clone(bidirectional=True))) == {"probabilities"}
    assert set(missing_diagnostics(lstm.clone(cell=nn.GRUCell(H)))) == {"gates"}
    assert set(missing_diagnostics(Flat())) == {"probabilities", "gates", "carry"}
    for model, function, said in [
        (Flat(), probabilities_over_time, "^model has no `over_time`"),
        (lstm.clone(bidirectional=True), probabilities_over_time, "^model reads backward too"),
        (lstm.clone(cell=nn.GRUCell(H)), gates_over_time, "^model has the cell GRUCell"),
        (Flat(), gates_over_time, "^model is a Flat, not a SequenceClassifier"),
    ]:
        with pytest.raises(ValueError, match=said):
            function(model, {}, inputs)


def test_saturation_and_time_constants_of_known_gates():
    inputs, labels = batch()
    model = SequenceClassifier(BasicLSTMCell(5, forget_bias=0.0), C)
    params = jax.tree.map(jnp.zeros_like, jax.jit(model.init)(jax.random.key(0), inputs)["params"])
    forget = np.array([0.5, 0.8, 0.9, 0.94, 0.96])
    bias = {"i": [-9, 9, 0, 0, 0], "j": [-9, 9, 9, 0, 0], "f": np.log(forget / (1 - forget)), "o": [9, -9, 9, -9, 0]}
    params["layer_0_forward"]["bias"] = jnp.asarray(np.concatenate([bias[gate] for gate in "ijfo"]), jnp.float32)
    health = jax.jit(gradient_diagnostics, static_argnums=0)(model, params, inputs, labels)
    shares = {gate: float(health[f"layer_0_forward/saturated_{gate}"]) for gate in "ijfo"}
    assert shares == pytest.approx({"i": 0.4, "j": 0.6, "f": 0.2, "o": 0.8})
    expected = np.quantile(-1 / np.log(forget), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(health["layer_0_forward/time_constants"], expected, rtol=1e-4)


def test_a_gate_that_never_or_always_forgets_has_a_finite_time_constant():
    never, half, always = time_constants(jnp.array([[[1.0, 0.5, 0.0]]])).tolist()
    assert 1e7 < never < 1e8
    assert (half, always) == (pytest.approx(1 / np.log(2)), 0)


def test_gradient_diagnostics_under_vmap_over_seeds_agrees_with_a_loop():
    inputs, labels = batch()
    model = SequenceClassifier(BasicLSTMCell(H), C)
    params = jax.jit(jax.vmap(lambda key: model.init(key, inputs)["params"]))(jax.random.split(jax.random.key(0), 3))
    health = jax.jit(lambda params: gradient_diagnostics(model, params, inputs, labels))
    looped = [health(jax.tree.map(lambda leaf, s=s: leaf[s], params)) for s in range(3)]
    together = jax.jit(jax.vmap(health))(params)
    chex.assert_trees_all_close(together, jax.tree.map(lambda *leaves: np.stack(leaves), *looped), rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves(together)} == {jnp.dtype(jnp.float32)}
