"""Losses and metrics: what the outputs of a model say of each example. Pure.

A loss is any function (outputs, targets) -> [B]. A metric is one too, or returns a sum and a count for each example,
[B] both, where not every example counts. Outputs are logits [B, C] for classes, int32 [B], or have the shape of the
targets. Those with settings are frozen dataclasses, so that a run's records name the settings.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]
Metric = Callable[[jax.Array, jax.Array], jax.Array | tuple[jax.Array, jax.Array]]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The softmax cross-entropy of each example in nats, float32 [B], from logits [B, C] and integer labels [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The squared error of each example, float32 [B], a mean over its values; outputs and targets are [B, ...]."""
    errors = outputs.astype(jnp.float32).reshape(targets.shape) - targets
    return jnp.square(errors).reshape(len(targets), -1).mean(axis=1)


def mean_absolute_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """The absolute error of each example, float32 [B], a mean over its values; outputs and targets are [B, ...]."""
    errors = outputs.astype(jnp.float32).reshape(targets.shape) - targets
    return jnp.abs(errors).reshape(len(targets), -1).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    r"""Cross-entropy with smoothed labels and weights of classes.

    .. math:: L = w_y \left((1 - s) (-\log p_y) - \frac{s}{C} \sum_c \log p_c\right)

    Attributes:
      smoothing: s, from 0 to less than 1.
      class_weights: w, one for each class; None weighs all alike. The mean over a batch is over its B examples.

    Raises:
      ValueError: `smoothing` or a weight is out of range, or the model has another number of classes.

    Source: Szegedy et al., arXiv:1512.00567.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self):
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is {self.smoothing}; it must be from 0 to less than 1.")
        if self.class_weights is not None:
            weights = tuple(map(float, self.class_weights))
            object.__setattr__(self, "class_weights", weights)  # a list or an array can't be hashed
            if not weights or not all(0 <= weight < float("inf") for weight in weights):
                raise ValueError(f"class_weights is {weights}; it must hold a number, 0 or more, for each class.")

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Nats, float32 [B]."""
        if self.class_weights is not None and len(self.class_weights) != logits.shape[-1]:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} weights, and the model has {logits.shape[-1]} classes."
            )
        loss = cross_entropy(logits, labels)
        if self.smoothing:
            uniform = -jnp.mean(jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)
            loss = loss + self.smoothing * (uniform - loss)
        return loss if self.class_weights is None else loss * jnp.array(self.class_weights, jnp.float32)[labels]


@dataclasses.dataclass(frozen=True)
class Focal:
    r"""The focal loss, which counts examples less that are classified well.

    .. math:: L = -(1 - p_y)^\gamma \log p_y

    Attributes:
      gamma: 0 or more; 0 is the cross-entropy.

    Raises:
      ValueError: `gamma` is out of range.

    Source: Lin et al., arXiv:1708.02002.
    """

    gamma: float = 2.0

    def __post_init__(self):
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma is {self.gamma}; it must be a finite number, 0 or more.")

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Nats, float32 [B]."""
        loss = cross_entropy(logits, labels)
        positive = jnp.where(loss > 0, loss, 1.0)  # at 0 a power below 1 has an infinite slope
        return jnp.where(loss > 0, (-jnp.expm1(-positive)) ** self.gamma * positive, 0.0)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the class has the largest logit, float32 [B]."""
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class TopK:
    """Whether the class is among the `k` largest logits, float32 [B]; equal logits count against it.

    Raises:
      ValueError: `k` is less than 1.
    """

    k: int = 5

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"k is {self.k}; it must be 1 or more.")

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Zeros and ones, float32 [B]."""
        own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
        return (jnp.sum(~(logits < own), axis=-1) <= self.k).astype(jnp.float32)  # NaN is not less: it is wrong


@dataclasses.dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy on the examples of one class: a sum and a count, float32 [B] both."""

    label: int

    def __call__(self, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Zeros and ones."""
        of_class = (labels == self.label).astype(jnp.float32)
        return accuracy(logits, labels) * of_class, of_class


def class_accuracies(names: Sequence[str]) -> dict[str, Metric]:
    """A `ClassAccuracy` for each class, by accuracy_<name>; what can't stand in the name of a metric becomes _.

    Example:
      >>> list(class_accuracies(["T-shirt/top", "Ankle boot"]))
      ['accuracy_T-shirt_top', 'accuracy_Ankle_boot']

    Raises:
      ValueError: two classes would get the same name.
    """
    found: dict[str, Metric] = {}
    for label, name in enumerate(names):
        key = "accuracy_" + re.sub(r"[^\w\-]", "_", name)
        if key in found:
            raise ValueError(f"two classes would be {key}; name their `ClassAccuracy` yourself.")
        found[key] = ClassAccuracy(label)
    return found


def brier_score(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The squared distance of the probabilities from the class, from 0 to 2, float32 [B]. Source: Brier, 1950."""
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    return jnp.square(probabilities - jax.nn.one_hot(labels, logits.shape[-1])).sum(axis=-1)


def default_loss(targets: jax.Array) -> Loss:
    """Cross-entropy for classes, the mean squared error for other targets."""
    return cross_entropy if jnp.issubdtype(targets.dtype, jnp.integer) else mean_squared_error


def smooth_labels(loss: jax.Array, logits: jax.Array, mask: jax.Array, examples: jax.Array, share: float) -> jax.Array:
    r"""The mean cross-entropy against smoothed labels, from the mean cross-entropy against the labels themselves.

    .. math:: L' = L + s (U - L), \quad U = -\frac{1}{C} \sum_c \log \mathrm{softmax}(\mathrm{logits})_c

    where U, averaged over the examples, is the cross-entropy against the uniform distribution over the classes. So a
    recipe's `label_smoothing` leaves the loss that is logged without it.

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
