"""LSTM cells with more than `BasicLSTMCell`: peephole connections, layer normalisation."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell, glorot_uniform_diagonal

Carry = tuple[jax.Array, jax.Array]  # c and h


class PeepholeLSTMCell(Cell):
    r"""The LSTM cell whose gates see the cell state: TensorFlow 1's `LSTMCell(use_peepholes=True)`.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W + b \\
        c_t &= \sigma(f + \mathrm{forget\_bias} + p_f c_{t-1}) \, c_{t-1} + \sigma(i + p_i c_{t-1}) \tanh(j) \\
        h_t &= \sigma(o + p_o c_t) \tanh(c_t)

    The carry is (c, h). The peepholes are vectors: each gate sees its own unit only, i and f the old c, o the new one.

    Parameters: `gates` with `kernel` [F + H, 4 H] and `bias` [4 H], gates in the order i, j, f, o, and
    `peephole_input`, `peephole_forget`, `peephole_output` [H]. Initialisers are those of TensorFlow 1.

    Example:
      >>> cell = PeepholeLSTMCell(features=4)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> (c, h), y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)

    Source: Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN (2000); TensorFlow 1.15
    `tf.nn.rnn_cell.LSTMCell`.
    """

    forget_bias: float = 1.0
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    peephole_init: Initializer = glorot_uniform_diagonal

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one time step.

        Args:
          carry: (c, h), each [..., H].
          inputs: x_t [..., F].

        Returns:
          The new carry (c, h), and h as the output.
        """
        c, h = carry
        gates = nn.Dense(
            4 * self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            name="gates",
        )
        i, j, f, o = jnp.split(gates(jnp.concatenate([inputs, h], axis=-1)), 4, axis=-1)
        forget = nn.sigmoid(f + self.forget_bias + self._peep("forget", c))
        c = forget * c + nn.sigmoid(i + self._peep("input", c)) * nn.tanh(j)
        h = nn.sigmoid(o + self._peep("output", c)) * nn.tanh(c)
        return (c, h), h

    def _peep(self, gate: str, c: jax.Array) -> jax.Array:
        weights = self.param(f"peephole_{gate}", self.peephole_init, (self.features,), self.param_dtype)
        return jnp.broadcast_to(weights, c.shape) * c


class LayerNormLSTMCell(Cell):
    r"""The LSTM cell with layer normalisation of gates and cell state: TensorFlow 1's `LayerNormBasicLSTMCell`.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W \\
        c_t &= N_c(\sigma(N_f(f) + \mathrm{forget\_bias}) \, c_{t-1} + \sigma(N_i(i)) \tanh(N_j(j))) \\
        h_t &= \sigma(N_o(o)) \tanh(c_t)

    where N(a) = s (a - mean(a)) / sqrt(var(a) + epsilon) + b over the H units, with a scale s and a bias b of its own
    for each. The carry is (c, h). As in TensorFlow the normalised c is carried on; in Ba et al. only h sees it, and the
    products of x and of h are normalised apart, all four gates together.

    One initialiser is not TensorFlow's, whose b starts at zero. Images begin with blank rows: x, h and c are zero, so
    is every variance, and each N multiplies gradients by 1 / sqrt(epsilon), twice a step. With TensorFlow's epsilon of
    1e-12 (and with 1e-6 too) the first gradient on MNIST's rows is not finite. Small random b move the state off zero.

    Parameters: `gates` with `kernel` [F + H, 4 H], gates in the order i, j, f, o; `gate_norm` with `scale` and `bias`
    [4, H]; `state_norm` with `scale` and `bias` [H].

    Example:
      >>> cell = LayerNormLSTMCell(features=4)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> (c, h), y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)

    Source: Ba et al., arXiv:1607.06450; TensorFlow 1.15 `tf.contrib.rnn.LayerNormBasicLSTMCell`.
    """

    forget_bias: float = 1.0
    epsilon: float = 1e-6
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.normal(0.1)

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one time step.

        Args:
          carry: (c, h), each [..., H].
          inputs: x_t [..., F].

        Returns:
          The new carry (c, h), and h as the output.
        """
        c, h = carry
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        gates = nn.Dense(4 * self.features, use_bias=False, kernel_init=self.kernel_init, name="gates", **dtypes)
        products = gates(jnp.concatenate([inputs, h], axis=-1))
        products = products.reshape(*products.shape[:-1], 4, self.features)
        i, j, f, o = jnp.moveaxis(self._norm("gate_norm", (-2, -1))(products), -2, 0)
        c = nn.sigmoid(f + self.forget_bias) * c + nn.sigmoid(i) * nn.tanh(j)
        c = self._norm("state_norm", (-1,))(c)
        h = nn.sigmoid(o) * nn.tanh(c)
        return (c, h), h

    def _norm(self, name: str, feature_axes: tuple[int, ...]) -> nn.LayerNorm:
        return nn.LayerNorm(
            self.epsilon,
            dtype=self.param_dtype,
            param_dtype=self.param_dtype,
            bias_init=self.bias_init,
            scale_init=self.scale_init,
            feature_axes=feature_axes,
            use_fast_variance=False,
            name=name,
        )
