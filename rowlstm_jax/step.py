"""One training step and one evaluation step, from value to value. Pure; train.py puts jit and donation on."""

from collections.abc import Callable

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

from rowlstm_jax.metrics import Metrics
from rowlstm_jax.sequences import scale


class TrainState(train_state.TrainState):
    """Flax's TrainState (step, params, opt_state, apply_fn, tx) and the key that every step's key is folded from."""

    key: jax.Array


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


Order = Callable[[jax.Array], jax.Array]  # images [B, R, K] -> sequences [B, T, F]


def init_state(model: nn.Module, optimizer: optax.GradientTransformation, inputs: jax.Array, seed: int) -> TrainState:
    """The state before the first step, a function of the seed alone.

    Args:
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain.
      inputs: an example batch [1, T, F]; only its shape and dtype matter.
      seed: 0 or more.
    """
    params_key, steps_key = jax.random.split(jax.random.key(seed))
    params = model.init(params_key, inputs)["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer, key=steps_key)
    return state.replace(step=jnp.zeros((), jnp.int32))


def read_batch(images: jax.Array, labels: jax.Array, mask: jax.Array, order: Order) -> Batch:
    """Turn stored pixels into what the model reads.

    Args:
      images: uint8 [B, R, K].
      labels: uint8 [B].
      mask: bool [B].
      order: a function of `rowlstm_jax.sequences`.
    """
    return Batch(inputs=order(scale(images)), labels=labels.astype(jnp.int32), mask=mask)


def loss_fn(params: chex.ArrayTree, state: TrainState, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Mean softmax cross-entropy of a batch while training, and its metrics.

    Args:
      params: the parameters to differentiate by.
      state: names the model, and the step whose dropout masks are drawn.
      batch: B examples.

    Returns:
      The loss in nats, float32 [], and its sums and counts.
    """
    rngs = {"dropout": jax.random.fold_in(state.key, state.step)}
    logits = state.apply_fn({"params": params}, batch.inputs, train=True, rngs=rngs)
    metrics = Metrics.of_examples(logits, batch.labels, batch.mask)
    return metrics.mean_loss, metrics


def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """Make one optimiser update.

    Returns:
      The next state, and the metrics of the batch before the update.
    """
    (_, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params, state, batch)
    return state.apply_gradients(grads=gradients), metrics.of_step(optax.tree.norm(gradients))


def eval_step(state: TrainState, batch: Batch) -> tuple[Metrics, jax.Array]:
    """Evaluate a batch without dropout.

    Returns:
      The metrics of the unmasked examples, and the logits [B, C] of all.
    """
    logits = state.apply_fn({"params": state.params}, batch.inputs)
    return Metrics.of_examples(logits, batch.labels, batch.mask), logits


def train_steps(
    state: TrainState,
    metrics: Metrics,
    images: jax.Array,
    labels: jax.Array,
    indices: jax.Array,
    num_steps: jax.Array,
    order: Order,
) -> tuple[TrainState, Metrics, Metrics]:
    """Take several steps in one dispatch, on data that lie on the device.

    The number of steps is a value, not a shape: one compiled program serves one step or many, so the results are
    those of one step at a time, to the bit, and nothing compiles anew.

    Args:
      state: before the first of the steps.
      metrics: sums of earlier steps, to be added to.
      images: all training images, uint8 [N, R, K].
      labels: uint8 [N].
      indices: which examples make each step's batch, int32 [S, B]; rows from `num_steps` on are ignored.
      num_steps: int32 [], from 1 to S.
      order: how an image is read.

    Returns:
      The state after the steps, the sums with these steps added, and the metrics of the last batch after its update.
    """

    def batch_at(step: jax.Array) -> Batch:
        chosen = indices[step]
        return read_batch(images[chosen], labels[chosen], jnp.ones(chosen.shape, bool), order)

    def body(step: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, step_metrics = train_step(carry[0], batch_at(step))
        return state, carry[1].merge(step_metrics)

    state, metrics = jax.lax.fori_loop(0, num_steps, body, (state, metrics))
    after_update, _ = eval_step(state, batch_at(num_steps - 1))
    return state, metrics, after_update
