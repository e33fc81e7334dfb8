"""What all layers share: their sizes, dtypes and interface, and the linear scan with what diagnostics see of it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from rowlstm_jax.models.linear_scan import linear_scan


class Layer(nn.Module, kw_only=True):
    """A layer over a whole sequence. A new one defines `features` (H), `__call__`, `step` and `initialize_carry`.

    Called as a whole and step by step, a layer has the same parameters and, within rounding, the same outputs.

    Example:
      >>> from rowlstm_jax.models.layers import LRU
      >>> layer, inputs = LRU(features=4), jnp.ones((2, 5, 3))
      >>> variables = layer.init(jax.random.key(0), inputs)
      >>> layer.apply(variables, inputs).shape
      (2, 5, 4)
      >>> carry = layer.initialize_carry(jax.random.key(0), inputs[:, 0].shape)
      >>> carry, output = layer.apply(variables, carry, inputs[:, 0], method="step")
      >>> output.shape
      (2, 4)

    Attributes:
      dtype: of the products and the outputs; None takes that of parameters and inputs. States are float32 or wider.
      param_dtype: of the parameters.
    """

    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @property
    def is_linear(self) -> bool:
        """Whether the recurrence is a `linear_scan`."""
        return True

    def __call__(
        self, inputs: jax.Array, lengths: jax.Array | None = None, reverse: bool = False, train: bool = False
    ) -> jax.Array:
        """Read sequences.

        Args:
          inputs: [B, T, F].
          lengths: int [B], the steps of each sequence, from 1 to T; outputs in the padding mean nothing, and no other
            output depends on them. None reads all steps.
          reverse: read from the last step of each sequence to the first.
          train: whether dropout is on.

        Returns:
          Outputs [B, T, H], each at the position of its input.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def step(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """Read one step, [B, F]; returns the new carry and the output [B, H]."""
        raise NotImplementedError(f"{type(self).__name__} does not define step.")

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """Returns the carry before the first step, for inputs of shape [B, F]."""
        raise NotImplementedError(f"{type(self).__name__} does not define initialize_carry.")

    @nn.nowrap
    def dense(self, width: int, **settings: Any) -> nn.Dense:
        """A linear layer with this layer's dtypes; the settings are those of `nn.Dense`."""
        return nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, **settings)

    def recur(self, a: jax.Array, b: jax.Array, lengths: jax.Array | None, reverse: bool) -> jax.Array:
        """`linear_scan`, whose a `gradient_diagnostics` sees, and whose h it differentiates by."""
        if not self.is_initializing():
            self.sow("diagnostics", "a", a)
            b = self.perturb("state", b)  # dh_t / db_t is 1, so that this is the total derivative by h_t
        return linear_scan(a, b, lengths=lengths, reverse=reverse)
