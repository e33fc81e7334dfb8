"""Pictures of digits, however they are drawn, are prepared as MNIST's were."""

import io
import re

import numpy as np
import PIL.Image
import pytest

from rowlstm_jax.interop.pictures import Seen, as_mnist, find_pictures, load_picture


def a_seven(rows: int, columns: int, top: int, left: int, height: int = 54) -> np.ndarray:
    """A light 7 on black: a bar and a slanted stroke."""
    canvas = np.zeros((rows, columns), np.uint8)
    canvas[top : top + 6, left : left + 36] = 255
    for row in range(height):
        at = left + 30 - row // 2
        canvas[top + row, at : at + 6] = 255
    return canvas


def test_a_digit_is_fitted_into_20_pixels_and_its_mass_is_in_the_middle():
    found = as_mnist(a_seven(100, 100, 5, 50))
    assert (found.shape, found.dtype) == ((28, 28), np.uint8)
    rows, columns = np.flatnonzero(found.max(1)), np.flatnonzero(found.max(0))
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 == pytest.approx(20 * 36 / 54, abs=1)  # its proportions stay
    weights = found / found.sum()
    assert (weights.sum(1) @ np.arange(28), weights.sum(0) @ np.arange(28)) == pytest.approx((14, 14), abs=0.5)
    assert found.max() == 255


def jpeg(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=50)
    return np.asarray(PIL.Image.open(stream))


@pytest.mark.parametrize("change", [lambda x: 255 - x, jpeg, lambda x: x // 4 + 90, lambda x: 200 - x // 3])
@pytest.mark.parametrize(("rows", "columns", "top", "left"), [(100, 100, 30, 2), (200, 300, 130, 200)])
def test_polarity_contrast_place_and_noise_make_no_difference(change, rows, columns, top, left):
    plain = as_mnist(a_seven(100, 100, 5, 50)).astype(int)
    found = as_mnist(change(a_seven(rows, columns, top, left))).astype(int)
    assert np.abs(found - plain).mean() < 4


def test_thin_and_tiny_digits_are_enlarged():
    line = np.zeros((40, 40), np.uint8)
    line[3:9, 20] = 255
    found = as_mnist(line)
    rows = np.flatnonzero(found.max(1))
    assert rows[-1] - rows[0] + 1 == 20


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_picture_of_one_grey_is_refused(tmp_path, level):
    path = tmp_path / "x.png"
    PIL.Image.fromarray(np.full((30, 30), level, np.uint8)).save(path)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is of one grey; it must show a digit\.$"):
        load_picture(path, (28, 28), like_mnist=True)
    assert load_picture(path, (28, 28), like_mnist=False).tolist() == np.full((28, 28), level).tolist()


def test_as_it_is_a_picture_is_only_resized(tmp_path):
    path = tmp_path / "x.png"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(load_picture(path, (4, 6, 3), like_mnist=False), pixels)
    assert load_picture(path, (8, 9), like_mnist=False).shape == (8, 9)


def test_files_and_folders_are_found_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "text.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert find_pictures([str(tmp_path), str(tmp_path / "text.txt")]) == [
        tmp_path / name for name in ("a.JPG", "b.png", "text.txt")
    ]
    for names, message in (
        ([tmp_path / "no"], "There is no picture"),
        ([tmp_path / "empty"], "has no picture"),
        ([], "No p"),
    ):
        with pytest.raises(ValueError, match=message):
            find_pictures(map(str, names))


def test_what_is_seen_is_the_best_and_the_next():
    seen = Seen.of("x.png", np.array([0.1, 0.2, 0.7], np.float32), ("a", "b", "c"))
    assert seen.row() == ("x.png", "c", "70.0%", "b", "20.0%")
    assert list(seen.probabilities) == ["a", "b", "c"]
    (shown, *_) = seen._replace(picture=f"/a/long/path/{'x' * 40}/3.png").row()
    assert (len(shown), shown[0], shown[-6:]) == (28, "…", "/3.png")
