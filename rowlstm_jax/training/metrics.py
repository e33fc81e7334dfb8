"""Metrics as sums and counts, which are added up and divided once, at the end. Pure."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.training.losses import Loss, Metric, default_loss


class Metrics(flax.struct.PyTreeNode):
    """Sums over examples and over steps.

    Attributes:
      loss: sum over examples of the loss, for classes the softmax cross-entropy in nats, float32 [].
      correct: number of examples whose class has the largest logit, int32 []; None if the targets are no classes.
      examples: number of examples, int32 [].
      gradient_norm: sum over steps of the gradient's L2 norm, float32 [].
      nonfinite: number of steps whose loss or gradient norm was not finite, int32 []. The others leave them out.
      steps: number of steps, int32 [].
      more: the sum and the count of each further metric, float32 [] both.
    """

    loss: jax.Array
    correct: jax.Array | None
    examples: jax.Array
    gradient_norm: jax.Array
    nonfinite: jax.Array
    steps: jax.Array
    more: dict[str, tuple[jax.Array, jax.Array]] = flax.struct.field(default_factory=dict)

    @property
    def mean_loss(self) -> jax.Array:
        """Mean loss of an example."""
        return self.loss / self.examples

    @property
    def accuracy(self) -> jax.Array:
        """Share of the examples that are classified correctly; a ValueError if the targets are no classes."""
        if self.correct is None:
            raise ValueError("There is no accuracy: the targets are not classes.")
        return self.correct / self.examples

    @property
    def means(self) -> dict[str, jax.Array]:
        """The mean loss, the accuracy if the targets are classes, and the further metrics, by name."""
        known = {"loss": self.mean_loss} | ({} if self.correct is None else {"accuracy": self.accuracy})
        return known | {name: total / count for name, (total, count) in self.more.items()}

    @classmethod
    def zeros(cls, names: Iterable[str] = (), *, classes: bool = True) -> "Metrics":
        """Metrics of no examples and no steps, with further metrics of these names."""

        def zero(dtype: Any) -> jax.Array:
            return jnp.zeros((), dtype)  # an array for each: a donated argument must not appear twice

        correct = zero(jnp.int32) if classes else None
        sums = zero(jnp.float32), correct, zero(jnp.int32), zero(jnp.float32), zero(jnp.int32), zero(jnp.int32)
        return cls(*sums, {name: (zero(jnp.float32), zero(jnp.float32)) for name in sorted(names)})

    @classmethod
    def of_examples(
        cls,
        outputs: jax.Array,
        targets: jax.Array,
        mask: jax.Array,
        loss: Loss | None = None,
        more: Mapping[str, Metric] | None = None,
    ) -> "Metrics":
        """Metrics of the examples whose mask is true.

        Args:
          outputs: [B, ...], for classes logits [B, C].
          targets: classes, int [B], or any float [B, ...].
          mask: bool [B]; false for padding.
          loss: None takes `default_loss`.
          more: further metrics by name.
        """
        classes, more = jnp.issubdtype(targets.dtype, jnp.integer), more or {}
        found = cls.zeros(classes=classes).replace(
            loss=jnp.sum((loss or default_loss(targets))(outputs, targets), where=mask),
            examples=jnp.sum(mask, dtype=jnp.int32),
            more={name: _sum_and_count(more[name](outputs, targets), mask) for name in sorted(more)},
        )
        if not classes:
            return found
        right = jnp.argmax(outputs, axis=-1) == targets
        return found.replace(correct=jnp.sum(right, where=mask, dtype=jnp.int32))

    def of_step(self, gradient_norm: jax.Array) -> "Metrics":
        """Metrics of a training step, from those of its examples; if it is not finite, only that is counted."""
        finite = jnp.isfinite(self.loss) & jnp.isfinite(gradient_norm)
        one = jnp.ones((), jnp.int32)
        counted = self.replace(gradient_norm=gradient_norm, steps=one)
        nothing = type(self).zeros(self.more, classes=self.correct is not None).replace(nonfinite=one)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), counted, nothing)

    def merge(self, other: "Metrics") -> "Metrics":
        """The sums of both."""
        return jax.tree.map(jnp.add, self, other)


def _sum_and_count(values: jax.Array | tuple[jax.Array, jax.Array], mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum of a metric over the examples whose mask is true, and how many count, float32 [] both."""
    values, counts = values if isinstance(values, tuple) else (values, jnp.ones(mask.shape))
    total, count = (jnp.sum(of.astype(jnp.float32), where=mask) for of in (values, counts))
    return total, count


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


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    r"""How far the confidence of predictions is from their accuracy.

    .. math:: \sum_b \frac{N_b}{N} |\mathrm{accuracy}_b - \mathrm{confidence}_b|

    over bins of equal width of the largest probability. It is no mean over examples, so it is no metric of a recipe.

    Args:
      logits: [N, C].
      labels: int [N].
      bins: their number.

    Source: Guo et al., arXiv:1706.04599.
    """
    shifted = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
    confidence = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    gaps = (logits.argmax(axis=1) == labels) - confidence
    sums = np.bincount(np.minimum((confidence * bins).astype(int), bins - 1), gaps, bins)
    return float(np.abs(sums).sum() / len(labels))
