"""The best result for the notebook's architecture: MNIST rows, one direction, 128 units, 81,674 parameters.

    python -m experiments.mnist_rows_record

Nothing but the training differs from `mnist_rows`: affine and elastic maps of the training images, AdamW with a
warm-up and a cosine, a clipped gradient, and at the end the moving average of the weights: one forward pass at test
time. Every choice was made on the first 5,000 training images, which validate; the test set is opened once.

Expected: 99.62 +- 0.03 % on the 10,000 test images over seeds 0-4. The first 23,700 steps were taken on one NVIDIA H200
(2 minutes), the others on two busy cores of an AMD EPYC with AVX-512 (26 minutes).
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import (
    Affine,
    Protocol,
    Recipe,
    Run,
    RunConfig,
    RunFolder,
    SequenceClassifier,
    adamw_cosine,
    cli,
    elastic,
    finish,
    fit,
    layers,
    load_data,
    naming_flags,
    warmup_cosine,
)

MAPS = elastic(Affine(shift=2.5, rotation=0.26, scale=0.18, shear=0.25), size=1.2)
PROTOCOL = Protocol("mnist_rows_elastic", "mnist", validation_examples=5_000, order="rows", augmentation=MAPS)


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Classify MNIST digits read row by row with an LSTM, as well as it can."""

    cell: str = "lstm"
    """The recurrent cell or layer: lstm, gru, elman, lru or another of `rowlstm_jax.layers.names()`."""
    num_seeds: int = 5
    steps: int = 33_000
    learning_rate: float = 6e-3
    """The highest step size: reached after the warm-up, it falls to zero."""
    warmup: int = 300
    """Steps of the warm-up."""
    weight_decay: float = 0.1
    """Of matrices, not of biases."""
    log_every: int = 100
    eval_every: int = 1_100
    checkpoint_every: int = 1_100


def main(config: Config) -> Path:
    decay = {"warmup": config.warmup, "weight_decay": config.weight_decay}
    with naming_flags(config):
        cell = layers.make(config.cell, config.hidden, config.recurrence)
        optimizer = adamw_cosine(config.learning_rate, config.steps, **decay)
    model = SequenceClassifier(cell, num_classes=10, recurrence=config.recurrence)
    schedule = warmup_cosine(config.learning_rate, config.steps, config.warmup)
    run = Run("mnist_rows_record", config, PROTOCOL, Recipe(model, optimizer, learning_rate=schedule))
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        fitted = fit(run, data, folder)
        finish(run, fitted, data, folder, reference="99.55 % of ReNet in four directions, arXiv:1505.00393")
    return folder.path


if __name__ == "__main__":
    cli.run(main, Config)
