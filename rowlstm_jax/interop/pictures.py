"""A picture file as a trained model takes it; for models of MNIST prepared as MNIST's digits were."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rowlstm_jax.data import PICTURES, read_picture

SIDE, BOX = 28, 20  # pixels of an MNIST image, and of the box that its digit was fitted into
CENTRE = 14.5  # where the mass of MNIST's digits is, on average of both axes: measured, 14.49 and 14.51
INK = 0.2  # of the strongest stroke: what is weaker is background, such as the noise of JPEG
LONGEST = 28  # characters of a path that is shown
FAINTEST = 24  # levels of grey between background and strokes


class Seen(NamedTuple):
    """What a network says of one picture."""

    picture: str
    label: str  # the most probable class
    probability: float
    runner_up: str
    runner_up_probability: float
    probabilities: dict[str, float]  # by class

    @classmethod
    def of(cls, picture: str, probabilities: np.ndarray, class_names: Sequence[str]) -> "Seen":
        """From the probabilities of all classes, [C]."""
        first, second = map(int, np.argsort(-probabilities)[:2])
        shares = dict(zip(class_names, map(float, probabilities), strict=True))
        label, runner_up = class_names[first], class_names[second]
        return cls(picture, label, shares[label], runner_up, shares[runner_up], shares)

    def row(self) -> tuple[str, ...]:
        """All but the probabilities of the other classes, as texts; of a long path, its end."""
        picture = self.picture if len(self.picture) <= LONGEST else f"…{self.picture[1 - LONGEST :]}"
        return picture, self.label, f"{self.probability:.1%}", self.runner_up, f"{self.runner_up_probability:.1%}"


def find_pictures(names: Iterable[str]) -> list[Path]:
    """Files of pictures, and those in folders, by name.

    Raises:
      ValueError: one is not there, a folder has none, or there are no names.
    """
    found = []
    for path in map(Path, names):
        if path.is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise ValueError(f"There is no picture {path}; name a file, or a folder of pictures.")
        inside = [file for file in sorted(path.iterdir()) if file.suffix.lower() in PICTURES and file.is_file()]
        if not inside:
            raise ValueError(f"{path} has no picture ({', '.join(PICTURES)}); name a folder that has some.")
        found += inside
    if not found:
        raise ValueError("No picture is named; name a file, or a folder of pictures.")
    return found


def load_picture(path: Path, shape: tuple[int, ...], *, like_mnist: bool) -> np.ndarray:
    """Read a picture file, and make of it what a model reads.

    Args:
      path: a PNG, JPEG, BMP or TIFF.
      shape: of what the model reads, (R, K) or (R, K, 3).
      like_mnist: prepare it as `as_mnist` does; else it is resized to `shape` if need be.

    Returns:
      uint8 of this shape.

    Raises:
      ValueError: it is no picture, is damaged or transparent, or has nothing on it.
    """
    if not like_mnist:
        return read_picture(path, shape)
    try:
        return as_mnist(read_picture(path, None))
    except ValueError as error:
        raise ValueError(str(error).replace("The picture", str(path), 1)) from error


def as_mnist(grey: np.ndarray) -> np.ndarray:
    """Prepare the picture of a digit as the digits of MNIST were prepared.

    The background is the median of the border. If it is the lighter part, the picture is inverted. The digit is cut
    out, fitted into a box of 20 x 20 pixels with its proportions kept, and placed in 28 x 28 pixels so that its centre
    of mass is in the middle.

    Args:
      grey: uint8 [R, K], of any size.

    Returns:
      uint8 [28, 28], strokes light on a background of 0.

    Raises:
      ValueError: it has nothing on it.

    Source: LeCun et al. 1998, section III.A, and the page of the data set, which describes the preparation.
    """
    import PIL.Image

    values = grey.astype(np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    ink = values - np.median(border)
    ink = np.maximum(ink if ink.max() >= -ink.min() else -ink, 0)  # strokes are what differs most from the background
    if ink.max() < FAINTEST:
        raise ValueError("The picture is of one grey; it must show a digit.")
    drawn = ink > INK * ink.max()
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    cut = np.where(drawn, ink, 0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * (255 / ink.max())
    scale = BOX / max(cut.shape)
    size = [max(1, round(scale * side)) for side in cut.shape]
    fitted: Any = PIL.Image.fromarray(cut).resize(
        (size[1], size[0]), PIL.Image.Resampling.BOX if scale < 1 else PIL.Image.Resampling.BILINEAR
    )
    digit = np.asarray(fitted)
    corner = [CENTRE - middle for middle in _centre_of_mass(digit)]
    top, left = (int(np.clip(round(at), 0, SIDE - side)) for at, side in zip(corner, digit.shape, strict=True))
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = np.clip(np.rint(digit), 0, 255)
    return image


def _centre_of_mass(values: np.ndarray) -> tuple[float, float]:
    """In pixels from the upper left corner; the middle of the first pixel is at (0.5, 0.5)."""
    rows, columns = (np.arange(side) + 0.5 for side in values.shape)
    total = values.sum()
    return float(rows @ values.sum(axis=1) / total), float(values.sum(axis=0) @ columns / total)
