"""The parts of a data set that train, select and judge a model."""

import dataclasses
from collections.abc import Callable, Sequence

from rowlstm_jax.data.images import Examples, ImageDataset


@dataclasses.dataclass(frozen=True, eq=False)
class Sealed:
    """Test examples under a seal: to be evaluated they must be opened, and each opening is written down."""

    _examples: Examples

    def __len__(self) -> int:
        """The number of examples, N."""
        return len(self._examples)

    def sample(self, indices: Sequence[int]) -> Examples:
        """A few examples, to be looked at and not to be judged by."""
        return Examples(self._examples.images[list(indices)], self._examples.labels[list(indices)])

    def open(self, write_down: Callable[[], object]) -> Examples:
        """All examples, once `write_down` has recorded that they are opened."""
        write_down()
        return self._examples


@dataclasses.dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one data set.

    Attributes:
      name: of the data set.
      version: of the data set.
      class_names: C of them.
      sha256: digest of the whole data set's pixels and labels.
      train: what the gradient sees.
      validation: what decisions may rest on; none, where a protocol trains on all.
      test: what a result is read off, once, and therefore sealed.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    sha256: str
    train: Examples
    validation: Examples
    test: Sealed


def split(dataset: ImageDataset, validation_examples: int) -> Splits:
    """Hold out the first training images, in file order, for validation."""
    return Splits(
        name=dataset.name,
        version=dataset.version,
        class_names=dataset.class_names,
        sha256=dataset.sha256,
        train=dataset.train[validation_examples:],
        validation=dataset.train[:validation_examples],
        test=Sealed(dataset.test),
    )
