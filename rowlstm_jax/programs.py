"""The compiled functions of a run: the one place where jit and donation are put on."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil

from rowlstm_jax import sequences
from rowlstm_jax.config import UserError
from rowlstm_jax.data import Examples
from rowlstm_jax.metrics import Interval, Metrics, wilson_interval
from rowlstm_jax.step import Order, TrainState, eval_step, init_state, read_batch, train_steps

EVAL_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model makes of some examples.

    Attributes:
      metrics: their sums and counts, on the host.
      logits: float32 [N, C].
    """

    metrics: Metrics
    logits: np.ndarray

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return float(self.metrics.mean_loss)

    @property
    def accuracy(self) -> float:
        """Share of the examples classified rightly."""
        return float(self.metrics.accuracy)

    @property
    def interval(self) -> Interval:
        """95 % confidence interval of the accuracy."""
        return wilson_interval(int(self.metrics.correct), int(self.metrics.examples))


@dataclasses.dataclass(frozen=True)
class Programs:
    """What a run calls; `steps` and `evaluation` are compiled ahead of time and refuse a new shape.

    Attributes:
      init: the seed -> the state before the first step.
      steps: `step.train_steps`, for up to `steps_per_dispatch` steps; it takes over the buffers of its state.
      evaluation: `step.eval_step` of a padded batch of images.
      steps_per_dispatch: the most steps of one call.
    """

    init: Callable[[np.uint32], TrainState]
    steps: jax.stages.Compiled
    evaluation: jax.stages.Compiled
    steps_per_dispatch: int

    def train(
        self, state: TrainState, metrics: Metrics, data: tuple[jax.Array, jax.Array], indices: np.ndarray
    ) -> tuple[TrainState, Metrics, Metrics]:
        """Take the steps whose batches `indices` [S, B] names; see `step.train_steps`."""
        missing = self.steps_per_dispatch - len(indices)
        padded = np.pad(indices, ((0, missing), (0, 0)))
        return self.steps(state, metrics, *data, *jax.device_put((padded, np.int32(len(indices)))))

    def evaluate(self, state: TrainState, examples: Examples) -> Evaluation:
        """Evaluate every example, without dropout; the last batch is padded and masked, never dropped."""
        metrics, logits = [], []
        for start in range(0, len(examples), EVAL_BATCH):
            batch = jax.device_put(_padded(examples[start : start + EVAL_BATCH]))
            batch_metrics, batch_logits = self.evaluation(state, *batch)
            metrics.append(batch_metrics)
            logits.append(batch_logits)
        metrics, logits = jax.device_get((metrics, logits))
        total = functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), metrics)
        return Evaluation(total, np.concatenate(logits)[: len(examples)].astype(np.float32))


def compile_programs(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    order: Order,
    train: Examples,
    batch_size: int,
    steps_per_dispatch: int,
) -> Programs:
    """Compile a run's functions for the shapes that it calls them with.

    Args:
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain.
      order: how an image is read.
      train: the training examples.
      batch_size: B of a training step.
      steps_per_dispatch: the most steps of one call.

    Raises:
      UserError: the parameters and the optimiser's state do not fit into this machine's memory.
    """
    image = jnp.zeros((1, *train.images.shape[1:]), jnp.uint8)
    init = jax.jit(lambda seed: init_state(model, optimizer, order(sequences.scale(image)), seed))
    state = jax.eval_shape(init, np.uint32(0))
    _require_memory(state)
    indices = jax.ShapeDtypeStruct((steps_per_dispatch, batch_size), jnp.int32)
    count = jax.ShapeDtypeStruct((), jnp.int32)
    steps = jax.jit(functools.partial(train_steps, order=order), donate_argnums=(0, 1))
    evaluation = jax.jit(lambda state, *batch: eval_step(state, read_batch(*batch, order=order)))
    return Programs(
        init=init,
        steps=steps.lower(state, jax.eval_shape(Metrics.zeros), train.images, train.labels, indices, count).compile(),
        evaluation=evaluation.lower(state, *_padded(train[:1])).compile(),
        steps_per_dispatch=steps_per_dispatch,
    )


def _require_memory(state: TrainState) -> None:
    """Refuse what can't be allocated: on a CPU, waiting for such an array does not fail but hangs."""
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"Parameters and optimiser state take {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; "
            "choose a smaller model, for example with --hidden."
        )


def _padded(examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and mask of EVAL_BATCH examples, of which those beyond the given ones do not count."""
    missing = EVAL_BATCH - len(examples)
    images = np.pad(examples.images, ((0, missing), (0, 0), (0, 0)))
    return images, np.pad(examples.labels, (0, missing)), np.arange(EVAL_BATCH) < len(examples)
