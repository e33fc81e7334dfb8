"""Cells that discretise ordinary differential equations: coRNN and LEM."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell, uniform_within

Carry = tuple[jax.Array, jax.Array]  # y and z


class CoRNNCell(Cell):
    r"""The coupled oscillatory recurrent network: a network of forced, damped, coupled oscillators.

    .. math::
        z_t &= z_{t-1} + \Delta t \, (\tanh([x_t, z_{t-1}, y_{t-1}] W + b) - \gamma y_{t-1} - \epsilon z_{t-1}) \\
        y_t &= y_{t-1} + \Delta t \, z_t

    Here y are positions and z velocities. The damping is explicit, as in the authors' code; their paper also analyses
    implicit damping. The defaults are theirs for pixel by pixel MNIST, 784 steps. The oscillators swing for dt times
    the number of steps, so shorter sequences need a larger dt.

    Parameters: `force` with `kernel` [F + 2 H, H] and `bias` [H].

    Attributes:
      dt: time step.
      gamma: stiffness, the square of an uncoupled oscillator's frequency.
      epsilon: damping.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias; None is uniform within 1 / sqrt(F + 2 H), as in PyTorch.

    Source: Rusch and Mishra, arXiv:2010.00951; github.com/tk-rusch/coRNN, sMNIST.
    """

    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7
    kernel_init: Initializer = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # within 1 / sqrt(fan-in)
    bias_init: Initializer | None = None

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one step; the carry is (y, z), the output is y."""
        y, z = carry
        reads = jnp.concatenate([inputs, z, y], axis=-1)
        bias_init = self.bias_init or uniform_within(reads.shape[-1] ** -0.5)
        force = self.dense("force", kernel_init=self.kernel_init, bias_init=bias_init)
        z = z + self.dt * (nn.tanh(force(reads)) - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return (y, z), y


class LEMCell(Cell):
    r"""Long expressive memory: two states, each with a learned time step of its own.

    .. math::
        [s, \bar s, j] &= [x_t, y_{t-1}] W + b \\
        z_t &= (1 - \Delta t \, \sigma(s)) z_{t-1} + \Delta t \, \sigma(s) \tanh(j) \\
        y_t &= (1 - \Delta t \, \sigma(\bar s)) y_{t-1} + \Delta t \, \sigma(\bar s) \tanh([x_t, z_t] V + c)

    The authors' code has a second bias in each sum, which only adds to the first.

    Parameters: `memory` with `kernel` [F + H, 3 H] and `bias` [3 H], in the order of the equation, and `output` with
    `kernel` [F + H, H] and `bias` [H].

    Attributes:
      dt: the largest time step, above 0 and at most 1; the authors' default is 1, and 0.21 for pixel by pixel MNIST.
      kernel_init: initialiser of the kernels; None is uniform within 1 / sqrt(H), as in the authors' code.
      bias_init: initialiser of the biases; None is the same.

    Source: Rusch et al., arXiv:2110.04744; github.com/tk-rusch/LEM, sMNIST.
    """

    dt: float = 1.0
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one step; the carry is (y, z), the output is y."""
        default = uniform_within(self.features**-0.5)
        initial: dict[str, Any] = {"kernel_init": self.kernel_init or default, "bias_init": self.bias_init or default}
        memory = self.dense("memory", 3 * self.features, **initial)
        output = self.dense("output", **initial)
        y, z = carry
        z_step, y_step, j = jnp.split(memory(jnp.concatenate([inputs, y], axis=-1)), 3, axis=-1)
        z_step, y_step = self.dt * nn.sigmoid(z_step), self.dt * nn.sigmoid(y_step)
        z = (1 - z_step) * z + z_step * nn.tanh(j)
        y = (1 - y_step) * y + y_step * nn.tanh(output(jnp.concatenate([inputs, z], axis=-1)))
        return (y, z), y
