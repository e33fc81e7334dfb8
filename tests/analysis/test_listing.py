"""The list of runs: their states, what they reached, choosing and sorting; damaged and hostile folders are rows."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowlstm_jax.analysis.listing import COLUMNS, figure_in_words, list_runs, read_run, show_runs
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.lock import FolderLock
from tests.analysis.written import ATTACKS, poison, write, write_run

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A folder with a finished run, one of a seed, one that has stopped and one that is running, and other files."""
    folder = tmp_path / "runs"
    write_run(folder / "tiny" / "two", seeds=2)
    write_run(folder / "tiny" / "one", seeds=1, error=0.3)
    shutil.copytree(GOLDEN, folder / "stopped")
    write_run(folder / "deep" / "er" / "running", finished=False)
    lock = FolderLock(folder / "deep" / "er" / "running")
    lock.acquire()
    (folder / "tiny" / "latest").symlink_to("two")
    (tmp_path / "elsewhere").mkdir()
    write_run(tmp_path / "elsewhere" / "run")
    (folder / "outside").symlink_to(tmp_path / "elsewhere")
    (folder / "notes.txt").write_text("no run")
    yield folder
    lock.release()


def test_each_run_is_found_once_with_its_state_and_what_it_reached(runs):
    found = {run.directory.name: run for run in list_runs(runs)}
    assert {name: run.state for name, run in found.items()} == {
        "two": "finished",
        "one": "finished",
        "stopped": "stopped",
        "running": "running",
    }
    assert found["stopped"].state_in_words == "stopped at step 10 of 10"
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert found["running"].state_in_words == f"running ({who}) at step 20 of 20"
    assert [run.seeds for run in (found["two"], found["one"], found["stopped"])] == [[0, 1], [0], [0]]
    assert found["stopped"].figure("validation") == ("accuracy", [0.15384615384615385])
    assert found["running"].figure("validation") == ("accuracy", [0.875, 0.875])
    assert found["two"].figure("validation") == ("accuracy", [0.875, 0.875])
    assert found["stopped"].figure("test") is None
    (accuracy,) = (found["one"].figure("test") or ("", []))[1]
    assert 0.5 < accuracy < 0.9
    assert len(list_runs(runs / "tiny" / "latest")) == 1  # the folder itself may be a link, and a run


