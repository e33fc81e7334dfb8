"""The decoded arrays on disk: four .npy files and their digest, in a folder beside the prepared data set."""

import math
from pathlib import Path

import numpy as np

from rowlstm_jax.data.catalogue import DatasetSpec
from rowlstm_jax.data.images import DamagedError, ImageDataset, checked

FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
DIGEST = "digest.txt"
HEADER = 1000  # bytes, more than that of any of these files


def write(dataset: ImageDataset, folder: Path) -> None:
    """Write the arrays and their digest into a new folder."""
    folder.mkdir()
    for name, array in zip(FILES, dataset.arrays, strict=True):
        np.save(folder / name, array)
    (folder / DIGEST).write_text(f"{dataset.name} {dataset.version} {dataset.sha256}\n")


def read(spec: DatasetSpec, folder: Path) -> ImageDataset | None:
    """The data set from its decoded arrays, or None where there are none.

    Raises:
      DamagedError: if they are incomplete, unreadable, of another data set, or do not have their digest.
    """
    try:
        if not folder.exists():
            return None
        for file, size in zip((DIGEST, *FILES), (0, *map(math.prod, spec.shapes)), strict=True):
            found = (
                (folder / file).stat().st_size
            )  # before it is read: a damaged file may have any, and a pipe has none
            if not size < found <= size + HEADER:
                raise DamagedError(f"{file} has {found:,} bytes")
        name, version, sha256 = (folder / DIGEST).read_text().split()
        arrays = [np.load(folder / file, allow_pickle=False) for file in FILES]
    except Exception as error:  # a damaged file fails in many ways
        raise DamagedError(f"{type(error).__name__}: {error}") from error
    if (name, version) != (spec.name, spec.version):
        raise DamagedError(f"they are those of {name} {version}")
    return checked(spec, arrays, f"the decoded arrays in {folder}", sha256)
