"""Data sets by one text."""

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from rowlstm_jax.data import from_folder, from_npz, from_tfds, is_own, open_dataset
from tests.data.test_npz import ARRAYS, write_folder
from tests.data.tiny import Tiny


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for index, image in enumerate(ARRAYS["x_train"]):
        path = tmp_path / "pictures" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return tmp_path / "pictures"


def test_each_kind(tiny: Tiny, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", **ARRAYS)
    (tmp_path / "a.npz").rename(tmp_path / "a.NPZ")
    arrays = write_folder(tmp_path / "arrays", ARRAYS)
    log: list[str] = []
    published = open_dataset("mnist", tiny.data_dir, tiny.local_files, log=log.append)
    assert published.sha256 == tiny.spec.sha256
    assert log[-1].startswith("data: mnist 3.0.1 from")
    expected = from_tfds("mnist", tiny.data_dir, log=log.append).sha256
    assert open_dataset("tfds:mnist:3.0.1", tiny.data_dir, log=log.append).sha256 == expected
    for name in ("a.NPZ", "~/a.NPZ", str(tmp_path / "a.NPZ"), "arrays", "./arrays/", str(arrays)):
        assert open_dataset(name).sha256 == from_npz(arrays).sha256
        assert is_own(name)
    for name in ("pictures", "~/pictures", str(pictures)):
        assert open_dataset(name).sha256 == from_folder(pictures).sha256
        assert open_dataset(name, image_size=(3, 4)).shape == (3, 4)
        assert is_own(name)
    (tmp_path / "mnist").mkdir()
    assert not is_own("mnist"), "a published name comes before a folder of that name"
    assert open_dataset("mnist", tiny.data_dir, log=log.append).sha256 == tiny.spec.sha256


@pytest.mark.parametrize(
    "name", ["", "cifar", "minst", "no such folder", "/no/such/folder", "a\0b", "~nobody-here/x", "a" * 300]
)
def test_what_is_none_of_these(name: str) -> None:
    words = (
        r"; choose one of mnist, fashion_mnist, kmnist\b.*, or give tfds:NAME, the path of an \.npz file, or "
        r"the path of a folder of \.npy files or of pictures\.$"
    )
    with pytest.raises(ValueError, match="^" + re.escape(f"dataset is {name!r}") + words):
        open_dataset(name)
    assert is_own(name) == ("/" in name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}/a.npz does not exist; name an"):
        open_dataset(f"{tmp_path}/a.npz")


@pytest.mark.parametrize("name", ["mnist", "tfds:mnist", "a.npz", "arrays"])
def test_a_size_for_what_has_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "arrays", ARRAYS)
    with pytest.raises(ValueError, match=rf"^image_size is \(3, 4\), and dataset '{name}' is no folder of pic"):
        open_dataset(name, image_size=(3, 4))
