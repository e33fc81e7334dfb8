"""Data sets from folders of pictures: layouts, splits, and a sentence for each folder that is refused."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from rowlstm_jax.data import arrays, folder, from_folder


def save(path: Path, seed: int, shape: tuple[int, ...] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Ten pictures of each of three classes."""
    root = tmp_path / "pets"
    for index in range(30):
        save(root / ("cat", "dog", "eel")[index % 3] / f"{index:02d}.png", index)
    return root


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    for index in range(24):
        save(root / ("train" if index < 16 else "test") / str((8, 9, 10)[index % 3]) / f"{index}.bmp", index)
    return root


def test_training_and_test_in_folders(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = from_folder(parts)
    assert (data.name, data.version, data.source) == ("digits", "1", str(parts))
    assert data.class_names == ("8", "9", "10"), "whole numbers are in the order of the numbers"
    assert (len(data.train), len(data.test), data.shape) == (16, 8, (6, 5))
    assert data.train.targets.tolist() == [0] * 6 + [1] * 5 + [2] * 5
    names = sorted((parts / "train" / "8").iterdir(), key=lambda path: path.name)
    assert [path.name for path in names[:2]] == ["0.bmp", "12.bmp"], (
        "files are in the order of the bytes of their names"
    )
    np.testing.assert_array_equal(data.train.inputs[1], np.asarray(PIL.Image.open(names[1])))
    assert capsys.readouterr().out == ""


def test_a_split_has_the_same_part_of_each_class(classes: Path) -> None:
    data = from_folder(classes)
    assert (data.version, data.class_names) == ("seed0-test0.2", ("cat", "dog", "eel"))
    assert np.bincount(data.train.targets).tolist() == [8, 8, 8]
    assert np.bincount(data.test.targets).tolist() == [2, 2, 2]
    assert (np.diff(data.train.targets.astype(int)) >= 0).all()
    everything = np.concatenate([data.train.inputs, data.test.inputs])
    assert len(np.unique(everything, axis=0)) == 30


def test_the_split_is_a_function_of_seed_and_part(classes: Path, tmp_path: Path) -> None:
    base = from_folder(classes)
    assert from_folder(classes).sha256 == base.sha256
    shutil.copytree(classes, tmp_path / "copy")
    assert from_folder(tmp_path / "copy").sha256 == base.sha256
    others = [from_folder(classes, seed=1), from_folder(classes, test_part=0.3), from_folder(classes, (3, 4))]
    assert [data.version for data in others] == ["seed1-test0.2", "seed0-test0.3", "seed0-test0.2-3x4"]
    assert len({base.sha256, *(data.sha256 for data in others)}) == 4
    assert len(from_folder(classes, test_part=0.999).train) == len(from_folder(classes, test_part=0.001).test) == 3


def test_one_colour_makes_all_rgb(classes: Path) -> None:
    save(classes / "eel" / "colour.png", 40, (6, 5, 3))
    data = from_folder(classes)
    assert data.shape == (6, 5, 3)
    grey = np.asarray(PIL.Image.open(classes / "cat" / "00.png"))
    everything = np.concatenate([data.train.inputs, data.test.inputs])
    assert (everything == grey[..., None]).all(axis=(1, 2, 3)).sum() == 1


def test_pictures_of_several_sizes_are_resized(classes: Path) -> None:
    save(classes / "dog" / "large.jpg", 40, (40, 50))
    words = (
        f"{classes}: cat/00.png has 6 rows and 5 columns, and dog/large.jpg 40 and 50; give image_size=(rows, columns)"
    )
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        from_folder(classes)
    assert from_folder(classes, (8, 7)).shape == (8, 7)


def test_what_systems_leave_behind_is_ignored_and_other_files_are_noted(classes: Path) -> None:
    base = from_folder(classes).sha256
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "cat/._00.png"):
        (classes / name).write_bytes(b"\0")
    (classes / ".git").mkdir()
    (classes / "__MACOSX").mkdir()
    log: list[str] = []
    assert from_folder(classes, log=log.append).sha256 == base
    assert log == []
    (classes / "labels.csv").write_text("")
    for number in range(5):
        (classes / "eel" / f"{number}.webp").write_text("")
    assert from_folder(classes, log=log.append).sha256 == base
    assert log == [
        f"data: not read in {classes}: labels.csv",
        f"data: not read in {classes / 'eel'}: 0.webp, 1.webp, 2.webp and 2 more",
    ]


def test_a_folder_beside_training_and_test_is_noted(parts: Path) -> None:
    (parts / "val").mkdir()
    log: list[str] = []
    from_folder(parts, log=log.append)
    assert log == [f"data: not read in {parts}: val"]


