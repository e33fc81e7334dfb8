r"""Real-time recurrent learning: the exact gradient, carried forward beside the state. Pure.

.. math::
    s_t &= f(\theta, s_{t-1}, x_t) \\
    S_t &= \frac{\partial f}{\partial s} S_{t-1} + \frac{\partial f}{\partial \theta}, \qquad S_0 = 0 \\
    \frac{d L_t}{d \theta} &= \frac{\partial L_t}{\partial \theta} + \frac{\partial L_t}{\partial s_{t-1}} S_{t-1}

The sensitivities S say how the state depends on the parameters of the cell, through all steps so far. They are
[B, N, P], with N numbers in the state of an example and P parameters. So each step has the gradient of its own loss at
once, and nothing of earlier steps is kept. Backpropagation through time has to wait for the end of the sequence, and
its memory grows with T. The price is B N N P multiplications a step.

Source: Williams and Zipser, "A learning algorithm for continually running fully recurrent neural networks", Neural
Computation 1 (1989).
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.training.losses import Loss, cross_entropy

LAYER = "layer_0_forward"
MOST_MEGABYTES = 1000.0


class Forward(NamedTuple):
    """What one step hands to the next: the carry of the cell, and the sensitivities, [B, N, P]."""

    carry: Any
    sensitivities: jax.Array


def start(model: SequenceClassifier, params: Any, inputs: jax.Array, most_megabytes: float = MOST_MEGABYTES) -> Forward:
    """The carry of the cell before the first step, and sensitivities of zero.

    Args:
      model: one layer that reads forward. Its cell may be any whose carry is of real numbers, and whose initial carry
        does not depend on parameters.
      params: of the model; only the shapes matter.
      inputs: of one step, [B, F]; only the shape matters.
      most_megabytes: that the sensitivities may take. A compiled step needs up to four such arrays at once.

    Raises:
      ValueError: the model is another one, or the sensitivities are too large.
    """
    if model.num_layers != 1 or model.bidirectional or model.readout != "last" or model.dtype or model.param_dtype:
        raise ValueError('model must have one layer, forward only, readout "last", and the dtypes of its cell.')
    carry = jax.eval_shape(lambda: model.cell.initialize_carry(jax.random.key(0), inputs.shape))
    if any(leaf.dtype != jnp.float32 for leaf in jax.tree.leaves((carry, params))):
        raise ValueError(f"model has a {type(model.cell).__name__} whose carry or parameters are not all float32.")
    sizes = (
        len(inputs),
        jax.eval_shape(_rows, carry).shape[1],
        sum(leaf.size for leaf in jax.tree.leaves(params[LAYER])),
    )
    if 4 * math.prod(sizes) > 1e6 * most_megabytes:
        raise ValueError(
            f"most_megabytes is {most_megabytes:g}. {memory_sentence(*sizes)} Take fewer units, a smaller batch, or "
            "backpropagation through time."
        )
    return Forward(model.cell.initialize_carry(jax.random.key(0), inputs.shape), jnp.zeros(sizes))


def memory_sentence(batch: int, numbers: int, parameters: int) -> str:
    """How large the sensitivities are.

    Example:
      >>> memory_sentence(100, 64, 5952)
      'The sensitivities take 152 MB: 100 sequences x 64 numbers in the state x 5,952 parameters x 4 bytes.'
    """
    megabytes = 4 * batch * numbers * parameters / 1e6
    product = f"{batch:,} sequences x {numbers:,} numbers in the state x {parameters:,} parameters x 4 bytes"
    return f"The sensitivities take {megabytes:,.{0 if megabytes >= 10 else 1}f} MB: {product}."


def step(
    model: SequenceClassifier,
    params: Any,
    forward: Forward,
    inputs: jax.Array,
    targets: jax.Array,
    loss: Loss = cross_entropy,
) -> tuple[Forward, jax.Array, Any]:
    """Take one time step.

    Args:
      model: see `start`.
      params: of the model.
      forward: what the step before has returned, or `start`.
      inputs: x_t, [B, F].
      targets: [B, ...].
      loss: of each example.

    Returns:
      What the next step needs; the mean loss of this step, []; its gradient by all earlier uses of the parameters too.
    """

    def loss_of(params: Any, carry: Any) -> tuple[jax.Array, Any]:
        carry, outputs = model.cell.apply({"params": params[LAYER]}, carry, inputs)
        logits: Any = nn.Dense(model.num_classes).apply({"params": params["readout"]}, outputs)
        return loss(logits, targets).mean(), carry

    (value, carry), (gradient, by_carry) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(
        params, forward.carry
    )
    weights, unravel = ravel_pytree(params[LAYER])
    through = unravel(jnp.einsum("bn,bnp->p", _rows(by_carry), forward.sensitivities))
    gradient = {**gradient, LAYER: jax.tree.map(jnp.add, gradient[LAYER], through)}

    def advance(weights: jax.Array, carry: Any, inputs: jax.Array) -> jax.Array:
        after, _ = model.cell.apply({"params": unravel(weights)}, carry, inputs)
        return ravel_pytree(after)[0]

    jacobians = jax.vmap(jax.jacrev(advance, argnums=(0, 1)), in_axes=(None, 0, 0))
    direct, by_state = jacobians(weights, forward.carry, inputs)
    by_state = jnp.concatenate([leaf.reshape(*direct.shape[:2], -1) for leaf in jax.tree.leaves(by_state)], axis=-1)
    return Forward(carry, by_state @ forward.sensitivities + direct), value, gradient


def loss_over_time(
    model: SequenceClassifier, params: Any, inputs: jax.Array, targets: jax.Array, loss: Loss = cross_entropy
) -> jax.Array:
    """The loss after each time step, a mean over the steps, []; `jax.grad` of it is backpropagation through time.

    Args:
      model: any that reads forward.
      params: of the model.
      inputs: [B, T, F].
      targets: [B, ...], the same at each step.
      loss: of each example.
    """
    logits: Any = model.apply({"params": params}, inputs, over_time=True)
    return jax.vmap(loss, in_axes=(1, None))(logits, targets).mean()


def gradients(
    model: SequenceClassifier,
    params: Any,
    inputs: jax.Array,
    targets: jax.Array,
    loss: Loss = cross_entropy,
    most_megabytes: float = MOST_MEGABYTES,
) -> tuple[jax.Array, Any]:
    """`loss_over_time` and its gradient, carried forward; arguments and errors are those of `start` and `step`."""

    def add(state: tuple[Forward, Any], x: jax.Array) -> tuple[tuple[Forward, Any], jax.Array]:
        forward, value, gradient = step(model, params, state[0], x, targets, loss)
        return (forward, jax.tree.map(jnp.add, state[1], gradient)), value

    begin = start(model, params, inputs[:, 0], most_megabytes), jax.tree.map(jnp.zeros_like, params)
    (_, total), values = jax.lax.scan(add, begin, inputs.swapaxes(0, 1))
    return values.mean(), jax.tree.map(lambda of: of / inputs.shape[1], total)


def difference(
    model: SequenceClassifier, params: Any, inputs: jax.Array, targets: jax.Array, loss: Loss = cross_entropy
) -> jax.Array:
    """How far `gradients` is from backpropagation through time: the largest difference, by the largest value, []."""
    _, forward = gradients(model, params, inputs, targets, loss, math.inf)
    backward = jax.grad(lambda of: loss_over_time(model, of, inputs, targets, loss))(params)
    forward, backward = ravel_pytree(forward)[0], ravel_pytree(backward)[0]
    return jnp.abs(forward - backward).max() / jnp.abs(backward).max()


def learn_online(
    model: SequenceClassifier,
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: optax.OptState,
    inputs: jax.Array,
    targets: jax.Array,
    loss: Loss = cross_entropy,
    most_megabytes: float = MOST_MEGABYTES,
) -> tuple[Any, optax.OptState, jax.Array]:
    """Read sequences and update the parameters after each time step, while the state runs on.

    As Williams and Zipser do, the sensitivities of earlier steps stay those of the parameters of that time. So the
    gradient is exact for small updates only.

    Args:
      model: see `start`.
      optimizer: makes T updates.
      params: of the model.
      opt_state: of the optimiser.
      inputs: [B, T, F].
      targets: [B, ...], the same at each step.
      loss: of each example.
      most_megabytes: see `start`.

    Returns:
      The parameters, the state of the optimiser, and the mean loss of each step before its update, [T].
    """

    def update(state: tuple[Any, optax.OptState, Forward], x: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state, forward = state
        forward, value, gradient = step(model, params, forward, x, targets, loss)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, forward), value

    begin = params, opt_state, start(model, params, inputs[:, 0], most_megabytes)
    (params, opt_state, _), values = jax.lax.scan(update, begin, inputs.swapaxes(0, 1))
    return params, opt_state, values


def learn_at_the_end(
    model: SequenceClassifier,
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: optax.OptState,
    inputs: jax.Array,
    targets: jax.Array,
    loss: Loss = cross_entropy,
) -> tuple[Any, optax.OptState, jax.Array]:
    """Read sequences, then make one update by backpropagation through time: `learn_online` in the usual way.

    The last result is the `loss_over_time` before the update, [].
    """
    value, gradient = jax.value_and_grad(lambda of: loss_over_time(model, of, inputs, targets, loss))(params)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value


def _rows(carry: Any) -> jax.Array:
    """The numbers of a carry as one row for each example, [B, N]."""
    return jax.vmap(lambda of_one: ravel_pytree(of_one)[0])(carry)
