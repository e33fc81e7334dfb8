"""`Recipe`: the model, the optimiser and the other choices of a training run that an experiment makes. Pure."""

import dataclasses

import flax.linen as nn
import optax


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how. The other settings of a run are its flags and its protocol.

    Attributes:
      model: [B, T, F] -> logits [B, C].
      optimizer: an optax chain, with schedules, clipping, `params_ema`, `optax.MultiSteps` and the like in it.
      label_smoothing: the share of each label that is spread evenly over all classes.
      patience: stop a seed early, after this many evaluations in a row below its best validation accuracy; None for no
        early stopping. Early stopping needs a protocol with `selection="best_validation"`.

    Raises:
      ValueError: `label_smoothing` or `patience` is out of range.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    label_smoothing: float = 0.0
    patience: int | None = None

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it must be from 0 to less than 1.")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be 1 or more.")
