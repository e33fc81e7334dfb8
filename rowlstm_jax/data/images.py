"""A data set in memory, and the one gate through which all pixels pass."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rowlstm_jax.data.catalogue import DATASETS, DatasetSpec


class DamagedError(Exception):
    """The bytes at hand are not the data set; the message is a phrase that says how."""


class UnavailableError(Exception):
    """A source cannot be used here; the message is a phrase that says why. The next source has its turn."""


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

    `sha256` is one digest over the raw bytes of the train images, train labels, test images and test labels, in that
    order; `source` is a short phrase that says where they came from.
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
    """The data set made of four arrays, read-only, once they are known to be right.

    Args:
      spec: what the data set must be; its digest, where it is known, comes before `sha256`.
      arrays: train images, train labels, test images, test labels.
      source: where they came from.
      sha256: the digest that was written down when the arrays were stored.

    Raises:
      DamagedError: if a shape, a dtype or the digest is not what it must be.
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
    for other in DATASETS.values():  # TFDS can build one data set from another's images
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
