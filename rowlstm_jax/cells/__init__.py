"""Recurrent cells, all of them Flax `nn.RNNCellBase`: `(carry, x_t) -> (carry, y_t)`."""

from rowlstm_jax.cells.lstm import BasicLSTMCell, flax_lstm_params

__all__ = ["BasicLSTMCell", "flax_lstm_params"]
