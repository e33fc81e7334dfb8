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
from experiments.benchmarks.machine import QUIET

ROOT = Path(__file__).parents[1]
# The columns of the table of speeds: B, T, F, H.
MEASUREMENTS = {
    "base": (100, 28, 28, 128),
    "b512": (512, 28, 28, 128),
    "h512": (100, 28, 28, 512),
    "t784": (100, 784, 1, 128),
}
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
    assert len(lines) == 5
    for line in lines:
        flags = line.partition("#")[0].split("python -m experiments.mnist_rows ")[1].split()
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


def test_the_speeds_are_those_of_the_stored_measurements():
    measured = [json.loads((ROOT / f"experiments/results/train_step/{name}.json").read_text()) for name in MEASUREMENTS]
    assert all(measurement["machine"]["used_by_others"] <= QUIET for measurement in measured)
    settings = [measurement["settings"] for measurement in measured]
    sizes = [(s["batch_size"], s["time_steps"], s["features"], s["hidden"], s["dtype"]) for s in settings]
    assert sizes == [(*size, "float32") for size in MEASUREMENTS.values()]
    for position, row in enumerate(measured[0]["rows"]):
        rows = [measurement["rows"][position] for measurement in measured]
        assert {other["name"] for other in rows} == {row["name"]}
        if row["median_ms"] is not None:
            cells = [f"{other['median_ms']:.3g} ({other['ratio_to_torch']:.2f})" for other in rows]
            assert re.search(rf"^\| .*`{row['name']}`.* \| {re.escape(' | '.join(cells))} \|$", README, re.M), cells


def test_the_other_figures_are_those_of_the_stored_measurements():
    startup = json.loads((ROOT / "experiments/results/startup/mnist_rows.json").read_text())
    (first,) = [row for row in startup["rows"] if row["name"] == "first step logged"]
    assert f"times a start by phase: {first['warm']:.2f} s" in README
    assert f"logged, {first['cold']:.2f} s if nothing has been compiled yet" in README
    bfloat16 = json.loads((ROOT / "experiments/results/train_step/bfloat16.json").read_text())["rows"]
    times = {row["name"]: row["median_ms"] for row in bfloat16}
    assert f"torch is faster: {times['torch']:.2f} ms against {times['rowlstm_jax']:.2f}" in README
    for path in (ROOT / "experiments/results/mnist_rows").glob("*.json"):
        assert round(json.loads(path.read_text())["timing"]["share_of_loop_in_steps"], 2) == 0.92


def test_the_map_names_every_module_and_every_link_leads_somewhere():
    for path in (ROOT / "rowlstm_jax").glob("[a-z]*.py"):
        assert re.search(rf"^      {path.name} ", README, re.M), path.name
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
