"""The compiled functions of a training run: the only place of jit, donation, seeds and devices."""

from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from rowlstm_jax.data import Examples
from rowlstm_jax.models import Layer, SequenceClassifier, gradient_diagnostics, weights
from rowlstm_jax.parallel.evaluate import Evaluator
from rowlstm_jax.parallel.mesh import BATCH, SEED, shard
from rowlstm_jax.parallel.seeds import PER_SEED, REPLICATED, Seeds
from rowlstm_jax.parallel.storage import Storage
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training import (
    Metrics,
    Recipe,
    RunState,
    default_loss,
    eval_step,
    gather,
    initial_state,
    keep_better,
    train_steps,
)

ONE_BLOCK, MOST_ROWS, LEAST_ROWS = 64, 32, 16  # rows of a batch that are one block, and rows of a block of a larger one
MOST_VALUES = 65_536  # T H of all rows of a block of a linear recurrence
FEW_WEIGHTS = 150_000


class CompiledSteps:
    """The functions that a run calls. `compile` compiles them ahead of time; another shape is then an error.

    Every array that belongs to seeds has a leading axis S, also if there is only one seed.

    Attributes:
      evaluate: parameters [S, ...] and examples -> `Evaluation`.
      steps_per_dispatch: the largest number of steps in one call of `train`.
      storage: the training examples.
      seeds: the seeds on their mesh.
      mesh: the mesh.
      shapes: the shapes, dtypes and shardings of a `RunState`; known before `compile`.
    """

    def __init__(
        self,
        recipe: Recipe,
        preprocessing: Preprocessing,
        train: Examples,
        batch_size: int,
        steps_per_dispatch: int,
        seeds: Seeds,
        *,
        select_best: bool = False,
        measure_memory: bool = False,
        data_on: Literal["auto", "device", "host"] = "auto",
    ):
        """Work out all shapes and put the data on the devices, without compiling.

        Args:
          recipe: model, optimiser and loss.
          preprocessing: how an image is read.
          train: the training examples.
          batch_size: B of a training step.
          steps_per_dispatch: the largest number of steps in one call of `train`.
          seeds: the seeds on their mesh.
          select_best: whether to keep the weights of the best evaluation.
          measure_memory: whether `gradient_diagnostics` will be called.
          data_on: where the training examples lie, see `Storage`.

        Raises:
          UserError: parameters, optimiser state and data do not fit into the memory of this machine.
        """
        self._recipe, self._preprocessing, self._batch_size = recipe, preprocessing, batch_size
        self._select_best, self._measure_memory = select_best, measure_memory
        self.seeds, self.mesh = seeds, seeds.mesh
        self._train, self._one = train, train[:1]
        stored = jax.ShapeDtypeStruct(self._one.inputs.shape, train.inputs.dtype)
        self._inputs = jax.eval_shape(preprocessing.evaluation, stored)
        shapes = jax.eval_shape(self._initial, np.zeros(seeds.number, np.uint32))
        self.shapes = RunState(
            state=seeds.shapes(shapes.state, PER_SEED),
            metrics=seeds.shapes(shapes.metrics, REPLICATED),
            best=seeds.shapes(shapes.best, PER_SEED),
            scores=seeds.shapes(shapes.scores, REPLICATED),
        )
        self._zeros = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes.metrics)
        self._begin = jax.jit(self._initial, out_shardings=jax.tree.map(lambda shape: shape.sharding, self.shapes))
        self.storage = Storage(train, self.shapes.state, self.mesh, data_on)
        self.steps_per_dispatch = self.storage.steps_per_dispatch(steps_per_dispatch, batch_size, seeds.number)

    def compile(self) -> "CompiledSteps":
        """Compile all functions; returns itself."""
        indices = np.zeros((self.seeds.number, self.steps_per_dispatch, self._batch_size), np.int32)
        self._compile_steps(indices)
        self._compile_minibatch(indices[:, 0], self._measure_memory)
        if self._select_best:
            self._compile_select()
        self.evaluate = Evaluator(self._recipe, self._preprocessing.evaluation, self._weights, self._one, self.seeds)
        return self

    def begin(self, seeds: np.ndarray, weights: chex.ArrayTree | None = None) -> RunState:
        """The state before the first step, from the seeds, uint32 [S], and from weights [S, ...] if they are given."""
        return self._begin(seeds, weights)

    def train(self, run_state: RunState, indices: np.ndarray) -> RunState:
        """Take some steps; see `training.train_steps`. The buffers of the state and the metrics are reused.

        Args:
          run_state: before the steps.
          indices: the examples of each batch, int32 [S, number of steps, B].
        """
        count = indices.shape[1]
        padded = np.pad(indices, ((0, 0), (0, self.steps_per_dispatch - count), (0, 0)))
        stored, padded = self.storage.fetch(padded)
        batches = shard(padded, self.mesh, P(SEED, None, BATCH))
        count = shard(np.int32(count), self.mesh)
        state, metrics = self._steps(run_state.state, run_state.metrics, stored, batches, count)
        return run_state.replace(state=state, metrics=metrics)

    def evaluate_minibatch(self, weights: chex.ArrayTree, indices: np.ndarray) -> Metrics:
        """Evaluate a training batch of each seed, given by indices, int32 [S, B]."""
        stored, indices = self.storage.fetch(indices)
        return self._minibatch(weights, stored, shard(indices, self.mesh, P(SEED, BATCH)))

    def gradient_diagnostics(self, weights: chex.ArrayTree, indices: np.ndarray) -> dict[str, jax.Array]:
        """`models.gradient_diagnostics` of each seed on a training batch, given by indices, int32 [S, B]."""
        stored, indices = self.storage.fetch(indices)
        return self._memory(weights, stored, shard(indices, self.mesh, PER_SEED))

    def zero_metrics(self) -> Metrics:
        """Metrics of no step."""
        return shard(self._zeros, self.mesh)

    def select(self, run_state: RunState, weights: chex.ArrayTree, step: int, score: np.ndarray) -> RunState:
        """Keep the weights [S, ...] of the seeds whose validation score [S] is the best, the largest, so far."""
        if run_state.scores is None:
            return run_state
        evaluation = shard((np.int32(step), score.astype(np.float32)), self.mesh)
        best, scores = self._select(run_state.best, run_state.scores, weights, *evaluation)
        return run_state.replace(best=best, scores=scores)

    def all_stopped(self, run_state: RunState) -> bool:
        """Whether early stopping has stopped every seed."""
        patience = self._recipe.patience
        if run_state.scores is None or patience is None:
            return False
        return bool((jax.device_get(run_state.scores.stale) >= patience).all())

    @property
    def _weights(self) -> Any:
        """The shapes, dtypes and shardings of the weights, [S, ...]."""
        return weights(self.shapes.state.params, self.shapes.state.collections)

    def _initial(self, seeds: jax.Array, given: chex.ArrayTree | None = None) -> RunState:
        classes = self._train.targets.dtype.kind in "iu"
        return initial_state(self._recipe, self._inputs, seeds, given, select_best=self._select_best, classes=classes)

    def _compile_steps(self, indices: np.ndarray) -> None:
        weights = sum(leaf.size for leaf in jax.tree.leaves(self.shapes.state.params)) // self.seeds.number
        rows = self._batch_size // self.mesh.shape[BATCH]
        block = (
            rows
            if self.shapes.state.collections
            else rows_at_a_time(
                self._recipe.model, self._inputs.shape[1], rows, weights, self.mesh.devices.flat[0].platform
            )
        )

        def steps(state, metrics, stored, indices, num_steps):
            def of_one(state, metrics, indices):
                return train_steps(state, metrics, stored, indices, num_steps, self._preprocessing, BATCH, block)

            state, metrics = self.seeds.each(of_one)(state, self.seeds.own(metrics), indices)
            return state, self.seeds.all(metrics)

        specs = (PER_SEED, REPLICATED, REPLICATED, P(SEED, None, BATCH), REPLICATED)
        stored, indices = self.storage.fetch(indices)
        arguments = (self.shapes.state, self.shapes.metrics, stored, indices, np.int32(0))
        self._steps = self.seeds.compile(steps, specs, (PER_SEED, REPLICATED), *arguments, donate=(0, 1))

    def _compile_minibatch(self, indices: np.ndarray, measure_memory: bool) -> None:
        recipe, read = self._recipe, self._preprocessing.evaluation

        def minibatch(weights, stored, indices):
            def of_one(weights, indices):
                return eval_step(recipe, weights, gather(stored, indices, read), BATCH)[0]

            return self.seeds.all(self.seeds.each(of_one)(weights, indices))

        def memory(weights, stored, indices):
            def of_one(weights, indices):
                batch = gather(stored, indices, read)
                loss = recipe.loss or default_loss(batch.targets)
                return gradient_diagnostics(recipe.model, weights, batch.inputs, batch.targets, batch.lengths, loss)

            return self.seeds.all(self.seeds.each(of_one)(weights, indices))

        stored, indices = self.storage.fetch(indices)
        specs, arguments = (PER_SEED, REPLICATED), (self._weights, stored, indices)
        self._minibatch = self.seeds.compile(minibatch, (*specs, P(SEED, BATCH)), REPLICATED, *arguments)
        if measure_memory:  # each device takes whole batches: norms of parts can't be added
            self._memory = self.seeds.compile(memory, (*specs, PER_SEED), REPLICATED, *arguments)

    def _compile_select(self) -> None:
        def select(best, scores, params, step, accuracy):
            scores, better = scores.update(step, accuracy, self._recipe.patience)
            return keep_better(self.seeds.own(better), params, best), scores

        shapes, evaluation = self.shapes, (np.int32(0), np.zeros(self.seeds.number, np.float32))
        specs = (PER_SEED, REPLICATED, PER_SEED, REPLICATED, REPLICATED)
        arguments = (shapes.best, shapes.scores, self._weights, *evaluation)
        self._select = self.seeds.compile(select, specs, (PER_SEED, REPLICATED), *arguments, donate=(0, 1))


