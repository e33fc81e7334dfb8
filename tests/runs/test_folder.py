"""The folder of a run: what is refused, what is locked, what is written, what is left."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import optax
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.runs import RunFolder, fit, folder
from rowlstm_jax.runs.folder import FolderLock
from rowlstm_jax.runs.run import Run
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_events import read_events


def test_a_run_writes_its_config_and_its_records(make_run):
    with RunFolder(make_run(seed=3)) as opened:
        opened.begin(0)
        for step, record in ((10, {"loss": 0.5}), (20, {"loss": 0.25, "validation_accuracy": 1.0})):
            opened.journal.log(step, record)
            opened.callbacks.log(step, record)
        assert opened.journal.records() == [
            {"step": 10, "loss": 0.5},
            {"step": 20, "loss": 0.25, "validation_accuracy": 1.0},
        ]
    config = json.loads((opened.path / "config.json").read_text())["config"]
    assert (config["seed"], config["batch_size"]) == (3, 4)
    (events,) = opened.path.glob("events.out.tfevents.*")
    assert [(e.step, v.tag, v.simple_value) for e in read_events(events) for v in e.summary.value] == [
        (10, "loss", 0.5),
        (20, "loss", 0.25),
        (20, "validation_accuracy", 1.0),
    ]


def test_beginning_at_a_step_cuts_off_later_and_unfinished_records(make_run):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
        for step in (1, 2, 3):
            opened.journal.log(step, {"loss": float(step)})
            opened.callbacks.log(step, {"loss": float(step)})
    with (opened.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with RunFolder(make_run(resume=True)) as opened:
        opened.begin(2)
        opened.journal.log(3, {"loss": 30.0})
        opened.callbacks.log(3, {"loss": 30.0})
    expected = [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [(record["step"], record["loss"]) for record in opened.journal.records()] == expected
    (events,) = opened.path.glob("events.out.tfevents.*")
    assert [(e.step, v.simple_value) for e in read_events(events) for v in e.summary.value] == expected


def test_a_damaged_record_is_named(make_run):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    (opened.path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"), RunFolder(make_run(resume=True)) as opened:
        opened.begin(3)


def test_a_run_that_only_began_can_be_resumed(make_run):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    with RunFolder(make_run(resume=True)) as opened:
        opened.begin(0)


def test_what_a_killed_start_left_does_not_count(make_run):
    with RunFolder(make_run()) as opened:
        (opened.path / ".config.json.123").touch()
    with RunFolder(make_run()) as opened:
        opened.begin(0)


def test_two_processes_cannot_use_one_folder(make_run):
    with RunFolder(make_run()) as first:
        first.begin(0)
        with pytest.raises(UserError, match=rf"Process {os.getpid()} on .* is using .*run; wait for its end"):
            RunFolder(make_run(resume=True)).__enter__()
    with RunFolder(make_run(resume=True)):
        pass


def test_continuing_removes_a_summary_of_fewer_steps(make_run):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    (opened.path / "summary.json").touch()
    with RunFolder(make_run(resume=True)) as opened:
        opened.begin(0)
    assert not (opened.path / "summary.json").exists()


def test_a_folder_in_which_nothing_began_is_removed(make_run):
    with RunFolder(make_run()) as opened:
        assert opened.path.is_dir()
    assert not opened.path.exists()


def test_by_default_each_run_has_its_own_folder_and_latest_points_to_the_newest(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "RUNS", tmp_path / "runs")
    folders = []
    for _ in range(2):
        with RunFolder(make_run(run_dir=None, seed=5)) as opened:
            opened.begin(0)
        folders.append(opened.path)
    assert folders[0] != folders[1]
    assert all(folder.parent == tmp_path / "runs" / "tiny" and folder.name.endswith("Z-seed5") for folder in folders)
    assert (tmp_path / "runs" / "tiny" / "latest").resolve() == folders[1]
    with RunFolder(make_run(run_dir=None, seed=5, resume=True)) as opened:
        assert opened.path == folders[1]


def test_a_folder_that_is_not_empty_is_refused(make_run):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    with pytest.raises(UserError, match="not an empty folder; choose another --run-dir, or add --resume"):
        RunFolder(make_run()).__enter__()


def test_a_file_in_the_place_of_the_folder_is_refused(make_run, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        RunFolder(make_run()).__enter__()
    with pytest.raises(UserError, match=r"can't be used \(Not a directory\)"):
        RunFolder(make_run("run/inside")).__enter__()
    with pytest.raises(UserError, match=r"can't be used \(File name too long\)"):
        RunFolder(make_run("x" * 300)).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(make_run, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"can't be used \(Permission denied\)"):
        RunFolder(make_run()).__enter__()


def test_resuming_nothing_is_refused(make_run):
    with pytest.raises(UserError, match=r"no run to resume in .*run; name one with --run-dir"):
        RunFolder(make_run(resume=True)).__enter__()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"identity": 3}', "\x00"])
def test_a_damaged_config_is_named(make_run, content):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    (opened.path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json (can't be read|is no JSON object)"):
        RunFolder(make_run(resume=True)).__enter__()


def test_resuming_with_other_settings_shows_the_difference(make_run, tiny_model):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    with pytest.raises(UserError, match=r"seed was 0 and is now 1; batch_size was 4 and is now 8"):
        RunFolder(make_run(seed=1, batch_size=8, resume=True)).__enter__()
    run = make_run(resume=True)
    recipe = Recipe(tiny_model.clone(cell=BasicLSTMCell(16)), optax.adam(1e-2))
    with pytest.raises(UserError, match=r"model\.cell\.features was 8 and is now 16"):
        RunFolder(Run("tiny", run.config, run.protocol, recipe)).__enter__()


def test_where_a_run_lives_and_how_often_it_reports_may_change(make_run, tmp_path):
    with RunFolder(make_run()) as opened:
        opened.begin(0)
    with RunFolder(make_run(resume=True, steps=99, log_every=1, checkpoint_every=7, data_dir=tmp_path)) as opened:
        opened.begin(0)
    assert json.loads((opened.path / "config.json").read_text())["config"]["steps"] == 99


def test_a_schedule_that_depends_on_the_steps_is_part_of_a_run(make_run, tiny_model):
    def schedule(steps):
        return lambda count: count / steps

    first, more = make_run(), make_run(resume=True, steps=20)
    with RunFolder(Run("tiny", first.config, first.protocol, Recipe(tiny_model, schedule(12)))) as opened:
        opened.begin(0)
    with pytest.raises(UserError, match=r"optimizer.steps was 12 and is now 20"):
        RunFolder(Run("tiny", more.config, more.protocol, Recipe(tiny_model, schedule(20)))).__enter__()


HOLD = """
import sys
from pathlib import Path
from rowlstm_jax.runs.folder import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_holder_is_named_and_a_dead_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = FolderLock(tmp_path)
        with pytest.raises(UserError, match=rf"^Process {holder.pid} on {socket.gethostname()} is using {tmp_path};"):
            lock.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert json.loads((tmp_path / ".owner").read_text())["process"] == holder.pid, "it left its name behind"
    lock.acquire()
    (tmp_path / ".owner").write_text("damaged")
    with pytest.raises(UserError, match=r"^Another process is using"):
        FolderLock(tmp_path).acquire()
    lock.release(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_used_within_its_block_and_for_its_own_run(make_run, tiny_data):
    run = make_run()
    with pytest.raises(ValueError, match="use it within `with RunFolder"):
        fit(run, tiny_data, RunFolder(run))
    with RunFolder(run) as folder, pytest.raises(ValueError, match="is that of another run"):
        fit(make_run(), tiny_data, folder)
    assert not folder.path.exists()


def test_a_run_whose_test_set_was_opened_and_that_has_no_record_of_it_is_refused(make_run):
    with RunFolder(make_run()) as folder:
        folder.begin(0)
    (folder.path / "test.npz").touch()
    with pytest.raises(UserError, match=r"test_openings\.jsonl is missing, though the test set was opened"):
        RunFolder(make_run(resume=True)).__enter__()
