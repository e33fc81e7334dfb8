"""Single picture files of all kinds that Pillow reads, and those that are refused."""

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from rowlstm_jax.data.pictures import Header, read_header, read_pixels

GREY = np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
OPAQUE = np.concatenate([RGB, np.full((6, 5, 1), 255, np.uint8)], axis=-1)


def write(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = PIL.Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_lossless_kinds(tmp_path: Path, suffix: str) -> None:
    grey, rgb = write(tmp_path / f"grey{suffix}", GREY), write(tmp_path / f"rgb{suffix}", RGB)
    assert read_header(grey) == Header((6, 5), False)
    assert read_header(rgb) == Header((6, 5), True)
    np.testing.assert_array_equal(read_pixels(grey, (6, 5)), GREY, strict=True)
    np.testing.assert_array_equal(read_pixels(rgb, (6, 5, 3)), RGB, strict=True)
    np.testing.assert_array_equal(read_pixels(grey, (6, 5, 3)), np.repeat(GREY[..., None], 3, axis=-1), strict=True)


@pytest.mark.parametrize(
    ("array", "mode", "name", "colour"),
    [
        (GREY, "1", "a.png", False),
        (GREY, "LA", "a.png", False),
        (RGB, "P", "a.png", True),
        (OPAQUE, None, "a.png", True),
        (RGB, "CMYK", "a.jpg", True),
        (GREY, None, "a.jpeg", False),
        (RGB, None, "a.JPG", True),
        (RGB, "CMYK", "a.tif", True),
        (RGB, "YCbCr", "a.tif", True),
    ],
)
def test_other_kinds(tmp_path: Path, array: np.ndarray, mode: str | None, name: str, colour: bool) -> None:
    path = write(tmp_path / name, array, mode)
    assert read_header(path) == Header((6, 5), colour)
    pixels = read_pixels(path, (6, 5, 3) if colour else (6, 5))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (6, 5, 3) if colour else (6, 5))
    if array is OPAQUE:
        np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize(
    ("suffix", "orientation"),
    [
        (suffix, number)
        for suffix in (".png", ".tif", ".jpg")
        for number in range(1, 9)
        if suffix != ".tif" or number < 5
    ],
)
def test_pictures_are_turned_as_their_exif_data_say(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    flat = np.repeat(np.repeat(GREY, 8, axis=0), 8, axis=1)  # JPEG keeps blocks of 8 by 8 pixels
    path = write(tmp_path / f"a{suffix}", flat, exif=exif, quality=95)
    turned = {
        1: flat,
        2: flat[:, ::-1],
        3: flat[::-1, ::-1],
        4: flat[::-1],
        5: flat.T,
        6: np.rot90(flat, -1),
        7: flat[::-1, ::-1].T,
        8: np.rot90(flat),
    }[orientation]
    assert read_header(path).size == turned.shape
    np.testing.assert_allclose(read_pixels(path, turned.shape), turned, atol=2 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", range(5, 9))
def test_tiff_pictures_that_pillow_may_turn_wrongly_are_refused(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.tif", GREY, exif=exif)
    with pytest.raises(ValueError, match=f"^{path} is a TIFF picture turned by 90 degrees in its EXIF data; save it"):
        read_header(path)


def test_resizing_averages_over_the_pixels(tmp_path: Path) -> None:
    board = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (32, 32))
    small = read_pixels(write(tmp_path / "a.png", board), (4, 8))
    assert small.shape == (4, 8)
    assert abs(small.astype(int) - 127).max() <= 8, "without antialiasing it would be black or white"


def deep_png(path: Path, kind: int, channels: int) -> None:
    """A PNG of 16 bits a channel; Pillow writes none with colours."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(range(5 * channels * 2)) for _ in range(6))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 6, 16, kind, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def cut(path: Path, array: np.ndarray) -> None:
    write(path, array)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])


def transparent(path: Path) -> None:
    pixels = OPAQUE.copy()
    pixels[3, 2, 3] = 254
    write(path, pixels)


def bomb(path: Path) -> None:
    PIL.Image.new("1", (9_500, 9_500)).save(path)


LARGE = np.random.default_rng(2).integers(0, 256, (60, 50, 3), np.uint8)
BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "16 bits": (
        "a.png",
        lambda path: write(path, GREY.astype(np.uint16)),
        "has more than 8 bits a channel; convert it",
    ),
    "16 bits of grey": ("a.png", lambda path: deep_png(path, 0, 1), "has more than 8 bits a channel"),
    "16 bits of grey and alpha": ("a.png", lambda path: deep_png(path, 4, 2), "has more than 8 bits a channel"),
    "16 bits of colour": ("a.png", lambda path: deep_png(path, 2, 3), "has more than 8 bits a channel"),
    "16 bits of colour and alpha": ("a.png", lambda path: deep_png(path, 6, 4), "has more than 8 bits a channel"),
    "16 bits of TIFF": ("a.tif", lambda path: write(path, GREY.astype(np.uint16)), "has more than 8 bits a channel"),
    "32 bits": ("a.tif", lambda path: write(path, GREY.astype(np.int32)), "has more than 8 bits a channel"),
    "floats": ("a.tif", lambda path: write(path, GREY.astype(np.float32)), "has more than 8 bits a channel"),
    "transparent": ("a.png", transparent, "is transparent in places; save it with a background, without alpha"),
    "a transparent colour": (
        "a.png",
        lambda path: write(path, RGB, transparency=tuple(RGB[0, 0].tolist())),
        "is transparent in places",
    ),
    "cut PNG": ("a.png", lambda path: cut(path, LARGE), "is damaged or cut off (OSError: image file is truncated"),
    "cut JPEG": ("a.jpg", lambda path: cut(path, LARGE), "is damaged or cut off (OSError: image file is truncated"),
    "cut TIFF": ("a.tif", lambda path: cut(path, LARGE), "is "),
    "cut BMP": ("a.bmp", lambda path: cut(path, LARGE), "is damaged or cut off (OSError"),
    "text": ("a.png", lambda path: path.write_text("hello"), "is no PNG, JPEG, BMP or TIFF picture; replace or remove"),
    "empty": ("a.png", lambda path: path.write_bytes(b""), "is no PNG, JPEG, BMP or TIFF picture"),
    "another kind": ("a.png", lambda path: write(path, RGB, format="WEBP"), "is no PNG, JPEG, BMP or TIFF picture"),
    "a bomb": ("a.png", bomb, "has more than 89,478,485 pixels; make it smaller"),
    "pages": (
        "a.tif",
        lambda path: write(path, RGB, save_all=True, append_images=[PIL.Image.fromarray(RGB)]),
        "has 2 pages or frames; save each as a file of its own",
    ),
    "a missing file": ("a.png", lambda path: None, "is not a file, or a link that leads nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_picture_that_is_refused(case: str, tmp_path: Path) -> None:
    name, make, words = BAD[case]
    path = tmp_path / name
    make(path)

    def read() -> None:
        header = read_header(path)
        read_pixels(path, (*header.size, 3) if header.colour else header.size)

    with pytest.raises(ValueError, match="^" + re.escape(f"{path} {words}")) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_no_flipped_byte_is_more_than_a_sentence(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif"):
        path = write(tmp_path / name, RGB)
        content = path.read_bytes()
        for position in range(0, len(content), 7):
            path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
            problem = ""
            try:
                header = read_header(path)
                if np.prod(header.size) < 10**6:
                    read_pixels(path, (*header.size, 3))
            except ValueError as error:
                problem = str(error)
            assert not problem or problem.startswith(str(path))
