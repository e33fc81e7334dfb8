"""Recurrent cells, all of them Flax `nn.RNNCellBase`: `(carry, x_t) -> (carry, y_t)`.

`CELLS` holds those that a command line can name, each as a function of the number of units; two lines add another:

    from rowlstm_jax.models.cells import CELLS
    CELLS["mine"] = MyCell
"""

from collections.abc import Callable

import flax.linen as nn

from rowlstm_jax.errors import UserError
from rowlstm_jax.models.cells.base import Cell
from rowlstm_jax.models.cells.echo_state import EchoStateCell, spectral_radius
from rowlstm_jax.models.cells.gru import GRUCell
from rowlstm_jax.models.cells.lstm import BasicLSTMCell, chrono_bias, flax_lstm_params
from rowlstm_jax.models.cells.lstm_variants import LayerNormLSTMCell, PeepholeLSTMCell
from rowlstm_jax.models.cells.oscillators import CoRNNCell, LEMCell
from rowlstm_jax.models.cells.simple import ElmanCell, JordanCell

__all__ = [
    "CELLS",
    "BasicLSTMCell",
    "Cell",
    "CoRNNCell",
    "EchoStateCell",
    "ElmanCell",
    "GRUCell",
    "JordanCell",
    "LEMCell",
    "LayerNormLSTMCell",
    "PeepholeLSTMCell",
    "chrono_bias",
    "flax_lstm_params",
    "make",
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
}


def make(name: str, features: int, recurrence: str = "auto") -> nn.RNNCellBase:
    """A cell by its name in `CELLS`.

    Args:
      name: what a command line said.
      features: H.
      recurrence: how its recurrence will be computed.

    Raises:
      UserError: there is no such cell, or its recurrence can't be computed so.
    """
    if name not in CELLS:
        raise UserError(f"There is no cell {name!r}; choose one of {', '.join(CELLS)}.")
    cell = CELLS[name](features)
    if recurrence == "fused" and type(cell) is not BasicLSTMCell:
        raise UserError(f"--recurrence fused computes the lstm and no other cell; leave it out for {name}.")
    return cell
