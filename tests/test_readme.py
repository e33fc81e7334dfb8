"""README.md says what is true: its commands run, its figures are those of the stored runs, its map is complete."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from experiments import mnist_rows, results_table
from experiments.benchmarks.machine import QUIET
from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks import protocol as protocols

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


def test_every_fault_in_the_table_has_tests_that_exist_and_that_the_check_runs():
    table = (
        (ROOT / "CONTRIBUTING.md").read_text().partition("<!-- faults -->")[2].partition("<!-- end of faults -->")[0]
    )
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert tests, row
        for file, name in tests:
            assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.M), f"{file}::{name}"


@pytest.mark.slow
def test_every_other_command_runs(tmp_path):
    commands = "".join(blocks("sh")[2:4])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for line in commands.splitlines():
        program, *arguments = line.split()
        assert program == "python"
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    summary = json.loads((tmp_path / "runs" / "mnist_rows" / "latest" / "summary.json").read_text())
    assert summary["steps"] == 40


def test_the_flags_of_several_processes_are_flags():
    """What starts them is not here; test_experiments.py starts two with the flags of the last two lines."""
    (distributed,) = blocks("sh")[4:]
    lines = distributed.splitlines()
    assert len(lines) == 5
    for line in lines:
        flags = line.partition("#")[0].split("python -m experiments.mnist_rows ")[1].split()
        assert tyro.cli(mnist_rows.Config, args=flags).distributed


@pytest.mark.slow
def test_a_cell_and_an_order_of_ones_own_are_compared_in_under_15_lines(tmp_path):
    own = blocks("python")[0]
    assert sum(bool(line.strip()) for line in own.splitlines()) < 15
    program = own.replace("num_seeds=5", "num_seeds=5, steps=5, hidden=8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "comparison.png").exists()
    summaries = [json.loads((tmp_path / "runs/up" / cell / "summary.json").read_text()) for cell in ("lstm", "mine")]
    assert [len(summary["test_accuracy"]["values"]) for summary in summaries] == [5, 5]


def test_the_code_runs():
    recipe, model = blocks("python")[1:]
    exec(recipe, {})
    names: dict = {}
    exec(model, names)
    assert names["logits"].shape == (5, 10)


def test_the_table_of_results_is_that_of_the_stored_summaries():
    stored = results_table.table(ROOT / "experiments/results")
    assert results_table.MARKS[0] + stored + results_table.MARKS[1] in README
    assert stored.count("\n") >= 5
    first = json.loads((ROOT / "experiments/results/mnist_rows.json").read_text())
    assert (first["seeds"], first["steps"], first["num_params"]) == ([0, 1, 2, 3, 4], 999, 81_674)
    assert first["protocol"]["sha256"] == protocols.PROTOCOLS["notebook"].sha256()
    share = first["timing"]["share_of_loop_in_steps"]
    assert f"{100 * share:.0f} % of the time between the first step and the last is" in README
    on_128 = first["test_accuracy_first_128"]
    assert f"`mnist_rows` has {100 * on_128['mean']:.2f} ± {100 * on_128['std']:.2f} %" in README


def test_no_stored_run_opened_the_test_set_twice():
    for experiment, _ in results_table.EXPERIMENTS:
        path = ROOT / "experiments/results" / f"{experiment}.json"
        assert not path.exists() or len(json.loads(path.read_text())["test_openings"]) == 1, experiment


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
    seeds = json.loads((ROOT / "experiments/results/seeds/mnist_rows.json").read_text())
    together, alone = seeds["rows"]
    assert seeds["machine"]["used_by_others"] <= QUIET
    assert f"take {together['run_ratio']:.2f} of the time of 8 runs one after the other" in README
    assert f"({together['run_s']:.1f} s\nagainst {alone['run_s']:.1f} s)" in README
    assert f"their training steps alone take {together['step_ratio']:.2f}," in README
    assert together["run_ratio"] <= 0.95
    bfloat16 = json.loads((ROOT / "experiments/results/train_step/bfloat16.json").read_text())["rows"]
    times = {row["name"]: row["median_ms"] for row in bfloat16}
    assert f"torch is faster: {times['torch']:.2f} ms against {times['rowlstm_jax']:.2f}" in README


def test_the_map_names_every_module_and_every_link_leads_somewhere():
    for path in (ROOT / "rowlstm_jax").glob("[a-z]*.py"):
        assert re.search(rf"^      {path.name} ", README, re.M), path.name
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.startswith("https://") or (ROOT / link.partition("#")[0]).exists(), link


def test_a_table_that_is_not_what_it_says_is_not_written(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "results"
    results.mkdir()
    before, after = results_table.MARKS
    readme.write_text(f"a\n{before}old\n{after}b\n")
    results_table.write(readme, results)
    assert readme.read_text() == f"a\n{before}{results_table.table(results)}{after}b\n"
    (results / "mnist_pixels.json").write_text('{"experiment": "mnist_pixels", "protocol": {"name": "mnist_permuted"}}')
    with pytest.raises(UserError, match=r"is no summary of mnist_pixels by the protocol mnist_pixels"):
        results_table.write(readme, results)
    for damaged in (
        "",
        "[]",
        "{}",
        '{"experiment": "mnist_pixels", "protocol": {"name": "mnist_pixels"}, "seeds": []}',
    ):
        (results / "mnist_pixels.json").write_text(damaged)
        with pytest.raises(UserError, match=r"mnist_pixels\.json .*; store one of a finished run"):
            results_table.write(readme, results)
    (results / "mnist_pixels.json").unlink()
    readme.write_text(f"a\n{before}old\n")
    with pytest.raises(UserError, match="has no lines"):
        results_table.write(readme, results)
    assert readme.read_text() == f"a\n{before}old\n"
