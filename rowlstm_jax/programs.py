"""The compiled functions of a run: the one place where jit, donation and the split over devices are put on."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rowlstm_jax import sequences
from rowlstm_jax.config import UserError
from rowlstm_jax.data import Examples
from rowlstm_jax.devices import BATCH, place
from rowlstm_jax.metrics import Interval, Metrics, wilson_interval
from rowlstm_jax.step import Order, TrainState, eval_step, gather, init_state, read_batch, train_steps

EVAL_BATCH = 500
ZERO_METRICS = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(Metrics.zeros))


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
    """What a run calls, compiled ahead of time: all but `init` refuse a new shape.

    Attributes:
      init: the seed -> the state before the first step.
      steps: `step.train_steps`, for up to `steps_per_dispatch` steps; it takes over the buffers of its state.
      minibatch: `step.eval_step` of a training batch, by its indices.
      evaluation: `step.eval_step` of a padded batch of images.
      steps_per_dispatch: the most steps of one call.
      data: the training images and labels, on every device.
      mesh: the devices; the state is the same on all, a batch is split along the axis "batch".
    """

    init: Callable[[np.uint32], TrainState]
    steps: jax.stages.Compiled
    minibatch: jax.stages.Compiled
    evaluation: jax.stages.Compiled
    steps_per_dispatch: int
    data: tuple[jax.Array, jax.Array]
    mesh: Mesh

    def train(self, state: TrainState, metrics: Metrics, indices: np.ndarray) -> tuple[TrainState, Metrics]:
        """Take the steps whose batches `indices` [number of steps, B] names; see `step.train_steps`."""
        padded = np.pad(indices, ((0, self.steps_per_dispatch - len(indices)), (0, 0)))
        batches, count = place(padded, self.mesh, P(None, BATCH)), place(np.int32(len(indices)), self.mesh)
        return self.steps(state, metrics, *self.data, batches, count)

    def evaluate_minibatch(self, state: TrainState, indices: np.ndarray) -> Metrics:
        """Evaluate the training batch with these indices [B]."""
        return self.minibatch(state, *self.data, place(indices, self.mesh, P(BATCH)))

    def zero_metrics(self) -> Metrics:
        """The sums of no step."""
        return place(ZERO_METRICS, self.mesh)

    def evaluate(self, state: TrainState, examples: Examples) -> Evaluation:
        """Evaluate every example, without dropout; the last batch is padded and masked, never dropped."""
        metrics, logits = [], []
        size = _evaluation_batch(self.mesh)
        for start in range(0, len(examples), size):
            batch = place(_padded(examples[start : start + size], size), self.mesh, P(BATCH))
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
    mesh: Mesh,
) -> Programs:
    """Compile a run's functions for the shapes that it calls them with.

    Args:
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain.
      order: how an image is read.
      train: the training examples; they are put on the devices.
      batch_size: B of a training step.
      steps_per_dispatch: the most steps of one call.
      mesh: of `devices.make_mesh`, its axis "batch" a divisor of the batch size.

    Raises:
      UserError: the parameters and the optimiser's state do not fit into this machine's memory.
    """
    image = jnp.zeros((1, *train.images.shape[1:]), jnp.uint8)
    init = jax.jit(
        lambda seed: init_state(model, optimizer, order(sequences.scale(image)), seed),
        out_shardings=NamedSharding(mesh, P()),
    )
    state = jax.eval_shape(init, np.uint32(0))
    _require_memory((state, train.images, train.labels), mesh)
    split = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)

    @functools.partial(split, in_specs=(P(), P(), P(), P(), P(None, BATCH), P()), out_specs=P())
    def steps(state, metrics, images, labels, indices, num_steps):
        return train_steps(state, metrics, images, labels, indices, num_steps, order, BATCH)

    @functools.partial(split, in_specs=(P(), P(), P(), P(BATCH)), out_specs=P())
    def minibatch(state, images, labels, indices):
        return eval_step(state, gather(images, labels, indices, order), BATCH)[0]

    @functools.partial(split, in_specs=(P(), P(BATCH), P(BATCH), P(BATCH)), out_specs=P())
    def evaluation(state, images, labels, mask):
        metrics, logits = eval_step(state, read_batch(images, labels, mask, order), BATCH)
        return metrics, jax.lax.all_gather(logits, BATCH, tiled=True)

    data = place((train.images, train.labels), mesh)
    padded = _padded(train[:1], _evaluation_batch(mesh))
    indices = np.zeros((steps_per_dispatch, batch_size), np.int32)
    everywhere = functools.partial(_shapes, mesh=mesh, spec=P())
    arguments = (everywhere(state), everywhere(ZERO_METRICS), *everywhere(data))
    batches = _shapes(indices, mesh, P(None, BATCH))
    return Programs(
        init=init,
        steps=jax.jit(steps, donate_argnums=(0, 1)).lower(*arguments, batches, everywhere(np.int32(0))).compile(),
        minibatch=jax.jit(minibatch).lower(arguments[0], *arguments[2:], _shapes(indices[0], mesh, P(BATCH))).compile(),
        evaluation=jax.jit(evaluation).lower(arguments[0], *_shapes(padded, mesh, P(BATCH))).compile(),
        steps_per_dispatch=steps_per_dispatch,
        data=data,
        mesh=mesh,
    )


def _shapes(tree: Any, mesh: Mesh, spec: P) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _require_memory(tree: Any, mesh: Mesh) -> None:
    """Refuse what can't be allocated: on a CPU, waiting for such an array does not fail but hangs."""
    copies = sum(device.platform == "cpu" for device in mesh.local_devices)
    needed = copies * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"Weights, optimiser state and data take {needed / 1e9:,.1f} GB on {copies} devices, and {free / 1e9:,.1f} "
            "GB of memory are free; choose a smaller model, for example with --hidden, or fewer --devices."
        )


def _evaluation_batch(mesh: Mesh) -> int:
    """EVAL_BATCH, or the next larger size that the devices divide."""
    return -(-EVAL_BATCH // mesh.size) * mesh.size


def _padded(examples: Examples, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and mask of `size` examples, of which those beyond the given ones do not count."""
    missing = size - len(examples)
    images = np.pad(examples.images, ((0, missing), (0, 0), (0, 0)))
    return images, np.pad(examples.labels, (0, missing)), np.arange(size) < len(examples)
