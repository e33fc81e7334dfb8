"""README.md says what is true: its commands run, its figures are those of the stored runs, its map is complete."""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import tyro

from experiments import mnist_rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def test_the_two_commands_are_those_that_the_check_runs():
    """They install and test, so they run in .ci/run and not here."""
    first, second = blocks("sh")[:2]
    assert first.endswith(".venv/bin/python -m experiments.mnist_rows --seed 0\n")
    assert second == ".venv/bin/python -m pytest -n 2\n"
    for marker, command in (("first-command", first), ("second-command", second)):
        script = f'. <(sed -n "/^readme()/,/^}}/p" .ci/run); readme {marker}'
        shown = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert shown == command


def test_every_other_command_runs(tmp_path):
    (commands, _) = blocks("sh")[2:]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for line in commands.splitlines():
        program, *arguments = line.split()
        assert program == "python"
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    summary = json.loads((tmp_path / "runs" / "mnist_rows" / "latest" / "summary.json").read_text())
    assert summary["steps"] == 40


def test_the_flags_of_several_processes_are_flags():
    """What starts them is not here; test_experiments.py starts two with the flags of the last two lines."""
    lines = blocks("sh")[3].splitlines()
    assert len(lines) == 4
    for line in lines:
        flags = line.split("python -m experiments.mnist_rows ")[1].split()
        assert tyro.cli(mnist_rows.Config, args=flags).distributed


def test_the_code_runs():
    (code,) = blocks("python")
    names: dict = {}
    exec(code, names)
    assert names["logits"].shape == (5, 10)


def test_the_results_are_those_of_the_stored_runs():
    summaries = [
        json.loads(path.read_text()) for path in sorted((ROOT / "experiments/results/mnist_rows").glob("*.json"))
    ]
    assert [summary["seeds"] for summary in summaries] == [[0], [1], [2], [3], [4]]
    assert {(s["steps"], s["num_params"], s["train_examples"]) for s in summaries} == {(999, 81_674, 55_000)}
    assert len({s["protocol"]["sha256"] for s in summaries}) == len({s["data"]["sha256"] for s in summaries}) == 1
    for row, key in (("all 10,000", "test_accuracy"), ("first 128, as in the notebook", "test_accuracy_first_128")):
        values = [100 * summary[key] for summary in summaries]
        figure = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} %"
        assert f"| `mnist_rows` | {row} | {figure} |" in README


def test_the_map_names_every_module_and_every_link_leads_somewhere():
    for path in (ROOT / "rowlstm_jax").glob("[a-z]*.py"):
        assert re.search(rf"^      {path.name} ", README, re.M), path.name
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
