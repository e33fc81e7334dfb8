"""Fashion-MNIST read pixel by pixel by linear recurrent units: 784 steps of one pixel, 50,954 parameters.

    python -m experiments.fashion_pixels

The model and the training of `mnist_pixels_record`, with smaller maps of the training images, mirror images among
them. Every choice was made on the validation images; the test set is opened once.
"""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from experiments import mnist_pixels_record
from rowlstm_jax import Affine, Protocol, cli

PROTOCOL = Protocol(
    "fashion_pixels_affine",
    "fashion_mnist",
    validation_examples=5_000,
    order="pixels",
    augmentation=Affine(shift=1, rotation=0.05, scale=0.1, shear=0.05, flip=True),
)


@dataclasses.dataclass(frozen=True)
class Config(mnist_pixels_record.Config):
    """Classify Fashion-MNIST read pixel by pixel with linear recurrent units."""

    cell: Literal["lru", "s5", "min_gru", "min_lstm", "rg_lru"] = "lru"
    """The layer in each block."""
    max_phase: float = 2 * math.pi
    """Largest phase of the eigenvalues of an LRU at the start, in radians a step."""


def main(config: Config) -> Path:
    return mnist_pixels_record.train("fashion_pixels", config, PROTOCOL, "")


if __name__ == "__main__":
    cli.run(main, Config)
