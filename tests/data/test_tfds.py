"""Data sets that TensorFlow Datasets prepared: read as they are, and a sentence for each that is refused."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets

from rowlstm_jax.data import arrays, builder, from_tfds, tfds
from tests.data.tiny import Tiny

RNG = np.random.default_rng(0)
PIXELS = {"train": RNG.integers(0, 256, (11, 6, 5, 3), np.uint8), "test": RNG.integers(0, 256, (7, 6, 5, 3), np.uint8)}
CLASSES = ("ant", "bee", "cow")
features: Any = tensorflow_datasets.features


class Colours(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set like those of TFDS, with what a test changes in it."""

    VERSION = tensorflow_datasets.core.Version("1.2.0")
    name = "colours"
    pkg_dir_path: Any = Path(__file__).parent
    fields: Any = None
    keys: Any = None
    splits = ("train", "test")
    labels: Any = staticmethod(lambda index: index % 3)
    shuffle = True

    def _info(self) -> Any:
        fields = self.fields or {"picture": features.Image(shape=(6, 5, 3)), "kind": features.ClassLabel(names=CLASSES)}
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=features.FeaturesDict(fields),
            supervised_keys=self.keys,
            disable_shuffling=not self.shuffle,
        )

    def _split_generators(self, dl_manager: Any) -> Any:
        return {split: self._generate_examples(PIXELS.get(split, PIXELS["test"])) for split in self.splits}

    def _generate_examples(self, pixels: np.ndarray) -> Iterator[Any]:
        fields: Any = self.info.features
        for index, image in enumerate(pixels):
            record = {"picture": PIL.Image.fromarray(image)}
            yield index, record | {key: self.labels(index) for key in fields if key != "picture"}


def make(data_dir: Path, **changes: Any) -> Path:
    """Prepares it, with other class attributes; returns the folder of the version."""
    changes = {"__module__": __name__, "name": "colours", "pkg_dir_path": Colours.pkg_dir_path} | changes
    config, num_shards = changes.pop("config", None), changes.pop("num_shards", 1)
    made: Any = type("Colours", (Colours,), changes, skip_registration=True)
    with builder._quiet():
        prepared = made(data_dir=data_dir, **({"config": config} if config else {}))
        prepared.download_and_prepare(
            file_format="array_record",
            download_config=tensorflow_datasets.download.DownloadConfig(num_shards=num_shards),
        )
    return Path(prepared.data_dir)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def refused(data_dir: Path, words: str, name: str = "colours") -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"tfds:{name} {words}")) as caught:
        from_tfds(name, data_dir, log=lambda _: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_pictures_classes_and_order(
    data_dir: Path, shuffle: bool, num_shards: int, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make(data_dir, shuffle=shuffle, num_shards=num_shards)
    assert len(list(folder.glob("*train.array_record*"))) == num_shards
    data = from_tfds("colours", data_dir)
    line = f"data: decoding tfds:colours from {folder} (about 15 s for 60,000 pictures, each time)\n"
    assert capfd.readouterr() == (line, "")
    assert (data.name, data.version, data.class_names, data.shape) == ("colours", "1.2.0", CLASSES, (6, 5, 3))
    for split, examples in (("train", data.train), ("test", data.test)):
        np.testing.assert_array_equal(examples.inputs, PIXELS[split], strict=True)
        np.testing.assert_array_equal(examples.targets, np.arange(len(examples), dtype=np.uint8) % 3, strict=True)
    assert not any(array.flags.writeable for array in data.arrays)
    assert from_tfds("colours:1.2.0", data_dir).sha256 == data.sha256
    assert "tensorflow" not in sys.modules


def test_pictures_stored_as_jpeg(data_dir: Path) -> None:
    image = features.Image(shape=(6, 5, 3), encoding_format="jpeg")
    make(data_dir, fields={"picture": image, "kind": features.ClassLabel(names=CLASSES)})
    data = from_tfds("colours", data_dir, log=lambda _: None)
    assert data.shape == (6, 5, 3)
    assert data.test.targets.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_grey_pictures_are_as_those_of_load(tiny: Tiny) -> None:
    loaded = tiny.load()
    data = from_tfds("mnist", tiny.data_dir, log=lambda _: None)
    for got, expected in zip(data.arrays, loaded.arrays, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)
    assert data.class_names == loaded.class_names


def test_the_newest_version_is_read(data_dir: Path) -> None:
    folder = make(data_dir)
    other = make(data_dir, VERSION=tensorflow_datasets.core.Version("1.10.0"), labels=lambda self, index: 2 - index % 3)
    assert other.parent == folder.parent
    assert from_tfds("colours", data_dir).version == "1.10.0"
    assert from_tfds("colours:1.2.0", data_dir).test.targets.tolist()[:2] == [0, 1]


def test_a_config(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds.subprocess, "run", None)
    config = tensorflow_datasets.core.BuilderConfig(name="small", description="")
    make(data_dir, config=config, BUILDER_CONFIGS=[config])
    data = from_tfds("colours/small", data_dir)
    assert (data.name, data.version) == ("colours-small", "1.2.0")
    assert from_tfds("colours/small:1.2.0", data_dir).sha256 == data.sha256
    refused(data_dir, f"has several configs, of which {data_dir} holds tfds:colours/small; name one of them.")


def test_pictures_that_are_in_training_and_test_are_counted(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = PIXELS["test"].copy()
    both[3] = PIXELS["train"][5]
    monkeypatch.setitem(PIXELS, "test", both)
    make(data_dir)
    log: list[str] = []
    from_tfds("colours", data_dir, log=log.append)
    assert log[-1] == "data: 1 of 7 test pictures of tfds:colours are also training pictures"


def test_the_keys_choose_among_several(data_dir: Path) -> None:
    fields = {
        "picture": features.Image(shape=(6, 5, 3)),
        "kind": features.ClassLabel(names=CLASSES),
        "other": features.ClassLabel(num_classes=300),
    }
    make(data_dir, fields=fields, keys=("picture", "other"))
    data = from_tfds("colours", data_dir)
    assert len(data.class_names) == 300
    assert data.train.targets.dtype == np.int32
    shutil.rmtree(data_dir)
    make(data_dir, fields=fields)
    refused(data_dir, "has the features kind, other, picture, with 1 images and 2 class labels; choose")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no label": (
        {"fields": {"picture": features.Image(shape=(6, 5, 3)), "score": features.Scalar(np.int64)}},
        "has the features picture, score, with 1 images and 0 class labels; choose a data set with one of each.",
    ),
    "no test": (
        {"splits": ("train", "validation")},
        "has no split test, only train, validation; choose",
    ),
    "sizes": (
        {"fields": {"picture": features.Image(shape=(None, None, 3)), "kind": features.ClassLabel(num_classes=3)}},
        "has images of several sizes, [None, None, 3]; save them in folders and give image_size.",
    ),
    "no labels": ({"labels": lambda self, index: -1}, "can't be read from "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_kinds_are_refused(case: str, data_dir: Path) -> None:
    changes, words = REFUSED[case]
    make(data_dir, **changes)
    refused(data_dir, words)


def test_deep_pictures_are_refused(data_dir: Path) -> None:
    folder = make(data_dir)
    info = folder / "features.json"
    assert "uint8" in info.read_text()
    info.write_text(info.read_text().replace("uint8", "uint16"))
    refused(data_dir, "has images of uint16; choose a data set with uint8 pixels.")


def test_more_than_the_memory_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_dir)
    monkeypatch.setattr(arrays, "free_memory", lambda: 18 * 90 - 1)
    with pytest.raises(ValueError, match=r"^tfds:colours: the arrays take"):
        from_tfds("colours", data_dir)


def test_another_form_is_refused(data_dir: Path) -> None:
    folder = make(data_dir)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    refused(
        data_dir, f"is prepared in {folder}, but not in array_record form; the other forms need TensorFlow. Prepare"
    )


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "colours-test.array_record-00000-of-00001"])
def test_damage_is_a_sentence(data_dir: Path, file: str) -> None:
    path = make(data_dir) / file
    path.write_bytes(path.read_bytes()[:-40])
    refused(data_dir, f"can't be read from {path.parent} (")


