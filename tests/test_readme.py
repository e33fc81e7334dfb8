"""Every README says what is true: commands and code run, figures are those of stored runs, links lead somewhere."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tyro

from experiments import results_table
from rowlstm_jax import PROTOCOLS
from rowlstm_jax.analysis import percent_over_seeds
from rowlstm_jax.analysis.statistics import compare_seeds, student_interval
from rowlstm_jax.errors import UserError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("experiments/**/README.md"),
        *ROOT.glob("rowlstm_jax/*/README.md"),
    ]
)
INNER = [page for page in PAGES if page.parent != ROOT]
SMALLER = {  # flags for the commands of pages that do not name them: they run, and nothing is to be learnt from them
    "experiments.mnist_rows": {"--hidden": "8"},
    "experiments.benchmarks.train_step": {"--rounds": "1", "--batch-size": "4", "--time-steps": "4"},
}

SHORTER = {  # in the code of pages: a study takes few steps, with half of its step sizes
    "steps=300": "steps=10",
    "(0.001, 0.003, 0.01, 0.03)": "(0.001, 0.003)",
    "(0.0003, 0.001, 0.003, 0.01)": "(0.003, 0.01)",
}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def run(arguments: list[str], folder: Path) -> None:
    """Run Python in a folder in which a newcomer could be, with the runs that earlier commands made."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


def test_the_readme_is_short_and_its_two_commands_are_those_that_the_check_runs():
    """They install and test, so they run in .ci/run and not here."""
    assert README.count("\n") <= 175
    first, second, _ = blocks(ROOT / "README.md", "sh")
    assert first.endswith(".venv/bin/python -m experiments.mnist_rows --seed 0\n")
    assert second == ".venv/bin/python -m pytest -n 2\n"
    for marker, command in (("first-command", first), ("second-command", second)):
        script = f'. <(sed -n "/^readme()/,/^}}/p" .ci/run); readme {marker}'
        shown = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert shown == command


@pytest.mark.slow
@pytest.mark.parametrize("page", INNER, ids=name_of)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path):
    """Those of several processes need other machines; test_processes.py runs their like."""
    for line in "".join(blocks(page, "sh")).splitlines():
        if "--distributed" not in line and not line.startswith((".venv/bin/pip", "source")):
            program, *arguments = shlex.split(line, comments=True)
            assert program == "python", line
            more = [pair for pair in SMALLER.get(arguments[1], {}).items() if pair[0] not in arguments]
            run(["10" if word == "300" else word for word in arguments] + [*itertools.chain(*more)], tmp_path)


def commands() -> list[str]:
    """Every command of every page, in blocks and in sentences."""
    found = [
        command for page in PAGES for command in re.findall(r"python (-m experiments\.[^`\n#]*)", page.read_text())
    ]
    return sorted({command.strip() for command in found if "$" not in command})  # those of job scripts run elsewhere


@pytest.mark.parametrize("command", commands())
def test_every_flag_that_a_page_names_is_there(command):
    if "<" in command:
        pytest.skip("it stands for several commands")
    _, module, *arguments = shlex.split(command)
    if "--help" not in arguments:
        tyro.cli(import_module(module).Config, args=arguments)


@pytest.mark.slow
@pytest.mark.parametrize("page", INNER, ids=name_of)
def test_the_code_of_a_page_runs(page, tmp_path):
    for number, code in enumerate(blocks(page, "python")):
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        run(["-c", code], tmp_path)
        assert code.strip(), number


@pytest.mark.slow
def test_a_cell_and_an_order_of_ones_own_are_compared_in_ten_lines_twice(tmp_path):
    load, own, *_ = blocks(ROOT / "README.md", "python")
    assert sum(bool(line.strip()) for line in own.splitlines()) <= 10
    program = own.replace("num_seeds=5", "num_seeds=5, steps=5, hidden=8")
    assert program != own
    run(["-m", "experiments.mnist_rows", "--steps", "5", "--hidden", "8", "--run-dir", "first"], tmp_path)
    run(["-c", load.replace("runs/mnist_rows/latest", "first")], tmp_path)
    for _ in range(2):
        run(["-c", program], tmp_path)
    folders = [folder for folder in (tmp_path / "runs" / "mnist_rows").iterdir() if not folder.is_symlink()]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [len(summary["test_accuracy"]["values"]) for summary in summaries] == 4 * [5]


@pytest.mark.slow
def test_what_follows_a_training_runs_as_it_stands(tmp_path, mnist):
    *_, commands = blocks(ROOT / "README.md", "sh")
    run(["-m", "experiments.mnist_rows", "--steps", "20", "--hidden", "8"], tmp_path)
    PIL.Image.fromarray(mnist.test.inputs[100]).resize((99, 80)).save(tmp_path / "digit.png")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "python"
        run(arguments, tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "runs/mnist_rows/latest/model.onnx").exists()


