"""Flax's own nn.RNN over one of its cells."""

from typing import Any, Literal

import flax.linen as nn
import jax

from experiments.benchmarks.peers.jax_loop import JaxLoop
from experiments.benchmarks.problem import FORGET_BIAS, NUM_CLASSES, Problem
from rowlstm_jax.models.cells import flax_lstm_params


class Classifier(nn.Module):
    """[B, T, F] -> logits [B, C]."""

    cell: nn.RNNCellBase
    dtype: str

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Classify sequences."""
        outputs: Any = nn.RNN(self.cell)(inputs)
        return nn.Dense(NUM_CLASSES, dtype=self.dtype, name="readout")(outputs[:, -1])


def build(problem: Problem, cell: Literal["LSTMCell", "OptimizedLSTMCell"]) -> JaxLoop:
    """Flax with the problem's weights; its cells have no constant forget bias."""
    model = Classifier(getattr(nn, cell)(problem.hidden, dtype=problem.dtype), problem.dtype)
    weights: Any = {"kernel": problem.kernel, "bias": problem.bias}
    params = {
        "cell": flax_lstm_params(weights, FORGET_BIAS),
        "readout": {"kernel": problem.readout_kernel, "bias": problem.readout_bias},
    }

    def logits(params: Any, inputs: jax.Array) -> Any:
        return model.apply({"params": params}, inputs)

    return JaxLoop(logits, params, problem)
