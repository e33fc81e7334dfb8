"""Networks as pure functions: sequences [B, T, F] in, logits [B, C] out.

`SequenceClassifier` is the whole network, `cells` holds the recurrent cells, and `lstm_scan` is the fast LSTM over
time. The diagnostics show what a trained network does over time. `history` shortens sequences to what a network did not
expect. This floor uses JAX, Flax, Optax and chex only. It knows nothing of data, training, files or flags.
"""

from rowlstm_jax.models import cells, history
from rowlstm_jax.models.classifier import WAYS_TO_COMPUTE, SequenceClassifier
from rowlstm_jax.models.diagnostics import (
    gates_over_time,
    gradient_diagnostics,
    missing_diagnostics,
    probabilities_over_time,
    rows_needed,
)
from rowlstm_jax.models.flops import forward_flops
from rowlstm_jax.models.lstm_scan import lstm_scan
from rowlstm_jax.models.weights import lasting, variables, weights

__all__ = [
    "WAYS_TO_COMPUTE",
    "SequenceClassifier",
    "cells",
    "forward_flops",
    "gates_over_time",
    "gradient_diagnostics",
    "history",
    "lasting",
    "lstm_scan",
    "missing_diagnostics",
    "probabilities_over_time",
    "rows_needed",
    "variables",
    "weights",
]
