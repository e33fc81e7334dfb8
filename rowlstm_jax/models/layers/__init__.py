"""Layers: each reads a whole sequence at once, or step by step with the same result. Flax modules.

A layer is called as `layer(inputs [B, T, F], lengths=None, reverse=False, train=False) -> outputs [B, T, H]`. It has
`initialize_carry` and `step(carry, x_t) -> (new carry, y_t)` as a cell has. `SequenceClassifier` takes a layer where it
takes a cell. `LAYERS` holds those that a command line can name, each in a `Block`, as functions of the features H.
"""

from collections.abc import Callable

from rowlstm_jax.models.layers.base import Layer
from rowlstm_jax.models.layers.block import Block
from rowlstm_jax.models.layers.gated import RGLRU, MinGRU, MinLSTM
from rowlstm_jax.models.layers.lru import LRU
from rowlstm_jax.models.layers.rnn import RNN
from rowlstm_jax.models.layers.s5 import S5

__all__ = ["LAYERS", "LRU", "RGLRU", "RNN", "S5", "Block", "Layer", "MinGRU", "MinLSTM"]

LAYERS: dict[str, Callable[[int], Layer]] = {
    "lru": lambda features: Block(LRU(features)),
    "s5": lambda features: Block(S5(features)),
    "min_gru": lambda features: Block(MinGRU(features)),
    "min_lstm": lambda features: Block(MinLSTM(features)),
    "rg_lru": lambda features: Block(RGLRU(features)),
}
