"""One training step and one evaluation step as pure functions. `parallel` compiles them.

Under `jax.shard_map` the functions take `axis`, the name of the mesh axis over which a batch is split; each device then
has B examples of it. Without `axis` there is one device, and it has the whole batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.models import variables
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training.batch import Batch, Stored, gather
from rowlstm_jax.training.devices import synchronized, total
from rowlstm_jax.training.losses import smooth_labels
from rowlstm_jax.training.metrics import Metrics
from rowlstm_jax.training.optimizers import SkipState
from rowlstm_jax.training.recipe import Recipe
from rowlstm_jax.training.state import TrainState, step_keys


def train_step(
    state: TrainState, batch: Batch, axis: str | None = None, block: int | None = None
) -> tuple[TrainState, Metrics]:
    """Take one step: the gradient of the loss, and one update by the optimiser.

    The optimiser may ask for the loss and gradient of the batch, and for the loss as a function of the parameters, as
    `optax.contrib.reduce_on_plateau` and `optax.lbfgs` do.

    Args:
      state: before the step; the same on all devices.
      batch: B examples.
      axis: see the module.
      block: examples whose gradient is computed at a time, a divisor of B; None computes that of all at once.

    Returns:
      The next state, and the metrics of the whole batch before the update.
    """
    found = _gradients(state, batch, axis, block := block or len(batch.targets))
    (gradients, metrics), value = total((found.gradients, found.metrics), axis), total(found.loss, axis)
    if isinstance(state.opt_state, SkipState):  # it checks gradients and parameters; this adds the loss
        gradients = jax.tree.map(lambda x: jnp.where(jnp.isfinite(metrics.loss), x, jnp.nan), gradients)

    optimizer = optax.with_extra_args_support(state.tx)
    asked = {"value": value, "grad": gradients, "value_fn": _value_fn(state, batch, axis, block)}
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, **asked)
    collections = synchronized(found.collections, axis)
    if isinstance(opt_state, SkipState):
        skipped = opt_state.in_a_row > 0
        collections = jax.tree.map(lambda new, old: jnp.where(skipped, old, new), collections, state.collections)
    next_state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        collections=collections,
    )
    return next_state, metrics.of_step(optax.tree.norm(gradients))


def _value_fn(state: TrainState, batch: Batch, axis: str | None, block: int) -> Callable[[Any], jax.Array]:
    """The loss of the whole batch as a function of the parameters, which may be differentiated."""

    @jax.custom_vjp  # JAX would give each device the gradient of its own examples only
    def value_fn(params: chex.ArrayTree) -> jax.Array:
        return total(_sum_over_blocks(lambda *part: loss_fn(params, state, *part)[0], batch, axis, block), axis)

    def forward(params: chex.ArrayTree) -> tuple[jax.Array, chex.ArrayTree]:
        found = _gradients(state.replace(params=params), batch, axis, block)
        return total((found.loss, found.gradients), axis)

    value_fn.defvjp(forward, lambda gradients, by: (jax.tree.map(lambda x: by.astype(x.dtype) * x, gradients),))
    return value_fn


class _Found(NamedTuple):
    """What the examples of a device add up to, and the model's new collections."""

    gradients: chex.ArrayTree
    metrics: Metrics
    loss: jax.Array
    collections: Any


def _gradients(state: TrainState, batch: Batch, axis: str | None, block: int) -> _Found:
    """The gradient of the loss of a device's examples and their metrics: sums over blocks.

    What the backward pass of a small block reads is still in the cache of a CPU.
    """

    def gradient(*part: Any) -> _Found:
        (loss, (metrics, collections)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state, *part
        )
        return _Found(gradients, metrics, loss, collections)

    return _sum_over_blocks(gradient, batch, axis, block)


def _sum_over_blocks(function: Callable[..., Any], batch: Batch, axis: str | None, block: int) -> Any:
    """The sum over blocks of a function of (batch, axis, number of the block, number of blocks)."""
    if block == len(batch.targets):
        return function(batch, axis)
    count = len(batch.targets) // block
    blocks = jax.tree.map(lambda x: x.reshape(count, block, *x.shape[1:]), batch)

    def of_part(part: tuple[jax.Array, Batch]) -> Any:
        return function(part[1], axis, part[0], count)

    parts = jnp.arange(count), blocks
    shapes = jax.eval_shape(of_part, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, of_part(part)), None), zeros, parts)[0]


def loss_fn(
    params: chex.ArrayTree,
    state: TrainState,
    batch: Batch,
    axis: str | None = None,
    block: jax.Array | int = 0,
    blocks: int = 1,
) -> tuple[jax.Array, tuple[Metrics, dict[str, Any]]]:
    """The loss of a batch: the mean over its examples, with smoothed labels if the recipe asks for them.

    Args:
      params: the parameters to differentiate by.
      state: the model, its loss, and the step whose dropout masks are drawn.
      batch: B examples, without padding if they are part of a larger batch.
      axis: see the module.
      block: which of the device's blocks these examples are, int32 [].
      blocks: the number of blocks.

    Returns:
      What these examples add to the loss of the whole batch, float32 []; their metrics, and the model's collections
      after them.
    """
    key, _ = step_keys(state)
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    if axis is not None and devices > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    if blocks > 1:
        key = jax.random.fold_in(key, block)
    rngs = {"dropout": key, "params": jax.random.fold_in(key, 1)}  # Flax takes "params" for any other name
    outputs, collections = state.apply_fn(
        {"params": params, **state.collections},
        batch.inputs,
        train=True,
        rngs=rngs,
        mutable=list(state.collections),
        **batch.model_arguments(),
    )
    metrics = Metrics.of_examples(outputs, batch.targets, batch.mask, state.loss, state.metrics)
    loss = smooth_labels(metrics.mean_loss, outputs, batch.mask, metrics.examples, state.label_smoothing)
    return loss / (devices * blocks), (metrics, dict(collections))


def eval_step(
    recipe: Recipe, weights: chex.ArrayTree, batch: Batch, axis: str | None = None
) -> tuple[Metrics, jax.Array]:
    """Evaluate a batch, without dropout.

    Args:
      recipe: model, loss and metrics.
      weights: of the model, or their average, see `variables`.
      batch: B examples.
      axis: see the module.

    Returns:
      The metrics of the whole batch, and the outputs [B, ...] of this device's examples.
    """
    outputs: Any = recipe.model.apply(variables(weights), batch.inputs, **batch.model_arguments())
    found = Metrics.of_examples(outputs, batch.targets, batch.mask, recipe.loss, recipe.metrics)
    return total(found, axis), outputs


def training_batch(
    state: TrainState, stored: Stored, indices: jax.Array, preprocessing: Preprocessing, axis: str | None
) -> Batch:
    """`gather`, varied as preprocessing says. That depends on the seed, the step and the position in the batch only."""
    if not preprocessing.varies:
        return gather(stored, indices, preprocessing.evaluation)
    _, key = step_keys(state)
    return gather(stored, indices, lambda inputs: preprocessing.training(inputs, key, axis))


def train_steps(
    state: TrainState,
    metrics: Metrics,
    stored: Stored,
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
      stored: all training examples, see `Stored`.
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
        batch = training_batch(state, stored, indices[step], preprocessing, axis)
        state, step_metrics = train_step(state, batch, axis, block)
        return state, metrics.merge(step_metrics)

    return jax.lax.fori_loop(0, num_steps, body, (state, metrics))
