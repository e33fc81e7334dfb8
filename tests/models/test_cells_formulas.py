"""Every cell against its equations in plain NumPy, and against PyTorch, Flax and TensorFlow 1 where they have it."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.models.cells import (
    BasicLSTMCell,
    CoRNNCell,
    EchoStateCell,
    ElmanCell,
    FullyRecurrentCell,
    GRUCell,
    JordanCell,
    LayerNormLSTMCell,
    LEMCell,
    PeepholeLSTMCell,
    flax_lstm_params,
    mask_as_text,
)
from tests.reference import sigmoid

pytestmark = pytest.mark.usefixtures("quick_compiler")

B, T, F, H = 5, 7, 3, 11
Params = Any
MASK = np.random.default_rng(3).integers(0, 2, (F + H, H))


def affine(p: Params, *inputs: np.ndarray) -> np.ndarray:
    return np.concatenate(inputs, axis=-1) @ p["kernel"] + p.get("bias", 0)


def basic_lstm(p, carry, x, forget_bias):
    c, h = carry
    i, j, f, o = np.split(affine(p, x, h), 4, axis=-1)
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(j)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def peephole_lstm(p, carry, x):
    c, h = carry
    i, j, f, o = np.split(affine(p["gates"], x, h), 4, axis=-1)
    forget, enter = sigmoid(f + 0.5 + p["peephole_forget"] * c), sigmoid(i + p["peephole_input"] * c)
    c = forget * c + enter * np.tanh(j)
    h = sigmoid(o + p["peephole_output"] * c) * np.tanh(c)
    return (c, h), h


def normalise(a, scale, bias, epsilon):
    centred = a - a.mean(axis=-1, keepdims=True)
    return scale * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) + bias


def layer_norm_lstm(p, carry, x):
    c, h = carry
    products = np.split(affine(p["gates"], x, h), 4, axis=-1)
    norms = zip(products, p["gate_norm"]["scale"], p["gate_norm"]["bias"], strict=True)
    i, j, f, o = (normalise(a, scale, bias, 0.1) for a, scale, bias in norms)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
    c = normalise(c, p["state_norm"]["scale"], p["state_norm"]["bias"], 0.1)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h


def gru(p, h, x):
    r_x, z_x, n_x = np.split(affine(p["input"], x), 3, axis=-1)
    r_h, z_h, n_h = np.split(affine(p["recurrent"], h), 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    h = (1 - z) * np.tanh(n_x + r * (n_h + p["candidate_bias"])) + z * h
    return h, h


def elman(p, h, x):
    h = np.tanh(affine(p["hidden"], x, h))
    return h, h


def fully_recurrent(p, h, x):
    h = np.tanh(np.concatenate([x, h], axis=-1) @ (MASK * p["kernel"]) + p["bias"])
    return h, h[:, :4]


def jordan(p, s, x):
    y = sigmoid(affine(p["output"], np.tanh(affine(p["hidden"], x, s))))
    return 0.3 * s + y, y


def echo_state(p, h, x):
    h = 0.7 * h + 0.3 * np.tanh(x @ p["reservoir_input_kernel"] + h @ p["reservoir_kernel"] + p["reservoir_bias"])
    return h, h


def cornn(p, carry, x):
    y, z = carry
    z = z + 0.1 * (np.tanh(affine(p["force"], x, z, y)) - 1.7 * y - 2.3 * z)
    y = y + 0.1 * z
    return (y, z), y


def lem(p, carry, x):
    y, z = carry
    s, s_bar, j = np.split(affine(p["memory"], x, y), 3, axis=-1)
    z = (1 - 0.4 * sigmoid(s)) * z + 0.4 * sigmoid(s) * np.tanh(j)
    y = (1 - 0.4 * sigmoid(s_bar)) * y + 0.4 * sigmoid(s_bar) * np.tanh(affine(p["output"], x, z))
    return (y, z), y


FORMULAS = [
    (BasicLSTMCell(H), functools.partial(basic_lstm, forget_bias=1)),
    (BasicLSTMCell(H, forget_bias=0.0), functools.partial(basic_lstm, forget_bias=0)),
    (PeepholeLSTMCell(H, forget_bias=0.5), peephole_lstm),
    (LayerNormLSTMCell(H, epsilon=0.1), layer_norm_lstm),
    (GRUCell(H), gru),
    (ElmanCell(H), elman),
    (JordanCell(H, outputs=4, decay=0.3), jordan),
    (EchoStateCell(H, leak_rate=0.3), echo_state),
    (CoRNNCell(H, dt=0.1, gamma=1.7, epsilon=2.3), cornn),
    (LEMCell(H, dt=0.4), lem),
    (FullyRecurrentCell(H, mask=mask_as_text(MASK), visible=4), fully_recurrent),
]


def random_like(tree: Any, seed: int) -> Any:
    """Values of order one in place of a tree's own, so that no term of an equation is small."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.7, leaf.shape).astype(np.float32), tree)


def random_params(cell: nn.RNNCellBase) -> Params:
    carry = cell.initialize_carry(jax.random.key(0), (B, F))
    return random_like(jax.eval_shape(cell.init, jax.random.key(0), carry, jnp.zeros((B, F)))["params"], seed=1)


