"""Data sets prepared by TensorFlow Datasets: their order, damage to them, and the real MNIST."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import builder, catalogue, load
from rowlstm_jax.data.dataset import DamagedError
from tests.data.tiny import REAL_FILES, Tiny, flip, logged, needs_real


def test_tfds_is_quiet(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.load()
    shutil.rmtree(tiny.decoded)
    tiny.load()
    assert capfd.readouterr() == ("", "")


def test_what_stock_tfds_shuffled_comes_back_in_file_order(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(builder._InFileOrder, "_info", builder.mnist.MNIST._info)
        tiny.load()
    shutil.rmtree(tiny.decoded)
    stock: Any = builder.mnist.MNIST(data_dir=tiny.data_dir)
    stored = stock.as_data_source("train")
    assert [example["label"] for example in stored] != tiny.arrays[1].tolist()
    assert tiny.load().source == f"the data set prepared in {tiny.prepared}"


def test_a_prepared_data_set_that_needs_tensorflow(tiny: Tiny) -> None:
    tiny.load()
    shutil.rmtree(tiny.decoded)
    info = tiny.prepared / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"^data_dir holds .*3\.0\.1, which is not in array_record form"):
        tiny.load()


@pytest.mark.parametrize("name", ["kmnist", "cifar10"])
@pytest.mark.parametrize("shard", ["train", "test"])
def test_a_flipped_bit_anywhere_in_a_shard_changes_no_pixel(name: str, shard: str, make: Callable[[str], Tiny]) -> None:
    """Of a data set whose pixels have no known digest."""
    tiny = make(name)
    tiny.load()
    path = next(tiny.prepared.glob(f"*{shard}.array_record*"))
    content, noticed = path.read_bytes(), 0
    for position in np.linspace(0, len(content) - 1, 40).astype(int).tolist():
        flip(path, position)
        try:
            dataset = builder.read(tiny.spec, tiny.data_dir)
        except DamagedError:
            noticed += 1
        else:
            for got, expected in zip(dataset.arrays, tiny.arrays, strict=True):
                np.testing.assert_array_equal(got, expected, strict=True)
        path.write_bytes(content)
    assert noticed


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_a_data_set_prepared_from_the_images_of_another(name: str, make: Callable[[str], Tiny]) -> None:
    digits, tiny = make("mnist"), make(name)
    builder.write(dataclasses.replace(digits.load(), name=name), tiny.data_dir)
    tiny.load()
    assert logged(tiny, str(tiny.prepared), "damaged")


@needs_real("mnist")
@pytest.mark.slow
def test_mnist(tmp_path: Path) -> None:
    dataset = load("mnist", tmp_path, REAL_FILES, log=lambda _: None)
    assert dataset.test.targets[100:103].tolist() == [6, 0, 5]  # as in the notebook
    assert dataset.sha256 == catalogue.MNIST.sha256
    stock: Any = builder.mnist.MNIST(data_dir=tmp_path)
    train = stock.as_data_source("train")
    assert [train[i]["label"] for i in range(100)] == dataset.train.targets[:100].tolist()
    images, labels = builder._decode(stock, "test")
    np.testing.assert_array_equal(images, dataset.test.inputs)
    np.testing.assert_array_equal(labels, dataset.test.targets)
    assert "decoded" in load("mnist", tmp_path, log=lambda _: None).source
