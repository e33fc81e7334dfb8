"""The matrix products of a training step and nothing else: what no implementation of this LSTM can do without.

Not counted: the readout, the gates' arithmetic, Adam, adding up the gradients of several devices, and whatever moves
data between the products.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from experiments.benchmarks.problem import Problem
from rowlstm_jax.parallel import BATCH, make_mesh, shard


def products(
    count: jax.Array, kernel: jax.Array, inputs: jax.Array, reads: jax.Array, gradients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The products of the forward scan, of the backward scan and of the weights' gradient, `count` times over.

    Each product of a scan needs the one before it, and each time needs the time before: XLA can drop none, hoist none,
    and run no two at once.

    Args:
      count: int32 [].
      kernel: [F + H, 4 H].
      inputs: [T, B, F].
      reads: [T B, F + H], what stands for the rows that the forward scan reads.
      gradients: [T B, 4 H], what stands for the gradients of its products.

    Returns:
      The rows [T B, F + H], and their gradient [F + H, 4 H].
    """
    (_, batch, features), hidden = inputs.shape, kernel.shape[1] // 4
    transposed = kernel[features:].T

    def forward(gates: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        return jnp.concatenate([x, gates[:, :hidden]], axis=1) @ kernel, None

    def backward(gates: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.lax.dynamic_update_slice(gates, gates @ transposed, (0, 0)), None

    def step(_: jax.Array, results: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reads, _ = results
        gates = jax.lax.scan(forward, jnp.tile(reads[:batch, features:], (1, 4)), inputs)[0]
        gates = jax.lax.scan(backward, gates, length=len(inputs))[0]
        reads = jax.lax.dynamic_update_slice(reads, gates[:, :hidden], (0, features))
        return reads, reads.T @ gradients

    return jax.lax.fori_loop(0, count, step, (reads, jnp.zeros_like(kernel)))


class Products:
    """The products of a step, the batch split over the devices of a mesh."""

    def __init__(self, problem: Problem, mesh: Mesh):
        batch_size, time_steps, features = problem.images.shape
        rng = np.random.default_rng(0)
        arrays = (
            problem.kernel,
            problem.inputs.swapaxes(0, 1),
            rng.normal(size=(time_steps * batch_size, features + problem.hidden)),
            rng.normal(size=(time_steps * batch_size, 4 * problem.hidden)),
        )
        specs = (P(), P(None, BATCH), P(BATCH), P(BATCH))
        self._mesh = mesh
        self._arguments = [shard(x.astype(problem.dtype), mesh, spec) for x, spec in zip(arrays, specs, strict=True)]
        split = jax.shard_map(products, mesh=mesh, in_specs=(P(), *specs), out_specs=P(BATCH), check_vma=False)
        self.program = jax.jit(split).lower(shard(np.int32(1), mesh), *self._arguments).compile()

    def steps(self, count: int) -> None:
        """Multiply, in one dispatch."""
        jax.block_until_ready(self.program(shard(np.int32(count), self._mesh), *self._arguments))


def build(problem: Problem, devices: int | None) -> Products:
    """The products with the problem's kernel; as many rows on each device."""
    return Products(problem, make_mesh(len(problem.images), devices))
