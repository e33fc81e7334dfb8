"""The names that a script imports: all there, explained, lazy; and what a script can do without the command line."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rowlstm_jax

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("*.py") if path.name != "__init__.py")

# What an experiment imports besides the public names, and why.
ALSO = {
    "cells_by_order.py": {"analysis"},  # a grid of runs, which no other script needs
    "compare.py": {"config"},  # the flags of a script that trains nothing
    "compressed_pixels.py": {"config", "data", "models", "runs", "training"},  # data made by a network, without a run
    "history_compressor.py": {"config", "runs", "tasks", "training"},  # online learning, without a run
    "list.py": {"analysis", "config"},  # the flags of a script that trains nothing, and the list of runs
    "export.py": {"analysis", "config", "interop", "runs"},  # the same flags, files for others
    "hopfield.py": {"config", "data", "models", "runs"},  # memories, which are no runs, and digits for them
    "insight.py": {"analysis", "config", "data", "runs"},  # it looks into data and weights without a run
    "orders.py": {"config", "data", "tasks"},  # the flags and the data of a script that trains nothing
    "plot.py": {"config", "runs"},  # the flags of a script that trains nothing
    "predict.py": {"config", "data", "interop", "runs"},  # the same flags, and pictures
    "recursive.py": {"models", "parallel", "tasks"},  # a network that no other script needs, and its picture
    "published.py": {"analysis", "config", "runs"},  # as results_table.py
    "report.py": {"analysis", "config", "errors", "runs"},  # the same flags, a page, and how a file is written whole
    "results_table.py": {"analysis", "config", "runs"},  # the flags of a script that trains nothing, and its files
    "rtrl.py": {"analysis", "config", "data", "runs", "training"},  # it makes no run, and updates within a sequence
    "serve.py": {"config", "interop"},  # the same flags, and the page
    "test.py": {"config", "runs"},  # the flags of a script that starts another one, by a run's files
    "verify.py": {"analysis", "config", "runs"},  # the same flags, what a run recorded, and how it is followed
}


def test_every_name_is_there_and_is_explained():
    for name in rowlstm_jax.__all__:
        assert getattr(rowlstm_jax, name) is not None
    explained = re.findall(r"^    (\w+)  +\S", rowlstm_jax.__doc__ or "", re.M)
    assert sorted(explained) == sorted(rowlstm_jax.__all__)
    assert 20 <= len(rowlstm_jax.__all__) <= 40
    assert dir(rowlstm_jax) == sorted(rowlstm_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        rowlstm_jax.Model  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded_later():
    for package in (ROOT / "rowlstm_jax", ROOT / "rowlstm_jax" / "analysis"):
        tree = ast.parse((package / "__init__.py").read_text())
        (block,) = [node for node in tree.body if isinstance(node, ast.If)]
        typed = {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}
        (names,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
        assert typed == set(ast.literal_eval(names))


def test_importing_the_package_imports_no_other():
    program = "import sys; before = set(sys.modules); import rowlstm_jax; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} <= {"rowlstm_jax", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_experiments_use_the_public_names_or_say_why(path):
    modules = {node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    inner = {module.split(".")[1] for module in modules if module.startswith("rowlstm_jax.")}
    assert inner == ALSO.get(path.name, set())


LOOP = """
from pathlib import Path
from experiments import mnist_rows
from rowlstm_jax import InterruptedRun, UserError

for seed in range(2):
    try:
        mnist_rows.main(mnist_rows.Config(seed=seed, steps=10**6, hidden=4, log_every=1, run_dir=Path("run")))
    except Exception:
        print("a loop that handles errors")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_users_loop_saved_and_with_the_status_of_the_command_line(tmp_path, signum, status):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LOOP]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert re.fullmatch(r"Stopped at step \d+ of 1000000; its state is saved\. Continue .*run\n", err)
    assert list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_a_script_that_is_run_twice_ends_with_a_sentence(tmp_path):
    program = LOOP.replace("steps=10**6", "steps=3").replace("except Exception", "except ZeroDivisionError")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/run is not an empty folder; choose another --run-dir, or add --resume.\n"