def run(step, carry, inputs) -> tuple[Any, np.ndarray]:
    outputs = []
    for x in inputs:
        carry, output = step(carry, x)
        outputs.append(output)
    return carry, np.stack(outputs)


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(T, B, F)).astype(np.float32)


@pytest.mark.parametrize(("cell", "formula"), FORMULAS, ids=lambda x: getattr(x, "__name__", type(x).__name__))
def test_steps_from_a_random_carry_follow_the_equations(cell, formula, inputs):
    params = random_params(cell)
    carry = random_like(cell.initialize_carry(jax.random.key(0), (B, F)), seed=2)
    wide = jax.tree.map(lambda a: a.astype(np.float64), (params, carry, inputs))
    expected = run(lambda carry, x: formula(wide[0], carry, x), *wide[1:])
    ours = run(jax.jit(lambda carry, x: cell.apply({"params": params}, carry, x)), carry, inputs)
    chex.assert_trees_all_close(ours, jax.tree.map(np.float32, expected), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("flax_cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_the_basic_lstm_agrees_with_flax_cells_with_converted_weights(inputs, flax_cell):
    params = random_params(BasicLSTMCell(H))
    step = jax.jit(lambda carry, x: BasicLSTMCell(H).apply({"params": params}, carry, x))
    _, ours = run(step, (np.zeros((B, H), np.float32),) * 2, inputs)
    converted = flax_lstm_params(params, forget_bias=1.0)
    theirs = jax.jit(nn.RNN(flax_cell(H), time_major=True).apply)({"params": {"cell": converted}}, inputs)
    chex.assert_trees_all_close(ours, np.asarray(theirs), rtol=1e-5, atol=1e-5)


def test_elman_agrees_with_torch_and_flax(inputs):
    params = random_params(ElmanCell(H))
    input_kernel, kernel, bias = (*np.split(params["hidden"]["kernel"], [F]), params["hidden"]["bias"])
    step = jax.jit(lambda carry, x: ElmanCell(H).apply({"params": params}, carry, x))
    _, ours = run(step, np.zeros((B, H), np.float32), inputs)
    flax = {"i": {"kernel": input_kernel, "bias": bias}, "h": {"kernel": kernel}}
    theirs = jax.jit(nn.RNN(nn.SimpleCell(H), time_major=True).apply)({"params": {"cell": flax}}, inputs)
    chex.assert_trees_all_close(ours, np.asarray(theirs), rtol=1e-5, atol=1e-5)

    torch = pytest.importorskip("torch")
    cell = torch.nn.RNN(F, H)
    weights = [input_kernel.T, kernel.T, bias, np.zeros(H, np.float32)]
    chex.assert_trees_all_close(ours, torch_outputs(torch, cell, weights, inputs), rtol=1e-5, atol=1e-5)


def test_gru_agrees_with_torch_and_flax(inputs):
    params = random_params(GRUCell(H))
    step = jax.jit(lambda carry, x: GRUCell(H).apply({"params": params}, carry, x))
    _, ours = run(step, np.zeros((B, H), np.float32), inputs)
    split = {name: np.split(params["input"][name], 3, axis=-1) for name in ("kernel", "bias")}
    recurrent = np.split(params["recurrent"]["kernel"], 3, axis=-1)
    flax = {}
    for n, gate in enumerate("rzn"):
        flax[f"i{gate}"] = {"kernel": split["kernel"][n], "bias": split["bias"][n]}
        flax[f"h{gate}"] = {"kernel": recurrent[n]}
    flax["hn"]["bias"] = params["candidate_bias"]
    theirs = jax.jit(nn.RNN(nn.GRUCell(H), time_major=True).apply)({"params": {"cell": flax}}, inputs)
    chex.assert_trees_all_close(ours, np.asarray(theirs), rtol=1e-5, atol=1e-5)

    torch = pytest.importorskip("torch")
    bias = np.concatenate([np.zeros(2 * H, np.float32), params["candidate_bias"]])
    weights = [params["input"]["kernel"].T, params["recurrent"]["kernel"].T, params["input"]["bias"], bias]
    chex.assert_trees_all_close(ours, torch_outputs(torch, torch.nn.GRU(F, H), weights, inputs), rtol=1e-5, atol=1e-5)


def torch_outputs(torch, cell, weights, inputs) -> np.ndarray:
    """Outputs [T, B, H] of a one-layer torch RNN with the weights W_ih, W_hh, b_ih, b_hh."""
    with torch.no_grad():
        for parameter, weight in zip(cell.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        return cell(torch.from_numpy(inputs))[0].numpy()


def test_layer_norm_lstm_gives_the_numbers_of_tensorflows_own_test():
    """TensorFlow's test: all weights 0.5, zero input, two units; the carried c is the normalised one."""
    half = nn.initializers.constant(0.5)
    cell = LayerNormLSTMCell(2, epsilon=1e-12, kernel_init=half, bias_init=nn.initializers.zeros_init())
    carry, x = (jnp.array([[0.0, 0.1]]), jnp.array([[0.2, 0.3]])), jnp.ones((1, 2))
    variables = cell.init(jax.random.key(0), carry, x)
    (c, h), _ = cell.apply(variables, carry, x)
    np.testing.assert_allclose(c, [[-1.0, 1.0]], atol=1e-5)
    np.testing.assert_allclose(h, [[-0.38079708, 0.38079708]], atol=1e-5)
