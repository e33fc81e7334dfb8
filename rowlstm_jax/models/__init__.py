"""Networks as pure functions: sequences [B, T, F] in, logits [B, C] out.

`SequenceClassifier` is the whole network. `cells` holds what reads one time step, `layers` what reads a whole sequence;
`lstm_scan` and `linear_scan` compute them fast. `TreeClassifier` reads up a tree instead, `history` shortens sequences
to what a network did not expect, and `hopfield` holds associative memories. The diagnostics show what a trained network
does over time. This floor uses JAX, Flax, Optax and chex only. It knows nothing of data, training, files or flags.
"""

from rowlstm_jax.models import cells, history, hopfield, layers
from rowlstm_jax.models.classifier import WAYS_TO_COMPUTE, SequenceClassifier
from rowlstm_jax.models.diagnostics import (
    gates_over_time,
    gradient_diagnostics,
    missing_diagnostics,
    probabilities_over_time,
    rows_needed,
)
from rowlstm_jax.models.flops import forward_flops
from rowlstm_jax.models.layers import Layer
from rowlstm_jax.models.linear_scan import linear_scan
from rowlstm_jax.models.lstm_scan import lstm_scan
from rowlstm_jax.models.spectrum import eigenvalues, half_lives, transitions
from rowlstm_jax.models.trees import Tree, TreeClassifier, binary_tree, quad_tree
from rowlstm_jax.models.weights import lasting, variables, weights

__all__ = [
    "WAYS_TO_COMPUTE",
    "Layer",
    "SequenceClassifier",
    "Tree",
    "TreeClassifier",
    "binary_tree",
    "cells",
    "eigenvalues",
    "forward_flops",
    "gates_over_time",
    "gradient_diagnostics",
    "half_lives",
    "history",
    "hopfield",
    "lasting",
    "layers",
    "linear_scan",
    "lstm_scan",
    "missing_diagnostics",
    "probabilities_over_time",
    "quad_tree",
    "rows_needed",
    "transitions",
    "variables",
    "weights",
]