@pytest.mark.slow
def test_own_data_and_an_own_loss_take_a_few_lines(tmp_path):
    *_, data, loss = blocks(ROOT / "README.md", "python")
    assert len([line for line in data.splitlines() if line.strip()]) == 5
    for code, experiment, figure in ((data, "own_data", "test_accuracy"), (loss, "huber", "test_error")):
        run(["-c", code], tmp_path)
        summary = json.loads((tmp_path / "runs" / experiment / "latest" / "summary.json").read_text())
        assert summary[figure] > 0
    run(["-m", "experiments.own_data", "--data", "mine.npz", "--steps", "30"], tmp_path)


def test_the_table_of_results_is_that_of_the_stored_summaries():
    stored = results_table.table(ROOT / "experiments/results")
    assert results_table.MARKS[0] + stored + results_table.MARKS[1] in README
    assert stored.count("\n") >= 5
    first = json.loads((ROOT / "experiments/results/mnist_rows.json").read_text())
    assert (first["seeds"], first["steps"], first["num_params"]) == ([0, 1, 2, 3, 4], 999, 81_674)
    assert first["protocol"]["sha256"] == PROTOCOLS["notebook"].sha256()
    on_128 = first["test_accuracy_first_128"]
    assert f"`mnist_rows` has {100 * on_128['mean']:.2f} ± {100 * on_128['std']:.2f} %" in README


def test_the_other_figures_of_the_readmes_are_those_of_the_stored_measurements():
    base = json.loads((ROOT / "experiments/results/train_step/base.json").read_text())["rows"]
    (ours,) = [row for row in base if row["name"] == "rowlstm_jax"]
    assert f"takes {ours['ratio_to_torch']:.2f} of the time of PyTorch's `nn.LSTM`" in README
    seeds = json.loads((ROOT / "experiments/results/seeds/mnist_rows.json").read_text())["rows"][0]
    page = (ROOT / "rowlstm_jax/parallel/README.md").read_text()
    assert f"8 seeds in one program take {seeds['run_ratio']:.2f} of the time of 8 runs" in page


def test_the_study_says_what_its_stored_summaries_say():
    page = (ROOT / "experiments/README.md").read_text()
    table = page.partition("<!-- study -->")[2].partition("<!-- end of study -->")[0]
    found = {}
    for name, rate in (("LSTM", "0.01"), ("LRU", "0.001")):
        stored = json.loads((ROOT / f"experiments/results/study/{name.lower()}.json").read_text())
        assert len(stored["test_openings"]) == 1
        assert f"SHA-256: {stored['protocol']['sha256'][:8]};" in page
        found[name] = [100 * value for value in stored["test_accuracy"]["values"]]
        low, high = student_interval(found[name]) or (0, 0)
        accuracy = f"{np.mean(found[name]):.2f} ± {np.std(found[name], ddof=1):.2f} %"
        row = f"| {stored['num_params']:,} | {rate} | 10-14 | {accuracy} | {low:.2f} to {high:.2f} % |"
        assert row in table
        assert accuracy in page.partition("> Both networks")[2]
    tested = compare_seeds(found["LSTM"], found["LRU"])
    assert tested
    low, high = tested.interval
    words = f"| {tested.difference:.2f} points | {low:+.2f} to {high:+.2f} points (Welch, p = {tested.welch_p:.2f}) |"
    assert words in table


def test_the_table_of_layers_on_rows_is_the_stored_one():
    table = (ROOT / "experiments/README.md").read_text().partition("<!-- rows by layer -->")[2].partition("<!-- end")[0]
    stored = json.loads((ROOT / "experiments/results/rows_by_layer.json").read_text())["rows"]
    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    columns = [(protocol, steps) for protocol in ("notebook", "fashion_rows") for steps in (999, 3300)]
    for name, parameters, *shown in rows:
        runs = {(run["protocol"], run["steps"]): run for run in stored if f"`{run['cell']}`" == name}
        assert {f"{run['num_params']:,}" for run in runs.values()} == {parameters}
        assert shown == [percent_over_seeds(runs[key]["accuracies"]) + " %" if key in runs else "-" for key in columns]
    assert sum(len(shown) - shown.count("-") for _, _, *shown in rows) == len(stored)


def test_no_stored_run_opened_the_test_set_twice():
    for experiment, _ in results_table.EXPERIMENTS:
        path = ROOT / "experiments/results" / f"{experiment}.json"
        assert not path.exists() or len(json.loads(path.read_text())["test_openings"]) == 1, experiment


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        target, _, heading = link.partition("#")
        if not link.startswith("https://"):
            assert (page.parent / target).exists(), link
            if heading:
                assert f"# {heading}\n" in (page.parent / target).read_text().lower(), link


def test_each_floor_has_a_page_and_a_row_in_the_readme_and_each_page_names_its_files():
    for floor in sorted(path.parent for path in ROOT.glob("rowlstm_jax/*/__init__.py")):
        relative = floor.relative_to(ROOT)
        assert f"[{relative}]({relative}/README.md)" in README
        page = (floor / "README.md").read_text()
        for path in floor.glob("[a-z]*.py"):
            assert path.name in page, path


def test_every_fault_in_the_table_has_tests_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.partition("<!-- faults -->")[2].partition("<!-- end of faults -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert tests, row
        for file, name in tests:
            assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.M), f"{file}::{name}"


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
