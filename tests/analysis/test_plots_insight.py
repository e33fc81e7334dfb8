"""Pictures of what a network does over time: what they show where, and that they are PNG files."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt/top", "Ankle boot"]


def pixels(path) -> np.ndarray:
    """Returns a PNG as uint8 [height, width, 3]."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn, in the place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.append(figure))
    return figures


def where(picture: np.ndarray, colour: str) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of exactly this colour, "#rrggbb"."""
    return np.argwhere((picture == list(bytes.fromhex(colour[1:]))).all(axis=-1))


def test_probabilities_stand_beside_their_rows_and_the_line_below_the_row_that_settled_it(tmp_path):
    images = np.full((2, 8, 8), 100, np.uint8)
    probabilities = np.zeros((2, 8, 10))
    probabilities[:, :4, 0] = probabilities[:, 4:, 9] = 1  # the first class for half of the rows, then the last
    plots.probabilities_over_rows(tmp_path / "p.png", images, probabilities, DIGITS, np.array([6, 9]))
    picture = pixels(tmp_path / "p.png")
    top, bottom, left, right = 30, 173, 66, 209  # of the first image
    assert (picture[[top, bottom], right] == 100).all()
    assert (picture[60, [left, right]] == 100).all()
    assert (picture[[top - 1, bottom + 1], right] != 100).all()
    assert (picture[60, [left - 1, right + 1]] != 100).all()
    dark = where(picture, "#08306b")  # the darkest of Blues
    dark = dark[(dark[:, 0] <= bottom + 1) & (dark[:, 1] < right + 150)]  # the first strip; the colour bar lies below
    middle = (top + bottom) / 2
    upper, lower = dark[dark[:, 0] < middle - 1], dark[dark[:, 0] > middle + 1]
    assert upper[:, 1].max() < lower[:, 1].min(), "the last class lies to the right of the first"
    assert abs(upper[:, 0].min() - top) <= 1
    assert abs(lower[:, 0].max() - bottom) <= 1
    line = where(picture, style.VERMILION)
    assert abs(line[:, 0].mean() - (top + (bottom - top) * 6 / 8)) <= 1.5
    assert line[:, 1].max() < right + 150, "a line for an image that is never settled"


@pytest.mark.parametrize(("count", "shape"), [(1, (318, 690)), (4, (318, 1314)), (5, (552, 1314))])
def test_four_images_stand_in_a_row(tmp_path, count, shape):
    probabilities = np.full((count, 3, 10), 0.1)
    images, needed = np.zeros((count, 3, 3), np.uint8), np.full(count, 4)
    plots.probabilities_over_rows(tmp_path / "p.png", images, probabilities, DIGITS, needed)
    assert pixels(tmp_path / "p.png").shape[:2] == shape


def test_long_class_names_do_not_run_off_the_picture(tmp_path):
    probabilities, needed, labels = np.full((2, 3, 2), 0.5), np.array([4, 4]), np.array([0, 1])
    plots.probabilities_over_rows(tmp_path / "p.png", np.zeros((2, 3, 3), np.uint8), probabilities, CLOTHES, needed)
    plots.rows_needed(tmp_path / "r.png", needed, labels, CLOTHES, rows=3)
    for name in "pr":
        picture = pixels(tmp_path / f"{name}.png")
        edges = (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:])
        assert all((edge == 255).all() for edge in edges)


def test_rows_needed_counts_each_class_and_marks_its_median(tmp_path):
    needed, labels = np.array([2, 2, 2, 9, 9]), np.array([0, 0, 0, 1, 1])  # of eight rows; the second class never
    plots.rows_needed(tmp_path / "r.png", needed, labels, ["a", "b", "none"], rows=8)
    picture = pixels(tmp_path / "r.png")
    bars, marks = where(picture, style.LIGHT_BLUE), where(picture, style.VERMILION)
    columns = np.unique(bars[:, 1])
    left, right = columns[columns < columns.mean()], columns[columns > columns.mean()]
    heights = [np.ptp(bars[np.isin(bars[:, 1], part)][:, 0]) for part in (left, right)]
    assert heights[0] / heights[1] == pytest.approx(3 / 2, abs=0.1)
    first, second = marks[marks[:, 1] <= left.max()], marks[marks[:, 1] >= right.min()]
    assert len(first) + len(second) == len(marks) > 0, "a median where no bar is"
    assert first[:, 0].max() < second[:, 0].min(), "the first class is the upper one"


def test_gates_are_sorted_by_how_long_they_remember(tmp_path):
    rng = np.random.default_rng(0)
    gates = {name: rng.uniform(0, 0.5, (6, 40)) for name in "ijfoch"}
    gates["f"] = np.broadcast_to(rng.permutation(np.linspace(0, 1, 40)), (6, 40))
    shuffled = rng.permutation(40)
    plots.gates_over_time(tmp_path / "one.png", np.zeros((6, 6), np.uint8), gates)
    others = {name: values[:, shuffled] for name, values in gates.items()}
    plots.gates_over_time(tmp_path / "other.png", np.zeros((6, 6), np.uint8), others)
    picture = pixels(tmp_path / "one.png")
    np.testing.assert_array_equal(picture, pixels(tmp_path / "other.png"))
    row = picture[130, 630:870].astype(int)  # across the forget gates: viridis from dark blue to yellow
    assert (np.diff(row[:, 1]) >= 0).all()
    assert row[0, 1] < 20
    assert row[-1, 1] > 220


def test_eigenvalues_keep_their_angles_and_lie_between_the_circles_of_their_half_lives(tmp_path, drawn):
    before, after = {"layer_0_forward": np.array([0.875])}, {"layer_0_forward": np.array([0.875j, 0.5**0.1 + 0j, 1.0])}
    plots.eigenvalues(tmp_path / "e.png", before, after)
    plots.eigenvalues(tmp_path / "e.png", {}, after)
    both, alone = (figure.axes[0] for figure in drawn)
    (first, last), (only,) = both.lines, alone.lines
    np.testing.assert_allclose(first.get_xydata(), [[0.5, 0]], atol=1e-7)
    np.testing.assert_allclose(last.get_xydata(), only.get_xydata())
    points = np.asarray(last.get_xydata())
    np.testing.assert_allclose(points[[0, 2]], [[0, 0.5], [1, 0]], atol=1e-7)
    circles = dict(zip([text.get_text() for text in both.texts], both.patches, strict=True))
    assert circles["10"].radius == pytest.approx(points[1, 0])
    assert circles[""].radius == 1
    assert "Circles: before training." in drawn[0].texts[0].get_text()
    assert "before" not in drawn[1].texts[0].get_text()


def record(step: int, layers=("layer_0_forward",), seeds: int | None = None) -> dict:
    values = {"gradient_norm_h": [0.1, 0.2, 0.4], "gradient_norm_c": [0.1, 0.2, 0.3], "time_constants": [1.0, 2.0, 3.0]}
    values |= {f"saturated_{gate}": 0.1 * step for gate in "ijfo"}
    return {"step": step, "loss": 1.0} | {
        f"{layer}/{name}": value if seeds is None else [value] * seeds
        for layer in layers
        for name, value in values.items()
    }


def test_memory_has_a_row_a_layer_and_passes_over_records_without_it(tmp_path):
    layers = ("layer_0_backward", "layer_0_forward")
    plots.memory(tmp_path / "one.png", [{"step": 1, "loss": 2.0}, record(2), record(4)])
    plots.memory(tmp_path / "two.png", [record(2, layers), record(4, layers)])
    one, two = pixels(tmp_path / "one.png"), pixels(tmp_path / "two.png")
    assert one.shape == (384, 1308, 3)
    assert two.shape == (744, 1308, 3)
    for panel in np.split(one, 3, axis=1)[1:]:
        assert len(where(panel, style.VERMILION))
    assert len(where(one, "#440154")), "no line in viridis' darkest for the first step"


def test_memory_of_several_seeds_is_that_of_their_mean(tmp_path):
    plots.memory(tmp_path / "one.png", [record(2), record(4)])
    plots.memory(tmp_path / "three.png", [record(2, seeds=3), record(4, seeds=3)])
    one, three = pixels(tmp_path / "one.png"), pixels(tmp_path / "three.png")
    np.testing.assert_array_equal(one[36:], three[36:])
    assert (one[:36] != three[:36]).any(), "the picture of three seeds does not say so"


@pytest.mark.parametrize("name", ["layer_0_forward/gradient_norm_carry", "input/gradient_norm"])
def test_memory_of_a_model_without_gates_is_its_gradients(tmp_path, name):
    plots.memory(tmp_path / "m.png", [{"step": step, "gradient_norm": 1.0, name: [0.1, 0.2]} for step in range(20)])
    picture = pixels(tmp_path / "m.png")
    assert picture.shape == (384, 468, 3)
    assert (picture[:, :4] == 255).all(), "tick labels run off the picture"
    assert (picture[36:64, 72:200] < 128).any(), "the panel has lost its name"
    assert len(where(picture, "#440154")), "no line in viridis' darkest for the first step"


def test_gates_that_are_never_saturated_are_a_sentence_and_no_four_lines_on_zero(tmp_path, drawn):
    records = [record(step) | {f"layer_0_forward/saturated_{gate}": 0.0 for gate in "ijfo"} for step in (2, 4)]
    plots.memory(tmp_path / "m.png", records)
    plots.memory(tmp_path / "m.png", [record(2), record(4)])
    never, some = (figure.axes[1] for figure in drawn)
    assert (len(never.lines), len(some.lines)) == (0, 4)
    assert "less than 0.1 %" in never.texts[0].get_text()
    assert not some.texts


def test_the_candidate_is_drawn_beside_the_gates(tmp_path, drawn):
    gates = {name: np.full((6, 4), value) for value, name in enumerate("ijfoch")}
    plots.gates_over_time(tmp_path / "g.png", np.zeros((6, 6), np.uint8), gates, "layer_1_backward")
    shown = {
        axes.get_title("left")[:9]: np.asarray(axes.images[0].get_array()) for axes in drawn[0].axes if axes.images
    }
    assert (shown["Candidate"] == 1).all()
    assert len(shown) == 7, "the image, three gates, candidate, cell and output"
    words = [text.get_text() for axes in drawn[0].axes for text in axes.texts]
    assert any("Layer 1 backward" in text for text in words)


def test_gradients_without_a_step_have_no_key_to_their_colours(tmp_path):
    plots.memory(tmp_path / "with.png", [{"step": 3, "input/gradient_norm": [0.1, 0.2]}])
    plots.memory(tmp_path / "without.png", [{"input/gradient_norm": [0.1, 0.2]}])
    coloured = [len(where(pixels(tmp_path / f"{name}.png"), "#440154")) for name in ("with", "without")]
    assert coloured[0] > coloured[1] > 0


def test_memory_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="memory_health"):
        plots.memory(tmp_path / "m.png", [{"step": 1, "loss": 2.0}])
