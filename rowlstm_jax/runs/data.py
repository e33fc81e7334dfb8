"""The data of a run: loaded, split and shown."""

import dataclasses

import numpy as np

from rowlstm_jax.data import Dataset, Splits, load, split
from rowlstm_jax.errors import naming_flags
from rowlstm_jax.parallel import all_or_none
from rowlstm_jax.runs import console
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.run import Run
from rowlstm_jax.tasks import to_grey

SAMPLES = (100, 101, 102)  # the test images that the notebook shows: a 6, a 0 and a 5 in MNIST


def load_data(run: Run, folder: RunFolder) -> Splits:
    """Load and split the data of a run's protocol; print their shapes and some samples with their label vectors.

    With `--no-test` no test sample is shown.

    Raises:
      UserError: the data are not there, or damaged.
    """
    with folder.clock.phase("data"), all_or_none(), naming_flags(run.config, always=True):
        protocol, dataset = run.protocol, run.protocol.dataset
        if not isinstance(dataset, Dataset):
            dataset = load(dataset, run.config.data_dir, run.config.local_files, log=console.say)
        if protocol.grey:
            train, test = (dataclasses.replace(of, inputs=to_grey(of.inputs)) for of in (dataset.train, dataset.test))
            dataset = dataclasses.replace(dataset, train=train, test=test)
        data = split(dataset, protocol.validation_examples, protocol.validation_seed)
    console.show_splits(data)
    indices = [] if run.config.no_test else sample_indices(len(data.test))
    for index, target in zip(indices, data.test.sample(indices).targets.tolist(), strict=True):
        if data.class_names:
            vector = (np.arange(len(data.class_names)) == target).astype(int).tolist()
            console.say(f"test sample {index}: class {data.class_names[target]}, label vector {vector}")
        else:
            console.say(f"test sample {index}: target {target}")
    return data


def sample_indices(number: int) -> list[int]:
    """Which of so many test images are shown: the notebook's three, or the last ones of a smaller set."""
    return [*range(max(0, number - len(SAMPLES)), number)] if number <= SAMPLES[-1] else [*SAMPLES]
