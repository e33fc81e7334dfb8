"""`from_folder`: a data set from folders of PNG, JPEG, BMP and TIFF pictures, one folder a class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rowlstm_jax.data.arrays import readable, require_memory
from rowlstm_jax.data.batches import epoch_order
from rowlstm_jax.data.dataset import Dataset
from rowlstm_jax.data.own import assemble, examples_from
from rowlstm_jax.data.pictures import SUFFIXES, Header, read_header, read_pixels
from rowlstm_jax.data.sources import Log
from rowlstm_jax.paths import resolved

IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


class Picture(NamedTuple):
    """A file, the number of its class, and what its header says."""

    path: Path
    label: int
    header: Header


def from_folder(
    path: Path | str,
    image_size: tuple[int, int] | None = None,
    test_part: float = 0.2,
    seed: int = 0,
    *,
    allow_duplicates: bool = False,
    log: Log = print,
) -> Dataset:
    """A data set from `train/<class>/*` and `test/<class>/*`, or from `<class>/*`, which is split at random.

    The classes are sorted by name, or by number if all are whole numbers, and the pictures of a class by the bytes of
    their names. If all are grey, the inputs are [N, R, K]; if one has a colour, all become RGB, [N, R, K, 3]. They are
    turned as their EXIF data say. An alpha channel is dropped if it is opaque everywhere.

    Args:
      path: of the folder.
      image_size: (R, K), to which Pillow resizes all pictures (bilinear, with antialiasing, without regard to their
        proportions); if None, they must have one size.
      test_part: the part of each class, between 0 and 1, that becomes test examples if there is no `test/`.
      seed: of that split.
      allow_duplicates: whether the same picture may be in training and test.
      log: is called with one line if there are other files, which are not read.

    Returns:
      The data set; its name is that of the folder. Its version names size, seed and part, where they count.

    Raises:
      ValueError: the folders are not as above, or a picture is unreadable or of another size or kind.
    """
    root = resolved(Path(path))
    size = _checked_size(image_size, root)
    with readable(root):
        classes, fixed, train, test = _parts(root, test_part, seed, log)
    shape = _one_shape([*train, *test], size, root)
    require_memory((len(train) + len(test)) * int(np.prod(shape)), str(root))
    version = [] if fixed else [f"seed{seed}", f"test{test_part:g}"]
    version += [f"{size[0]}x{size[1]}"] if size else []
    read = {"train": train, "test": test}
    train_examples, test_examples = (
        examples_from(_pixels(pictures, shape), [picture.label for picture in pictures], None, part, str(root))
        for part, pictures in read.items()
    )
    return assemble(
        train_examples,
        test_examples,
        class_names=classes,
        name=root.name or "pictures",
        version="-".join(version) or "1",
        source=str(root),
        allow_duplicates=allow_duplicates,
        label=lambda part, index: str(read[part][index].path.relative_to(root)),
    )


def _parts(root: Path, test_part: float, seed: int, log: Log) -> tuple[list[str], bool, list[Picture], list[Picture]]:
    """The class names, whether training and test have folders of their own, and the pictures of both."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"{root} {problem}; name a folder of pictures.")
    parts = [root / part for part in ("train", "test")]
    if not any(part.is_dir() for part in parts):
        classes = _classes(root, log)
        return classes, False, *_split(_pictures(root, classes, log), test_part, seed, root)
    for part in parts:
        if not part.is_dir():
            raise ValueError(f"{root} holds no {part.name}/; give both train/ and test/, or classes only.")
    _log_others(root, [entry for entry in _visible(root) if entry not in parts], log)
    classes = _classes(parts[0], log)
    return classes, True, _pictures(parts[0], classes, log), _pictures(parts[1], classes, log)


def _checked_size(image_size: tuple[int, int] | None, root: Path) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sizes = tuple(image_size)
    if len(sizes) != 2 or not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise ValueError(f"{root}: image_size is {image_size}; give two whole numbers, rows and columns, from 1.")
    return int(sizes[0]), int(sizes[1])