def rows_at_a_time(model: nn.Module, steps: int, rows: int, weights: int, platform: str) -> int:
    """How many of a device's rows of a batch go forward and backward at a time.

    On a CPU, what a small block saves for the backward pass stays in the cache: with 256 rows a device, T=28 and H=128,
    blocks of 32 take 0.89 of the time. From H=256 on the weights fill the cache, and blocks gain nothing. A cell that
    is scanned, with 32 rows, loses: 1.07. A linear recurrence has no products in its loop, so that its blocks may be
    smaller: two LRU blocks with T=784, H=64 and 25 rows take 0.55 of the time one row at a time.

    Args:
      model: of the run.
      steps: T.
      rows: of a batch on one device.
      weights: the number of parameters of a seed.
      platform: of the devices.
    """
    if platform != "cpu" or weights > FEW_WEIGHTS or not isinstance(model, SequenceClassifier):
        return rows
    most, least = MOST_ROWS, LEAST_ROWS
    if isinstance(model.cell, Layer) and model.cell.is_linear:
        most, least = max(1, MOST_VALUES // (steps * model.cell.features)), 1
    elif rows <= ONE_BLOCK or not model.is_fused:
        return rows
    return next((block for block in range(min(most, rows), least - 1, -1) if rows % block == 0), rows)
