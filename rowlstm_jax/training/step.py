"""One training step and one evaluation step, from value to value. Pure; programs.py puts jit and donation on."""

from collections.abc import Callable
from typing import Any, TypeVar

import chex
import flax.struct
import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from flax.training import train_state

from rowlstm_jax.tasks import Preprocessing, Read, augment, scale
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.recipe import Recipe, SkipState


class TrainState(train_state.TrainState):
    """Flax's TrainState (step, params, opt_state, apply_fn, tx), and what else a step depends on.

    Attributes:
      key: every step's key is folded from it.
      label_smoothing: see `Recipe`.
    """

    key: jax.Array
    label_smoothing: float = flax.struct.field(pytree_node=False, default=0.0)


class Batch(flax.struct.PyTreeNode):
    """Sequences with their classes.

    Attributes:
      inputs: float32 [B, T, F].
      labels: int32 [B].
      mask: bool [B]; false marks padding.
    """

    inputs: jax.Array
    labels: jax.Array
    mask: jax.Array


T = TypeVar("T")  # any tree of arrays


def init_state(
    recipe: Recipe, inputs: jax.Array, seed: jax.Array | int, params: chex.ArrayTree | None = None
) -> TrainState:
    """The state before the first step, a function of the seed alone, unless weights are given.

    Args:
      recipe: model, optimiser and loss.
      inputs: an example batch [1, T, F]; only its shape and dtype matter.
      seed: 0 or more.
      params: of the model, to start from instead of its initial ones.
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


def read_batch(images: jax.Array, labels: jax.Array, mask: jax.Array, order: Read) -> Batch:
    """Turn stored pixels into what the model reads.

    Args:
      images: uint8 [B, R, K].
      labels: uint8 [B].
      mask: bool [B].
      order: a function of `rowlstm_jax.tasks.orders`.
    """
    return Batch(inputs=order(scale(images)), labels=labels.astype(jnp.int32), mask=mask)


def gather(images: jax.Array, labels: jax.Array, indices: jax.Array, order: Read) -> Batch:
    """The batch of the images [N, R, K] and labels [N] with these indices, int32 [B]."""
    return read_batch(images[indices], labels[indices], jnp.ones(indices.shape, bool), order)


def step_keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """The keys of a step's dropout and of its augmentation, a function of the seed and the step."""
    dropout, augmentation = jax.random.split(jax.random.fold_in(state.key, state.step))
    return dropout, augmentation


def loss_fn(
    params: chex.ArrayTree, state: TrainState, batch: Batch, axis: str | None = None
) -> tuple[jax.Array, Metrics]:
    """What a step descends: the mean softmax cross-entropy of a batch, its labels smoothed if asked; and metrics.

    Args:
      params: the parameters to differentiate by.
      state: names the model, and the step whose dropout masks are drawn.
      batch: B examples.
      axis: under `jax.shard_map`, the mesh axis over which a larger batch, without padding, is split evenly; B
        examples of it are here.

    Returns:
      What these examples add to the batch's loss in nats, float32 [], and their sums and counts.
    """
    key, _ = step_keys(state)
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    if axis is not None and devices > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    logits = state.apply_fn({"params": params}, batch.inputs, train=True, rngs={"dropout": key})
    metrics = Metrics.of_examples(logits, batch.labels, batch.mask)
    loss = metrics.mean_loss
    if state.label_smoothing:
        # Cross-entropy with the uniform distribution over the classes, from which the true class takes its part.
        uniform = -jnp.mean(jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)
        loss += state.label_smoothing * (jnp.sum(uniform, where=batch.mask) / metrics.examples - loss)
    return loss / devices, metrics


def train_step(state: TrainState, batch: Batch, axis: str | None = None) -> tuple[TrainState, Metrics]:
    """Make one optimiser update.

    Args:
      state: before the step; the same on all devices.
      batch: B examples.
      axis: under `jax.shard_map`, the mesh axis over which a larger batch is split; B examples of it are here.

    Returns:
      The next state, and the metrics of the whole batch before the update.
    """
    (_, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params, state, batch, axis)
    gradients, metrics = total((gradients, metrics), axis)
    if isinstance(state.opt_state, SkipState):  # which knows gradients and weights only: a loss counts too
        gradients = jax.tree.map(lambda x: jnp.where(jnp.isfinite(metrics.loss), x, jnp.nan), gradients)
    return state.apply_gradients(grads=gradients), metrics.of_step(optax.tree.norm(gradients))


def eval_step(
    apply_fn: Callable[..., Any], params: chex.ArrayTree, batch: Batch, axis: str | None = None
) -> tuple[Metrics, jax.Array]:
    """Evaluate a batch without dropout.

    Args:
      apply_fn: of the model.
      params: its parameters, or the average of them that the optimiser keeps.
      batch: B examples.
      axis: under `jax.shard_map`, the mesh axis over which a larger batch is split; B examples of it are here.

    Returns:
      The metrics of the whole batch's unmasked examples, and the logits [B, C] of those that are here.
    """
    logits = apply_fn({"params": params}, batch.inputs)
    return total(Metrics.of_examples(logits, batch.labels, batch.mask), axis), logits


def total(tree: T, axis: str | None) -> T:
    """The sum over the devices along a mesh axis; without one, the tree itself.

    All of it travels as one vector in one all-reduce; counts do so as float32, exact up to 2**24.
    """
    if axis is None:
        return tree
    vector, unravel = jax.flatten_util.ravel_pytree(tree)
    return unravel(jax.lax.psum(vector, axis))


def training_batch(
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    indices: jax.Array,
    preprocessing: Preprocessing,
    axis: str | None,
) -> Batch:
    """`gather` for training: its images varied, if asked, by a function of the seed, the step and their position."""
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
) -> tuple[TrainState, Metrics]:
    """Take several steps in one dispatch, on data that lie on the device.

    The number of steps is a value, not a shape: one compiled program serves one step or many, so the results are
    those of one step at a time, to the bit, and nothing compiles anew.

    Args:
      state: before the first of the steps.
      metrics: sums of earlier steps, to be added to.
      images: all training images, uint8 [N, R, K].
      labels: uint8 [N].
      indices: which examples make each step's batch, int32 [number of steps or more, B].
      num_steps: int32 [], 1 or more.
      preprocessing: how an image is read, and varied before.
      axis: under `jax.shard_map`, the mesh axis over which the columns of larger `indices` are split.

    Returns:
      The state after the steps, and the sums with these steps added.
    """

    def body(step: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = carry
        batch = training_batch(state, images, labels, indices[step], preprocessing, axis)
        state, step_metrics = train_step(state, batch, axis)
        return state, metrics.merge(step_metrics)

    return jax.lax.fori_loop(0, num_steps, body, (state, metrics))