def test_no_file_of_a_run_is_changed(runs):
    before = {path: path.lstat().st_mtime_ns for path in runs.rglob("*")}
    list_runs(runs)
    assert {path: path.lstat().st_mtime_ns for path in runs.rglob("*")} == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def lead_out(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
@pytest.mark.parametrize(
    "damage",
    [
        cut,
        pipe,
        lead_out,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text("[1, 2]"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text('{"a": NaN}'),
        lambda path: path.write_text('{"a": ' + "9" * 5_000 + "}"),
    ],
    ids=["cut", "pipe", "link", "empty", "no text", "no object", "deep", "nan", "digits"],
)
def test_a_damaged_run_is_a_row_that_says_why(tmp_path, capsys, name, damage):
    damage(write_run(tmp_path / "runs" / "bad") / name)
    write_run(tmp_path / "runs" / "good")
    found = list_runs(tmp_path / "runs", order="run")
    assert [run.state for run in found] == ["damaged", "finished"]
    assert name in found[0].problem
    show_runs(found, tmp_path / "runs")
    said = capsys.readouterr()
    assert "damaged" in said.out
    assert said.err.count("\n") == 1
    assert name in said.err


def test_damaged_records_of_a_run_that_has_not_finished(tmp_path):
    run = write_run(tmp_path / "bad", finished=False)
    (run / "metrics.jsonl").write_text('{"step": 1}\nnothing\n{"step": 2}\n')
    (found,) = list_runs(tmp_path)
    assert found.state == "damaged"
    assert "damaged in line 2" in found.problem


@pytest.mark.parametrize("value", [None, [], {}, "x", True, -1, 10**30, {"values": ["x"]}, {"values": [[1]]}, [[]]])
def test_any_value_in_the_place_of_another(tmp_path, capsys, value):
    run = write_run(tmp_path / "run")
    for name in ("config.json", "summary.json"):
        content = json.loads((run / name).read_text())
        write(run / name, dict.fromkeys(content, value) | ({"identity": {}} if name == "config.json" else {}))
    found = list_runs(tmp_path)
    show_runs(found, tmp_path)
    assert found[0].state == "finished"
    json.dumps([run.to_json() for run in found], allow_nan=False)
    assert capsys.readouterr().out.startswith("experiment ")


def test_json_is_json_also_for_a_number_that_is_read_as_infinite(tmp_path):
    run = write_run(tmp_path / "run")
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"hidden": 8', '"hidden": 1e999'))
    row = list_runs(tmp_path)[0].to_json()
    assert json.loads(json.dumps(row, allow_nan=False))["config"]["hidden"] == "Infinity"


def test_hostile_texts_and_names_do_not_reach_the_terminal(tmp_path, capsys):
    run = write_run(tmp_path / "\x1b[2Jrun\nnext\u202e")
    poison(run, ATTACKS)
    show_runs(list_runs(tmp_path), tmp_path)
    out = capsys.readouterr().out
    assert not set("\x1b\x07\x00\u202e\u2066") & set(out)
    assert out.count("\n") == 2


def test_where_keeps_the_runs_that_meet_all_conditions(runs):
    def names(*where: str) -> list[str]:
        return [run.directory.name for run in list_runs(runs, where, "run")]

    assert names("state=finished") == ["one", "two"]
    assert names("experiment=t*", "seeds=0-1") == ["running", "two"]
    assert names("hidden=8", "state=running") == ["running"]
    assert names("run=*stopped") == ["stopped"]
    assert names("hidden=9") == []
    for wrong in ("state", "nothing=1", "=", ""):
        with pytest.raises(UserError, match=r"--where is .*; it must be NAME=PATTERN, with a name of experiment, "):
            names(wrong)


def test_runs_are_sorted_by_columns_and_flags_with_missing_values_last(runs):
    def names(order: str, reverse: bool = False) -> list[str]:
        return [run.directory.name for run in list_runs(runs, order=order, reverse=reverse)]

    assert names("test")[:2] == ["one", "two"]
    assert names("test", reverse=True)[:2] == ["two", "one"]
    assert set(names("test")[2:]) == {"running", "stopped"}
    assert names("num_seeds")[0] in ("one", "stopped")
    with pytest.raises(UserError, match="--sort is nothing; it must be one of experiment, "):
        names("nothing")
    for column in COLUMNS:
        assert len(names(column)) == 4


def test_an_empty_folder_and_one_that_is_not_there(tmp_path, capsys):
    assert list_runs(tmp_path) == []
    show_runs([], tmp_path)
    assert capsys.readouterr().out == f"There are no such runs below {tmp_path}.\n"
    with pytest.raises(UserError, match=r"There is no folder .*; name one that holds runs\."):
        list_runs(tmp_path / "no")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_a_warning(runs, capsys):
    (runs / "deep").chmod(0)
    assert len(list_runs(runs)) == 3
    (runs / "deep").chmod(0o700)
    assert "Permission denied" in capsys.readouterr().err


def test_openings_of_the_test_set_are_told(tmp_path, capsys):
    write_run(tmp_path / "run", test_openings=[{}, {}])
    show_runs(list_runs(tmp_path), tmp_path)
    assert "(opened 2 times)" in capsys.readouterr().out
    unfinished = write_run(tmp_path / "unfinished", finished=False)
    (unfinished / "test_openings.jsonl").write_text("{}\n")
    assert len(read_run(unfinished).opened) == 1


def test_figures_in_words():
    assert figure_in_words(None) == ""
    assert figure_in_words(("accuracy", [0.5, 0.75])) == "62.50 ± 17.68 %"
