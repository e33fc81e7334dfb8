"""TensorFlow Datasets (TFDS), used without TensorFlow: prepares, reads and downloads data sets.

No other module imports TFDS. Import this one inside a function, and only when needed: it takes half a second.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing, registered
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.utils import Size
from tensorflow_datasets.image_classification import cifar, mnist

from rowlstm_jax.data.arrays import require_memory
from rowlstm_jax.data.catalogue import DatasetSpec
from rowlstm_jax.data.dataset import DamagedError, Dataset, Examples, checked
from rowlstm_jax.data.sources import probe

ORIGINALS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    cls.name: cls for cls in (mnist.MNIST, mnist.FashionMNIST, mnist.KMNIST, cifar.Cifar10)
}


class _InFileOrder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Goes before a builder of TFDS. Takes arrays, since only TensorFlow opens TFDS's files, and does not shuffle."""

    def __init__(self, dataset: Dataset, **kwargs: Any):
        self._dataset = dataset
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()  # pyright: ignore[reportAbstractUsage]
        info.as_proto.disable_shuffling = True
        return info

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        return {"train": self._records(self._dataset.train), "test": self._records(self._dataset.test)}

    def _records(self, examples: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(examples.inputs, examples.targets, strict=True)):
            # TFDS encodes a Pillow image with Pillow, and an array with TensorFlow.
            yield index, {"image": PIL.Image.fromarray(image), "label": int(label)}


class _Mnist(_InFileOrder, mnist.MNIST, skip_registration=True):
    name = "mnist"


class _FashionMnist(_InFileOrder, mnist.FashionMNIST, skip_registration=True):
    name = "fashion_mnist"


class _Kmnist(_InFileOrder, mnist.KMNIST, skip_registration=True):
    name = "kmnist"


class _Cifar10(_InFileOrder, cifar.Cifar10, skip_registration=True):
    name = "cifar10"

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> Any:
        features: Any = self.info.features
        features["label"].names = list(self._dataset.class_names)  # TFDS reads them from the archive
        parts = {"train": self._dataset.train, "test": self._dataset.test}
        return {part: self._with_ids(part, self._records(examples)) for part, examples in parts.items()}

    def _with_ids(self, part: str, records: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Any]:
        yield from ((index, record | {"id": f"{part}_{index:05d}"}) for index, record in records)


WRITERS: dict[str, type[_InFileOrder]] = {cls.name: cls for cls in (_Mnist, _FashionMnist, _Kmnist, _Cifar10)}


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


def write(dataset: Dataset, data_dir: Path) -> None:
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


def read(spec: DatasetSpec, data_dir: Path) -> Dataset:
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


def _decode(builder: Any, split: str, image: str = "image", label: str = "label") -> tuple[np.ndarray, np.ndarray]:
    """The images [N, R, K] or [N, R, K, channels] and labels [N] of a split, in file order.

    `image` and `label` are the names of these features.
    """
    source = builder.as_data_source(split)
    shape = builder.info.features[image].shape
    shape = shape[:2] if shape[2] == 1 else shape
    # By default TFDS sorts by a hash of the key, and the key is the position in the original file.
    key = hashing.Hasher(split).hash_key
    stored = range(len(source)) if builder.info.disable_shuffling else sorted(range(len(source)), key=key)
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32 if builder.info.features[label].num_classes > 256 else np.uint8)
    for position, example in zip(stored, source, strict=True):
        if example[label] < 0:
            raise ValueError(f"example {position} of {split} has no label")
        images[position], labels[position] = example[image].reshape(shape), example[label]
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


def read_any(folder: Path, where: str) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Class names and arrays of any image classification set that TFDS prepared, in file order if TFDS numbered them.

    Args:
      folder: of the version; it holds `dataset_info.json`.
      where: names the data set in messages.

    Returns:
      The class names, and train images, train labels, test images and test labels.

    Raises:
      ValueError: it is of another kind or form, is damaged, or is larger than the free memory.
    """
    try:
        with _quiet():
            builder = tfds.builder_from_directory(folder)
            if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
                raise ValueError(
                    f"{where} is prepared in {folder}, but not in array_record form; the other forms need TensorFlow. "
                    "Prepare it in another folder with file_format='array_record'."
                )
            image, label = _fields(builder.info, where)
            arrays = [array for split in ("train", "test") for array in _decode(builder, split, image, label)]
    except Exception as error:  # TFDS, array_record, protobuf and Pillow each have their own
        if str(error).startswith(where):
            raise
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"{where} can't be read from {folder} ({problem}); prepare it again, or choose another."
        ) from error
    features: Any = builder.info.features
    return tuple(features[label].names), arrays


def _fields(info: Any, where: str) -> tuple[str, str]:
    """The names of the image and the label, if the data set has one of each, training and test, and one size."""
    features: Any = info.features
    fields = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in fields.items() if type(feature) is tfds.features.Image]
    labels = [key for key, feature in fields.items() if isinstance(feature, tfds.features.ClassLabel)]
    if info.supervised_keys and len(info.supervised_keys) == 2:  # what the set is for, if it has several of a kind
        images, labels = (
            [key for key in found if key == keyed] or found
            for found, keyed in zip((images, labels), info.supervised_keys, strict=True)
        )
    if len(images) != 1 or len(labels) != 1:
        raise ValueError(
            f"{where} has the features {', '.join(sorted(fields)) or 'of another kind'}, with {len(images)} images and "
            f"{len(labels)} class labels; choose a data set with one of each."
        )
    if absent := [split for split in ("train", "test") if split not in info.splits]:
        raise ValueError(f"{where} has no split {absent[0]}, only {', '.join(info.splits)}; choose one with both.")
    image: Any = fields[images[0]]
    shape = list(image.shape)
    if None in shape:
        raise ValueError(f"{where} has images of several sizes, {shape}; save them in folders and give image_size.")
    if image.np_dtype != np.uint8:
        raise ValueError(f"{where} has images of {np.dtype(image.np_dtype).name}; choose a data set with uint8 pixels.")
    require_memory(sum(info.splits[split].num_examples for split in ("train", "test")) * int(np.prod(shape)), where)
    return images[0], labels[0]


def prepare(name: str, data_dir: str) -> None:
    """Let TFDS download and prepare a data set. Call it in a process of its own, as TFDS may import TensorFlow.

    It ends the process with a phrase on stderr if that fails.
    """
    try:
        with _quiet():
            builder: Any = tfds.builder(name, data_dir=data_dir, file_format="array_record")
            url = next(iter(builder.url_infos or {}), None)
            if url and (problem := probe(url)):
                sys.exit(f"{urlsplit(url).hostname}: {problem}")
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    except registered.DatasetNotFoundError:
        sys.exit("TensorFlow Datasets knows no data set of this name")
    except Exception as error:  # as in `read`
        sys.exit(f"{type(error).__name__}: {error}".splitlines()[0])
