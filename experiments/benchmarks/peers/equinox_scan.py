"""Equinox's LSTMCell in a jax.lax.scan, for one example and mapped over the batch."""

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp

from experiments.benchmarks.peers.jax_loop import JaxLoop, cast
from experiments.benchmarks.problem import NUM_CLASSES, Problem


class Classifier(eqx.Module):
    """[T, F] -> logits [C]."""

    cell: eqx.nn.LSTMCell
    readout: eqx.nn.Linear

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Classify one sequence."""
        zeros = jnp.zeros(self.cell.hidden_size, inputs.dtype)
        (h, _), _ = jax.lax.scan(lambda state, x: (self.cell(x, state), None), (zeros, zeros), inputs)
        return self.readout(h)


def build(problem: Problem) -> JaxLoop:
    """Equinox with the problem's weights: order i, f, g, o, kernels transposed."""
    key = jax.random.key(0)
    model = Classifier(
        eqx.nn.LSTMCell(problem.features, problem.hidden, key=key),
        eqx.nn.Linear(problem.hidden, NUM_CLASSES, key=key),
    )
    input_kernel, hidden_kernel, bias = problem.gates("ifjo")
    values = [input_kernel.T, hidden_kernel.T, bias, problem.readout_kernel.T, problem.readout_bias]
    model = jax.tree.unflatten(jax.tree.structure(model), values)

    def logits(model: Classifier, inputs: jax.Array) -> jax.Array:
        model, inputs = cast((model, inputs), problem.dtype)
        return jax.vmap(model)(inputs)

    return JaxLoop(logits, model, problem)
