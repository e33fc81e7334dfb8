"""This repository's classifier, in the compiled steps of its runs: up to a hundred in a dispatch, nothing logged."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.problem import FORGET_BIAS, LEARNING_RATE, NUM_CLASSES, Problem
from rowlstm_jax.data import Examples
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.parallel import CompiledSteps, Seeds, make_mesh
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training import Recipe

STEPS_PER_DISPATCH = 100


class Ours:
    """The `Trainer` of this repository; the only one that also gathers its batch from stored pixels."""

    def __init__(self, problem: Problem, recurrence: Literal["fused", "scan"], devices: int | None):
        model = SequenceClassifier(
            BasicLSTMCell(problem.hidden, forget_bias=FORGET_BIAS),
            NUM_CLASSES,
            recurrence=recurrence,
            dtype=None if problem.dtype == "float32" else jnp.dtype(problem.dtype),
        )
        self._examples = Examples(problem.images, problem.labels.astype(np.uint8))
        batch_size = len(self._examples)
        self._programs = CompiledSteps(
            Recipe(model, optax.adam(LEARNING_RATE)),
            Preprocessing(order=lambda images: images),  # rows
            self._examples,
            batch_size,
            STEPS_PER_DISPATCH,
            Seeds(1, make_mesh(batch_size, devices)),
        ).compile()
        progress = self._programs.begin(np.zeros(1, np.uint32))
        params = {
            "layer_0_forward": {"kernel": problem.kernel, "bias": problem.bias},
            "readout": {"kernel": problem.readout_kernel, "bias": problem.readout_bias},
        }
        state = progress.state.replace(params=jax.tree.map(_replaced, progress.state.params, params))
        self._progress = progress.replace(state=state)
        self._indices = np.tile(np.arange(batch_size, dtype=np.int32), (1, STEPS_PER_DISPATCH, 1))

    def loss(self) -> float:
        """The mean cross-entropy of the batch with the present weights."""
        return float(self._programs.evaluate(self._progress.state.params, self._examples).loss[0])

    def steps(self, count: int) -> None:
        """Take training steps; the host waits after each dispatch, as a run does that logs so often."""
        for start in range(0, count, STEPS_PER_DISPATCH):
            self._progress = self._programs.train(self._progress, self._indices[:, : count - start])
            jax.block_until_ready(self._progress.metrics)


def _replaced(old: jax.Array, new: np.ndarray) -> jax.Array:
    return jax.device_put(jnp.array(new)[None], old.sharding)


def build(problem: Problem, recurrence: Literal["fused", "scan"], devices: int | None) -> Ours:
    """This repository with the problem's weights."""
    return Ours(problem, recurrence, devices)
