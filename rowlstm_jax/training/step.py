"""One training step and one evaluation step as pure functions. `parallel` compiles them.

Under `jax.shard_map` the functions take `axis`, the name of the mesh axis over which a batch is split; each device then
has B examples of it. Without `axis` there is one device, and it has the whole batch.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import chex
import flax.struct
import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from flax.training import train_state

from rowlstm_jax.tasks import Preprocessing, augment, scale
from rowlstm_jax.training.batch import Batch, gather
from rowlstm_jax.training.loss import smooth_labels
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.optimizers import SkipState
from rowlstm_jax.training.recipe import Recipe

Tree = TypeVar("Tree")  # any tree of arrays


class TrainState(train_state.TrainState):
    """Flax's TrainState (step, params, opt_state, apply_fn, tx) with two more fields.

    Attributes:
      key: the random key from which the keys of all steps are derived.
      label_smoothing: see `Recipe`.
    """

    key: jax.Array
    label_smoothing: float = flax.struct.field(pytree_node=False, default=0.0)


def init_state(
    recipe: Recipe, inputs: jax.Array, seed: jax.Array | int, params: chex.ArrayTree | None = None
) -> TrainState:
    """The state of one seed before the first step.

    Args:
      recipe: model, optimiser and loss.
      inputs: an example batch [1, T, F]; only its shape and dtype matter.
      seed: 0 or more.
      params: parameters to start from instead of the model's initial ones.
    """
    params_key, steps_key = jax.random.split(jax.random.key(seed))
    if params is None:
        params = recipe.model.init(params_key, inputs)["params"]
    state = TrainState.create(
        apply_fn=recipe.model.apply,
        params=params,
        tx=recipe.optimizer,
        key=steps_key,
        label_smoothing=recipe.label_smoothing,
    )
    return state.replace(step=jnp.zeros((), jnp.int32))


def train_step(
    state: TrainState, batch: Batch, axis: str | None = None, block: int | None = None
) -> tuple[TrainState, Metrics]:
    """Take one step: the gradient of the loss, and one update by the optimiser.

    Args:
      state: before the step; the same on all devices.
      batch: B examples.
      axis: see the module.
      block: examples whose gradient is computed at a time, a divisor of B; None computes that of all at once.

    Returns:
      The next state, and the metrics of the whole batch before the update.
    """
    gradients, metrics = total(_gradients(state, batch, axis, block or len(batch.labels)), axis)
    if isinstance(state.opt_state, SkipState):  # it checks gradients and parameters; this adds the loss
        gradients = jax.tree.map(lambda x: jnp.where(jnp.isfinite(metrics.loss), x, jnp.nan), gradients)
    return state.apply_gradients(grads=gradients), metrics.of_step(optax.tree.norm(gradients))


def _gradients(state: TrainState, batch: Batch, axis: str | None, block: int) -> tuple[chex.ArrayTree, Metrics]:
    """The gradient of the loss of a device's examples and their metrics: sums over blocks.

    What the backward pass of a small block reads is still in the cache of a CPU.
    """
    gradient = jax.grad(loss_fn, has_aux=True)
    if block == len(batch.labels):
        return gradient(state.params, state, batch, axis)
    count = len(batch.labels) // block
    blocks = jax.tree.map(lambda x: x.reshape(count, block, *x.shape[1:]), batch)

    def add(sums: tuple[chex.ArrayTree, Metrics], part: tuple[jax.Array, Batch]):
        found = gradient(state.params, state, part[1], axis, part[0], count)
        return jax.tree.map(jnp.add, sums, found), None

    zeros = jax.tree.map(jnp.zeros_like, state.params), Metrics.zeros()
    return jax.lax.scan(add, zeros, (jnp.arange(count), blocks))[0]


def loss_fn(
    params: chex.ArrayTree,
    state: TrainState,
    batch: Batch,
    axis: str | None = None,
    block: jax.Array | int = 0,
    blocks: int = 1,
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch: the mean softmax cross-entropy, with smoothed labels if the recipe asks for them.

    Args:
      params: the parameters to differentiate by.
      state: the model, and the step whose dropout masks are drawn.
      batch: B examples, without padding if they are part of a larger batch.
      axis: see the module.
      block: which of the device's blocks these examples are, int32 [].
      blocks: the number of blocks.

    Returns:
      What these examples add to the loss of the whole batch, in nats, float32 [], and their metrics.
    """
    key, _ = step_keys(state)
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    if axis is not None and devices > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    if blocks > 1:
        key = jax.random.fold_in(key, block)
    logits = state.apply_fn({"params": params}, batch.inputs, train=True, rngs={"dropout": key})
    metrics = Metrics.of_examples(logits, batch.labels, batch.mask)
    loss = smooth_labels(metrics.mean_loss, logits, batch.mask, metrics.examples, state.label_smoothing)
    return loss / (devices * blocks), metrics


