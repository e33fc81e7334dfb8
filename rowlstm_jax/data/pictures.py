"""One picture file, read by Pillow: its size and kind, and its pixels."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
GREY = ("1", "L", "LA", "La")
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
DEEP = ("I", "F")
DEEP_RAW = re.compile(r"(I|F|L|LA|RGB|RGBA|RGBX|RGBa|CMYK|CMYKX?);(16|32|64).*")
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, rows and columns are exchanged


class Header(NamedTuple):
    """The size of a picture, (R, K), after it is turned as its EXIF data say, and whether it has colours."""

    size: tuple[int, int]
    colour: bool


def read_header(path: Path) -> Header:
    """Size and kind of a picture, without decoding it.

    Raises:
      ValueError: it is no picture that Pillow reads, is too large, has 16 bits a channel or several pages.
    """
    with _opened(path) as image:
        columns, rows = image.size
        if image.getexif().get(ORIENTATION, 1) >= 5:
            rows, columns = columns, rows
        return Header((rows, columns), image.mode not in GREY)


def read_pixels(path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """The pixels of a picture, uint8 of this shape, (R, K) for grey or (R, K, 3) for RGB, resized if need be.

    With None, the picture is made grey and keeps its size.

    Raises:
      ValueError: it is unreadable or cut off, or is transparent somewhere.
    """
    import PIL.Image
    import PIL.ImageOps

    with _opened(path) as image:
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode in WITH_ALPHA or "transparency" in image.info:
            image = image.convert("RGBA")
            if np.asarray(image)[..., 3].min() < 255:
                raise ValueError(f"{path} is transparent in places; save it with a background, without alpha.")
        image = image.convert("RGB" if shape and len(shape) == 3 else "L")
        if shape and image.size != (shape[1], shape[0]):
            image = image.resize((shape[1], shape[0]), PIL.Image.Resampling.BILINEAR)
        return np.asarray(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The picture, opened by Pillow. Whatever goes wrong with it is a ValueError that names the file."""
    import PIL.Image

    if not path.is_file():
        raise ValueError(f"{path} is not a file, or a link that leads nowhere; remove it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of much that does not matter here
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=FORMATS) as image:
                _require_plain(image, path)
                yield image
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{path} has more than {PIL.Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller.") from error
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"{path} is no PNG, JPEG, BMP or TIFF picture; replace or remove it.") from error
    except Exception as error:  # reading a damaged file may raise anything
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is damaged or cut off ({problem}); replace or remove it.") from error


def _require_plain(image: Any, path: Path) -> None:
    """Refuse what Pillow may read wrongly without a word: more than 8 bits a channel, pages, TIFF that is turned."""
    raw = [text for tile in image.tile for text in np.ravel(np.array(tile[3], object)) if isinstance(text, str)]
    if image.mode.partition(";")[0] in DEEP or any(DEEP_RAW.fullmatch(text) for text in raw):
        raise ValueError(f"{path} has more than 8 bits a channel; convert it to 8 bits.")
    if image.format == "TIFF" and image.tag_v2.get(ORIENTATION, 1) >= 5:  # Pillow 13 mixes up the pixels of some
        raise ValueError(
            f"{path} is a TIFF picture turned by 90 degrees in its EXIF data; save it as it is to be seen."
        )
    if image.format in ("PNG", "TIFF") and getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{path} has {image.n_frames} pages or frames; save each as a file of its own.")
