"""Recurrent cells: each computes one time step, (carry, x_t) -> (new carry, y_t), and is a Flax `nn.RNNCellBase`.

`CELLS` holds the cells that a command line can name, each as a function of the number of units H. To add your own:

    from rowlstm_jax.models.cells import CELLS
    CELLS["mine"] = MyCell
"""

from collections.abc import Callable

import flax.linen as nn

from rowlstm_jax.models.cells.base import Cell
from rowlstm_jax.models.cells.echo_state import EchoStateCell, spectral_radius
from rowlstm_jax.models.cells.fully_recurrent import FullyRecurrentCell, identity_recurrence, mask_as_text
from rowlstm_jax.models.cells.gru import GRUCell
from rowlstm_jax.models.cells.lstm import (
    BasicLSTMCell,
    LayerNormLSTMCell,
    PeepholeLSTMCell,
    chrono_bias,
    flax_lstm_params,
)
from rowlstm_jax.models.cells.oscillators import CoRNNCell, LEMCell
from rowlstm_jax.models.cells.simple import ElmanCell, JordanCell

__all__ = [
    "CELLS",
    "BasicLSTMCell",
    "Cell",
    "CoRNNCell",
    "EchoStateCell",
    "ElmanCell",
    "FullyRecurrentCell",
    "GRUCell",
    "JordanCell",
    "LEMCell",
    "LayerNormLSTMCell",
    "PeepholeLSTMCell",
    "chrono_bias",
    "flax_lstm_params",
    "identity_recurrence",
    "make",
    "mask_as_text",
    "spectral_radius",
]

CELLS: dict[str, Callable[[int], nn.RNNCellBase]] = {
    "lstm": BasicLSTMCell,
    "peephole_lstm": PeepholeLSTMCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "gru": GRUCell,
    "elman": ElmanCell,
    "jordan": JordanCell,
    "echo_state": EchoStateCell,
    "cornn": CoRNNCell,
    "lem": LEMCell,
    "fully_recurrent": FullyRecurrentCell,
}


def make(name: str, features: int, recurrence: str = "auto") -> nn.RNNCellBase:
    """Returns the cell with this name in `CELLS`.

    Args:
      name: a key of `CELLS`.
      features: H.
      recurrence: of the `SequenceClassifier` that will use the cell.

    Raises:
      ValueError: there is no such cell, or it can't be computed with this recurrence.
    """
    if name not in CELLS:
        raise ValueError(f"cell is {name!r}; choose one of {', '.join(CELLS)}.")
    cell = CELLS[name](features)
    if recurrence == "fused" and type(cell) is not BasicLSTMCell:
        raise ValueError(f"recurrence is 'fused', which computes the cell lstm only; choose 'auto' for {name}.")
    return cell