@pytest.mark.parametrize("name", ["", "a b", "../mnist", "mnist:3", "mnist/", "mnist:3.0.1:1", "mnist/a/b"])
def test_names_that_are_refused(name: str, data_dir: Path) -> None:
    refused(data_dir, "is no name of TensorFlow Datasets; write NAME, NAME:VERSION or NAME/CONFIG:VERSION.", name)


def test_a_data_set_that_tfds_prepares(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        assert command[-2:] == ["colours", str(data_dir)]
        make(data_dir)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(tfds.subprocess, "run", run)
    log: list[str] = []
    assert len(from_tfds("colours", data_dir, log=log.append).test) == 7
    assert log[0].startswith(f"data: tfds:colours is not prepared in {data_dir}; asking TensorFlow Datasets")


def test_a_data_set_that_can_not_be_prepared(data_dir: Path) -> None:
    reason = "TensorFlow Datasets knows no data set of this name"
    words = (
        f"is not prepared in {data_dir} and can't be here ({reason}); where TensorFlow is installed, run "
        "tfds.builder('no_such_set', data_dir=DIR, file_format='array_record').download_and_prepare(), and copy "
        f"DIR/no_such_set to {data_dir}/no_such_set."
    )
    refused(data_dir, words, "no_such_set")


def test_what_prepare_says(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "probe", lambda url: "the network is blocked")
    for name, words in (
        ("cifar100", "www.cs.toronto.edu: the network is blocked"),
        ("mnist/no_such_config", "ValueError: "),
        ("no_such_set", "TensorFlow Datasets knows no data set"),
    ):
        with pytest.raises(SystemExit, match="^" + re.escape(words)) as caught:
            builder.prepare(name, str(data_dir))
        assert "\n" not in str(caught.value)
    assert "tensorflow" not in sys.modules


def test_prepare(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    attributes = {"__module__": __name__, "name": "colours", "pkg_dir_path": Colours.pkg_dir_path}
    made = type("Colours", (Colours,), attributes, skip_registration=True)
    monkeypatch.setattr(builder.tfds, "builder", lambda name, **arguments: made(**arguments))
    builder.prepare("colours", str(data_dir))
    assert capfd.readouterr().out == ""
    assert len(from_tfds("colours", data_dir, log=lambda _: None).train) == 11