def _visible(folder: Path) -> list[Path]:
    """What the folder holds, without hidden files and those of Windows and macOS, sorted by the bytes of the names."""
    names = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return sorted((entry for entry in names if entry.name.lower() not in IGNORED), key=lambda e: os.fsencode(e.name))


def _classes(folder: Path, log: Log) -> list[str]:
    """The names of the folders in it, in order."""
    entries = _visible(folder)
    names = [entry.name for entry in entries if entry.is_dir()]
    if len(names) < 2:
        found = f"the folder {names[0]}/ only" if names else "no folders"
        raise ValueError(
            f"{folder} holds {found}; put the pictures of each class into a folder of its own, at least two."
        )
    _log_others(folder, [entry for entry in entries if not entry.is_dir()], log)
    if all(name.isascii() and name.isdecimal() for name in names):
        names.sort(key=int)
    return names


def _pictures(folder: Path, classes: Sequence[str], log: Log) -> list[Picture]:
    """The pictures of all classes, in order, with their headers."""
    if unknown := [entry.name for entry in _visible(folder) if entry.is_dir() and entry.name not in classes]:
        raise ValueError(f"{folder} has the class {unknown[0]}, which train/ has not; add training examples of it.")
    pictures = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue  # a class without test examples
        entries, count = _visible(folder / name), len(pictures)
        for entry in entries:
            if entry.is_dir():
                raise ValueError(f"{entry} is a folder inside a class; put its pictures into {entry.parent}.")
            if entry.suffix.lower() in SUFFIXES:
                pictures.append(Picture(entry, label, read_header(entry)))
        _log_others(folder / name, [entry for entry in entries if entry.suffix.lower() not in SUFFIXES], log)
        if len(pictures) == count:
            raise ValueError(
                f"{folder / name} holds no pictures ({', '.join(SUFFIXES)}); add some, or remove the folder."
            )
    if not pictures:
        raise ValueError(f"{folder} holds none of the classes {', '.join(classes[:8])}; add pictures.")
    return pictures


def _log_others(folder: Path, others: Sequence[Path], log: Log) -> None:
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        log(f"data: not read in {folder}: {', '.join(entry.name for entry in others[:3])}{more}")


def _split(pictures: list[Picture], test_part: float, seed: int, root: Path) -> tuple[list[Picture], list[Picture]]:
    """Training and test pictures: of each class the same part, drawn by the seed; both stay in order."""
    if not 0 < test_part < 1:
        raise ValueError(f"{root}: test_part is {test_part}; give a number between 0 and 1.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{root}: seed is {seed}; give a whole number from 0.")
    labels = np.array([picture.label for picture in pictures])
    chosen = np.zeros(len(pictures), bool)
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        if len(own) < 2:
            raise ValueError(f"{pictures[own[0]].path.parent} holds one picture; a split needs two of each class.")
        count = min(max(1, round(test_part * len(own))), len(own) - 1)
        chosen[own[epoch_order(int(seed), label, len(own))[:count]]] = True
    parts = [
        [picture for picture, test in zip(pictures, chosen, strict=True) if test == part] for part in (False, True)
    ]
    return parts[0], parts[1]


def _one_shape(pictures: Sequence[Picture], size: tuple[int, int] | None, root: Path) -> tuple[int, ...]:
    """(R, K) or (R, K, 3), for all pictures."""
    first = pictures[0]
    for picture in pictures:
        if size is None and picture.header.size != first.header.size:
            (a, b), (c, d) = first.header.size, picture.header.size
            raise ValueError(
                f"{root}: {first.path.relative_to(root)} has {a} rows and {b} columns, and "
                f"{picture.path.relative_to(root)} {c} and {d}; give image_size=(rows, columns) to resize all."
            )
    colour = any(picture.header.colour for picture in pictures)
    return (*(size or first.header.size), *((3,) if colour else ()))


def _pixels(pictures: Sequence[Picture], shape: tuple[int, ...]) -> np.ndarray:
    result = np.empty((len(pictures), *shape), np.uint8)
    for index, picture in enumerate(pictures):
        result[index] = read_pixels(picture.path, shape)
    return result
