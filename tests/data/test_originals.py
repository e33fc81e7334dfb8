"""CIFAR-10's archive, whole and wrong. The files of the other data sets are tested in test_sources.py."""

import dataclasses
import io
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import builder, catalogue, open_dataset, originals
from rowlstm_jax.data.dataset import DamagedError
from tests.data.tiny import REAL_FILES, Tiny, contents, flip, needs_real, tar_of


@pytest.fixture
def cifar(make: Callable[[str], Tiny]) -> Tiny:
    return make("cifar10")


def test_the_planes_of_a_record_become_channels() -> None:
    """A record as the page of the data set describes it: the class, and 1,024 bytes each of red, green and blue."""
    record = np.zeros((1, 3073), np.uint8)
    record[0, 0] = 7
    record[0, 1 + 1] = 10  # red, row 0, column 1
    record[0, 1 + 1024 + 32] = 20  # green, row 1, column 0
    record[0, 1 + 2048 + 1023] = 30  # blue, the last pixel
    none = np.zeros((0, 3073), np.uint8)
    names = (*originals.CIFAR_TRAIN, *originals.CIFAR_TEST)
    archive = tar_of(dict(zip(names, [record, none, none, none, none, record], strict=True)))
    spec = dataclasses.replace(catalogue.CIFAR10, train_size=1, test_size=1)
    data = originals.from_cifar(spec, [archive], "here")
    assert data.test.targets.tolist() == [7]
    image = data.train.inputs[0]
    assert image.shape == (32, 32, 3)
    assert (image[0, 1].tolist(), image[1, 0].tolist(), image[31, 31].tolist()) == ([10, 0, 0], [0, 20, 0], [0, 0, 30])
    assert image.sum() == 60


def test_from_the_archive_by_its_name(cifar: Tiny) -> None:
    data = open_dataset("cifar10", cifar.data_dir, cifar.local_files, log=cifar.log.append)
    assert data.shape == (32, 32, 3)
    assert data.class_names[0] == "airplane"
    for got, expected in zip(data.arrays, cifar.arrays, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


def test_the_prepared_copy_is_that_of_tfds(cifar: Tiny) -> None:
    cifar.load()
    stock = builder.ORIGINALS["cifar10"](data_dir=cifar.data_dir)
    examples = list(stock.as_data_source("test"))
    assert [example["id"] for example in examples] == [f"test_{index:05d}".encode() for index in range(16)]
    assert [example["label"] for example in examples] == cifar.arrays[3].tolist()
    np.testing.assert_array_equal(examples[5]["image"], cifar.arrays[2][5])
    features: Any = stock.info.features
    assert features["label"].names == list(cifar.spec.class_names)


def test_a_wrong_or_missing_archive(cifar: Tiny) -> None:
    path = cifar.local_files / "cifar10" / "cifar-10-binary.tar.gz"
    flip(path, 1000)
    file = cifar.spec.files[0]
    words = f"put there the file of {file.size:,} bytes with SHA-256 {file.sha256}"
    with pytest.raises(ValueError, match=f"^{path}: other contents, .* instead of the original file; {words}"):
        cifar.load()
    path.unlink()
    with pytest.raises(ValueError, match=f"^{path}: No such file or directory; {words}"):
        cifar.load()
    path.parent.rmdir()
    with pytest.raises(
        ValueError, match=r"^cifar10 cannot be had from here: put these files into .*/cifar10 and"
    ) as caught:
        cifar.load()
    message = str(caught.value)
    assert f"    cifar-10-binary.tar.gz  {file.size:,} bytes  SHA-256 {file.sha256}\n" in message
    assert "no download: www.cs.toronto.edu: the network is blocked" in message
    assert "no wheel: no package on the index holds cifar10" in message


def without(archive: bytes, name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=stream, mode="w") as new:
        for member in old.getmembers():
            if member.name == name:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return stream.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda archive: b"",
        lambda archive: archive[:5000],
        lambda archive: archive.replace(b"test_batch", b"text_batch"),
        lambda archive: without(archive, originals.CIFAR_TRAIN[2]),
        lambda archive: tar_of({name: np.zeros((2, 3073), np.uint8) for name in originals.CIFAR_TRAIN}),
    ],
    ids=["empty", "cut", "renamed", "a link", "too few"],
)
def test_other_contents_of_the_archive(cifar: Tiny, change: Callable[[bytes], bytes]) -> None:
    (archive,) = contents(cifar.spec, cifar.arrays)
    originals.from_cifar(cifar.spec, [archive], "here")
    with pytest.raises(DamagedError, match=r"^the uncompressed cifar-10-binary\.tar\.gz is not the original \("):
        originals.from_cifar(cifar.spec, [change(archive)], "here")


@needs_real("cifar10")
@pytest.mark.slow
def test_cifar10() -> None:
    path = REAL_FILES / "cifar10" / "cifar-10-binary.tar.gz"
    data = originals.from_originals(catalogue.CIFAR10, [path], "here")
    assert np.bincount(data.train.targets).tolist() == [5000] * 10
    assert np.bincount(data.test.targets).tolist() == [1000] * 10
    with tarfile.open(path) as tar:
        names = tar.extractfile("cifar-10-batches-bin/batches.meta.txt")
        assert names is not None
        assert tuple(names.read().decode().split()) == data.class_names
