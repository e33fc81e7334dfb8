"""The gated recurrent unit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell, orthogonal


class GRUCell(Cell):
    r"""The gated recurrent unit that resets after the product, as in cuDNN, PyTorch, Flax and Keras.

    .. math::
        [r_x, z_x, n_x] &= x_t W + b \\
        [r_h, z_h, n_h] &= h_{t-1} U \\
        r_t &= \sigma(r_x + r_h) \\
        z_t &= \sigma(z_x + z_h) \\
        n_t &= \tanh(n_x + r_t (n_h + b_n)) \\
        h_t &= (1 - z_t) n_t + z_t h_{t-1}

    Cho et al. reset before the product, n = tanh(x W + (r h) U). That needs a third product, which waits for the first
    two; nearly all published results since are of the variant here. PyTorch has a second bias for r and for z, which
    only adds to the first.

    Parameters: `input` with `kernel` [F, 3 H] and `bias` [3 H], `recurrent` with `kernel` [H, 3 H], gates in the
    order r, z, n, and `candidate_bias` [H], which is b_n. Initialisers are those of Keras.

    Source: Cho et al., arXiv:1406.1078, in the first version's form; `torch.nn.GRUCell`.
    """

    kernel_init: Initializer = nn.initializers.glorot_uniform()
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Take one step; the carry and the output are h."""
        width = 3 * self.features
        read = self.dense("input", width, kernel_init=self.kernel_init, bias_init=self.bias_init)
        recur = self.dense("recurrent", width, kernel_init=self.recurrent_kernel_init, use_bias=False)
        bias = self.param("candidate_bias", self.bias_init, (self.features,), self.param_dtype)
        r_x, z_x, n_x = jnp.split(read(inputs), 3, axis=-1)
        r_h, z_h, n_h = jnp.split(recur(carry), 3, axis=-1)
        r, z = nn.sigmoid(r_x + r_h), nn.sigmoid(z_x + z_h)
        n = nn.tanh(n_x + r * (n_h + jnp.broadcast_to(bias.astype(n_h.dtype), n_h.shape)))
        h = ((1 - z) * n + z * carry).astype(carry.dtype)
        return h, h
