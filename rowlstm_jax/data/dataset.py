"""A data set in memory, and its split into training, validation and test examples."""

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rowlstm_jax.data.batches import torch_permutation
from rowlstm_jax.data.catalogue import DATASETS, DatasetSpec

MOST_SHOWN = 16  # test examples that may be looked at without opening the test set


class DamagedError(Exception):
    """The bytes are not those of the data set. The message is a phrase that says what is wrong with them."""


class UnavailableError(Exception):
    """A source can't be used, and the next one is tried. The message is a phrase that says why."""


@dataclass(frozen=True, eq=False)
class Examples:
    """N inputs, what is to be learned of each, and how long each is.

    Attributes:
      inputs: pictures, uint8 [N, R, K] or [N, R, K, channels], or sequences, float32 [N, T, F].
      targets: classes, uint8 or int32 [N], or any float32 [N, ...].
      lengths: int32 [N], the steps of each sequence that are no padding; None if there is no padding.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        """The number of examples, N."""
        return len(self.inputs)

    def __getitem__(self, index: slice | np.ndarray | list[int]) -> "Examples":
        """The examples of a slice, without a copy, or a copy of those at some positions."""
        return Examples(*(array[index] for array in self.arrays))

    @property
    def arrays(self) -> list[np.ndarray]:
        """Inputs and targets, and the lengths if there are any."""
        return [array for array in vars(self).values() if array is not None]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: training and test examples in the order of their files.

    Attributes:
      name: in logs, pictures and records.
      version: of the name.
      class_names: [C]; empty if the targets are not classes.
      train: the training examples.
      test: the test examples.
      sha256: the digest of all arrays.
      source: a phrase that says where they came from.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    train: Examples
    test: Examples
    sha256: str
    source: str

    @property
    def arrays(self) -> list[np.ndarray]:
        """Those of the training examples, then those of the test examples."""
        return self.train.arrays + self.test.arrays

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (R, K), (R, K, channels) or (T, F)."""
        return self.train.inputs.shape[1:]

    @property
    def is_pictures(self) -> bool:
        """Whether the inputs are uint8 pixels, and not float32 sequences."""
        return self.train.inputs.dtype == np.uint8


def checked(spec: DatasetSpec, arrays: Sequence[np.ndarray], source: str, sha256: str | None = None) -> Dataset:
    """Check four arrays and make a data set of them. Every data set is made here.

    Args:
      spec: the shapes, and the digest if it is known.
      arrays: train images, train labels, test images, test labels. They become read-only.
      source: where they came from.
      sha256: the digest that was stored with the arrays; it counts if `spec` has none.

    Raises:
      DamagedError: a shape, a dtype or the digest is wrong.
    """
    digest = hashlib.sha256()
    for array, shape in zip(arrays, spec.shapes, strict=True):
        if array.shape != shape or array.dtype != np.uint8:
            raise DamagedError(f"an array is {array.dtype} {list(array.shape)}, not uint8 {list(shape)}")
        digest.update(np.ascontiguousarray(array).data)
        array.setflags(write=False)
    expected = spec.sha256 or sha256
    if expected and digest.hexdigest() != expected:
        raise DamagedError(f"the pixels and labels have SHA-256 {digest.hexdigest()}, not {expected}")
    for other in DATASETS.values():  # TFDS can build one data set from the images of another
        if other.sha256 == digest.hexdigest() and other.name != spec.name:
            raise DamagedError(f"the pixels and labels are those of {other.name}")
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name=spec.name,
        version=spec.version,
        class_names=spec.class_names,
        train=Examples(train_images, train_labels),
        test=Examples(test_images, test_labels),
        sha256=digest.hexdigest(),
        source=source,
    )


class Sealed:
    """Test examples that can only be read after their opening is recorded, except for a few that may be shown.

    Args:
      examples: the test examples.
    """

    def __init__(self, examples: Examples):
        self._examples = examples
        self._shown: set[int] = set()

    def __len__(self) -> int:
        """The number of examples, N."""
        return len(self._examples)

    def __repr__(self) -> str:
        return f"Sealed({len(self)} examples, {len(self._shown)} of them shown)"

    @property
    def shown(self) -> list[int]:
        """The indices of all examples that `sample` has returned so far, sorted."""
        return sorted(self._shown)

    def sample(self, indices: Sequence[int]) -> Examples:
        """A copy of a few examples, to be shown in a picture or a log.

        Args:
          indices: from 0 to N - 1. All calls together may ask for at most 16 different examples.

        Raises:
          ValueError: an index is out of range, or more than 16 examples would have been shown.
        """
        chosen = [int(operator.index(index)) for index in indices]  # `int`, as a list of bools would be a mask
        if outside := [index for index in chosen if not 0 <= index < len(self)]:
            raise ValueError(f"indices holds {outside[0]}; the test examples are 0 to {len(self) - 1}.")
        shown = self._shown | set(chosen)
        if len(shown) > MOST_SHOWN:
            raise ValueError(
                f"indices would bring the number of test examples shown to {len(shown)}; at most {MOST_SHOWN} may be "
                "shown. Evaluate on the test set, or look at validation examples."
            )
        self._shown = shown
        return self._examples[chosen]

    def open(self, write_down: Callable[[], object]) -> Examples:
        """All examples, after `write_down` has recorded that the test set is opened."""
        write_down()
        return self._examples


@dataclass(frozen=True)
class Splits:
    """Training, validation and test examples of one data set, with its name, version, classes and digest.

    `validation` is empty if the protocol trains on all examples.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    sha256: str
    train: Examples
    validation: Examples
    test: Sealed

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (R, K), (R, K, channels) or (T, F)."""
        return self.train.inputs.shape[1:]


def split(dataset: Dataset, validation_examples: int, seed: int | None = None) -> Splits:
    """Hold out training examples for validation; both parts stay in file order.

    Args:
      dataset: all examples.
      validation_examples: how many to hold out.
      seed: None holds out the first examples; a number from 0 to 2**32 - 1 holds out those that
        `torch.utils.data.random_split(train, [rest, validation_examples], torch.Generator().manual_seed(seed))` does.

    Raises:
      ValueError: no training example would be left.
    """
    count = len(dataset.train)
    if validation_examples >= count:
        raise ValueError(
            f"validation_examples is {validation_examples}, and {dataset.name} has {count} training examples; hold out "
            "fewer."
        )
    train, validation = dataset.train[validation_examples:], dataset.train[:validation_examples]
    if seed is not None:
        chosen = torch_permutation(count, seed)
        train, validation = (dataset.train[np.sort(part)] for part in np.split(chosen, [count - validation_examples]))
    return Splits(
        name=dataset.name,
        version=dataset.version,
        class_names=dataset.class_names,
        sha256=dataset.sha256,
        train=train,
        validation=validation,
        test=Sealed(dataset.test),
    )