def step_keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """The random keys of a step's dropout and augmentation. They depend on the seed and the step only."""
    dropout, augmentation = jax.random.split(jax.random.fold_in(state.key, state.step))
    return dropout, augmentation


def total(tree: Tree, axis: str | None) -> Tree:
    """The sum of a tree over the devices, by one all-reduce of one vector. Counts become float32, exact up to 2**24."""
    if axis is None:
        return tree
    vector, unravel = jax.flatten_util.ravel_pytree(tree)
    return unravel(jax.lax.psum(vector, axis))


def eval_step(
    apply_fn: Callable[..., Any], params: chex.ArrayTree, batch: Batch, axis: str | None = None
) -> tuple[Metrics, jax.Array]:
    """Evaluate a batch, without dropout.

    Args:
      apply_fn: of the model.
      params: of the model, or their average.
      batch: B examples.
      axis: see the module.

    Returns:
      The metrics of the whole batch, and the logits [B, C] of this device's examples.
    """
    logits = apply_fn({"params": params}, batch.inputs)
    return total(Metrics.of_examples(logits, batch.labels, batch.mask), axis), logits


def training_batch(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    indices: jax.Array,
    preprocessing: Preprocessing,
    axis: str | None,
) -> Batch:
    """`gather` with augmentation. The maps depend on the seed, the step and the position in the batch only."""
    if preprocessing.augmentation is None:
        return gather(images, labels, indices, preprocessing.order)
    _, key = step_keys(state)
    varied = augment(scale(images[indices]), key, preprocessing.augmentation, axis)
    return Batch(preprocessing.order(varied), labels[indices].astype(jnp.int32), jnp.ones(indices.shape, bool))


def train_steps(
    state: TrainState,
    metrics: Metrics,
    images: jax.Array,
    labels: jax.Array,
    indices: jax.Array,
    num_steps: jax.Array,
    preprocessing: Preprocessing,
    axis: str | None = None,
    block: int | None = None,
) -> tuple[TrainState, Metrics]:
    """Take several steps in one call, on data that lie on the device.

    The number of steps is a value and not a shape. So one compiled program serves any number of steps, and its results
    have the same bits as those of one step at a time.

    Args:
      state: before the first of the steps.
      metrics: sums of earlier steps.
      images: all training images, uint8 [N, R, K].
      labels: uint8 [N].
      indices: the examples of each step's batch, int32 [num_steps or more, B].
      num_steps: int32 [], 1 or more.
      preprocessing: augmentation and reading order.
      axis: see the module.
      block: see `train_step`.

    Returns:
      The state after the steps, and the metrics with these steps added.
    """

    def body(step: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = carry
        batch = training_batch(state, images, labels, indices[step], preprocessing, axis)
        state, step_metrics = train_step(state, batch, axis, block)
        return state, metrics.merge(step_metrics)

    return jax.lax.fori_loop(0, num_steps, body, (state, metrics))
