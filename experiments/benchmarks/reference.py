"""The loss that every system must compute: the equations, written plainly."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.peers.jax_loop import JaxLoop
from experiments.benchmarks.problem import FORGET_BIAS, Problem


def build(problem: Problem, biases: int = 1) -> JaxLoop:
    """The LSTM classifier as a scan over time, in float32 whatever the problem's dtype.

    Args:
      problem: what to learn.
      biases: how many are added; Adam moves each, so that two learn twice as fast as one.
    """

    def logits(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
        c = h = jnp.zeros((len(inputs), problem.hidden))

        def step(carry, x):
            c, h = carry
            gates = jnp.concatenate([x, h], axis=1) @ params["kernel"] + params["bias"].sum(axis=0, keepdims=True)
            i, j, f, o = jnp.split(gates, 4, axis=1)
            c = jax.nn.sigmoid(f + FORGET_BIAS) * c + jax.nn.sigmoid(i) * jnp.tanh(j)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (c, h), None

        (_, h), _ = jax.lax.scan(step, (c, h), inputs.swapaxes(0, 1))
        return h @ params["readout_kernel"] + params["readout_bias"][None]

    params = {name: getattr(problem, name) for name in ("kernel", "readout_kernel", "readout_bias")}
    params["bias"] = np.stack([problem.bias, *[0 * problem.bias] * (biases - 1)])
    return JaxLoop(logits, params, problem)
