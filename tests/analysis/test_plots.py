"""The pictures of a run: what they count, choose and show, and that they are PNG files."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style
from rowlstm_jax.analysis.plots.runs import confusion_counts, rank_errors
from rowlstm_jax.analysis.plots.training import accuracy_range

DIGITS = [str(digit) for digit in range(10)]
RECORDS = [{"step": step, "loss": 2.0 / step, "accuracy": 1.0 - 0.9 / step} for step in range(1, 41)]
VALIDATED = [
    {**record, "validation_loss": 0.5, "validation_accuracy": 0.8} if record["step"] % 10 == 0 else record
    for record in RECORDS
]


def pixels(path: Path) -> np.ndarray:
    """Returns a PNG as uint8 [height, width, 3]."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def has_colour(picture: np.ndarray, colour: str) -> bool:
    """Tells whether some pixel has exactly this colour, "#rrggbb"."""
    return bool((picture == list(bytes.fromhex(colour[1:]))).all(axis=-1).any())


def test_samples_draws_the_first_image_flat_and_all_of_them_stacked(tmp_path):
    images, labels = np.zeros((3, 28, 28), np.uint8), np.array([1, 4, 1])
    images[0, :14] = 255  # the upper rows, which are the far half of a plane
    plots.samples(tmp_path / "first.png", images, labels, [1, 2, 3], DIGITS)
    plots.samples(tmp_path / "last.png", images[::-1], labels[::-1], [3, 2, 1], DIGITS)
    first, last = pixels(tmp_path / "first.png")[..., 0], pixels(tmp_path / "last.png")[..., 0]
    assert first.shape == last.shape == (480, 960)
    upper_and_lower_rows = {
        "flat": ([150, 300], [250, 250]),
        "top of the stack": ([68, 108], [695, 642]),
        "bottom of the stack": ([330, 375], [695, 642]),
    }
    found = {place: (first[at].tolist(), last[at].tolist()) for place, at in upper_and_lower_rows.items()}
    assert found == {
        "flat": ([255, 0], [0, 0]),
        "top of the stack": ([255, 0], [0, 0]),
        "bottom of the stack": ([0, 0], [255, 0]),
    }


def test_curves_draws_both_series_when_both_are_recorded(tmp_path):
    plots.curves(tmp_path / "curves.png", VALIDATED)
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape == (420, 1080, 3)
    for panel in np.split(picture, 2, axis=1):
        assert has_colour(panel, style.VERMILION)
        assert has_colour(panel, style.LIGHT_BLUE)


def test_curves_leaves_out_what_no_record_has(tmp_path):
    plots.curves(tmp_path / "curves.png", RECORDS)
    picture = pixels(tmp_path / "curves.png")
    assert has_colour(picture, style.LIGHT_BLUE)
    assert not has_colour(picture, style.VERMILION), "a validation curve, or its legend, without validation"

    validation_only = [{"step": 10, "validation_loss": 0.5, "validation_accuracy": 0.8}]
    plots.curves(tmp_path / "curves.png", validation_only)
    picture = pixels(tmp_path / "curves.png")
    assert has_colour(picture, style.VERMILION)
    assert not has_colour(picture, style.LIGHT_BLUE)


def test_curves_leaves_out_what_is_null_where_steps_were_skipped(tmp_path):
    null = (
        {"loss": None, "accuracy": 0.5},
        {"loss": [None, 0.3], "accuracy": [0.5, 0.5]},
        {"loss": 0.2, "accuracy": 0.9},
    )
    plots.curves(tmp_path / "curves.png", [{"step": step, **record} for step, record in enumerate(null)])
    assert has_colour(pixels(tmp_path / "curves.png"), style.LIGHT_BLUE)


def test_curves_of_a_run_without_records_is_empty_axes(tmp_path):
    plots.curves(tmp_path / "curves.png", [])
    picture = pixels(tmp_path / "curves.png")
    assert len(np.unique(picture)) > 1
    assert not has_colour(picture, style.LIGHT_BLUE)


def test_accuracy_range_shows_every_validation_point_but_not_the_climb_from_chance():
    climb = [{"step": step, "accuracy": 0.1} for step in (1, 2)]
    rest = [{"step": step, "accuracy": 0.9} for step in range(3, 20)] + [{"step": 20, "accuracy": 1.0}]
    validation = [{"step": 10, "validation_accuracy": 0.8}]
    assert accuracy_range(climb + rest) == pytest.approx((0.895, 1.005))
    assert accuracy_range(climb + rest + validation) == pytest.approx((0.79, 1.01))
    assert accuracy_range(validation) == pytest.approx((0.795, 0.805))
    assert accuracy_range([]) == (0.0, 1.0)


