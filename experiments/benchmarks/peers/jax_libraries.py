"""The classifier in other JAX libraries, each with the problem's weights: Flax, Haiku, Equinox, and cuDNN by JAX."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.problem import FORGET_BIAS, NUM_CLASSES, Problem, System, UnavailableError, jax_system


def cast(tree: Any, dtype: str) -> Any:
    """The arrays of a tree in the dtype of the products."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def flax_rnn(problem: Problem, cell: Literal["LSTMCell", "OptimizedLSTMCell"]) -> System:
    """Flax's nn.RNN over one of its cells, which have no constant forget bias."""
    import flax.linen as nn

    from rowlstm_jax.models.cells import flax_lstm_params

    recurrent = nn.RNN(getattr(nn, cell)(problem.hidden, dtype=problem.dtype))
    readout = nn.Dense(NUM_CLASSES, dtype=problem.dtype)
    weights: Any = {"kernel": problem.kernel, "bias": problem.bias}
    params = {
        "recurrent": {"cell": flax_lstm_params(weights, FORGET_BIAS)},
        "readout": {"kernel": problem.readout_kernel, "bias": problem.readout_bias},
    }

    def logits(params: Any, inputs: jax.Array) -> Any:
        outputs: Any = recurrent.apply({"params": params["recurrent"]}, inputs)
        return readout.apply({"params": params["readout"]}, outputs[:, -1])

    return jax_system(logits, params, problem)


def haiku_unroll(problem: Problem) -> System:
    """Haiku's LSTM in its dynamic_unroll: the same order of gates, the same constant forget bias."""
    import haiku as hk  # pyright: ignore[reportMissingImports]

    def classify(inputs: jax.Array) -> jax.Array:
        lstm = hk.LSTM(problem.hidden)
        state = cast(lstm.initial_state(len(inputs)), problem.dtype)
        outputs: Any = hk.dynamic_unroll(lstm, inputs, state, time_major=False)[0]
        return hk.Linear(NUM_CLASSES, name="readout")(outputs[:, -1])

    model = hk.without_apply_rng(hk.transform(classify))
    params = {
        "lstm/linear": {"w": problem.kernel, "b": problem.bias},
        "readout": {"w": problem.readout_kernel, "b": problem.readout_bias},
    }
    return jax_system(lambda params, inputs: model.apply(*cast((params, inputs), problem.dtype)), params, problem)


def equinox_scan(problem: Problem) -> System:
    """Equinox's LSTMCell in a jax.lax.scan for one example, mapped over the batch; order i, f, g, o, transposed."""
    import equinox as eqx  # pyright: ignore[reportMissingImports]

    key = jax.random.key(0)
    model = (
        eqx.nn.LSTMCell(problem.features, problem.hidden, key=key),
        eqx.nn.Linear(problem.hidden, NUM_CLASSES, key=key),
    )
    input_kernel, hidden_kernel, bias = problem.gates("ifjo")
    values = [input_kernel.T, hidden_kernel.T, bias, problem.readout_kernel.T, problem.readout_bias]
    model = jax.tree.unflatten(jax.tree.structure(model), values)

    def logits(model: Any, inputs: jax.Array) -> jax.Array:
        (cell, readout), inputs = cast((model, inputs), problem.dtype)
        zeros = jnp.zeros(problem.hidden, inputs.dtype)

        def classify(sequence: jax.Array) -> jax.Array:
            (h, _), _ = jax.lax.scan(lambda state, x: (cell(x, state), None), (zeros, zeros), sequence)
            return readout(h)

        return jax.vmap(classify)(inputs)

    return jax_system(logits, model, problem)


def cudnn_weights(problem: Problem) -> np.ndarray:
    """The problem's LSTM weights as cuDNN's one vector: order i, f, g, o, two biases, the second of which is 0."""
    input_kernel, hidden_kernel, bias = problem.gates("ifjo")
    return np.concatenate([input_kernel.T.ravel(), hidden_kernel.T.ravel(), bias, 0 * bias])


def cudnn(problem: Problem) -> System:
    """cuDNN's LSTM as `jax.experimental.rnn` offers it."""
    from jax.experimental import rnn

    if jax.default_backend() != "gpu":
        raise UnavailableError("needs a GPU")
    if problem.dtype != "float32":
        raise UnavailableError("reads float32 only")
    batch_size, time_steps, features = problem.images.shape
    zeros = jnp.zeros((1, batch_size, problem.hidden))
    lengths = jnp.full(batch_size, time_steps, jnp.int32)

    def logits(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        sizes = {"input_size": features, "hidden_size": problem.hidden, "num_layers": 1}
        results: Any = rnn.lstm(
            inputs, zeros, zeros, params["lstm"], lengths, **sizes, dropout=0.0, bidirectional=False
        )
        return results[1][0] @ params["kernel"] + jnp.broadcast_to(params["bias"], (batch_size, len(params["bias"])))

    params = {"lstm": cudnn_weights(problem), "kernel": problem.readout_kernel, "bias": problem.readout_bias}
    return jax_system(logits, params, problem)
