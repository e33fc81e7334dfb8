"""`open_dataset`: a data set by one text, which may be the name of a published set or the path of one's own data."""

import os
from pathlib import Path

from rowlstm_jax.data.catalogue import DATASETS
from rowlstm_jax.data.dataset import Dataset
from rowlstm_jax.data.folder import from_folder
from rowlstm_jax.data.load import load
from rowlstm_jax.data.npz import from_npz
from rowlstm_jax.data.sources import Log
from rowlstm_jax.data.tfds import from_tfds
from rowlstm_jax.paths import resolved

TFDS = "tfds:"


def open_dataset(
    name: str,
    data_dir: Path | None = None,
    local_files: Path | None = None,
    image_size: tuple[int, int] | None = None,
    log: Log = print,
) -> Dataset:
    """The data set that a text names.

    Args:
      name: a key of `DATASETS`; "tfds:NAME", for `from_tfds`; the path of an .npz file or of a folder with
        x_train.npy, for `from_npz`; or the path of a folder of pictures, for `from_folder`.
      data_dir: as in `load`.
      local_files: as in `load`.
      image_size: as in `from_folder`; only for a folder of pictures.
      log: is called with one line for each note.

    Raises:
      ValueError: `name` is none of these, or the data set can't be had.
    """
    path = None if name in DATASETS or name.startswith(TFDS) else _path(name)
    has_arrays = path is not None and (path.suffix.lower() == ".npz" or (path / "x_train.npy").exists())
    if path is not None and path.is_dir() and not has_arrays:
        return from_folder(path, image_size, log=log)
    if image_size is not None:
        raise ValueError(f"image_size is {image_size}, and dataset {name!r} is no folder of pictures; leave it out.")
    if name in DATASETS:
        return load(name, data_dir, local_files, log)
    if name.startswith(TFDS):
        return from_tfds(name.removeprefix(TFDS), data_dir, log)
    if path is not None and has_arrays:
        return from_npz(path, log=log)
    raise ValueError(
        f"dataset is {name!r}; choose one of {', '.join(DATASETS)}, or give tfds:NAME, the path of an .npz file, or "
        "the path of a folder of .npy files or of pictures."
    )


def is_own(name: str) -> bool:
    """Whether a text names own data for `open_dataset` and not a key of `DATASETS`: a path, an .npz file or "tfds:".

    Example:
      >>> is_own("mnist"), is_own("digits.npz"), is_own("tfds:svhn_cropped"), is_own("~/pictures")
      (False, True, True, True)
    """
    if name in DATASETS:
        return False
    separators = {os.sep, os.altsep or os.sep}
    if name.startswith(TFDS) or name.lower().endswith(".npz") or any(separator in name for separator in separators):
        return True
    path = _path(name)
    return path is not None and path.is_dir()


def _path(name: str) -> Path | None:
    """The path that a text may be, from the root, or None."""
    try:
        path = resolved(Path(name))
        path.exists()  # it fails for a name that is too long, or in a folder that can't be read
    except (ValueError, OSError):
        return None
    return path if name else None
