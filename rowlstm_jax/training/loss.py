"""The loss: softmax cross-entropy, with smoothed labels if asked for. Pure."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The softmax cross-entropy of each example in nats, float32 [B], from logits [B, C] and integer labels [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def smooth_labels(loss: jax.Array, logits: jax.Array, mask: jax.Array, examples: jax.Array, share: float) -> jax.Array:
    r"""The mean cross-entropy against smoothed labels, from the mean cross-entropy against the labels themselves.

    .. math:: L' = L + s (U - L), \quad U = -\frac{1}{C} \sum_c \log \mathrm{softmax}(\mathrm{logits})_c

    where U, averaged over the examples, is the cross-entropy against the uniform distribution over the classes.

    Args:
      loss: L, float32 [], a mean over the examples whose mask is true.
      logits: [B, C].
      mask: bool [B].
      examples: how many entries of the mask are true, int32 [].
      share: s, from 0 to less than 1; 0 returns `loss`.

    Source: Szegedy et al., arXiv:1512.00567.
    """
    if not share:
        return loss
    uniform = -jnp.mean(jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)
    return loss + share * (jnp.sum(uniform, where=mask) / examples - loss)
