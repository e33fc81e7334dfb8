"""Random networks, and what the weights mean to other libraries: independent NumPy networks that read their arrays."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.models.cells import BasicLSTMCell, ElmanCell, GRUCell
from rowlstm_jax.models.classifier import SequenceClassifier
from tests.reference import lstm, sigmoid

os.environ.setdefault("KERAS_BACKEND", "jax")  # it would ask for TensorFlow
B, T, F, H, C = 3, 6, 4, 5, 3
CELLS = {"lstm": BasicLSTMCell(H, forget_bias=0.75), "gru": GRUCell(H), "elman": ElmanCell(H)}
SHAPES = [  # layers, whether bidirectional, readout
    (1, False, "last"),
    (1, True, "mean"),
    (2, False, "mean"),
    (2, True, "last"),
]
INPUTS = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)


def network(kind="lstm", num_layers=2, bidirectional=True, **settings):
    """A model and random parameters; biases too, which start as zeros."""
    cell = settings.pop("cell", CELLS[kind])
    model = SequenceClassifier(cell, C, num_layers=num_layers, bidirectional=bidirectional, **settings)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(INPUTS))["params"]
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)


def logits(model, params):
    return np.asarray(jax.jit(model.apply)({"params": params}, INPUTS))


def torch_step(kind, x, state, w_x, w_h, b_x, b_h):
    """One step in the equations of PyTorch's manual; the state is (h, c)."""
    h, c = state
    if kind == "elman":
        return np.tanh(w_x @ x + b_x + w_h @ h + b_h), c
    if kind == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
        z, n = sigmoid(z_x + z_h), np.tanh(n_x + sigmoid(r_x + r_h) * n_h)
        return (1 - z) * n + z * h, c
    i, f, g, o = np.split(w_x @ x + b_x + w_h @ h + b_h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def torch_layer(kind, inputs, weights):
    """One sequence [T, F] through one layer in one direction: [T, H]."""
    state, outputs = (np.zeros(H), np.zeros(H)), []
    for x in inputs:
        state = torch_step(kind, x, state, *weights)
        outputs.append(state[0])
    return np.stack(outputs)


def stacked(inputs, layers, readout, mean):
    """Sequences [B, T, F] -> logits. `layers[n]` has a function [T, F] -> [T, H] for each direction."""
    answers = []
    for sequence in inputs.astype(np.float64):
        finals = []
        for directions in layers:
            outputs = [directions[0](sequence)]
            outputs += [layer(sequence[::-1]) for layer in directions[1:]]
            finals = [output[-1] for output in outputs]
            sequence = np.hstack([outputs[0], *(output[::-1] for output in outputs[1:])])
        answers.append(sequence.mean(0) if mean else np.hstack(finals))
    kernel, bias = readout
    return np.stack(answers) @ kernel + bias


def torch_logits(model, kind, state, rnn="rnn", readout="readout"):
    """The logits of the network whose `state_dict` this is."""

    def layer(suffix):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [state[f"{rnn}.{name}_{suffix}"].astype(np.float64) for name in names]
        return lambda sequence: torch_layer(kind, sequence, weights)

    suffixes = ("", "_reverse")[: 1 + model.bidirectional]
    layers = [[layer(f"l{n}{suffix}") for suffix in suffixes] for n in range(model.num_layers)]
    last = state[f"{readout}.weight"].T, state[f"{readout}.bias"]
    return stacked(INPUTS, layers, last, model.readout == "mean")


def keras_logits(model, kind, weights):
    """The logits of the network whose `get_weights()` this is, in the equations of Keras's manual."""
    weights = [array.astype(np.float64) for array in weights]

    def layer(kernel, recurrent, bias):
        if kind == "gru":  # z, r, h; two rows of biases
            (z, r, n), (zh, rh, nh) = np.split(kernel, 3, -1), np.split(recurrent, 3, -1)
            first, second = (np.split(row, 3) for row in bias)
            kernel, recurrent = np.hstack([r, z, n]).T, np.hstack([rh, zh, nh]).T
            biases = [np.hstack([row[1], row[0], row[2]]) for row in (first, second)]
            return lambda sequence: torch_layer(kind, sequence, (kernel, recurrent, *biases))
        return lambda sequence: torch_layer(kind, sequence, (kernel.T, recurrent.T, bias, 0 * bias))

    each = iter([weights[n : n + 3] for n in range(0, len(weights) - 2, 3)])
    layers = [[layer(*next(each)) for _ in range(1 + model.bidirectional)] for _ in range(model.num_layers)]
    return stacked(INPUTS, layers, weights[-2:], model.readout == "mean")


def tf1_logits(model, kind, layers, readout, forget_bias=1.0):
    """The logits of TensorFlow 1's network; `layers[n]` has a kernel and a bias for each direction."""

    def layer(kernel, bias):
        if kind == "elman":
            return lambda sequence: torch_layer(kind, sequence, (kernel[:-H].T, kernel[-H:].T, bias, 0 * bias))
        return lambda sequence: lstm(kernel, bias, sequence[None], forget_bias)[0][0]

    network = [[layer(*direction) for direction in directions] for directions in layers]
    return stacked(INPUTS, network, readout, model.readout == "mean")