def test_a_class_without_test_examples(parts: Path) -> None:
    shutil.rmtree(parts / "test" / "9")
    assert sorted(set(from_folder(parts).test.targets.tolist())) == [0, 2]


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, " does not exist; name a folder of pictures"),
    "a file": (lambda root: (shutil.rmtree(root), root.write_text("")), " is not a folder; name a folder"),
    "empty": (lambda root: (shutil.rmtree(root), root.mkdir()), " holds no folders; put the pictures of each class"),
    "one class": (
        lambda root: (shutil.rmtree(root / "cat"), shutil.rmtree(root / "dog")),
        " holds the folder eel/ only; put the pictures",
    ),
    "an empty class": (
        lambda root: empty(root / "dog"),
        "/dog holds no pictures (.png, .jpg, .jpeg, .bmp, .tif, .tiff)",
    ),
    "one picture": (
        lambda root: (empty(root / "dog"), save(root / "dog" / "a.png", 50)),
        "/dog holds one picture; a split needs two of each class",
    ),
    "a folder in a class": (lambda root: (root / "dog" / "more").mkdir(), "/dog/more is a folder inside a class; put"),
    "a loop of folders": (lambda root: (root / "dog" / "up").symlink_to(root), "/dog/up is a folder inside a class"),
    "a loop of links": (
        lambda root: (root / "dog" / "a.png").symlink_to(root / "dog" / "a.png"),
        "/dog/a.png is not a file, or a link that leads nowhere; remove it",
    ),
    "training only": (
        lambda root: (root / "cat").rename(root / "train"),
        " holds no test/; give both train/ and test/",
    ),
    "test only": (lambda root: (root / "cat").rename(root / "test"), " holds no train/; give both train/ and test/"),
    "pictures in training": (
        lambda root: ((root / "cat").rename(root / "train"), (root / "dog").rename(root / "test")),
        "/train holds no folders; put the pictures of each class",
    ),
    "a damaged picture": (lambda root: (root / "eel" / "a.png").write_bytes(b"\x89PNG"), "/eel/a.png is no PNG, JPEG"),
    "one picture twice": (
        lambda root: [shutil.copy(root / "cat" / "00.png", root / "dog" / f"{n}.png") for n in range(20)],
        ": ",
    ),
    "a class that is no text": (
        lambda root: (root / "dog").rename(root / "d\udcff"),
        r": class_names holds 'd\udcff'; use characters that can be printed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str, classes: Path) -> None:
    change, words = BAD[case]
    change(classes)
    with pytest.raises(ValueError, match="^" + re.escape(f"{classes}{words}")) as caught:
        from_folder(classes)
    assert "\n" not in str(caught.value)


def test_a_picture_in_training_and_test_is_named(parts: Path) -> None:
    shutil.copy(parts / "train" / "9" / "13.bmp", parts / "test" / "10" / "b.bmp")
    words = (
        f"{parts}: 1 of 9 test inputs are also training inputs, the first test/10/b.bmp, which equals train/9/13.bmp;"
    )
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        from_folder(parts)
    assert len(from_folder(parts, allow_duplicates=True).test) == 9


def test_a_class_that_is_never_trained(parts: Path) -> None:
    save(parts / "test" / "11" / "a.png", 60)
    words = f"{parts / 'test'} has the class 11, which train/ has not; add training examples of it"
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        from_folder(parts)


def test_numbers_that_are_equal(classes: Path) -> None:
    for old, new in (("cat", "1"), ("dog", "01"), ("eel", "10")):
        (classes / old).rename(classes / new)
    assert from_folder(classes).class_names == ("01", "1", "10")


@pytest.mark.parametrize("image_size", [(0, 5), (5,), (5, 5, 3), (5.0, 5), ("5", 5)])
def test_sizes_that_are_refused(classes: Path, image_size: tuple) -> None:
    with pytest.raises(ValueError, match=r"image_size is .*; give two whole numbers, rows and columns, from 1\.$"):
        from_folder(classes, image_size)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"test_part": 0}, "test_part is 0; give a number between 0 and 1"),
        ({"test_part": 1.0}, "test_part is 1.0; give"),
        ({"test_part": float("nan")}, "test_part is nan; give"),
        ({"seed": -1}, "seed is -1; give a whole number from 0"),
        ({"seed": 0.5}, "seed is 0.5; give a whole number"),
    ],
)
def test_splits_that_are_refused(classes: Path, arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{classes}: {words}")):
        from_folder(classes, **arguments)


def test_more_pictures_than_memory_are_not_decoded(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "free_memory", lambda: 30 * 6 * 5)
    from_folder(classes)
    monkeypatch.setattr(folder, "read_pixels", None)
    monkeypatch.setattr(arrays, "free_memory", lambda: 30 * 6 * 5 - 1)
    with pytest.raises(ValueError, match=f"^{classes}: the arrays take"):
        from_folder(classes)


def test_a_path_that_the_disk_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a{{300}} can't be read \(File name too long\); make it"):
        from_folder(tmp_path / ("a" * 300))
