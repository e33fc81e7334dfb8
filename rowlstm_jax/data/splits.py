"""The parts of a data set that train, select and judge a model."""

import dataclasses

from rowlstm_jax.data.images import Examples, ImageDataset


@dataclasses.dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one data set.

    Attributes:
      name: of the data set.
      version: of the data set.
      class_names: C of them.
      sha256: digest of the whole data set's pixels and labels.
      train: what the gradient sees.
      validation: what decisions may rest on.
      test: what a result is read off, once.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    sha256: str
    train: Examples
    validation: Examples
    test: Examples


def split(dataset: ImageDataset, validation_examples: int) -> Splits:
    """Hold out the first training images, in file order, for validation."""
    return Splits(
        name=dataset.name,
        version=dataset.version,
        class_names=dataset.class_names,
        sha256=dataset.sha256,
        train=dataset.train[validation_examples:],
        validation=dataset.train[:validation_examples],
        test=dataset.test,
    )
