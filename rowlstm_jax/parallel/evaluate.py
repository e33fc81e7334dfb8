"""Evaluation of trained models: every example exactly once, for any number of examples."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from rowlstm_jax.data import Examples
from rowlstm_jax.parallel.mesh import BATCH, shard
from rowlstm_jax.parallel.seeds import PER_SEED, REPLICATED, Seeds
from rowlstm_jax.tasks import Read
from rowlstm_jax.training import Interval, Metrics, eval_step, read_batch, wilson_interval

EVAL_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The evaluation of the models of S seeds on some examples.

    Attributes:
      metrics: sums and counts, [S] each, on the host.
      logits: float32 [S, N, C].
    """

    metrics: Metrics
    logits: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """Mean cross-entropy in nats, [S]."""
        return np.asarray(self.metrics.mean_loss)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of the examples classified rightly, [S]."""
        return np.asarray(self.metrics.accuracy)

    @property
    def intervals(self) -> list[Interval]:
        """95 % confidence interval of each seed's accuracy."""
        counts = zip(self.metrics.correct.tolist(), self.metrics.examples.tolist(), strict=True)
        return [wilson_interval(correct, examples) for correct, examples in counts]


class Evaluator:
    """Evaluates any number of examples with the models of all seeds, without dropout, by one compiled program."""

    def __init__(
        self, model: nn.Module, order: Read, params: chex.ArrayTree, image_shape: tuple[int, int], seeds: Seeds
    ):
        """Compile.

        Args:
          model: [B, T, F] -> logits [B, C].
          order: how an image is read.
          params: [S, ...], arrays or anything with shapes and dtypes.
          image_shape: R and K.
          seeds: the seeds on their mesh.
        """
        devices = seeds.mesh.shape[BATCH]
        self._size = -(-EVAL_BATCH // devices) * devices
        self._mesh = seeds.mesh
        nothing = Examples(np.zeros((0, *image_shape), np.uint8), np.zeros(0, np.uint8))

        def evaluation(params, images, labels, mask):
            batch = read_batch(images, labels, mask, order)
            metrics, logits = seeds.each(lambda params: eval_step(model.apply, params, batch, BATCH))(params)
            return seeds.all((metrics, jax.lax.all_gather(logits, BATCH, axis=1, tiled=True)))

        self._evaluation = seeds.compile(
            evaluation, (PER_SEED, P(BATCH), P(BATCH), P(BATCH)), REPLICATED, params, *self._padded(nothing)
        )

    def __call__(self, params: chex.ArrayTree, examples: Examples) -> Evaluation:
        """Evaluate every example; the last batch is padded and masked, never dropped.

        Args:
          params: of every seed, [S, ...].
          examples: one or more.
        """
        metrics, logits = [], []
        for start in range(0, len(examples), self._size):
            batch = shard(self._padded(examples[start : start + self._size]), self._mesh, P(BATCH))
            batch_metrics, batch_logits = self._evaluation(params, *batch)
            metrics.append(batch_metrics)
            logits.append(batch_logits)
        metrics, logits = jax.device_get((metrics, logits))
        total = functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), metrics)
        return Evaluation(total, np.concatenate(logits, axis=1)[:, : len(examples)].astype(np.float32))

    def _padded(self, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, labels and mask of a full batch; the mask is false for the padding."""
        missing = self._size - len(examples)
        images = np.pad(examples.images, ((0, missing), (0, 0), (0, 0)))
        return images, np.pad(examples.labels, (0, missing)), np.arange(self._size) < len(examples)