def test_confusion_counts_has_the_true_class_by_rows():
    labels, predictions = np.array([0, 0, 1, 2, 2, 2], np.uint8), np.array([0, 1, 1, 2, 0, 0], np.int32)
    assert confusion_counts(labels, predictions, 4).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [2, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_confusion_matrix_shades_errors_between_none_and_the_diagonal(tmp_path):
    labels = np.repeat(np.arange(10), 1000)
    predictions = labels.copy()
    predictions[:3] = 9
    plots.confusion_matrix(tmp_path / "confusion.png", labels, predictions, DIGITS)
    picture = pixels(tmp_path / "confusion.png").astype(int)

    def shade(row, column):  # the mean of the cell's upper left quarter, clear of its number
        return picture[52 + round(57.6 * row) :, 72 + round(57.6 * column) :][:10, :10].mean()

    assert shade(0, 0) < shade(0, 9) - 50, "the diagonal is not the darkest"
    assert shade(0, 9) < shade(9, 0) - 20, "three errors in a thousand do not show"


def test_confusion_matrix_makes_room_for_long_names_and_few_classes(tmp_path):
    labels = np.array([0, 1])
    for names in (["a", "b"], ["T-shirt/top", "Ankle boot"]):
        plots.confusion_matrix(tmp_path / f"{names[0][0]}.png", labels, labels, names)
    short, long = pixels(tmp_path / "a.png"), pixels(tmp_path / "T.png")
    assert long.shape[0] > short.shape[0] > 500
    assert (long[:, :5] == 255).all(), "a name runs off the picture"
    assert (long[-5:] == 255).all(), "a name runs off the picture"


def test_rank_errors_takes_the_most_confident_first_and_ties_in_file_order():
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],  # right
            [0.1, 0.7, 0.2],  # wrong, 0.7
            [0.0, 0.1, 0.9],  # wrong, 0.9
            [0.7, 0.2, 0.1],  # wrong, 0.7 again
            [0.0, 0.0, 1.0],  # right
            [0.2, 0.3, 0.5],  # wrong, 0.5
        ],
        np.float32,
    )
    labels = np.array([0, 0, 1, 1, 2, 0])
    assert rank_errors(labels, probabilities).tolist() == [2, 1, 3, 5]


def test_rank_errors_keeps_the_file_order_of_many_ties():
    confidence = np.where(np.arange(1000) % 2, 0.9, 0.6)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert rank_errors(np.ones(1000, int), probabilities).tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]


@pytest.mark.parametrize(("errors", "rows"), [(0, 0), (1, 1), (5, 2), (30, 4)])
def test_confident_errors_has_four_images_a_row_and_no_more_than_there_are(tmp_path, errors, rows):
    images = np.full((40, 28, 28), 200, np.uint8)
    images[:, :10] = np.arange(40)[:, None, None]  # the upper rows are as grey as the index
    labels = np.arange(40) % 10
    predictions = np.where(np.arange(40) < errors, (labels + 1) % 10, labels)
    plots.confident_errors(tmp_path / "errors.png", images, labels, np.eye(10)[predictions], DIGITS)
    picture = pixels(tmp_path / "errors.png")
    assert picture.shape == (72 + 216 * rows, 912, 3)
    assert (picture[:72] < 128).any(), "no heading"
    upper = picture[108 + 20 :: 216, 36 + 78 :: 228, 0].ravel().tolist() if rows else []
    shown = min(errors, 16)
    assert upper == [*range(shown)] + [255] * (4 * rows - shown)


def test_plots_does_not_import_pyplot(tmp_path):
    script = (
        "import pathlib, sys; from rowlstm_jax import plots; plots.curves(pathlib.Path(sys.argv[1]), []);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    repository = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, tmp_path / "curves.png"], cwd=repository, check=True)


def test_every_picture_says_that_its_first_argument_is_the_path_and_its_last_the_line_below():
    others = {"GROWING", "about_run", "load", "name_seeds"}
    parameters = [[*inspect.signature(getattr(plots, name)).parameters] for name in plots.__all__ if name not in others]
    assert {(names[0], names[-1]) for names in parameters} == {("path", "about")}
    assert "class_names" in inspect.signature(plots.samples).parameters


def test_a_single_sample_is_drawn(tmp_path):
    plots.samples(tmp_path / "one.png", np.zeros((1, 28, 28), np.uint8), np.array([4]), [0], DIGITS)
    assert pixels(tmp_path / "one.png").shape == (480, 960, 3)
