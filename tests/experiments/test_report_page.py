"""`experiments.report` and `experiments.list` as a user runs them."""

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import list as list_runs
from experiments import report
from rowlstm_jax.errors import UserError
from tests.analysis.written import write_run

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_report_is_written_and_both_names_of_the_flag_are_known(tmp_path):
    write_run(tmp_path / "run")
    done = run(tmp_path, "experiments.report", "run", "-o", "mine.html")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "Report: mine.html\n")
    assert (tmp_path / "mine.html").read_text().startswith("<!DOCTYPE html>")
    report.main(report.Config((tmp_path / "run",), output=tmp_path / "other.html"))
    assert "The run&#x27;s own script, tiny, with all flags that it had:" in (tmp_path / "other.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no"], "error: There is no run in no; name a run's folder, such as runs/mnist_rows/latest.\n"),
        (["bad"], "summary.json can't be read ("),
        (["run", "bad"], "summary.json can't be read ("),
        (
            ["run", "--output", "report.pdf"],
            "error: --output is report.pdf; it must name a .html in a folder that can be",
        ),
        (["run", "--output", "no/report.html"], "error: --output is no/report.html; it must name a .html in a folder"),
        (["run"] * 27, "error: RUNS are 27 folders; name from 1 to 26.\n"),
    ],
)
def test_a_mistake_is_a_sentence_and_writes_nothing(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"))
    (write_run(Path("bad")) / "summary.json").write_text("{")
    before = sorted(tmp_path.rglob("*"))
    flags = {"output": Path(words[-1])} if "--output" in words else {}
    names = words[: words.index("--output")] if flags else words
    with pytest.raises(UserError) as raised:
        report.main(report.Config(tuple(map(Path, names)), **flags))
    assert sentence.removeprefix("error: ").strip() in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_ends_with_status_2(tmp_path):
    for words in (["report", "no"], ["report"], ["list", "no"], ["list", ".", "--sort", "no"]):
        (tmp_path / "config.json").write_text("{}")
        done = run(tmp_path, f"experiments.{words[0]}", *words[1:])
        assert (done.returncode, "Traceback" in done.stderr, done.stdout) == (2, False, ""), words


def test_the_command_has_the_flags_that_are_not_the_defaults():
    saved = {
        "seed": 3,
        "steps": 999,
        "hidden": 64,
        "run_dir": "/x",
        "local_files": "/y",
        "no_test": True,
        "cell": "gru",
    }
    assert (
        report.command("mnist_rows", saved)
        == "python -m experiments.mnist_rows --seed 3 --hidden 64 --cell gru --no-test"
    )
    assert report.command("mnist_rows", {"from_checkpoint": "a b"}).endswith("--from-checkpoint 'a b'")
    hostile = {"cell": "$(touch /tmp/x); `id`", "steps": "-1"}
    assert shlex.split(report.command("mnist_rows", hostile))[-4:] == ["--steps", "-1", "--cell", hostile["cell"]]


@pytest.mark.parametrize(
    "name", ["", "os", "../x", "__main__", "list", "test.x", "a b", "benchmarks", "no_such_script"]
)
def test_the_command_of_a_script_that_is_not_here_has_all_flags(name):
    saved = {"seed": 0, "resume": False, "no_test": True, "cell": None, "mine": ["a b", 1], "run_dir": "/x"}
    said = report.command(name, saved)
    assert said == f"The run's own script, {name}, with all flags that it had:\n--seed 0 --no-test --mine 'a b' 1"


def test_the_list_as_a_table_and_as_json(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a", seeds=1)
    (write_run(tmp_path / "runs" / "bad") / "config.json").write_text("{")
    done = run(tmp_path, "experiments.list")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[:1]] == [["experiment", "state"]]
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr.count("warning: ") == 1
    list_runs.main(list_runs.Config(tmp_path / "runs", where=("state=finished",), json=True))
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run"], row["experiment"], row["state"]) == (str(tmp_path / "runs" / "a"), "tiny", "finished")
    assert row["config"]["hidden"] == 8


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_the_report_of_a_real_run_says_how_to_repeat_it_to_the_bit(tmp_path):
    flags = ["--steps", 20, "--hidden", 4, "--num-seeds", 2, "--eval-every", 10, "--devices", 1]
    assert run(tmp_path, "experiments.mnist_rows", *flags, "--run-dir", "a").returncode == 0
    assert run(tmp_path, "experiments.report", "a").returncode == 0
    page = (tmp_path / "report.html").read_text()
    (command,) = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.S)
    python, m, *words = shlex.split(html.unescape(command))
    assert (python, m) == ("python", "-m")
    assert run(tmp_path, *words, "--run-dir", "b").returncode == 0
    first, second = (np.load(tmp_path / name / "weights.npz") for name in ("a", "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (tmp_path / "b" / "metrics.jsonl").read_bytes()
    assert run(tmp_path, "experiments.report", "a", "b", "-o", "both.html").returncode == 0
    both = (tmp_path / "both.html").read_text()
    assert "Welch&#x27;s t-test" in both
    assert both.count("data:image/png") >= 4
    shutil.rmtree(tmp_path / "a" / "plots")
    (tmp_path / "a" / "summary.json").unlink()
    assert run(tmp_path, "experiments.report", "a").returncode == 0  # as if it had stopped
    assert "stopped at step 20 of 20" in (tmp_path / "report.html").read_text()
