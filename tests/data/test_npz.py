"""Data sets from .npz files and folders of .npy files, whole and damaged."""

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowlstm_jax.data import arrays, from_npz

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "x_train": RNG.integers(0, 256, (12, 5, 4), np.uint8),
    "y_train": np.arange(12) % 3,
    "x_test": RNG.integers(0, 256, (6, 5, 4), np.uint8),
    "y_test": np.arange(6)[:, None] % 3,
}
SEQUENCES: dict[str, np.ndarray] = ARRAYS | {
    "x_train": RNG.normal(size=(12, 5, 4)).astype(np.float32),
    "x_test": RNG.normal(size=(6, 5, 4)).astype(np.float32),
    "lengths_train": np.full(12, 5),
    "lengths_test": np.full(6, 2),
    "class_names": np.array(["a", "b", "c"]),
}


def write_folder(folder: Path, contents: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, array in contents.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "digits.npz", **ARRAYS)
    return tmp_path / "digits.npz"


def test_a_file_as_keras_has_it(npz: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = from_npz(npz)
    assert (data.name, data.source, data.class_names) == ("digits", str(npz), ("0", "1", "2"))
    np.testing.assert_array_equal(data.train.inputs, ARRAYS["x_train"], strict=True)
    assert data.test.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert capsys.readouterr().out == ""
    monkeypatch.chdir(npz.parent)
    assert from_npz("digits.npz").sha256 == data.sha256


def test_a_file_and_a_folder_of_the_same_arrays_have_one_digest(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **SEQUENCES)
    packed = from_npz(tmp_path / "a.npz")
    mapped = from_npz(write_folder(tmp_path / "b.data", SEQUENCES))
    assert mapped.name == "b.data"
    assert mapped.sha256 == packed.sha256
    assert mapped.class_names == packed.class_names == ("a", "b", "c")
    assert mapped.test.lengths is not None
    assert mapped.test.lengths.tolist() == [2] * 6
    assert isinstance(mapped.train.inputs, np.memmap)
    assert not isinstance(packed.train.inputs, np.memmap)


def test_other_arrays_are_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS, x_val=ARRAYS["x_test"], lenghts_test=np.ones(6))
    log: list[str] = []
    from_npz(tmp_path / "a.npz", log=log.append)
    assert log == [f"data: {tmp_path / 'a.npz'} also holds x_val, lenghts_test, which is not read"]


class Mark:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled(path: Path) -> np.ndarray:
    return np.array([Mark(path.parent / "mark")] * 12, object)


def replace_member(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in (members | {name: data}).items():
            archive.writestr(member, content)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_in_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF  # in the contents of the first array
    path.write_bytes(data)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "does not exist; name an .npz file or a folder"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is not a file; name an .npz file"),
    "a web page": (lambda path: path.write_text("<html>"), "is not an .npz file, as it is no zip archive"),
    "empty": (lambda path: path.write_bytes(b""), "is not an .npz file, as it is no zip archive"),
    "an .npy file": (lambda path: path.write_bytes(npy(ARRAYS["x_train"])), "is not an .npz file"),
    "cut off": (cut, "is damaged or cut off (BadZipFile"),
    "flipped": (flip_in_the_middle, "is damaged or cut off ("),
    "other keys": (
        lambda path: np.savez(path, train=ARRAYS["x_train"], y_test=ARRAYS["y_test"]),
        "has no x_train, y_train, x_test; it holds train, y_test. Name the arrays x_train, y_train, x_test, y_test",
    ),
    "no keys": (lambda path: np.savez(path), "has no x_train, y_train, x_test, y_test; it holds nothing"),
    "pickled": (
        lambda path: np.savez(path, **ARRAYS | {"y_train": pickled(path)}, allow_pickle=True),
        "y_train holds pickled Python objects, which are not read as they could run code",
    ),
    "no array": (lambda path: replace_member(path, "x_test.npy", b"hello"), "is damaged or cut off ("),
    "a cut array": (
        lambda path: replace_member(path, "x_test.npy", npy(ARRAYS["x_test"])[:-5]),
        "is damaged or cut off (ValueError: EOF",
    ),
    "names as bytes": (
        lambda path: np.savez(path, **ARRAYS, class_names=np.array([b"a", b"b", b"c"])),
        "class_names is |S1 [3]; make it np.array([...], dtype=str)",
    ),
    "wrong arrays": (
        lambda path: np.savez(path, **ARRAYS | {"y_test": np.arange(5)}),
        "x_test has 6 examples and y_test 5 targets",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_refused(case: str, npz: Path) -> None:
    change, words = BAD_FILES[case]
    change(npz)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(npz))}:? {re.escape(words)}") as caught:
        from_npz(npz, log=lambda _: None)
    assert "\n" not in str(caught.value)
    assert not (npz.parent / "mark").exists()


def test_every_flipped_byte_is_noticed_or_changes_nothing(npz: Path) -> None:
    content, sha256 = npz.read_bytes(), from_npz(npz).sha256
    for position in np.linspace(0, len(content) - 1, 150).astype(int).tolist():
        npz.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            got = from_npz(npz, log=lambda _: None).sha256
        except ValueError as error:
            got = str(error)
        assert got == sha256 or got.startswith(str(npz)), position


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing file": (lambda path: (path / "y_test.npy").unlink(), "has no y_test; it holds "),
    "cut off": (
        lambda path: cut(path / "x_train.npy"),
        "/x_train.npy is damaged or cut off (ValueError: it has 168 bytes, not 368)",
    ),
    "not NumPy's": (lambda path: (path / "x_train.npy").write_text("hello"), "/x_train.npy is damaged or cut off ("),
    "empty": (lambda path: (path / "x_train.npy").write_bytes(b""), "/x_train.npy is damaged or cut off ("),
    "pickled": (
        lambda path: np.save(path / "y_train.npy", pickled(path), allow_pickle=True),
        ": y_train.npy holds pickled Python objects",
    ),
    "a folder for a file": (
        lambda path: ((path / "x_test.npy").unlink(), (path / "x_test.npy").mkdir()),
        ": x_test.npy is not a file; write it with np.save",
    ),
    "a pipe": (
        lambda path: ((path / "x_test.npy").unlink(), os.mkfifo(path / "x_test.npy")),
        ": x_test.npy is not a file; write it with np.save",
    ),
    "no examples": (
        lambda path: np.save(path / "x_test.npy", ARRAYS["x_test"][:0]),
        ": x_test is uint8 [0, 5, 4], so it has no examples",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_folder_that_is_refused(case: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", ARRAYS)
    change, words = BAD_FOLDERS[case]
    change(folder)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(folder))} ?{re.escape(words)}") as caught:
        from_npz(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_a_file_larger_than_the_memory_is_not_unpacked(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(array.nbytes for array in ARRAYS.values())
    monkeypatch.setattr(arrays, "free_memory", lambda: size)
    from_npz(npz)
    monkeypatch.setattr(arrays, "free_memory", lambda: size - 1)
    with pytest.raises(
        ValueError, match=rf"^{npz}: the arrays take .* GB of memory are free; .* a folder of \.npy files"
    ):
        from_npz(npz)
    monkeypatch.undo()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    replace_member(npz, "x_train.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"the arrays take 784,000\.0 GB"):
        from_npz(npz)


def test_a_path_that_the_disk_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a{{300}} can't be read \(File name too long\); make it"):
        from_npz(tmp_path / ("a" * 300))
