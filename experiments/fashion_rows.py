"""Fashion-MNIST read row by row by the notebook's architecture: one direction, 128 units, 81,674 parameters.

    python -m experiments.fashion_rows

The training of `mnist_rows_record` with smaller maps of the training images, mirror images among them, cutout, and less
decay. Every choice was made on the first 5,000 training images, which validate; the test set is opened once.

Expected: 91.21 +- 0.16 % on the 10,000 test images over seeds 0-4 (92.11 +- 0.18 % on validation), in 27 minutes on two
cores of an AMD EPYC with AVX-512. Without cutout, after 22,000 steps: 91.05 +- 0.26 % (91.71 +- 0.18 %).

After 11,000 steps cutout gained little on validation: 91.28 % against 91.08 % (five seeds, p = 0.17). Nothing else
gained more than seeds differ by, and nothing else is used. In percent, one seed, in place of cutout (none: 91.00):
elastic maps 90.70, mixup 91.30, smoothed labels 91.36. One seed, beside cutout (91.38): larger rectangles 91.18, decay
0.1 91.08, smoothed labels 90.84, distillation from two bidirectional layers (themselves 91.82) 91.06. Five seeds,
beside cutout (91.28): schedule-free AdamW 91.06, an average over longer (0.9998) 91.11, sharpness-aware minimisation
90.13.
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
    cutout,
    finish,
    fit,
    layers,
    load_data,
    naming_flags,
    warmup_cosine,
)

MAPS = cutout(Affine(shift=1, rotation=0.05, scale=0.1, shear=0.05, flip=True), smallest=4, largest=12)
PROTOCOL = Protocol("fashion_rows_cutout", "fashion_mnist", validation_examples=5_000, order="rows", augmentation=MAPS)


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Classify Fashion-MNIST read row by row with an LSTM."""

    cell: str = "lstm"
    """The recurrent cell or layer: lstm, gru, elman, lru or another of `rowlstm_jax.layers.names()`."""
    num_seeds: int = 5
    steps: int = 33_000
    learning_rate: float = 6e-3
    """The highest step size: reached after the warm-up, it falls to zero."""
    warmup: int = 300
    """Steps of the warm-up."""
    weight_decay: float = 1e-2
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
    run = Run("fashion_rows", config, PROTOCOL, Recipe(model, optimizer, learning_rate=schedule))
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        fitted = fit(run, data, folder)
        finish(run, fitted, data, folder, reference="89.7 % of GRU-SVM with dropout, arXiv:1709.03082")
    return folder.path


if __name__ == "__main__":
    cli.run(main, Config)
