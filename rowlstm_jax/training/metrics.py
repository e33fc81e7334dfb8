"""Metrics as sums and counts, which are added up and divided once, at the end. Pure."""

import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from rowlstm_jax.training.loss import cross_entropy


class Metrics(flax.struct.PyTreeNode):
    """Sums over examples and over steps.

    Attributes:
      loss: sum over examples of the softmax cross-entropy in nats, float32 [].
      correct: number of examples whose class has the largest logit, int32 [].
      examples: number of examples, int32 [].
      gradient_norm: sum over steps of the gradient's L2 norm, float32 [].
      nonfinite: number of steps whose loss or gradient norm was not finite, int32 []. The others leave them out.
      steps: number of steps, int32 [].
    """

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array
    gradient_norm: jax.Array
    nonfinite: jax.Array
    steps: jax.Array

    @property
    def mean_loss(self) -> jax.Array:
        """Mean cross-entropy of an example, in nats."""
        return self.loss / self.examples

    @property
    def accuracy(self) -> jax.Array:
        """Share of the examples that are classified correctly."""
        return self.correct / self.examples

    @classmethod
    def zeros(cls) -> "Metrics":
        """Metrics of no examples and no steps."""
        # An array for each: a donated argument must not appear twice.
        return cls(*(jnp.zeros((), t) for t in (jnp.float32, jnp.int32, jnp.int32, jnp.float32, jnp.int32, jnp.int32)))

    @classmethod
    def of_examples(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> "Metrics":
        """Metrics of the examples whose mask is true.

        Args:
          logits: [B, C].
          labels: integer classes [B].
          mask: bool [B]; false for padding.
        """
        return cls.zeros().replace(
            loss=jnp.sum(cross_entropy(logits, labels), where=mask),
            correct=jnp.sum(jnp.argmax(logits, axis=-1) == labels, where=mask, dtype=jnp.int32),
            examples=jnp.sum(mask, dtype=jnp.int32),
        )

    def of_step(self, gradient_norm: jax.Array) -> "Metrics":
        """Metrics of a training step, from those of its examples; if it is not finite, only that is counted."""
        finite = jnp.isfinite(self.loss) & jnp.isfinite(gradient_norm)
        one = jnp.ones((), jnp.int32)
        counted = self.replace(gradient_norm=gradient_norm, steps=one)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), counted, type(self).zeros().replace(nonfinite=one))

    def merge(self, other: "Metrics") -> "Metrics":
        """The sums of both."""
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
