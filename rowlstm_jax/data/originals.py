"""The original files of a published data set: their check, and the formats in which they hold the arrays."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rowlstm_jax.data.catalogue import DatasetSpec, FileSpec
from rowlstm_jax.data.dataset import DamagedError, Dataset, checked

CIFAR_TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST = ("cifar-10-batches-bin/test_batch.bin",)


def from_originals(spec: DatasetSpec, paths: Iterable[Path], source: str) -> Dataset:
    """The data set from its original .gz files, in the order of `spec.files`."""
    contents = [gzip.decompress(read_original(file, path)) for file, path in zip(spec.files, paths, strict=True)]
    return {"idx": from_idx, "cifar": from_cifar}[spec.form](spec, contents, source)


def read_original(file: FileSpec, path: Path) -> bytes:
    """Read an original file and check its size and SHA-256. At most its proper size is read.

    Raises:
      ValueError: the file is missing, unreadable or not the original.
    """
    data, size = b"", 0
    try:
        if path.is_file() or not path.exists():  # reading something else, such as a pipe, might never end
            with path.open("rb") as stream:
                data, size = stream.read(file.size), path.stat().st_size
    except OSError as error:
        problem = error.strerror
    else:
        if size == file.size and hashlib.sha256(data).hexdigest() == file.sha256:
            return data
        kind = "a web page" if data.lstrip()[:1] == b"<" else f"other contents, {size:,} bytes"
        problem = f"{kind} instead of the original file"
    raise ValueError(f"{path}: {problem}; put there the file of {file.size:,} bytes with SHA-256 {file.sha256}.")


def from_idx(spec: DatasetSpec, contents: Iterable[bytes], source: str) -> Dataset:
    """The data set from the contents of its four IDX files: big-endian magic number and sizes, then the bytes."""
    arrays = []
    for file, shape, idx in zip(spec.files, spec.shapes, contents, strict=True):
        header = idx_header(shape)
        wrong = file.idx_sha256 not in (None, hashlib.sha256(idx).hexdigest())
        if wrong or not idx.startswith(header) or len(idx) != len(header) + np.prod(shape):
            raise DamagedError(f"the uncompressed {file.name} is not the original")
        arrays.append(np.frombuffer(idx, np.uint8, offset=len(header)).reshape(shape))
    return checked(spec, arrays, source)


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of an IDX file of uint8 of this shape."""
    return struct.pack(f">{1 + len(shape)}i", 0x800 + len(shape), *shape)


def from_cifar(spec: DatasetSpec, contents: Iterable[bytes], source: str) -> Dataset:
    """The data set from the uncompressed archive of CIFAR-10's binary version. Nothing is unpacked to the disk.

    A record is a byte for the class, then the planes of the picture: all rows of red, of green and of blue.
    """
    (archive,) = contents
    arrays = []
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for names, (count, rows, columns, channels) in (
                (CIFAR_TRAIN, spec.shapes[0]),
                (CIFAR_TEST, spec.shapes[2]),
            ):
                data = b"".join(_member(tar, name) for name in names)
                records = np.frombuffer(data, np.uint8).reshape(count, 1 + channels * rows * columns)
                planes = records[:, 1:].reshape(count, channels, rows, columns)
                arrays += [np.ascontiguousarray(np.moveaxis(planes, 1, -1)), records[:, 0].copy()]
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DamagedError(f"the uncompressed {spec.files[0].name} is not the original ({error})") from error
    return checked(spec, arrays, source)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """The contents of a file in an archive; of a link or a folder, none."""
    member = tar.getmember(name)
    stream = tar.extractfile(member) if member.isreg() else None
    return b"" if stream is None else stream.read()
