"""The data of a run: loaded, split and shown."""

import numpy as np

from rowlstm_jax.data import Splits, load, split
from rowlstm_jax.errors import naming_flags
from rowlstm_jax.parallel import all_or_none
from rowlstm_jax.runs import console
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.run import Run

SAMPLES = (100, 101, 102)  # the test images that the notebook shows: a 6, a 0 and a 5 in MNIST


def load_data(run: Run, folder: RunFolder) -> Splits:
    """Load and split the data of a run's protocol; print their shapes and some samples with their label vectors.

    Raises:
      UserError: the data are not there, or damaged.
    """
    with folder.clock.phase("data"), all_or_none(), naming_flags(run.config, always=True):
        dataset = load(run.protocol.dataset, run.config.data_dir, run.config.local_files, log=console.say)
        data = split(dataset, run.protocol.validation_examples)
    console.show_splits(data)
    indices = sample_indices(len(data.test))
    for index, label in zip(indices, data.test.sample(indices).labels.tolist(), strict=True):
        vector = (np.arange(len(data.class_names)) == label).astype(int).tolist()
        console.say(f"test sample {index}: class {data.class_names[label]}, label vector {vector}")
    return data


def sample_indices(number: int) -> list[int]:
    """Which of so many test images are shown: the notebook's three, or the last ones of a smaller set."""
    return [*range(max(0, number - len(SAMPLES)), number)] if number <= SAMPLES[-1] else [*SAMPLES]
