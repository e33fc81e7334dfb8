"""The pictures of a report: drawn anew, read from the run's folder, or a sentence that says why one is missing."""

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rowlstm_jax.analysis.listing import Found, read_run
from rowlstm_jax.analysis.page_pictures import LARGEST_PICTURE, MOST_METRICS, Picture, is_number, pictures
from tests.analysis.written import ATTACKS, write_run


def test_curves_are_drawn_from_the_records_and_the_others_are_read(tmp_path):
    found = pictures(read_run(write_run(tmp_path / "run")))
    assert list(found) == ["curves", "confusion", "errors"]
    assert [of.kind for of in found.values()] == ["image/svg+xml", "image/png", "image/png"]
    assert found["confusion"].width == 660
    assert found["curves"].width == pytest.approx(864, abs=1)
    ET.fromstring(found["curves"].data)


def test_memory_is_drawn_if_it_was_recorded(tmp_path):
    run = write_run(tmp_path / "run", seeds=1)
    lines = [{"step": step, "loss": 1.0, "layer_0/gradient_norm": [0.1, 0.2, step]} for step in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert isinstance(pictures(read_run(run))["memory"], Picture)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("<script>"), "is no PNG"),
        (lambda path: path.write_text(""), "is no PNG"),
        (lambda path: os.truncate(path, LARGEST_PICTURE + 1), "is no file of at most 20 MB"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is no file"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
        (lambda path: (path.unlink(), path.symlink_to("errors.png")), "is no file"),
    ],
    ids=["missing", "text", "empty", "large", "pipe", "folder", "link"],
)
def test_a_picture_that_cannot_be_shown_says_why(tmp_path, spoil, said):
    run = write_run(tmp_path / "run")
    spoil(run / "plots" / "confusion.png")
    assert said in pictures(read_run(run))["confusion"]


def test_a_run_without_classes_lacks_no_confusion(tmp_path):
    run = write_run(tmp_path / "run")
    for name in ("confusion", "errors"):
        (run / "plots" / f"{name}.png").rename(run / "plots" / f"{name.replace('confusion', 'predictions')}.png")
    (run / "plots" / "errors.png").unlink()
    assert list(pictures(read_run(run))) == ["curves", "predictions"]


def test_hostile_records_are_drawn_or_say_why_not():
    values = [0.5, None, True, "x", [], [[1]], [1, [2]], 1e300, {"a": 1}, [0.1, 0.2]]
    records = [{"step": n, "loss": value, "gradient_norm": value} for n, value in enumerate(values)]
    records += [{"step": "x"}, {}, {"step": 3, **dict.fromkeys(ATTACKS, 0.5), **{f"train_{of}": 1 for of in ATTACKS}}]
    curves = pictures(Found(Path("/nowhere"), records=records))["curves"]
    assert isinstance(curves, str) or not any("script" in of.tag for of in ET.fromstring(curves.data).iter())


def test_long_records_give_a_small_picture_with_every_evaluation():
    records = [{"step": n, "loss": 1 / n, "accuracy": 0.5} for n in range(1, 60_001)]
    records[777]["validation_loss"] = 0.5
    picture = pictures(Found(Path("/nowhere"), records=records))["curves"]
    assert isinstance(picture, Picture)
    assert len(picture.data) < 1_000_000
    values = {f"{part}quantity{n}": 1.0 for part in ("train_", "") for n in range(500)}
    many = [{"step": n, **values} for n in (1, 2)]
    picture = pictures(Found(Path("/nowhere"), records=many))["curves"]
    assert isinstance(picture, Picture)
    assert f"quantity{MOST_METRICS - 1}".encode() in picture.data.lower()
    assert f"quantity{MOST_METRICS}".encode() not in picture.data.lower()


def test_without_records_there_are_no_curves():
    assert pictures(Found(Path("/nowhere")))["curves"] == "There are no records yet."


def test_numbers_of_records():
    assert all(map(is_number, (1, 0.5, None, [1, None], [[1], [2]])))
    assert not any(map(is_number, (True, "1", [], {}, 1e300, [True])))
