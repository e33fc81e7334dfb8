"""LSTM cells: TensorFlow 1's basic one, with peepholes, with layer normalisation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell, glorot_uniform_diagonal

Carry = tuple[jax.Array, jax.Array]  # c and h


class BasicLSTMCell(Cell):
    r"""The LSTM cell of TensorFlow 1 (`BasicLSTMCell`): one kernel, one bias, a constant forget bias.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W + b \\
        c_t &= \sigma(f + \mathrm{forget\_bias}) \, c_{t-1} + \sigma(i) \tanh(j) \\
        h_t &= \sigma(o) \tanh(c_t)

    Parameters: `kernel` [F + H, 4 H], `bias` [4 H], gates in the order i, j, f, o. Flax's cells have eight kernels. One
    kernel needs one matrix product a step, and keeps TensorFlow 1's initialisation: Glorot uniform over the whole
    matrix, which is wider than over each gate. `flax_lstm_params` converts to Flax's names.

    Source: TensorFlow 1.15 `tf.nn.rnn_cell.BasicLSTMCell`, after Zaremba et al., arXiv:1409.2329.
    """

    forget_bias: float = 1.0
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Take one step; the carry is (c, h), the output is h."""
        c, h = carry
        kernel_shape = (inputs.shape[-1] + self.features, 4 * self.features)
        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (4 * self.features,), self.param_dtype)
        x, h, kernel, bias = promote_dtype(inputs, h, kernel, bias, dtype=self.dtype)
        gates = jnp.concatenate([x, h], axis=-1) @ kernel
        i, j, f, o = jnp.split(gates + jnp.broadcast_to(bias, gates.shape), 4, axis=-1)
        c = nn.sigmoid(f + self.forget_bias) * c + nn.sigmoid(i) * nn.tanh(j)
        h = nn.sigmoid(o) * nn.tanh(c)
        return (c, h), h


class PeepholeLSTMCell(Cell):
    r"""The LSTM cell whose gates see the cell state: TensorFlow 1's `LSTMCell(use_peepholes=True)`.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W + b \\
        c_t &= \sigma(f + \mathrm{forget\_bias} + p_f c_{t-1}) \, c_{t-1} + \sigma(i + p_i c_{t-1}) \tanh(j) \\
        h_t &= \sigma(o + p_o c_t) \tanh(c_t)

    The peepholes p are vectors: each gate sees the c of its own unit.

    Parameters: `gates` with `kernel` [F + H, 4 H] and `bias` [4 H], gates in the order i, j, f, o, and
    `peephole_input`, `peephole_forget`, `peephole_output` [H]. Initialisers are those of TensorFlow 1.

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
        """Take one step; the carry is (c, h), the output is h."""
        c, h = carry
        gates = self.dense("gates", 4 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init)
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

    where N(a) = s (a - mean(a)) / sqrt(var(a) + epsilon) + b over the H units; each N has its own scale s and bias b.
    As in TensorFlow, the carried c is the normalised one. In Ba et al. only h sees the normalised c, and the products
    of x and of h are normalised apart, all four gates together.

    One initialiser differs from TensorFlow's, whose b starts at zero. Images begin with blank rows: there x, h, c and
    every variance are zero, so each N multiplies gradients by 1 / sqrt(epsilon), twice a step. With b = 0 the first
    gradient on MNIST's rows is not finite, at TensorFlow's epsilon of 1e-12 and at 1e-6 too. Small random b move c away
    from zero.

    Parameters: `gates` with `kernel` [F + H, 4 H], gates in the order i, j, f, o; `gate_norm` with `scale` and `bias`
    [4, H]; `state_norm` with `scale` and `bias` [H].

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
        """Take one step; the carry is (c, h), the output is h."""
        c, h = carry
        gates = self.dense("gates", 4 * self.features, kernel_init=self.kernel_init, use_bias=False)
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


def chrono_bias(longest: int) -> Initializer:
    r"""An initialiser of a `BasicLSTMCell`'s bias: at the start its units remember for 1 to `longest` steps.

    .. math:: b_f = \log u, \quad b_i = -b_f, \quad u \sim \mathrm{uniform}(1, \mathrm{longest} - 1)

    for each unit; the other biases are zero. For a cell with `forget_bias=0`.

    Example:
      >>> bias = chrono_bias(784)(jax.random.key(0), (4 * 2,), jnp.float32)
      >>> bool((bias[4:6] == -bias[:2]).all())
      True

    Args:
      longest: steps, 3 or more.

    Source: Tallec & Ollivier, "Can recurrent neural networks warp time?", arXiv:1804.11188.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        forget = jnp.log(jax.random.uniform(key, (shape[0] // 4,), dtype, 1, longest - 1))
        return jnp.concatenate([-forget, jnp.zeros_like(forget), forget, jnp.zeros_like(forget)])

    return init


def flax_lstm_params(params: Mapping[str, jax.Array], forget_bias: float) -> dict[str, dict[str, jax.Array]]:
    """The parameters of `BasicLSTMCell` under the names of Flax's `LSTMCell` and `OptimizedLSTMCell`.

    Flax's cells have no constant forget bias, so it is added to the bias of f.

    Args:
      params: `kernel` [F + H, 4 H] and `bias` [4 H].
      forget_bias: the cell's constant.

    Returns:
      {ii, if, ig, io: {kernel [F, H]}, hi, hf, hg, ho: {kernel [H, H], bias [H]}}.
    """
    hidden = params["bias"].shape[0] // 4
    kernels = jnp.split(params["kernel"], 4, axis=-1)
    biases = jnp.split(params["bias"], 4)
    converted = {}
    for gate, kernel, bias in zip("igfo", kernels, biases, strict=True):
        converted[f"i{gate}"] = {"kernel": kernel[:-hidden]}
        converted[f"h{gate}"] = {"kernel": kernel[-hidden:], "bias": bias + forget_bias * (gate == "f")}
    return converted
