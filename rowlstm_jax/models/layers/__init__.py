"""Layers: each reads a whole sequence at once, or step by step with the same result. Flax modules.

A layer is called as `layer(inputs [B, T, F], lengths=None, reverse=False, train=False) -> outputs [B, T, H]`. It has
`initialize_carry` and `step(carry, x_t) -> (new carry, y_t)` as a cell has. `SequenceClassifier` takes a layer where it
takes a cell. `LAYERS` holds those that a command line can name, each in a `Block`, as functions of the features H.
"""

from collections.abc import Callable

import flax.linen as nn

from rowlstm_jax.models import cells
from rowlstm_jax.models.layers.base import Layer
from rowlstm_jax.models.layers.block import Block
from rowlstm_jax.models.layers.gated import RGLRU, MinGRU, MinLSTM
from rowlstm_jax.models.layers.lru import LRU
from rowlstm_jax.models.layers.rnn import RNN
from rowlstm_jax.models.layers.s5 import S5

__all__ = ["EIGENVALUES", "LAYERS", "LRU", "RGLRU", "RNN", "S5", "Block", "Layer", "MinGRU", "MinLSTM", "make", "names"]

# The parameters that set eigenvalues, time scales and their normalisation; they are often trained with smaller steps.
EIGENVALUES: tuple[str, ...] = ("nu_log", "theta_log", "gamma_log", "decay_log", "frequency", "step_log", "Lambda")

LAYERS: dict[str, Callable[[int], Layer]] = {
    "lru": lambda features: Block(LRU(features)),
    "s5": lambda features: Block(S5(features)),
    "min_gru": lambda features: Block(MinGRU(features)),
    "min_lstm": lambda features: Block(MinLSTM(features)),
    "rg_lru": lambda features: Block(RGLRU(features)),
}


def names() -> tuple[str, ...]:
    """What `--cell` can name: the keys of `cells.CELLS` and of `LAYERS`."""
    return (*cells.CELLS, *LAYERS)


def make(name: str, features: int, recurrence: str = "auto") -> nn.RNNCellBase | Layer:
    """Returns the cell or the layer with this name.

    Args:
      name: a key of `cells.CELLS` or of `LAYERS`.
      features: H.
      recurrence: of the `SequenceClassifier` that will use it.

    Raises:
      ValueError: there is none, or it can't be computed with this recurrence.
    """
    if name not in LAYERS:
        if name not in cells.CELLS:
            raise ValueError(f"cell is {name!r}; choose one of {', '.join(names())}.")
        return cells.make(name, features, recurrence)
    if recurrence == "fused":
        raise ValueError(f"recurrence is 'fused', which computes the cell lstm only; choose 'auto' for {name}.")
    return LAYERS[name](features)
