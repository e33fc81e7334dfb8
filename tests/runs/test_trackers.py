"""Records in other systems: the real packages, in their local modes."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import RunFolder, trackers
from rowlstm_jax.runs.trackers import Csv, make_trackers, scalars
from tests.runs.test_events import read_events

CONFIG = {"seed": 3, "num_seeds": 2, "steps": 9}


def test_values_by_seed_become_one_curve_a_seed():
    record = {"step": 5, "loss": [0.5, None], "norms": [[1.0, 2.0], [3.0, 4.0]], "examples": 20}
    assert scalars(record, range(3, 5)) == {"examples": 20, "loss/seed3": 0.5}


def test_csv_has_a_column_for_each_number(tmp_path):
    tracker = Csv()
    tracker.on_begin(tmp_path, CONFIG, [{"step": 1, "loss": [1.0, 2.0]}])
    tracker.on_record({"step": 2, "loss": [3.0, 4.0]})
    tracker.on_evaluation({"step": 3, "validation_loss": [5.0, 6.0]})
    tracker.on_record({"step": 4, "loss": [7.0, 8.0]})
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["loss/seed4"] for row in rows] == ["2.0", "4.0", "", "8.0"]
    assert [row["validation_loss/seed3"] for row in rows] == ["", "", "5.0", ""]


def test_the_flag_chooses_them(make_run):
    with RunFolder(make_run(track=("csv",))) as folder:
        folder.begin(0)
        folder.callbacks.log(1, {"loss": 0.5})
    assert (folder.path / "metrics.csv").read_bytes() == b"step,loss\r\n1,0.5\r\n"
    assert not [*folder.path.glob("events*")]


def test_a_package_that_is_not_installed_is_named(monkeypatch, make_run):
    monkeypatch.setitem(trackers.TRACKERS, "wandb", (trackers.WandB, "no_such_package"))
    with pytest.raises(UserError, match=r"^--track names wandb, which is not installed; install it with pip install w"):
        make_trackers(("csv", "wandb"))
    with pytest.raises(UserError, match="not installed"):
        RunFolder(make_run(track=("wandb",)))
    assert not make_run().config.run_dir.exists()


FOLLOW = """
import sys
from pathlib import Path
from rowlstm_jax.runs.trackers import make_trackers

folder, records = Path(sys.argv[2]), []
(folder / "plots").mkdir(exist_ok=True)
import PIL.Image
PIL.Image.new("RGB", (30, 20)).save(folder / "plots" / "x.png")
for start in (0, 2):  # the second is a resumed run
    (tracker,) = make_trackers((sys.argv[1],))
    tracker.on_begin(folder, {"seed": 3, "num_seeds": 2, "steps": 9}, records)
    for step in (start + 1, start + 2):
        records.append({"step": step, "loss": [0.5 * step, 1.0]})
        tracker.on_record(records[-1])
    if start:
        tracker.on_end({"steps": 4, "test_accuracy": 0.75})
    tracker.close()
"""


def follow(name: str, folder, **environment: str) -> None:
    command = [sys.executable, "-c", FOLLOW, name, str(folder)]
    outcome = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_tensorboard_has_all_curves_flags_and_pictures(tmp_path):
    follow("tensorboard", tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    values = [(event.step, value) for event in read_events(path) for value in event.summary.value]
    assert [(n, v.simple_value) for n, v in values if v.tag == "loss/seed3"] == [(1, 0.5), (2, 1), (3, 1.5), (4, 2)]
    assert "plots/x" in [value.tag for _, value in values]


def test_weights_and_biases_offline(tmp_path):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    follow("wandb", tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    known = (tmp_path / ".wandb-run").read_text()
    assert all(path.name.endswith(known) for path in runs)  # a resumed run goes on in the same one
    assert any(b"loss/seed3" in file.read_bytes() for path in runs for file in path.glob("*.wandb"))


def test_mlflow_in_a_local_file(tmp_path):
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    follow("mlflow", tmp_path, MLFLOW_TRACKING_URI=uri)
    read = (
        "import json, mlflow, sys\n"
        "run = mlflow.get_run(open('.mlflow-run').read())\n"
        "history = mlflow.MlflowClient().get_metric_history(run.info.run_id, 'loss/seed3')\n"
        "print(json.dumps([run.data.params['seed'], run.data.metrics['test_accuracy'], "
        "[[m.step, m.value] for m in history]]))"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    out = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert json.loads(out.stdout.splitlines()[-1]) == ["3", 0.75, [[1, 0.5], [2, 1.0], [3, 1.5], [4, 2.0]]], out.stderr
