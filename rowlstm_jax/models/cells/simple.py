"""Recurrent networks without gates: Elman's remembers its hidden state, Jordan's its output."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell


class ElmanCell(Cell):
    r"""The simple recurrent network: the hidden state is fed back.

    .. math::
        h_t = \tanh([x_t, h_{t-1}] W + b)

    The carry is h. Elman's own units were logistic; tanh is what has been used since, TensorFlow 1's `BasicRNNCell` (of
    which this has the parameters and their initialisation) and `torch.nn.RNNCell` included.

    Parameters: `hidden` with `kernel` [F + H, H] and `bias` [H].

    Example:
      >>> cell = ElmanCell(features=4)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> h, y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
    """

    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Take one time step.

        Args:
          carry: h, [..., H].
          inputs: x_t [..., F].

        Returns:
          The new carry h, and h as the output.
        """
        hidden = nn.Dense(
            self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            name="hidden",
        )
        h = nn.tanh(hidden(jnp.concatenate([inputs, carry], axis=-1))).astype(carry.dtype)
        return h, h


class JordanCell(Cell):
    r"""Jordan's network: the output, not the hidden state, is fed back, through one context unit for each output.

    .. math::
        h_t &= \tanh([x_t, s_{t-1}] W + b) \\
        y_t &= \sigma(h_t V + c) \\
        s_t &= \mathrm{decay} \, s_{t-1} + y_t

    The carry is the context s, [..., O], where O is `outputs`, and so is the output y: all that this network knows of
    the past passes through O numbers. In Jordan's network y is the answer itself, hence O = 10 for ten classes;
    `SequenceClassifier` reads its logits off y by one more linear layer, because sigmoids are not logits. The decay is
    the self-connection of his context units. Textbooks often leave it out: at zero the context is the output before,
    which reached 31 % instead of 59 % on MNIST's rows after 300 steps.

    Parameters: `hidden` with `kernel` [F + O, H] and `bias` [H], `output` with `kernel` [H, O] and `bias` [O].

    Example:
      >>> cell = JordanCell(features=4, outputs=5)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> s, y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 5)

    Source: Jordan, "Serial order: a parallel distributed processing approach", ICS Report 8604, UC San Diego (1986).
    """

    outputs: int = 10
    decay: float = 0.9
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Take one time step.

        Args:
          carry: the context s, [..., O].
          inputs: x_t [..., F].

        Returns:
          The new context s, and the output y, each [..., O].
        """
        settings = {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "kernel_init": self.kernel_init,
            "bias_init": self.bias_init,
        }
        hidden = nn.Dense(self.features, **settings, name="hidden")
        output = nn.Dense(self.outputs, **settings, name="output")
        h = nn.tanh(hidden(jnp.concatenate([inputs, carry], axis=-1)))
        y = nn.sigmoid(output(h)).astype(carry.dtype)
        return self.decay * carry + y, y

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
        """The context before the first step, [..., O], for inputs of shape [..., F]."""
        return self.carry_init(rng, (*input_shape[:-1], self.outputs), self.param_dtype)
