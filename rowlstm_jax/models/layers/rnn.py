"""Any recurrent cell as a layer."""

from typing import Any

import flax.linen as nn
import jax

from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.models.layers.base import Layer
from rowlstm_jax.models.over_time import lstm_over_time, scan_over_time


class RNN(Layer):
    """A cell applied at every time step: a `BasicLSTMCell` by `lstm_scan`, any other by `nn.scan`.

    Parameters: `cell` holds those of the cell.

    Attributes:
      cell: any `nn.RNNCellBase`.
    """

    cell: nn.RNNCellBase

    @property
    def features(self) -> int:
        """H."""
        return self.cell.features  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def is_linear(self) -> bool:
        """A cell is none."""
        return False

    def __call__(
        self, inputs: jax.Array, lengths: jax.Array | None = None, reverse: bool = False, train: bool = False
    ) -> jax.Array:
        """Read sequences, see `Layer`."""
        if type(self.cell) is BasicLSTMCell:  # a subclass may compute something else
            return lstm_over_time(self.cell, inputs, reverse, None, lengths)
        return scan_over_time(self.cell, inputs, reverse, lengths)

    def step(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """Read one step, see `Layer`; the carry is that of the cell."""
        return self.cell(carry, inputs)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """The initial carry of the cell."""
        return self.cell.initialize_carry(rng, input_shape)
