"""Whether a system computes what it should: timing one that does not would say nothing."""

import jax

from experiments.benchmarks.problem import Dtype
from experiments.benchmarks.trainer import Trainer, UnavailableError

TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "bfloat16": 2e-3}  # of the loss, relative
GPU_TOLERANCE = 2e-3  # on a GPU, float32 products are made of TF32 unless one asks otherwise

# How far the loss falls in a few steps shows the gradients and Adam. It agrees less: Keras's Adam has another epsilon.
STEPS = 5
FALL_TOLERANCE = 0.05


def losses(trainer: Trainer) -> tuple[float, float]:
    """The loss before the first step, and after a few."""
    before = trainer.loss()
    trainer.steps(STEPS)
    return before, trainer.loss()


def require_agreement(found: tuple[float, float], expected: tuple[float, float], dtype: Dtype) -> None:
    """Compare the losses before and after a few steps with those expected.

    Example:
      >>> require_agreement((2.3, 2.3), (2.3, 2.2), "float32")
      Traceback (most recent call last):
      experiments.benchmarks.trainer.UnavailableError: not timed: in 5 steps its loss falls by 0.000000, not 0.100000

    Raises:
      UnavailableError: they differ.
    """
    tolerance = max(TOLERANCE[dtype], GPU_TOLERANCE if jax.default_backend() == "gpu" else 0.0)
    fall, expected_fall = found[0] - found[1], expected[0] - expected[1]
    if not abs(found[0] - expected[0]) <= tolerance * abs(expected[0]):  # so that NaN disagrees
        raise UnavailableError(f"not timed: its loss is {found[0]:.6f}, not {expected[0]:.6f}")
    if not abs(fall - expected_fall) <= FALL_TOLERANCE * abs(expected_fall):
        raise UnavailableError(f"not timed: in {STEPS} steps its loss falls by {fall:.6f}, not {expected_fall:.6f}")
