"""A data set in memory, and its split into training, validation and test examples."""

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rowlstm_jax.data.catalogue import DATASETS, DatasetSpec

MOST_SHOWN = 16  # test examples that may be looked at without opening the test set


class DamagedError(Exception):
    """The bytes are not those of the data set. The message is a phrase that says what is wrong with them."""


class UnavailableError(Exception):
    """A source can't be used, and the next one is tried. The message is a phrase that says why."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Images, uint8 [N, R, K], and their labels, uint8 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of examples, N."""
        return len(self.images)

    def __getitem__(self, index: slice) -> "Examples":
        """The examples of a slice, without a copy."""
        return Examples(self.images[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A data set in the order of its original files.

    `sha256` is the digest of the bytes of `arrays`, one array after the other. `source` is a phrase that says where the
    bytes came from.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    train: Examples
    test: Examples
    sha256: str
    source: str

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Train images, train labels, test images, test labels."""
        return self.train.images, self.train.labels, self.test.images, self.test.labels


def checked(spec: DatasetSpec, arrays: Sequence[np.ndarray], source: str, sha256: str | None = None) -> ImageDataset:
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
    return ImageDataset(
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
        return Examples(self._examples.images[chosen], self._examples.labels[chosen])

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


def split(dataset: ImageDataset, validation_examples: int) -> Splits:
    """Hold out the first training images, in file order, for validation.

    Raises:
      ValueError: no training image would be left.
    """
    if validation_examples >= len(dataset.train):
        raise ValueError(
            f"validation_examples is {validation_examples}, and {dataset.name} has {len(dataset.train)} training "
            "images; hold out fewer."
        )
    return Splits(
        name=dataset.name,
        version=dataset.version,
        class_names=dataset.class_names,
        sha256=dataset.sha256,
        train=dataset.train[validation_examples:],
        validation=dataset.train[:validation_examples],
        test=Sealed(dataset.test),
    )
