"""cuDNN's LSTM as `jax.experimental.rnn` offers it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

from experiments.benchmarks.peers.jax_loop import JaxLoop
from experiments.benchmarks.problem import Problem
from experiments.benchmarks.trainer import UnavailableError


def pack(problem: Problem) -> np.ndarray:
    """The problem's LSTM weights as cuDNN's one vector: order i, f, g, o, two biases, of which one is 0."""
    input_kernel, hidden_kernel, bias = problem.gates("ifjo")
    return np.concatenate([input_kernel.T.ravel(), hidden_kernel.T.ravel(), bias, 0 * bias])


def build(problem: Problem) -> JaxLoop:
    """cuDNN with the problem's weights."""
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

    params = {"lstm": pack(problem), "kernel": problem.readout_kernel, "bias": problem.readout_bias}
    return JaxLoop(logits, params, problem)
