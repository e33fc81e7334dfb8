"""Two runs side by side: what is read, what is refused, what is printed and drawn, by the script as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rowlstm_jax.analysis import comparison, results
from rowlstm_jax.analysis.plots.comparison import COLOURS
from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks import protocol as protocols

LABELS = np.random.default_rng(0).integers(0, 10, 400, np.uint8)
FIELDS = {"dataset": "mnist", "order": "rows", "order_sha256": "a" * 64, "augmentation": None}


def write_run(folder: Path, error: float = 0.05, seeds: int = 3, fields: dict | None = None, **changed) -> Path:
    """Writes the files of a finished run whose networks err on this share of the examples; returns its folder."""
    rng = np.random.default_rng(sum(folder.name.encode()))
    predictions = np.where(rng.random((seeds, len(LABELS))) < error, (LABELS[None] + 1) % 10, LABELS[None])
    values = np.mean(predictions == LABELS[None], axis=1).astype(np.float32).tolist()
    fields = FIELDS | (fields or {})
    summary = {
        "experiment": "tiny",
        "seeds": list(range(seeds)),
        "steps": 999,
        "num_params": 81_674,
        "test_accuracy": {"values": values} if seeds > 1 else values[0],
        "test_openings": [{"step": 999}],
        "protocol": {"name": "notebook", "sha256": protocols.protocol_digest(fields), "fields": fields},
        "data": {"name": "mnist", "version": "3.0.1", "sha256": "0" * 64},
        **changed,
    }
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))
    np.savez_compressed(folder / "test.npz", predictions=predictions.astype(np.uint8), labels=LABELS)
    return folder


def change(run: Path, **values) -> None:
    """Changes values in a run's summary."""
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(first: Path, second: Path, differ_in=()) -> str:
    with pytest.raises(UserError) as raised:
        comparison.compare(results.open_run(first), results.open_run(second), differ_in)
    return str(raised.value)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def test_load_reads_a_folder_a_link_to_it_and_its_summary(run, tmp_path):
    (tmp_path / "latest").symlink_to("run")
    loaded = [results.open_run(path) for path in (run, tmp_path / "latest", run / "summary.json")]
    assert {result.directory for result in loaded} == {run.resolve()}
    assert loaded[0].correct.shape == (3, 400)
    assert loaded[0].accuracies == pytest.approx(
        json.loads((run / "summary.json").read_text())["test_accuracy"]["values"]
    )


def test_load_reads_a_run_of_one_seed(tmp_path):
    assert len(results.open_run(write_run(tmp_path / "one", seeds=1)).accuracies) == 1


def damage_json(run: Path, text: bytes) -> None:
    (run / "summary.json").write_bytes(text)


def save(run: Path, **arrays) -> None:
    np.savez_compressed(run / "test.npz", **arrays)


