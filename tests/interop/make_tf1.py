"""Makes tf1/*.npz, what TensorFlow's own cells computed: the variables of trained networks, their inputs and logits.

python -m tests.interop.make_tf1, where tensorflow and tf_keras are installed; made with release 2.21 of both.
"""

import os
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "tf1"
NETWORKS = {  # the cell, layers, and whether bidirectional
    "lstm": ("BasicLSTMCell", 1, False),
    "lstm_bidirectional": ("BasicLSTMCell", 1, True),
    "lstm_layers": ("BasicLSTMCell", 2, False),
    "lstm_layers_bidirectional": ("BasicLSTMCell", 2, True),
    "elman_layers": ("BasicRNNCell", 2, False),
    "elman_layers_bidirectional": ("BasicRNNCell", 2, True),
}
B, T, F, H, C = 3, 6, 4, 5, 3


def last_outputs(tf, cell, inputs, layers, bidirectional):
    """The last layer's outputs where each direction ends; two layers as `tf.contrib.rnn` stacked them."""
    nn = tf.compat.v1.nn
    if not bidirectional:
        cells = cell() if layers == 1 else nn.rnn_cell.MultiRNNCell([cell() for _ in range(layers)])
        return nn.dynamic_rnn(cells, inputs, dtype=tf.float32)[0][:, -1]

    outputs = inputs
    for n in range(layers):
        with tf.compat.v1.variable_scope(f"stack_bidirectional_rnn/cell_{n}" if layers > 1 else ""):
            both = nn.bidirectional_dynamic_rnn(cell(), cell(), outputs, dtype=tf.float32)[0]
            outputs = tf.concat(both, 2)
    return tf.concat([outputs[:, -1, :H], outputs[:, 0, H:]], 1)


def make(tf, kind, layers, bidirectional):
    """The variables of a graph after a few steps of Adam, so that biases are not zero; and inputs and logits."""
    v1 = tf.compat.v1
    v1.reset_default_graph()
    v1.set_random_seed(0)
    data = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    inputs = v1.placeholder(tf.float32, (None, T, F))
    features = last_outputs(tf, lambda: getattr(v1.nn.rnn_cell, kind)(H), inputs, layers, bidirectional)
    weights = v1.Variable(v1.random_normal([H * (1 + bidirectional), C]))
    bias = v1.Variable(v1.random_normal([C]))
    logits = features @ weights + bias
    step = v1.train.AdamOptimizer(0.1).minimize(tf.reduce_mean((logits - 2) ** 2))
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for _ in range(10):
            session.run(step, {inputs: data})
        variables = {variable.name: session.run(variable) for variable in v1.global_variables()}
        return variables | {"inputs": data, "logits": session.run(logits, {inputs: data})}


def main():
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # read when TensorFlow is imported
    import tensorflow as tf  # pyright: ignore

    tf.compat.v1.disable_v2_behavior()
    FOLDER.mkdir(exist_ok=True)
    for name, settings in NETWORKS.items():
        np.savez_compressed(FOLDER / f"{name}.npz", allow_pickle=False, **make(tf, *settings))


if __name__ == "__main__":
    main()
