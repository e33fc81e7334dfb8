"""`from_npz`: a data set from a NumPy file in Keras's layout, or from a folder of .npy files, which stay on disk."""

import itertools
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from rowlstm_jax.data.arrays import readable, require_memory
from rowlstm_jax.data.dataset import Dataset
from rowlstm_jax.data.own import from_arrays
from rowlstm_jax.data.sources import Log
from rowlstm_jax.paths import resolved

NEEDED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("lengths_train", "lengths_test", "class_names")


def from_npz(path: Path | str, *, allow_duplicates: bool = False, log: Log = print) -> Dataset:
    """A data set from an .npz file, or from a folder of .npy files with the same names.

    The arrays are x_train, y_train, x_test and y_test, as in Keras's `mnist.npz`, and if wanted lengths_train,
    lengths_test and class_names (an array of text). `from_arrays` says what they may hold. Nothing is unpickled. The
    arrays of a folder are memory-mapped.

    Args:
      path: of the file or the folder.
      allow_duplicates: whether the same input may be in training and test.
      log: is called with one line if there are other arrays, which are not read.

    Returns:
      The data set; its name is that of the file, without .npz.

    Raises:
      ValueError: the file is missing, damaged, or larger than the free memory, or its arrays are wrong.
    """
    place = resolved(Path(path))
    with readable(place):
        is_folder = place.is_dir()
        arrays = _map_all(place, log) if is_folder else _unpack(place, log)
    names = arrays.pop("class_names", None)
    if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
        raise ValueError(
            f"{place}: class_names is {names.dtype} {list(names.shape)}; make it np.array([...], dtype=str)."
        )
    return from_arrays(
        **arrays,
        class_names=None if names is None else names.tolist(),
        name=place.name if is_folder else place.stem,
        source=str(place),
        allow_duplicates=allow_duplicates,
    )


def _unpack(path: Path, log: Log) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Their headers are read first, so that nothing too large is unpacked."""
    if not path.is_file():
        raise ValueError(
            f"{path} {'is not a file' if path.exists() else 'does not exist'}; name an .npz file or a folder."
        )
    try:
        with path.open("rb") as stream:
            begin = stream.read(2)
        if begin != b"PK":
            raise ValueError(f"{path} is not an .npz file, as it is no zip archive; write it with np.savez.")
        with zipfile.ZipFile(path) as archive:
            found = {name.removesuffix(".npy"): name for name in archive.namelist()}
            _require_names(found, path, log)
            wanted = {name: found[name] for name in (*NEEDED, *OPTIONAL) if name in found}
            sizes = []
            for name, member in wanted.items():
                with archive.open(member) as stream:
                    sizes.append(_size(stream, f"{path}: {name}"))
            require_memory(sum(sizes), str(path))
            arrays = {}
            for name, member in wanted.items():
                with archive.open(member) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                    while stream.read(2**20):  # to the end, where the checksum is compared
                        pass
            return arrays
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # reading a damaged file may raise anything
        raise _damaged(path, error) from error


def _map_all(folder: Path, log: Log) -> dict[str, np.ndarray]:
    """The arrays of a folder."""
    found = {file.stem: file for file in sorted(folder.glob("[!.]*.npy"))}
    _require_names(found, folder, log)
    return {name: _map(found[name], folder) for name in (*NEEDED, *OPTIONAL) if name in found}


def _map(file: Path, folder: Path) -> np.ndarray:
    """The array of an .npy file, memory-mapped unless it is empty."""
    where = f"{folder}: {file.name}"
    if not file.is_file():
        raise ValueError(f"{where} is not a file; write it with np.save.")
    try:
        with file.open("rb") as stream:
            size = _size(stream, where)
            if file.stat().st_size != stream.tell() + size:
                raise ValueError(f"it has {file.stat().st_size:,} bytes, not {stream.tell() + size:,}")
        return np.load(file, mmap_mode="r" if size else None, allow_pickle=False)
    except ValueError as error:
        if str(error).startswith(where):
            raise
        raise _damaged(file, error) from error
    except Exception as error:
        raise _damaged(file, error) from error


def _size(stream: IO[bytes], where: str) -> int:
    """The bytes of an array, from the header of its .npy file. The stream is then at its first byte."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{where} is written in version {version} of NumPy's format; write it again with np.save.")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(
            f"{where} holds pickled Python objects, which are not read as they could run code; save arrays of numbers."
        )
    if min(shape, default=0) < 0:
        raise ValueError(f"{where} has the shape {list(shape)}; write it again with np.save.")
    return math.prod(shape) * dtype.itemsize


def _require_names(found: Iterable[str], path: Path, log: Log) -> None:
    found = list(found)
    if missing := [name for name in NEEDED if name not in found]:
        shown = ", ".join(itertools.islice(found, 8)) or "nothing"
        raise ValueError(f"{path} has no {', '.join(missing)}; it holds {shown}. Name the arrays {', '.join(NEEDED)}.")
    if others := [name for name in found if name not in NEEDED + OPTIONAL]:
        log(f"data: {path} also holds {', '.join(others[:8])}, which is not read")


def _damaged(path: Path, error: Exception) -> ValueError:
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return ValueError(f"{path} is damaged or cut off ({problem}); write it again, or copy it again.")
