"""MNIST read in bit-reversed order of its pixels (permuted sequential MNIST) by linear recurrent units.

    python -m experiments.mnist_permuted_record

The model and the training of `mnist_pixels_record`, with the permutation of S4 and S5. Every choice was made on the
validation images; the test set is opened once.
"""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from experiments import mnist_pixels_record
from rowlstm_jax import Protocol, cli

PROTOCOL = Protocol(
    "mnist_permuted_bit_reversal_affine",
    "mnist",
    validation_examples=5_000,
    order="permuted_bit_reversal",
    augmentation=mnist_pixels_record.MAPS,
)


@dataclasses.dataclass(frozen=True)
class Config(mnist_pixels_record.Config):
    """Classify MNIST digits whose pixels are read in bit-reversed order."""

    cell: Literal["lru", "s5", "min_gru", "min_lstm", "rg_lru"] = "lru"
    """The layer in each block."""
    max_phase: float = 2 * math.pi
    """Largest phase of the eigenvalues of an LRU at the start, in radians a step."""


def main(config: Config) -> Path:
    reference = "98.67 % of S5 without augmentation, arXiv:2208.04933"
    return mnist_pixels_record.train("mnist_permuted_record", config, PROTOCOL, reference)


if __name__ == "__main__":
    cli.run(main, Config)
