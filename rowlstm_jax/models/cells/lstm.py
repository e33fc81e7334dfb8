"""LSTM cells."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell


class BasicLSTMCell(Cell):
    r"""The LSTM cell of TensorFlow 1 (`BasicLSTMCell`): one kernel, one bias, a constant forget bias.

    .. math::
        [i, j, f, o] &= [x_t, h_{t-1}] W + b \\
        c_t &= \sigma(f + \mathrm{forget\_bias}) \, c_{t-1} + \sigma(i) \tanh(j) \\
        h_t &= \sigma(o) \tanh(c_t)

    The carry is (c, h).

    Parameters: `kernel` [F + H, 4 H], `bias` [4 H], gates in the order i, j, f, o. One kernel rather than Flax's eight
    keeps TensorFlow 1's initialisation (Glorot uniform over the whole matrix, which is wider than over each gate)
    and one matrix product a step; `flax_lstm_params` converts to Flax's names.

    Example:
      >>> cell = BasicLSTMCell(features=4)
      >>> carry = cell.initialize_carry(jax.random.key(0), (2, 3))
      >>> variables = cell.init(jax.random.key(1), carry, jnp.ones((2, 3)))
      >>> (c, h), y = cell.apply(variables, carry, jnp.ones((2, 3)))
      >>> y.shape
      (2, 4)

    Source: TensorFlow 1.15 `tf.nn.rnn_cell.BasicLSTMCell`, after Zaremba et al., arXiv:1409.2329.
    """

    forget_bias: float = 1.0
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()

    num_states: ClassVar[int] = 2

    @nn.compact
    def __call__(
        self, carry: tuple[jax.Array, jax.Array], inputs: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Take one time step.

        Args:
          carry: (c, h), each [..., H].
          inputs: x_t [..., F].

        Returns:
          The new carry (c, h), and h as the output.
        """
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


def chrono_bias(longest: int) -> Initializer:
    r"""An initialiser of a `BasicLSTMCell`'s bias by which its units remember over 1 to `longest` steps.

    .. math:: b_f = \log u, \quad b_i = -b_f, \quad u \sim \mathrm{uniform}(1, \mathrm{longest} - 1)

    for each unit; the others are zero. For a cell with `forget_bias=0`.

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

    Flax's cells have no constant forget bias: it is added to the bias of f.

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
