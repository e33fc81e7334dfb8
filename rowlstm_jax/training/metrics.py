"""Sums and counts that merge by addition and are divided once, at the end. Pure."""

import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax


class Metrics(flax.struct.PyTreeNode):
    """Sums over examples and over steps; those of two sets merge into those of their union.

    Attributes:
      loss: sum over examples of the softmax cross-entropy in nats, float32 [].
      correct: how many examples the largest logit classifies rightly, int32 [].
      examples: int32 [].
      gradient_norm: sum over steps of the gradient's L2 norm, float32 [].
      nonfinite: how many steps had a loss or a gradient norm that was not finite, int32 []; all else is without them.
      steps: int32 [].
    """

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array
    gradient_norm: jax.Array
    nonfinite: jax.Array
    steps: jax.Array

    @property
    def mean_loss(self) -> jax.Array:
        """Cross-entropy an example, in nats."""
        return self.loss / self.examples

    @property
    def accuracy(self) -> jax.Array:
        """Share of the examples classified rightly."""
        return self.correct / self.examples

    @classmethod
    def zeros(cls) -> "Metrics":
        """The metrics of nothing: the neutral element of `merge`."""
        # One array each: a donated argument must not appear twice.
        return cls(*(jnp.zeros((), t) for t in (jnp.float32, jnp.int32, jnp.int32, jnp.float32, jnp.int32, jnp.int32)))

    @classmethod
    def of_examples(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> "Metrics":
        """Sum over the examples whose mask is true; the padding of a last batch counts nothing.

        Args:
          logits: [B, C]; the loss is computed in float32.
          labels: integer classes [B].
          mask: bool [B].
        """
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
        return cls.zeros().replace(
            loss=jnp.sum(losses, where=mask),
            correct=jnp.sum(jnp.argmax(logits, axis=-1) == labels, where=mask, dtype=jnp.int32),
            examples=jnp.sum(mask, dtype=jnp.int32),
        )

    def of_step(self, gradient_norm: jax.Array) -> "Metrics":
        """Count the examples' metrics as one training step with this gradient norm; if not finite, as that alone."""
        finite = jnp.isfinite(self.loss) & jnp.isfinite(gradient_norm)
        one = jnp.ones((), jnp.int32)
        counted = self.replace(gradient_norm=gradient_norm, steps=one)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), counted, type(self).zeros().replace(nonfinite=one))

    def merge(self, other: "Metrics") -> "Metrics":
        """The metrics of both sets together."""
        return jax.tree.map(jnp.add, self, other)


class Interval(NamedTuple):
    """A confidence interval for a proportion."""

    low: float
    high: float


def wilson_interval(correct: int, examples: int, z: float = 1.959964) -> Interval:
    """Wilson's score interval for a proportion, 95 % by default.

    Example:
      >>> [round(100 * bound, 1) for bound in wilson_interval(124, 128)]
      [92.2, 98.8]

    Args:
      correct: successes.
      examples: trials, 1 or more.
      z: quantile of the normal distribution.

    Source: E. B. Wilson, JASA 22 (1927).
    """
    proportion = correct / examples
    scale = 1 + z**2 / examples
    centre = (proportion + z**2 / (2 * examples)) / scale
    half = z * math.sqrt(proportion * (1 - proportion) / examples + z**2 / (4 * examples**2)) / scale
    return Interval(max(0.0, centre - half), min(1.0, centre + half))
