"""The fully recurrent network: all units read all units, unless a mask leaves connections out."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from rowlstm_jax.models.cells.base import Cell


class FullyRecurrentCell(Cell):
    r"""The fully recurrent network: every unit reads every input and every unit, itself included.

    .. math::
        h_t &= \tanh([x_t, h_{t-1}] (W \odot M) + b) \\
        y_t &= (h_{t,1}, \ldots, h_{t,V})

    All units are alike, and each connection takes one time step. The first V units are visible: they are the output.
    The mask M holds a one for each connection that exists. Other networks are this one with fewer connections:
    Elman's has visible units that nothing reads, and Jordan's has hidden units that read the visible ones only.

    With all connections and all units visible, this is `ElmanCell` with other names of the parameters. Williams and
    Zipser's units were logistic. Units with tanh compute the same functions with other weights, since
    \sigma(a) = (1 + \tanh(a / 2)) / 2.

    Parameters: `kernel` [F + H, H] and `bias` [H]. A weight without connection has no effect, and its gradient is zero.

    Attributes:
      mask: M as text, see `mask_as_text`; None connects all. As a text it is recorded with a run, and read again.
      visible: V; None makes all units visible.

    Source: Williams and Zipser, "A learning algorithm for continually running fully recurrent neural networks", Neural
    Computation 1 (1989).
    """

    mask: str | None = None
    visible: int | None = None
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Take one step; the carry is h, the output is y.

        Raises:
          ValueError: the mask does not fit the inputs and units, or `visible` is out of range.
        """
        units = self.features
        if self.visible is not None and not 1 <= self.visible <= units:
            raise ValueError(f"visible is {self.visible}; it must be from 1 to {units}, the number of units.")
        shape = (inputs.shape[-1] + units, units)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (units,), self.param_dtype)
        if self.mask is not None:
            kernel = kernel * _read_mask(self.mask, shape).astype(kernel.dtype)
        reads, kernel, bias = promote_dtype(jnp.concatenate([inputs, carry], -1), kernel, bias, dtype=self.dtype)
        driven = reads @ kernel
        h = nn.tanh(driven + jnp.broadcast_to(bias, driven.shape)).astype(carry.dtype)
        return h, h[..., : self.visible]


def mask_as_text(mask: np.ndarray) -> str:
    """The text of a mask: for each input and then each unit, a word with a 1 for each unit that reads it, else a 0.

    Example:
      >>> mask_as_text(np.array([[1, 0], [0, 1], [1, 1]]))  # one input, two units
      '10 01 11'

    Args:
      mask: [F + H, H], zeros and ones, in the order of the kernel.
    """
    return " ".join("".join("01"[int(value)] for value in row) for row in mask)


def identity_recurrence(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
    """Initialiser of a kernel [F + H, H]: of the inputs Glorot uniform, and each unit reads itself only, with weight 1.

    So a state without input stays nearly as it is. Source: Le et al., arXiv:1504.00941, who use it with other units.
    """
    features, units = shape[0] - shape[1], shape[1]
    inputs = nn.initializers.glorot_uniform()(key, (features, units), dtype)
    return jnp.concatenate([inputs, jnp.eye(units, dtype=dtype)])


def _read_mask(text: str, shape: tuple[int, int]) -> np.ndarray:
    rows = text.split()
    if not set("".join(rows)) <= {"0", "1"} or [len(row) for row in rows] != [shape[1]] * shape[0]:
        raise ValueError(
            f"mask is {text[:40]!r}, {len(rows)} words; for these inputs and units it must be {shape[0]} words of "
            f"{shape[1]} digits, 0 or 1."
        )
    return np.array([[int(digit) for digit in row] for row in rows])
