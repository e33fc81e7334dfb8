"""Keras 3's LSTM layer on its JAX backend, trained by `fit`."""

import itertools
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported

import keras  # pyright: ignore[reportMissingImports]

from experiments.benchmarks.problem import LEARNING_RATE, NUM_CLASSES, Problem


class KerasLoop:
    """The `Trainer` of a compiled Keras model."""

    def __init__(self, model: keras.Model, problem: Problem):
        self._model: Any = model
        self._batch = problem.inputs, problem.labels

    def loss(self) -> float:
        """The mean cross-entropy of the batch with the present weights."""
        return float(self._model.evaluate(*self._batch, batch_size=len(self._batch[0]), verbose=0))

    def steps(self, count: int) -> None:
        """Take training steps as one epoch of a generator."""
        batches = (self._batch for _ in itertools.count())
        self._model.fit(batches, steps_per_epoch=count, shuffle=False, verbose=0)


def build(problem: Problem) -> KerasLoop:
    """Keras with the problem's weights: order i, f, c, o."""
    policy = "mixed_bfloat16" if problem.dtype == "bfloat16" else "float32"
    model = keras.Sequential(
        [
            keras.layers.Input(problem.images.shape[1:]),
            keras.layers.LSTM(problem.hidden, dtype=policy),
            keras.layers.Dense(NUM_CLASSES, dtype=policy),
        ]
    )
    model.set_weights([*problem.gates("ifjo"), problem.readout_kernel, problem.readout_bias])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss)
    return KerasLoop(model, problem)
