"""MNIST read pixel by pixel (sequential MNIST) by an LSTM of 128 units: 784 steps of one pixel.

    python -m experiments.mnist_pixels
    python -m experiments.mnist_pixels --protocol mnist_permuted_bit_reversal

Biases of forget and input gates start so that the units remember over 1 to 784 steps; AdamW under a warm-up and a
cosine, a clipped gradient, averaged weights. By default as far as two cores come in 20 minutes, which is far from the
end: the full protocol takes `--steps 110000` (200 epochs), and a GPU. The test set is opened once.

Expected: 89.29 % on the 10,000 test images with seed 0 (10 epochs), in 20 minutes on two cores of an AMD EPYC with
AVX-512; the full protocol has not been run.
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import (
    Recipe,
    Run,
    RunConfig,
    RunFolder,
    SequenceClassifier,
    adamw_cosine,
    cells,
    cli,
    find_protocol,
    finish,
    fit,
    load_data,
    naming_flags,
    warmup_cosine,
)

PUBLISHED = {"mnist_pixels": "98.8 % of an LSTM of 256 units, as cited in arXiv:2110.04744"}


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Classify MNIST digits read pixel by pixel with an LSTM."""

    protocol: str = "mnist_pixels"
    """Data set, split and reading order: a key of `rowlstm_jax.PROTOCOLS`, or data of your own."""
    steps: int = 5_500
    learning_rate: float = 3e-3
    """The highest step size: reached after the warm-up, it falls to zero."""
    warmup: int = 300
    """Steps of the warm-up."""
    log_every: int = 50
    eval_every: int = 550
    checkpoint_every: int = 550


def main(config: Config) -> Path:
    with naming_flags(config):
        protocol = find_protocol(config.protocol, config.data_dir)
        optimizer = adamw_cosine(config.learning_rate, config.steps, warmup=config.warmup, weight_decay=1e-2)
    chrono = cells.chrono_bias(protocol.sequence_shape[0])
    cell = cells.BasicLSTMCell(config.hidden, forget_bias=0.0, bias_init=chrono)
    model = SequenceClassifier(cell, protocol.num_outputs, recurrence=config.recurrence)
    schedule = warmup_cosine(config.learning_rate, config.steps, config.warmup)
    run = Run("mnist_pixels", config, protocol, Recipe(model, optimizer, learning_rate=schedule))
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        fitted = fit(run, data, folder)
        finish(run, fitted, data, folder, reference=PUBLISHED.get(config.protocol, ""))
    return folder.path


if __name__ == "__main__":
    cli.run(main, Config)
