"""A network that learns to predict the next step of sequences, without targets. Pure."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rowlstm_jax.models import SequenceClassifier


def log_odds(model: SequenceClassifier, params: Any, inputs: jax.Array) -> jax.Array:
    """The log odds of each step, from the steps before it.

    Args:
      model: forward, with F outputs.
      params: of the model.
      inputs: [B, T, F], from 0 to 1.

    Returns:
      [B, T, F]; the sigmoid is the prediction. For the first step, the model reads one step of zeros.
    """
    before = jnp.pad(inputs, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    outputs: Any = model.apply({"params": params}, before, over_time=True)
    return outputs


def learn_to_predict(
    model: SequenceClassifier,
    optimizer: optax.GradientTransformation,
    inputs: jax.Array,
    steps: int,
    batch_size: int,
    key: jax.Array,
) -> tuple[Any, jax.Array]:
    """Train a model to predict each step of sequences from the steps before it.

    Args:
      model: forward, with F outputs.
      optimizer: an optax chain.
      inputs: [N, T, F], from 0 to 1, of any dtype; each batch is drawn from them with replacement.
      steps: of training, n.
      batch_size: B.
      key: of the first parameters and the batches.

    Returns:
      The parameters, and the loss at each step, float32 [n]: the cross-entropy in nats, a sum over a sequence.
    """
    of_params, of_batches = jax.random.split(key)
    params = model.init(of_params, jnp.zeros((1, *inputs.shape[1:])))["params"]

    def loss(params: Any, read: jax.Array) -> jax.Array:
        nats = optax.sigmoid_binary_cross_entropy(log_odds(model, params, read), read)
        return nats.sum(axis=(1, 2)).mean()

    def step(state: Any, number: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = state
        chosen = jax.random.randint(jax.random.fold_in(of_batches, number), (batch_size,), 0, len(inputs))
        value, slopes = jax.value_and_grad(loss)(params, inputs[chosen].astype(jnp.float32))
        updates, opt_state = optimizer.update(slopes, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))
    return params, losses
