"""Every picture names run, seeds and model, and no word of it lies outside the picture."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots import style
from rowlstm_jax.models import Tree
from rowlstm_jax.tasks import order_index

ABOUT = "mnist_rows · seeds 0-4 · BasicLSTMCell(128)"
RNG = np.random.default_rng(0)
NAMES, LABELS = ("T-shirt/top", "bag", "Ankle boot"), np.arange(20) % 3
IMAGES, PROBABILITIES = RNG.integers(0, 256, (20, 6, 5), np.uint8), RNG.dirichlet(np.ones(3), (20, 6))
HEALTH = {"gradient_norm_h": [1e-6, 1e-5, 2e-3], "time_constants": [1.0, 20.0, 3e4]}
HEALTH |= {f"saturated_{gate}": 0.2 for gate in "ijfo"}
RECORDS = [
    {"step": step, "loss": [2e-4 / step, 3.0], "accuracy": [0.1, 1 - 0.5 / step], "validation_loss": [1e-5, 1.0]}
    | {"validation_accuracy": [1.0, 1.0]}
    | {f"layer_{number}_forward/{name}": [value, value] for number in range(2) for name, value in HEALTH.items()}
    for step in (100, 20_000, 33_000)
]
COMPARED = {
    "names": [f"{name}: 2026-01-01T12-00-00.000000Z-seeds0-4 · {ABOUT}" for name in "AB"],
    "values": [[0.9995, 1.0], [0.003, 0.001]],
    "intervals": [(0.99, 1.2), (-0.3, 0.4)],
    "discordant": np.array([[120, 9_000], [3, 0]]),
    "pairs": ["seeds 0, 100", "seeds 1, 101"],
    "captions": ["Over seeds. B minus A: -10.123 (-10.00 to +10.00) points", "Over examples. B minus A: +0.001"],
}
TIMES = [
    {"axis": axis, "value": value, "name": name, "median_ms": None if name == "torch" else 0.5 * value}
    for axis, values in {"time_steps": (28, 56), "hidden": (32, 64), "devices": (1,)}.items()
    for value in values
    for name in ("rowlstm_jax", "torch")
]
DRAWINGS = {
    "capacity": {"loads": [0.05, 0.14, 0.3], "shares": {"H = 10,000": [1.0, 0.9, 0.0], "H = 100": [1.0, 0.8, 0.2]}},
    "chunking": {
        "found": {
            name: {"passed_on": RNG.uniform(size=(3, 200)), "error": RNG.uniform(size=(3, 200)), "needed": LABELS[:3]}
            for name in ("chunker and automatiser", "conventional network")
        }
    },
    "accuracy_over_minutes": {"runs": {"S5": ([1.0, 2.0], [[0.98, 0.99], [0.99, 1.0]]), "LSTM": ([20.0], [[0.897]])}},
    "comparison": COMPARED,
    "completions": {
        "blocks": {
            f"{count:,} stored": {name: RNG.uniform(-1, 1, (5, 30)) for name in ("stored", "the same, synchronous")}
            for count in (2, 100, 60_000)
        },
        "shape": (6, 5),
    },
    "confident_errors": {
        "images": IMAGES,
        "labels": LABELS,
        "probabilities": PROBABILITIES[:, 0],
        "class_names": NAMES,
    },
    "confusion_matrix": {"labels": LABELS, "predictions": LABELS, "class_names": NAMES},
    "curves": {"records": RECORDS},
    "eigenvalues": {
        part: {f"layer_{n}_forward": np.exp(1j * RNG.uniform(0, 6, 5)) * RNG.uniform(size=5) for n in range(2)}
        for part in ("before", "after")
    },
    "gates_over_time": {"image": IMAGES[0], "gates": {name: RNG.uniform(size=(6, 9)) for name in "ijfoch"}},
    "grid": {
        "rows": [
            {"cell": cell, "task": task, "accuracies": [0.999, 1.0], "step_size": 1e-3, "layer": cell == "lru"}
            for cell in ("lru", "layer_norm_lstm")
            for task in ("rows", "mnist_permuted_bit_reversal")
        ],
        "caption": "1,000 steps",
    },
    "memory": {"records": RECORDS},
    "nodes": {
        "images": IMAGES[:2],
        "index": np.arange(30).reshape(2, 15),
        "tree": Tree([[0, 1]]),
        "probabilities": PROBABILITIES[:2, :3],
        "class_names": NAMES,
    },
    "online": {
        "examples": [0, 5_000, 10_000],
        "accuracies": {"online": [[0.1, 0.5, 1.0], [0.1, 0.6, 1.0]], "over time": [[0.1, 0.2, 0.3]]},
        "steps": [28, 1_792],
        "megabytes": {"online": [10.0, 10.0], "over time": [0.2, 14_000.0]},
    },
    "orders": {"image": IMAGES[0], "indices": {order: order_index(order, 6, 5) for order in ("rows", "columns")}},
    "passed_on": {"images": IMAGES[:3] > 99, "unexpected": IMAGES[:3] > 200, "names": NAMES},
    "prediction": {
        "shown": IMAGES[:2],
        "read": IMAGES[:2],
        "probabilities": PROBABILITIES[:2],
        "class_names": NAMES,
        "names": ["folder/picture.png", "another.png"],
    },
    "predictions": {"targets": RNG.normal(size=20), "outputs": RNG.normal(size=20)},
    "probabilities_over_rows": {
        "images": IMAGES[:5],
        "probabilities": PROBABILITIES[:5],
        "class_names": NAMES,
        "needed": LABELS[:5] + 5,
    },
    "recalled": {"counts": [1, 10, 60_000], "shares": {"pseudo-inverse, all at once": [1.0, 0.9, 0.0]}},
    "rows_needed": {"needed": LABELS + 5, "labels": LABELS, "class_names": NAMES, "rows": 6},
    "samples": {"images": IMAGES[:3], "labels": LABELS[:3], "indices": [7, 8, 9], "class_names": NAMES},
    "scaling": {"rows": TIMES},
    "sequences": {
        "inputs": RNG.normal(size=(3, 9, 2)),
        "targets": LABELS[:3],
        "indices": [7, 8, 9],
        "class_names": NAMES,
    },
}


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn, in the place of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, metadata=None: figures.append(figure))
    return figures


@pytest.fixture
def words(monkeypatch) -> Callable[[Figure], list[tuple[str, Any]]]:
    """Renders a figure; returns the texts that are really drawn, and their boxes in pixels."""
    found: list[tuple[str, Any]] = []
    draw = Text.draw

    def record(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append((text.get_text(), text.get_window_extent(renderer)))
        draw(text, renderer)

    def render(figure: Figure) -> list[tuple[str, Any]]:
        found.clear()
        with rc_context(style.STYLE):
            FigureCanvasAgg(figure).draw()
        return [*found]

    monkeypatch.setattr(Text, "draw", record)
    return render


def test_every_picture_is_drawn_here():
    assert {*DRAWINGS} == {*plots.__all__} - {"GROWING", "about_run", "load", "name_seeds"}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_says_below_what_it_shows_and_no_word_is_outside(tmp_path, drawn, words, name):
    getattr(plots, name)(tmp_path / "p.png", **DRAWINGS[name])
    getattr(plots, name)(tmp_path / "p.png", **DRAWINGS[name], about=ABOUT)
    without, figure = drawn
    assert ABOUT not in [text.get_text().replace("\n", " · ") for text in without.texts]
    line = figure.texts[-1]
    assert line.get_text().replace("\n", " · ") == ABOUT
    width, height = FigureCanvasAgg(figure).get_width_height()
    for text, box in words(figure):
        assert -1 <= box.x0 <= box.x1 <= width + 1, (text, box)
        assert -1 <= box.y0 <= box.y1 <= height + 1, (text, box)
    if name != "orders":  # its axes fill the picture
        assert min(axes.get_window_extent().y0 for axes in figure.axes) >= line.get_window_extent().y1


def test_a_long_line_is_broken_between_its_parts(tmp_path, drawn):
    about = " · ".join(f"part number {number}" for number in range(12))
    plots.predictions(tmp_path / "p.png", np.zeros(3), np.ones(3), about)
    lines = drawn[0].texts[-1].get_text().split("\n")
    assert len(lines) > 2
    assert " · ".join(lines) == about


def test_no_accuracy_axis_leaves_0_to_100(tmp_path, drawn):
    plots.comparison(tmp_path / "p.png", **COMPARED)
    assert drawn[0].axes[0].get_ylim() == (0, 100)


def test_a_grid_has_cells_above_layers_and_a_number_and_a_step_size_in_each_field(tmp_path, drawn):
    old = [{"cell": "lem", "order": "rows", "accuracies": []}]
    plots.grid(tmp_path / "p.png", **DRAWINGS["grid"])
    plots.grid(tmp_path / "p.png", old, "old rows")
    new, old = ([text.get_text() for text in figure.axes[0].texts] for figure in drawn)
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["layer_norm_lstm", "lru"]
    assert [line.get_ydata()[0] for line in drawn[0].axes[0].lines] == [0.5]
    assert new == 4 * ["99.95 ± 0.07", "0.001"]
    assert old == ["not finite"]


def test_scaling_has_a_panel_for_each_size_that_grows_and_a_line_for_each_system_that_was_timed(tmp_path, drawn, words):
    plots.scaling(tmp_path / "p.png", TIMES)
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["time steps T", "hidden units H"]
    key = drawn[0].axes[0].get_legend()
    assert [text.get_text() for text in key.get_texts()] == ["rowlstm_jax"]
    words(drawn[0])
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2, "an axis with one number"


def test_scaling_without_any_time_is_an_empty_picture(tmp_path, drawn):
    plots.scaling(tmp_path / "p.png", [row | {"median_ms": None} for row in TIMES])
    assert drawn[0].axes[0].get_legend() is None


def test_curves_say_what_their_bands_are_only_where_there_are_bands(tmp_path, drawn, words):
    one = [{"step": 1, "loss": 2.0, "accuracy": 0.5}, {"step": 2, "loss": 1.0, "accuracy": 0.6}]
    plots.curves(tmp_path / "p.png", RECORDS)
    plots.curves(tmp_path / "p.png", one)
    several, single = (" ".join(text for text, _ in words(figure)) for figure in drawn)
    assert "bands: lowest to highest seed" in several
    assert "mean of 2 seeds" in several
    assert "seed" not in single


@pytest.mark.parametrize(
    ("identity", "line"),
    [
        (
            {"experiment": "a", "seed": 3, "num_seeds": 5, "recipe.model": "SequenceClassifier"}
            | {"recipe.model.cell": "GRUCell", "recipe.model.cell.features": "8", "recipe.model.num_layers": "2"}
            | {"recipe.model.bidirectional": "True"},
            "a · seeds 3-7 · 2 layers of GRUCell(8), both directions",
        ),
        ({"experiment": "a", "seed": 3, "num_seeds": 1, "recipe.model": "Flat"}, "a · seed 3 · Flat"),
        ({"experiment": "$x^$\x1b[31m", "seed": "0", "num_seeds": 10**30}, "$x^$\\x1b[31m"),
        ({"experiment": 3, "seed": 0}, ""),
        (["a"], ""),
    ],
)
def test_the_line_is_read_from_the_config_of_a_run(tmp_path, drawn, identity, line):
    (tmp_path / "config.json").write_text(json.dumps({"identity": identity}))
    assert plots.about_run(tmp_path) == line
    assert plots.about_run(tmp_path, "drawn: seed 3") == " · ".join(filter(None, (line, "drawn: seed 3")))
    plots.predictions(tmp_path / "p.png", np.zeros(3), np.ones(3), plots.about_run(tmp_path))
    FigureCanvasAgg(drawn[0]).draw()


def test_a_run_without_a_config_has_no_line(tmp_path):
    assert plots.about_run(tmp_path) == ""
    (tmp_path / "config.json").write_text("{")
    assert plots.about_run(tmp_path) == ""
