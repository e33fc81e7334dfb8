"""The echo state network: a fixed random reservoir, of which only the readout learns."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell, uniform_within

SQUARINGS = 16  # W to the power 65,536, where the relative error of Gelfand's formula is below 1e-4


class EchoStateCell(Cell):
    r"""A reservoir of leaky integrators with random weights that are never trained.

    .. math::
        h_t = (1 - a) \, h_{t-1} + a \tanh(x_t W_{in} + h_{t-1} W + b)

    W_in and b are uniform within their scalings. Each unit has about `connections` incoming weights in W, uniform, at
    random places; the others are zero. W is then scaled to its spectral radius.

    The weights are parameters, so that a checkpoint holds them and each seed has its own. No gradient reaches them, so
    an optimiser leaves them as they are. Weight decay must leave out the names that begin with `reservoir_`.

    Parameters: `reservoir_input_kernel` [F, H], `reservoir_kernel` [H, H], `reservoir_bias` [H].

    Attributes:
      leak_rate: a, above 0 and at most 1; at 1 nothing of the old state is kept.
      spectral_radius: of W; below 1 the reservoir almost always forgets its initial state.
      input_scaling: largest weight of an input.
      bias_scaling: largest bias.
      connections: incoming recurrent connections of a unit, on average.

    Source: Jaeger, GMD Report 148 (2001); leaky integrators: Jaeger et al., Neural Networks 20 (2007); few connections
    and the ranges of the scalings: Lukoševičius, "A practical guide to applying echo state networks" (2012).
    """

    leak_rate: float = 0.2
    spectral_radius: float = 0.9
    input_scaling: float = 1.0
    bias_scaling: float = 0.0
    connections: int = 10

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Take one step; the carry and the output are h."""
        units = self.features
        input_kernel = self._fixed("input_kernel", uniform_within(self.input_scaling), (inputs.shape[-1], units))
        kernel = self._fixed("kernel", sparse_with_radius(self.connections, self.spectral_radius), (units, units))
        bias = self._fixed("bias", uniform_within(self.bias_scaling), (units,))
        kernel = jnp.concatenate([input_kernel, kernel])
        reads, kernel, bias = promote_dtype(jnp.concatenate([inputs, carry], -1), kernel, bias, dtype=self.dtype)
        driven = reads @ kernel
        driven = nn.tanh(driven + jnp.broadcast_to(bias, driven.shape)).astype(carry.dtype)
        h = (1 - self.leak_rate) * carry + self.leak_rate * driven
        return h, h

    def _fixed(self, name: str, init: Initializer, shape: tuple[int, ...]) -> jax.Array:
        return jax.lax.stop_gradient(self.param(f"reservoir_{name}", init, shape, self.param_dtype))


def sparse_with_radius(connections: int, radius: float) -> Initializer:
    """Initialiser of a sparse square matrix [H, H] with a given spectral radius.

    Args:
      connections: average number of weights, uniform in [-1, 1], in a column; the others are zero.
      radius: spectral radius after scaling. A matrix without any cycle has radius zero and stays as it is.
    """

    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        places, values = jax.random.split(key)
        connected = jax.random.bernoulli(places, min(1.0, connections / shape[0]), shape)
        matrix = connected * jax.random.uniform(values, shape, minval=-1.0)
        found = spectral_radius(matrix)
        return (matrix * jnp.where(found > 0, radius / found, 1.0)).astype(dtype)

    return init


def spectral_radius(matrix: jax.Array) -> jax.Array:
    r"""The largest absolute value of a square matrix's eigenvalues, on every backend.

    .. math::
        \rho(W) = \lim_{k \to \infty} \|W^k\|^{1/k}

    This is Gelfand's formula; k is a power of two, so the matrix is squared again and again, and divided by its norm
    each time. `jnp.linalg.eigvals` runs on CPUs only. Power iteration on a vector does not converge where the largest
    eigenvalues are a complex pair.

    Args:
      matrix: [H, H].

    Returns:
      The radius, float32 [], to a relative 1e-4; zero for a nilpotent matrix.
    """

    def square(n: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        power, log_radius = state
        norm = jnp.abs(power).max()  # any norm is correct here; this one does not overflow
        power = power / jnp.where(norm > 0, norm, 1.0)
        # By default, accelerators multiply with fewer bits.
        squared = jnp.matmul(power, power, precision=jax.lax.Precision.HIGHEST)
        return squared, log_radius + jnp.log(norm) / 2.0**n

    start = matrix.astype(jnp.float32), jnp.zeros(())
    power, log_radius = jax.lax.fori_loop(0, SQUARINGS, square, start)
    return jnp.exp(log_radius + jnp.log(jnp.abs(power).max()) / 2.0**SQUARINGS)
