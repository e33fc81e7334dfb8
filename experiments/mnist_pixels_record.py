"""MNIST read pixel by pixel by linear recurrent units: 784 steps of one pixel, 50,954 parameters.

    python -m experiments.mnist_pixels_record

Two blocks of an LRU with 64 features and 64 complex states, the mean over time, AdamW under a warm-up and a cosine;
eigenvalues, time scales and their normalisation have a quarter of the step size, as published. Every choice was made
on the validation images; the test set is opened once.
"""

import dataclasses
from pathlib import Path
from typing import Literal

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
    finish,
    fit,
    layers,
    load_data,
    naming_flags,
    warmup_cosine,
)

MAPS = Affine(shift=1, rotation=0.12, scale=0.08, shear=0.1)
PROTOCOL = Protocol("mnist_pixels_affine", "mnist", validation_examples=5_000, order="pixels", augmentation=MAPS)


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Classify MNIST digits read pixel by pixel with linear recurrent units."""

    cell: Literal["lru", "s5", "min_gru", "min_lstm", "rg_lru"] = "s5"
    """The layer in each block."""
    num_seeds: int = 3
    steps: int = 19_800
    batch_size: int = 50
    hidden: int = 64
    """Features of each block, and its states."""
    max_phase: float = 0.5
    """Largest phase of the eigenvalues of an LRU at the start, in radians a step."""
    blocks: int = 2
    """Blocks of a layer."""
    dropout: float = 0.0
    """Share of the features that are dropped in training, the same at all steps of a sequence."""
    learning_rate: float = 6e-3
    """The highest step size: reached after the warm-up, it falls to zero."""
    eigenvalue_rate: float = 0.25
    """What the step size of the eigenvalues and time scales is multiplied by."""
    warmup: int = 1_100
    """Steps of the warm-up."""
    weight_decay: float = 0.05
    """Of matrices, not of biases and eigenvalues."""
    log_every: int = 100
    eval_every: int = 1_100
    checkpoint_every: int = 1_100


def main(config: Config) -> Path:
    return train("mnist_pixels_record", config, PROTOCOL, "99.65 % of S5, arXiv:2208.04933")


def train(experiment: str, config: Config, protocol: Protocol, reference: str) -> Path:
    """Train the blocks on a protocol whose examples are read pixel by pixel, and test them."""
    rates = dict.fromkeys(layers.EIGENVALUES, config.eigenvalue_rate)
    decay = {"warmup": config.warmup, "weight_decay": config.weight_decay}
    with naming_flags(config):
        block = layers.LAYERS[config.cell](config.hidden).clone(dropout=config.dropout)
        if config.cell == "lru":
            block = block.clone(layer=layers.LRU(config.hidden, max_phase=config.max_phase))
        optimizer = adamw_cosine(config.learning_rate, config.steps, rates=rates, **decay)
    model = SequenceClassifier(block, protocol.num_outputs, num_layers=config.blocks, readout="mean")
    schedule = warmup_cosine(config.learning_rate, config.steps, config.warmup)
    run = Run(experiment, config, protocol, Recipe(model, optimizer, learning_rate=schedule))
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        fitted = fit(run, data, folder)
        finish(run, fitted, data, folder, reference=reference)
    return folder.path


if __name__ == "__main__":
    cli.run(main, Config)
