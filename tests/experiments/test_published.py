"""The page of published accuracies and its picture are what the command makes of the stored results."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from experiments import published
from rowlstm_jax.errors import UserError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"


@pytest.fixture
def results(tmp_path) -> Path:
    """A copy of what the command reads."""
    (tmp_path / "linear_scan").mkdir()
    for name in ("linear_scan/t784.json", "mnist_pixels_record.jsonl", *(path.name for path in RESULTS.glob("*.json"))):
        shutil.copy(RESULTS / name, tmp_path / name)
    return tmp_path


def test_the_stored_page_and_picture_are_those_of_the_stored_results(results):
    command = [sys.executable, "-m", "experiments.published", "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert (results / "published.md").read_text() == (RESULTS / "published.md").read_text() == done.stdout
    name = "accuracy_over_minutes.png"
    with Image.open(results / name) as made, Image.open(RESULTS / name) as stored:
        assert made.size == stored.size


def test_minutes_are_those_of_one_seed_on_two_cores():
    drawn = published.curves(RESULTS)
    (minutes, accuracies), (end, last) = drawn.values()
    rows = json.loads((RESULTS / "linear_scan" / "t784.json").read_text())["rows"]
    (pace,) = [row["median_ms"] for row in rows if row["name"] == "step of a run"]
    assert minutes[-1] == pytest.approx(19_800 * pace / 60_000)
    summary = json.loads((RESULTS / "mnist_pixels_record.json").read_text())
    assert accuracies[-1] == summary["validation_accuracy"]["values"]
    assert (end, last) == ([pytest.approx(19.94, abs=0.01)], [[0.897]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mnist_pixels_record.jsonl", '{"step": 1}\n'),
        ("mnist_pixels_record.jsonl", '{"step": 1, "validation_accuracy": null}\n'),
        ("linear_scan/t784.json", '{"rows": []}'),
        ("mnist_pixels.json", "{}"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(results, name, text):
    (results / name).write_text(text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        published.main(published.Config(results=results))
    assert not (results / "published.md").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"mnist_pixels\.json"):
        published.main(published.Config(results=tmp_path))
    with pytest.raises(UserError, match=r"--results is .*none; it must name the folder of the stored results\."):
        published.Config(results=tmp_path / "none")
