"""TensorFlow Datasets (TFDS), used without TensorFlow: prepares, reads and downloads data sets.

No other module imports TFDS. Import this one inside a function, and only when needed: it takes half a second.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.utils import Size
from tensorflow_datasets.image_classification import mnist

from rowlstm_jax.data.catalogue import DatasetSpec
from rowlstm_jax.data.dataset import DamagedError, Examples, ImageDataset, checked

ORIGINALS: dict[str, type[mnist.MNIST]] = {cls.name: cls for cls in (mnist.MNIST, mnist.FashionMNIST, mnist.KMNIST)}


class _InFileOrder(mnist.MNIST, skip_registration=True):
    """TFDS's builder, but it takes arrays, since only TensorFlow opens TFDS's files, and it does not shuffle."""

    def __init__(self, dataset: ImageDataset, **kwargs: Any):
        self._dataset = dataset
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        info.as_proto.disable_shuffling = True
        return info

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        return {"train": self._records(self._dataset.train), "test": self._records(self._dataset.test)}

    def _records(self, examples: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(examples.images, examples.labels, strict=True)):
            # TFDS encodes a Pillow image with Pillow, and an array with TensorFlow.
            yield index, {"image": PIL.Image.fromarray(image), "label": int(label)}


class _Mnist(_InFileOrder, skip_registration=True):
    name = "mnist"


class _FashionMnist(_InFileOrder, mnist.FashionMNIST, skip_registration=True):
    name = "fashion_mnist"


class _Kmnist(_InFileOrder, mnist.KMNIST, skip_registration=True):
    name = "kmnist"


WRITERS: dict[str, type[_InFileOrder]] = {cls.name: cls for cls in (_Mnist, _FashionMnist, _Kmnist)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide TFDS's progress bars, banners and warnings."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def write(dataset: ImageDataset, data_dir: Path) -> None:
    """Prepare `data_dir/<name>/<version>` in array_record form, in file order.

    Raises:
      OSError: it can't be written, for example because the disk is full.
    """
    try:
        with _quiet():
            WRITERS[dataset.name](dataset, data_dir=data_dir).download_and_prepare(
                download_dir=data_dir / "downloads",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                file_format="array_record",
            )
    except RuntimeError as error:  # array_record raises it for any failed write
        raise OSError(str(error).splitlines()[0]) from error


def read(spec: DatasetSpec, data_dir: Path) -> ImageDataset:
    """The data set that TFDS prepared in `data_dir/<name>/<version>`, in file order.

    Raises:
      DamagedError: it cannot be read, or is not what the catalogue says.
      ValueError: it is in a form that only TensorFlow reads.
    """
    folder = data_dir / spec.name / spec.version
    if not (folder / "dataset_info.json").exists():
        raise DamagedError("dataset_info.json is missing")
    try:
        with _quiet():
            builder = ORIGINALS[spec.name](data_dir=data_dir)
            readable = builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
            arrays = [array for split in ("train", "test") if readable for array in _decode(builder, split)]
    except Exception as error:  # TFDS, array_record, protobuf and Pillow each have their own
        raise DamagedError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    if not readable:
        raise ValueError(
            f"data_dir holds {folder}, which is not in array_record form; the other forms need TensorFlow. "
            "Choose another folder."
        )
    return checked(spec, arrays, f"the data set prepared in {folder}")


def _decode(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images [N, R, K] and labels [N] of a split, in file order."""
    source = builder.as_data_source(split)
    # By default TFDS sorts by a hash of the key, and the key is the position in the original file.
    key = hashing.Hasher(split).hash_key
    stored = range(len(source)) if builder.info.disable_shuffling else sorted(range(len(source)), key=key)
    images = np.empty((len(source), *mnist.MNIST_IMAGE_SHAPE[:2]), np.uint8)
    labels = np.empty(len(source), np.uint8)
    for position, example in zip(stored, source, strict=True):
        images[position], labels[position] = example["image"][..., 0], example["label"]
    return images, labels


def download(spec: DatasetSpec, folder: Path) -> list[Path]:
    """Download the original files from their origin into `folder`, and check their SHA-256."""
    urls = [spec.url + file.name for file in spec.files]
    infos = {
        url: UrlInfo(size=Size(file.size), checksum=file.sha256, filename=file.name)
        for url, file in zip(urls, spec.files, strict=True)
    }
    with _quiet():
        manager = tfds.download.DownloadManager(download_dir=folder, url_infos=infos, force_checksums_validation=True)
        paths: Any = manager.download(urls)
    return [Path(path) for path in paths]
