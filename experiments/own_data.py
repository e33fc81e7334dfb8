"""Data of your own: an .npz file, a folder of pictures, or a data set that TensorFlow Datasets has prepared.

    python -m experiments.own_data --data digits.npz
    python -m experiments.own_data --data pictures/ --image-size 32 32 --order patches
    python -m experiments.own_data --data tfds:cifar10 --validation-part 0.05

An LSTM reads it in the order that `--order` names. The number of classes, their names and all shapes follow from the
data; targets that are no classes are learned by the mean squared error. Part of the training examples, drawn by seed 0,
is held out. `rowlstm_jax/data/README.md` says what a file or folder must hold.
"""

import dataclasses
from pathlib import Path

import optax

from rowlstm_jax import (
    Recipe,
    Run,
    RunConfig,
    RunFolder,
    SequenceClassifier,
    UserError,
    cli,
    finish,
    fit,
    layers,
    load_data,
    naming_flags,
    open_dataset,
    own_protocol,
)


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Train on data of your own, and test."""

    data: str = dataclasses.field(kw_only=True)
    """An .npz file, a folder with a folder of pictures for each class, tfds:<name>, or mnist and the like."""
    order: str = "rows"
    """The order in which pixels are read: rows, columns, pixels, patches_8 or another of `rowlstm_jax.ORDERS`."""
    validation_examples: int | None = None
    """Number of training examples to hold out."""
    validation_part: float = 0.1
    """The part of the training examples to hold out, if --validation-examples does not say how many."""
    image_size: tuple[int, int] | None = None
    """Rows and columns to which the pictures of a folder are resized; needed if they have several sizes."""
    cell: str = "lstm"
    """The recurrent cell or layer: lstm, gru, elman, lru or another of `rowlstm_jax.layers.names()`."""
    batch_size: int = 50

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.validation_part < 1:
            raise UserError(f"--validation-part is {self.validation_part}; it must be from 0 to less than 1.")
        if not 0 <= (self.validation_examples or 0) < 2**31:
            raise UserError(f"--validation-examples is {self.validation_examples}; it must be from 0 to {2**31 - 1}.")


def main(config: Config) -> Path:
    with naming_flags(config, always=True):
        dataset = open_dataset(config.data, config.data_dir, config.local_files, config.image_size)
        held_out = config.validation_examples
        if held_out is None:
            held_out = int(config.validation_part * len(dataset.train))
        protocol = own_protocol(dataset, config.order, held_out)
        cell = layers.make(config.cell, config.hidden, config.recurrence)
    model = SequenceClassifier(cell, protocol.num_outputs, recurrence=config.recurrence)
    recipe = Recipe(model, optax.adam(config.learning_rate), learning_rate=config.learning_rate)
    run = Run("own_data", config, protocol, recipe)
    with RunFolder(run) as folder:
        data = load_data(run, folder)
        fitted = fit(run, data, folder)
        finish(run, fitted, data, folder)
    return folder.path


if __name__ == "__main__":
    cli.run(main, Config)
