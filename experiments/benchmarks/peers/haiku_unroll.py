"""Haiku's LSTM in its dynamic_unroll."""

from typing import Any

import haiku as hk  # pyright: ignore[reportMissingImports]
import jax

from experiments.benchmarks.peers.jax_loop import JaxLoop, cast
from experiments.benchmarks.problem import NUM_CLASSES, Problem


def build(problem: Problem) -> JaxLoop:
    """Haiku with the problem's weights: the same order of gates, the same constant forget bias."""

    def classify(inputs: jax.Array) -> jax.Array:
        lstm = hk.LSTM(problem.hidden)
        state = cast(lstm.initial_state(len(inputs)), problem.dtype)
        outputs: Any = hk.dynamic_unroll(lstm, inputs, state, time_major=False)[0]
        return hk.Linear(NUM_CLASSES, name="readout")(outputs[:, -1])

    model = hk.without_apply_rng(hk.transform(classify))
    params = {
        "lstm/linear": {"w": problem.kernel, "b": problem.bias},
        "readout": {"w": problem.readout_kernel, "b": problem.readout_bias},
    }
    return JaxLoop(lambda params, inputs: model.apply(*cast((params, inputs), problem.dtype)), params, problem)
