"""Evaluation of trained models: every example exactly once, for any number of examples."""

import dataclasses
import functools

import chex
import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from rowlstm_jax.data import Examples
from rowlstm_jax.parallel.mesh import BATCH, shard
from rowlstm_jax.parallel.seeds import PER_SEED, REPLICATED, Seeds
from rowlstm_jax.tasks import Read
from rowlstm_jax.training import Interval, Metrics, Recipe, eval_step, read_batch, wilson_interval

EVAL_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The evaluation of the models of S seeds on some examples.

    Attributes:
      metrics: sums and counts, [S] each, on the host.
      outputs: float32 [S, N, ...]; for classes, logits [S, N, C].
    """

    metrics: Metrics
    outputs: np.ndarray

    @property
    def means(self) -> dict[str, np.ndarray]:
        """Loss, accuracy if the targets are classes, and the further metrics, [S] each."""
        with np.errstate(invalid="ignore"):  # a metric that no example counts for
            return {name: np.asarray(values) for name, values in self.metrics.means.items()}

    @property
    def loss(self) -> np.ndarray:
        """Mean loss, for classes the cross-entropy in nats, [S]."""
        return self.means["loss"]

    @property
    def accuracy(self) -> np.ndarray:
        """Share of the examples classified rightly, [S]."""
        return self.means["accuracy"]

    @property
    def intervals(self) -> list[Interval]:
        """95 % confidence interval of each seed's accuracy; empty if the targets are no classes."""
        if self.metrics.correct is None:
            return []
        counts = zip(self.metrics.correct.tolist(), self.metrics.examples.tolist(), strict=True)
        return [wilson_interval(correct, examples) for correct, examples in counts]


class Evaluator:
    """Evaluates any number of examples with the models of all seeds, without dropout, by one compiled program."""

    def __init__(self, recipe: Recipe, read: Read, weights: chex.ArrayTree, like: Examples, seeds: Seeds):
        """Compile.

        Args:
          recipe: model, loss and metrics.
          read: stored inputs [B, ...] -> sequences [B, T, F].
          weights: [S, ...], arrays or anything with shapes and dtypes.
          like: examples of the same shapes and dtypes.
          seeds: the seeds on their mesh.
        """
        devices = seeds.mesh.shape[BATCH]
        self._size = -(-EVAL_BATCH // devices) * devices
        self._mesh = seeds.mesh

        def evaluation(weights, stored, mask):
            batch = read_batch(stored, mask, read)
            metrics, outputs = seeds.each(lambda weights: eval_step(recipe, weights, batch, BATCH))(weights)
            return seeds.all((metrics, jax.lax.all_gather(outputs, BATCH, axis=1, tiled=True)))

        self._evaluation = seeds.compile(
            evaluation, (PER_SEED, P(BATCH), P(BATCH)), REPLICATED, weights, *self._padded(like[:0])
        )

    def __call__(self, weights: chex.ArrayTree, examples: Examples) -> Evaluation:
        """Evaluate every example; the last batch is padded and masked, never dropped.

        Args:
          weights: of every seed, [S, ...].
          examples: one or more.
        """
        metrics, outputs = [], []
        for start in range(0, len(examples), self._size):
            batch = shard(self._padded(examples[start : start + self._size]), self._mesh, P(BATCH))
            batch_metrics, batch_outputs = self._evaluation(weights, *batch)
            metrics.append(batch_metrics)
            outputs.append(batch_outputs)
        metrics, outputs = jax.device_get((metrics, outputs))
        total = functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), metrics)
        return Evaluation(total, np.concatenate(outputs, axis=1)[:, : len(examples)].astype(np.float32))

    def _padded(self, examples: Examples) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """A full batch and its mask, which is false for the padding; the padding has the length 1, as none may be 0."""
        missing = self._size - len(examples)
        inputs, targets, *lengths = (
            np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1))) for array in examples.arrays
        )
        lengths = [np.maximum(of, 1) for of in lengths]
        return (inputs, targets, *lengths), np.arange(self._size) < len(examples)
