"""`Recipe`: model, optimiser, loss and the other choices of a training run that an experiment makes. Pure."""

import dataclasses
import re
from collections.abc import Mapping

import flax.linen as nn
import optax

from rowlstm_jax.training.losses import Loss, Metric

RECORDS = frozenset({"loss", "accuracy", "step", "examples", "gradient_norm", "learning_rate", "skipped_steps"})
RESULTS = frozenset({"calibration_error", "openings", "examples_shown", "accuracy_interval_95", "accuracy_first_128"})
NAME = re.compile(r"(?!train_|validation_|test_)[\w\-]+")  # it is part of the names of records and of saved arrays


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how. The other settings of a run are its flags and its protocol.

    Attributes:
      model: [B, T, F] -> outputs [B, ...]; for classes, logits [B, C].
      optimizer: an optax chain, with schedules, clipping, `params_ema`, `optax.MultiSteps` and the like in it.
      label_smoothing: the share of each label that is spread evenly over all classes, for the default loss only.
      patience: stop a seed early, after this many evaluations in a row below its best validation; None for no early
        stopping. Early stopping needs a protocol with `selection="best_validation"`.
      loss: (outputs, targets) -> [B]; None takes cross-entropy for classes, and the mean squared error else.
      metrics: further metrics by name: (outputs, targets) -> [B], or a sum and a count for each example. Those that a
        run has anyway are loss and, for classes, accuracy.
      learning_rate: the step size or its schedule, which the run records. The optimiser alone decides; it is
        `optax.inject_hyperparams` that shows its own, and needs no schedule here.

    Raises:
      ValueError: a field is out of range.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    label_smoothing: float = 0.0
    patience: int | None = None
    loss: Loss | None = None
    metrics: Mapping[str, Metric] | None = None
    learning_rate: optax.ScalarOrSchedule | None = None

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it must be from 0 to less than 1.")
        if self.label_smoothing and self.loss is not None:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}, and loss is given; use loss=CrossEntropy(smoothing=...)."
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be 1 or more.")
        if self.loss is not None and not callable(self.loss):
            raise ValueError(f"loss is {self.loss!r}; it must be a function (outputs, targets) -> [B].")
        if self.loss is not None:
            _require_hash("loss", self.loss)
        for name, metric in (self.metrics or {}).items():
            if not callable(metric):
                raise ValueError(f"metrics has {name!r}, which is {metric!r}; a metric is a function of a batch.")
            if not isinstance(name, str) or not NAME.fullmatch(name) or name in RECORDS | RESULTS:
                raise ValueError(
                    f"metrics has the name {name!r}; a name has letters, digits, _ and - only, does not begin with "
                    "train_, validation_ or test_, and is none that a run has anyway, such as loss or accuracy."
                )
            _require_hash(f"metrics[{name!r}]", metric)


def _require_hash(name: str, function: object) -> None:
    """Raise a ValueError if JAX can't compare a function with others."""
    try:
        hash(function)
    except TypeError as error:
        raise ValueError(f"{name} can't be hashed ({error}); make it a function or a frozen dataclass.") from error