DAMAGES = {
    "no run folder": lambda run: run.rename(run.with_name("moved")),
    "is no run: it has neither summary.json nor config.json": lambda run: (run / "summary.json").unlink(),
    "summary.json can't be read": lambda run: damage_json(run, b'{"experiment": '),
    r"summary.json can't be read \(.*codec": lambda run: damage_json(run, b"\xff\xfe\xfa"),
    r"summary.json can't be read \(.*recursion": lambda run: damage_json(run, b"[" * 200_000),
    "10,000,001 bytes, more than 10,000,000": lambda run: damage_json(run, b" " * 10_000_001),
    "is no JSON object": lambda run: damage_json(run, b"[1, 2]"),
    "no num_params of type int": lambda run: change(run, num_params="many"),
    "no fields of type dict": lambda run: change(run, protocol={"name": "notebook", "sha256": "0"}),
    "no version of type str": lambda run: change(run, data={"name": "mnist", "sha256": "0"}),
    "has 2 seeds in summary.json and 3 in test.npz": lambda run: change(run, seeds=[0, 1]),
    "that are not those of the predictions": lambda run: change(run, test_accuracy={"values": [0.9, 0.9, 0.9]}),
    r"\({'mean': 0.9}\) that are not those": lambda run: change(run, test_accuracy={"mean": 0.9}),
    r"\['a', None, 1\]}\) that are not": lambda run: change(run, test_accuracy={"values": ["a", None, 1]}),
    r"\[1, 1, 10{400}\]}\) that are not": lambda run: change(run, test_accuracy={"values": [1, 1, 10**400]}),
    "has no test.npz": lambda run: (run / "test.npz").unlink(),
    "test.npz can't be read": lambda run: (run / "test.npz").write_bytes((run / "test.npz").read_bytes()[:-50]),
    r"test.npz can't be read \(.*not a zip": lambda run: (run / "test.npz").write_bytes(b"no archive"),
    r"test.npz holds predictions, not predictions and labels": lambda run: save(
        run, predictions=np.zeros((3, 400), np.uint8)
    ),
    r"test.npz can't be read \(Object arrays": lambda run: save(run, predictions=LABELS, labels=np.array([None])),
    r"has predictions uint8 \(400,\)": lambda run: save(run, predictions=LABELS, labels=LABELS),
    r"predictions uint8 \(3, 7\) and labels uint8 \(400,\)": lambda run: save(
        run, predictions=np.zeros((3, 7), np.uint8), labels=LABELS
    ),
    r"predictions uint8 \(0, 400\)": lambda run: (
        save(run, predictions=np.zeros((0, 400), np.uint8), labels=LABELS),
        change(run, seeds=[], test_accuracy={"values": []}),
    ),
    "plots is a link that leads out of the run's folder": lambda run: (run / "plots").symlink_to(run.parent),
    "summary.json is a link that leads out of the run's folder": lambda run: (
        (run / "summary.json").rename(run.parent / "elsewhere.json"),
        (run / "summary.json").symlink_to(run.parent / "elsewhere.json"),
    ),
    "has predictions float32": lambda run: save(run, predictions=np.zeros((3, 400), np.float32), labels=LABELS),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_load_refuses_what_is_no_finished_run(run, message):
    DAMAGES[message](run)
    with pytest.raises(UserError, match=message):
        results.open_run(run)


def test_load_refuses_damage_inside_the_archive(run):
    path = run / "test.npz"
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(UserError, match="can't be read"):
        results.open_run(run)


def test_load_refuses_an_array_without_an_archive(run):
    with (run / "test.npz").open("wb") as file:
        np.save(file, LABELS)
    with pytest.raises(UserError, match="can't be read"):
        results.open_run(run)


def test_compare_refuses_a_run_with_itself(run, tmp_path):
    (tmp_path / "latest").symlink_to("run")
    assert "name two different runs" in refusal(run, tmp_path / "latest")


def test_compare_refuses_other_protocols_and_names_each_field(run, tmp_path):
    other = write_run(tmp_path / "other", fields={"order": "columns", "order_sha256": "b" * 64, "augmentation": [2]})
    message = refusal(run, other)
    for part in (
        "order (rows and columns)",
        f"order_sha256 ({'a' * 64} and {'b' * 64})",
        "augmentation (None and [2])",
    ):
        assert part in message
    assert "dataset" not in message
    message = refusal(run, other, ["augmentation"])
    assert "order (rows" in message
    assert "augmentation" not in message
    assert comparison.compare(results.open_run(run), results.open_run(other), ["augmentation", "order"]).differing == [
        "augmentation",
        "order",
        "order_sha256",
    ]


def test_compare_refuses_a_field_that_one_run_lacks(run, tmp_path):
    other = write_run(tmp_path / "other", fields={"padding": None})
    assert "padding (absent and None)" in refusal(run, other)


def test_compare_refuses_to_let_a_field_differ_that_there_is_not(run, tmp_path):
    message = refusal(run, write_run(tmp_path / "other"), ["orders"])
    assert message == "--differ-in names orders; the protocols' fields are augmentation, dataset, order, order_sha256."


def test_compare_refuses_digests_that_do_not_fit_the_fields(run, tmp_path):
    other = write_run(tmp_path / "other", protocol={"name": "notebook", "sha256": "f" * 64, "fields": FIELDS})
    assert "other/summary.json does not have the digest that is written there, so the file was changed" in refusal(
        run, other
    )


def test_compare_does_not_mind_the_protocols_name(run, tmp_path):
    other = write_run(tmp_path / "other")
    protocol = json.loads((other / "summary.json").read_text())["protocol"]
    change(other, protocol=protocol | {"name": "mine"})
    assert comparison.compare(results.open_run(run), results.open_run(other)).differing == []


def test_compare_refuses_other_data_even_where_the_data_set_may_differ(run, tmp_path):
    data = {"name": "fashion_mnist", "version": "3.0.1", "sha256": "1" * 64}
    other = write_run(tmp_path / "other", fields={"dataset": "fashion_mnist"}, data=data)
    assert "data differ (mnist 3.0.1 and fashion_mnist 3.0.1)" in refusal(run, other, ["dataset"])


def test_compare_refuses_labels_in_another_order(run, tmp_path):
    other = write_run(tmp_path / "other")
    with np.load(other / "test.npz") as arrays:
        save(other, predictions=arrays["predictions"][:, ::-1], labels=LABELS[::-1])
    assert "compare runs on the same test examples" in refusal(run, other)


def test_compare_measures_the_second_from_the_first(tmp_path):
    worse, better = write_run(tmp_path / "worse", error=0.2, seeds=4), write_run(tmp_path / "better", error=0.02)
    found = comparison.compare(results.open_run(worse), results.open_run(better))
    difference = np.mean(found.second.accuracies) - np.mean(found.first.accuracies)
    assert found.over_seeds is not None
    assert found.over_seeds.difference == pytest.approx(difference)
    assert found.over_examples.difference == pytest.approx(difference)
    assert difference > 0.1
    assert found.over_seeds.welch_p == pytest.approx(0.0, abs=1e-3)
    assert found.over_seeds.permutation_p == found.over_seeds.smallest_p == pytest.approx(2 / 35)
    assert found.over_examples.p < 1e-20
    assert len(found.pairs) == 3
    for pair, first, second in zip(found.pairs, found.first.accuracies, found.second.accuracies, strict=False):
        assert (pair.both + pair.only_first) / 400 == pytest.approx(first)
        assert (pair.both + pair.only_second) / 400 == pytest.approx(second)


def test_show_warns_of_a_test_set_opened_twice_and_says_what_differs(run, tmp_path, capsys):
    other = write_run(tmp_path / "other", fields={"order": "columns"}, test_openings=[{"step": 1}, {"step": 2}])
    comparison.compare(results.open_run(run), results.open_run(other), ["order"]).show()
    printed = capsys.readouterr().out
    assert "Warning: the test set was opened 2 times in B" in printed
    assert "Warning: the test set was opened 1" not in printed
    assert "Their protocols differ, as asked, in order (rows and columns)." in printed
    assert "the smallest p-value of the permutation test is 0.1000" in printed


def test_show_and_draw_runs_of_one_seed(tmp_path, capsys):
    runs = [results.open_run(write_run(tmp_path / name, seeds=1)) for name in ("a", "b")]
    found = comparison.compare(*runs)
    assert found.over_seeds is None
    assert found.over_examples.p == pytest.approx(found.pairs[0].p)
    found.show()
    found.draw(tmp_path / "picture.png")
    assert "Over seeds: no test" in capsys.readouterr().out
    assert (tmp_path / "picture.png").exists()


def compare_script(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.compare", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_script_compares_two_runs_and_draws_them(run, tmp_path):
    other = write_run(tmp_path / "other", error=0.2, fields={"order": "columns", "augmentation": "shifts"})
    done = compare_script(run, other, "--differ-in", "order", "augmentation", "--output", "two.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("Welch's t", "exact permutation", "sign flips", "McNemar", "81,674", "A 2, B 2"):
        assert part in done.stdout
    assert f"Picture: {tmp_path}/two.png\n" in done.stdout
    with Image.open(tmp_path / "two.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape == (432, 1080, 3)
    only_first, only_second = ((picture == list(bytes.fromhex(colour[1:]))).all(axis=-1)[:, 540:] for colour in COLOURS)
    assert only_first.sum() > 3 * only_second.sum() > 0, "the bars are not as long as their counts"


def test_script_draws_into_a_folder_that_it_names_and_not_into_the_working_directory(run, tmp_path):
    other, here = write_run(tmp_path / "other"), tmp_path / "here"
    here.mkdir()
    done = compare_script(run, other, cwd=here)
    picture = here / "runs/compare/run-other/comparison.png"
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Picture: {picture}\n" in done.stdout
    assert picture.is_file()
    assert [path.name for path in here.iterdir()] == ["runs"]


def test_script_says_a_mistake_in_a_sentence(run, tmp_path):
    done = compare_script(run, tmp_path / "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: There is no run folder")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    done = compare_script(run, run, "--output", "nowhere/a.png", cwd=tmp_path)
    assert done.returncode == 2
    assert "--output is nowhere/a.png; it must name a .png in a folder that can be written to." in done.stderr
