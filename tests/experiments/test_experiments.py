"""The scripts, run as a user runs them: as processes, on the real MNIST."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from experiments.benchmarks.processes import free_port
from rowlstm_jax.data import load

ROOT = Path(__file__).parents[2]
FLAGS = ["--log-every", "5", "--eval-every", "10", "--checkpoint-every", "10"]


pytestmark = pytest.mark.usefixtures("mnist")


def start(*flags: object, experiment: str = "mnist_rows") -> subprocess.Popen:
    command = [sys.executable, "-m", f"experiments.{experiment}", *map(str, flags)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*flags: object, experiment: str = "mnist_rows") -> tuple[int, str, str]:
    process = start(*flags, experiment=experiment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def weights(folder: Path) -> dict[str, bytes]:
    """All that the last checkpoint of a run holds."""
    step = max(int(path.name) for path in (folder / "checkpoints").iterdir())
    tree = ocp.StandardCheckpointer().restore(folder / "checkpoints" / str(step) / "state")
    return {
        jax.tree_util.keystr(p): np.asarray(leaf).tobytes() for p, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    cache = ("--compilation-cache", folder.with_name("compiled"))
    status, out, err = run("--seed", 3, "--steps", 27, "--run-dir", folder, "--devices", 2, *cache, *FLAGS)
    assert (status, err) == (0, "")
    return folder, out


def test_the_notebooks_experiment_shows_all_that_the_notebook_shows(finished):
    _, out = finished
    text = " ".join(re.sub("[│┃]", " ", out).split())
    for expected in (
        "train (55000, 28, 28) (55000,) uint8",
        "validation (5000, 28, 28) (5000,) uint8",
        "test (10000, 28, 28) (10000,) uint8",
        "test sample 100: class 6, label vector [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]",
        "test sample 101: class 0, label vector [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
        "test sample 102: class 5, label vector [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]",
        "layer_0_forward/kernel (156, 512) float32 79,872",
        "total 81,674",
        "0.96875 on the first 128 test images in the notebook",
    ):
        assert expected in text
    steps = re.findall(r"^step (\d+)/27  samples ([\d,]+)  minibatch loss \d\.\d{6}, accuracy [01]\.\d{5}", out, re.M)
    assert steps == [(str(step), f"{step * 100:,}") for step in (5, 10, 15, 20, 25, 27)]
    assert re.search(r"all 10,000 images .* seed 3 \d\.\d{5} 0\.\d{5} 0\.\d{4} to 0\.\d{4} ", text)
    assert re.search(r"On the first 128 images, as in the notebook: 0\.\d{5}\.", text)


def test_the_summary_says_what_was_measured(finished, mnist):
    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["experiment"] == "mnist_rows"
    assert (summary["seeds"], summary["steps"], summary["num_params"]) == ([3], 27, 81_674)
    assert summary["train_examples"] == 55_000
    described = {"name": "mnist", "version": "3.0.1", "sha256": mnist.sha256, "input_shape": [28, 28]}
    assert summary["data"] == described
    assert summary["protocol"]["name"] == "notebook"
    assert 0.3 < summary["test_accuracy"] < 0.9, "27 steps teach something, and not all"
    low, high = summary["test_accuracy_interval_95"]
    assert low < summary["test_accuracy"] < high
    assert summary["test_accuracy_first_128"] * 128 % 1 == 0
    assert abs(summary["validation_accuracy"] - summary["test_accuracy"]) < 0.1
    assert {"start", "data", "compile", "train", "validation", "test", "plots"} <= set(summary["timing"]["seconds"])
    assert summary["timing"]["ms_per_step"] > 0
    assert 0 < summary["timing"]["share_of_loop_in_steps"] < 1
    assert summary["environment"]["versions"]["jax"] == jax.__version__
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "validation_accuracy" in r] == [10, 20, 27]
    assert records[-1]["validation_accuracy"] == summary["validation_accuracy"]


def test_every_picture_is_drawn(finished):
    folder, _ = finished
    for name in ("samples", "curves", "confusion", "errors"):
        with Image.open(folder / "plots" / f"{name}.png") as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_ctrl_c_and_resume_end_in_the_same_bytes(tmp_path):
    """Stop wherever the process is then, resume for a few more steps, and compare with a run never stopped."""
    process = start("--steps", 100_000, "--run-dir", tmp_path / "stopped", *FLAGS)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped = re.search(r"Stopped at step (\d+) of 100000; its state is saved\. .* --resume --run-dir", err)
    assert stopped, err
    steps = int(stopped[1]) + 7
    status, out, err = run("--steps", steps, "--run-dir", tmp_path / "stopped", "--resume", *FLAGS)
    assert (status, err) == (0, "")
    assert f"Resumed from step {stopped[1]}." in out
    assert run("--steps", steps, "--run-dir", tmp_path / "undisturbed", *FLAGS)[0] == 0
    folders = [tmp_path / name for name in ("stopped", "undisturbed")]
    assert len({(folder / "metrics.jsonl").read_text() for folder in folders}) == 1
    assert weights(folders[0]) == weights(folders[1])
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert summaries[0]["test_loss"] == summaries[1]["test_loss"]


@pytest.mark.parametrize(
    ("signum", "status", "first_step"),
    [
        (signal.SIGKILL, -signal.SIGKILL, "The run has no checkpoint yet: it starts from step 0."),
        (signal.SIGTERM, 143, "Resumed from step 0."),
    ],
)
@pytest.mark.slow
def test_a_run_stopped_while_it_compiles_can_be_resumed(tmp_path, signum, status, first_step):
    flags = ["--steps", 5, "--run-dir", tmp_path / "run"]
    process = start(*flags, "--compilation-cache", "None")
    while not (tmp_path / "run" / "config.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err == "" or re.fullmatch(r"Stopped at step 0 of 5; its state is saved\. .*\n", err)
    status, out, err = run(*flags, "--resume")
    assert (status, err) == (0, "")
    assert first_step in out


def test_another_model_in_the_script_cannot_resume_a_run(finished):
    folder, _ = finished
    status, _, err = run("--seed", 3, "--steps", 27, "--run-dir", folder, "--hidden", 64, "--resume", *FLAGS)
    assert status == 2
    assert "other settings: hidden was 128 and is now 64.\nArrays, as they are saved and as they are needed:\n" in err
    assert re.search(r"changed  state/params/readout/kernel +float32 \[1, 128, 10\] -> float32 \[1, 64, 10\]", err)
    assert "Traceback" not in err


def test_a_batch_larger_than_the_data_is_refused_before_training(tmp_path):
    status, _, err = run("--batch-size", 55_001, "--run-dir", tmp_path / "run")
    assert (status, (tmp_path / "run").exists()) == (2, False)
    assert err == "error: --batch-size is 55001, more than the 55000 training examples; choose less.\n"


@pytest.mark.slow
def test_what_one_start_compiles_serves_the_next_wherever_the_cache_lies(finished, tmp_path):
    cache = shutil.copytree(finished[0].with_name("compiled"), tmp_path / "elsewhere")
    kept = set(cache.glob("*-cache"))
    assert any("jit_steps" in path.name for path in kept)
    flags = ("--run-dir", tmp_path / "next", "--devices", 2, "--compilation-cache", cache)
    assert run("--seed", 4, "--steps", 27, *flags, *FLAGS)[0] == 0
    assert set(cache.glob("*-cache")) == kept


@pytest.mark.slow
def test_two_processes_compute_what_one_with_two_devices_computes(finished, tmp_path):
    together = [
        "--strict-compile",
        "--distributed",
        "--coordinator",
        f"localhost:{free_port()}",
        "--num-processes",
        2,
        "--devices",
        1,
    ]
    flags = ["--seed", 3, "--run-dir", tmp_path / "run", *FLAGS]
    processes = [start(*flags, "--steps", 27, *together, "--process-id", i) for i in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [err for _, err in outputs] == ["", ""]
    assert "Batches of 100 on 2 cpu devices in 2 processes" in outputs[0][0]
    assert "step" not in outputs[1][0], "one process speaks"
    records, alone = [(f / "metrics.jsonl").read_text().splitlines() for f in (tmp_path / "run", finished[0])]
    assert len(records) == 6
    for record, other in zip(records, alone, strict=True):
        assert json.loads(record) == pytest.approx(json.loads(other), rel=1e-6)
    # One process goes on from what two saved.
    status, out, err = run(*flags, "--steps", 30, "--resume", "--devices", 1)
    assert (status, err) == (0, "")
    assert "Resumed from step 27." in out


@pytest.mark.slow
def test_a_profile_names_operations(tmp_path):
    status, _, err = run("--steps", 10, "--run-dir", tmp_path / "run", "--profile", *FLAGS)
    assert (status, err) == (0, "")
    (trace,) = (tmp_path / "run" / "profile").rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert len({event["name"] for event in events if "hlo_op" in event.get("args", {})}) > 10


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> tuple[Path, str]:
    """Three seeds in one program, the first of them that of `finished`."""
    folder = tmp_path_factory.mktemp("runs") / "several"
    flags = ["--seed", 3, "--num-seeds", 3, "--steps", 27, "--run-dir", folder, "--devices", 1, "--memory-health"]
    status, out, err = run(*flags, *FLAGS)
    assert (status, err) == (0, "")
    return folder, out


@pytest.mark.slow
def test_seeds_at_once_are_the_runs_of_each_and_are_summed_up(several, finished):
    folder, out = several
    assert "3 seeds, batches of 100, each over 1 on 1 cpu device" in out
    assert "(means over 3 seeds)" in out
    records, alone = (
        [json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (folder, finished[0])
    )
    for record, other in zip(records, alone, strict=True):
        for name, value in other.items():
            found = record[name][0] if isinstance(record[name], list) else record[name]
            assert found == pytest.approx(value, rel=1e-4), name
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["seeds"] == [3, 4, 5]
    assert summary["num_params"] == 81_674
    accuracy = summary["test_accuracy"]
    assert len(set(accuracy["values"])) == 3
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["std"] == pytest.approx(np.std(accuracy["values"], ddof=1))
    assert accuracy["interval_95"][0] <= accuracy["mean"] <= accuracy["interval_95"][1]
    with np.load(folder / "test.npz", allow_pickle=False) as arrays:
        correct = arrays["predictions"] == arrays["labels"][None]
    np.testing.assert_allclose(correct.mean(axis=1), accuracy["values"])
    norms = np.array(records[0]["layer_0_forward/gradient_norm_h"])
    assert norms.shape == (3, 28)
    assert (norms > 0).all()


@pytest.mark.slow
def test_two_runs_are_compared_and_a_third_of_another_protocol_is_refused(several, finished, tmp_path):
    picture = tmp_path / "comparison.png"
    status, out, err = run(several[0], finished[0], "--output", picture, experiment="compare")
    assert (status, err) == (0, "")
    assert "McNemar" in out
    with Image.open(picture) as image:
        assert min(image.size) > 300
    columns = tmp_path / "columns"
    flags = ["--steps", 5, "--protocol", "mnist_columns_60000", "--cell", "elman", "--hidden", 8, "--run-dir", columns]
    assert run(*flags)[0] == 0
    summary = json.loads((columns / "summary.json").read_text())
    assert (summary["train_examples"], summary["validation_accuracy"]) == (60_000, None)
    status, _, err = run(several[0], columns, "--output", picture, experiment="compare")
    assert status == 2
    assert "order" in err
    assert "validation_examples" in err
    assert "Traceback" not in err
    varied = ["--differ-in", "order", "validation_examples"]
    assert run(several[0], columns, "--output", picture, *varied, experiment="compare")[0] == 0


@pytest.mark.slow
def test_each_opening_of_the_test_set_is_written_down(several, tmp_path):
    folder = shutil.copytree(several[0], tmp_path / "run")
    openings = json.loads((folder / "summary.json").read_text())["test_openings"]
    assert [opening["selected_steps"] for opening in openings] == [[27, 27, 27]]
    flags = ["--seed", 3, "--num-seeds", 3, "--run-dir", folder, "--resume", "--devices", 1, *FLAGS]
    status, out, _ = run(*flags, "--steps", 27)
    assert (status, "The run was finished, and its test set is not opened again" in out) == (0, True)
    assert json.loads((folder / "summary.json").read_text())["test_openings"] == openings
    status, out, _ = run(*flags, "--steps", 28)
    assert status == 0
    assert "The test set of this run has been opened 2 times" in out
    assert len(json.loads((folder / "summary.json").read_text())["test_openings"]) == 2


@pytest.mark.slow
def test_insight_draws_what_a_run_has_learnt(several):
    status, out, err = run(several[0], experiment="insight")
    assert (status, err) == (0, "")
    assert "Rows until above 99 %" in out
    pictures = {path.stem for path in (several[0] / "plots").iterdir()}
    assert {"memory", "probabilities_over_rows", "rows_needed", "gates_over_time"} <= pictures


@pytest.mark.slow
def test_a_grid_of_networks_and_tasks_makes_a_table_and_a_picture_and_goes_on_where_it_stopped(tmp_path):
    grid = ["--steps", 3, "--num-seeds", 2, "--hidden", 4, "--run-dir", tmp_path / "grid", "--cells", "elman"]
    grid += ["--tasks", "patches", "--step-sizes", 1e-3, 1e-2]
    status, out, err = run(*grid, experiment="cells_by_order")
    assert (status, err) == (0, "")
    status, out, err = run(*grid[:-5], "lru", *grid[-5:], "--resume", experiment="cells_by_order")
    assert (status, err) == (0, "")
    assert out.count("step 3/3") == 2, "two were finished"
    rows = json.loads((tmp_path / "grid" / "table.json").read_text())["rows"]
    assert [(row["cell"], row["layer"], len(row["accuracies"])) for row in rows] == [
        ("elman", False, 2),
        ("lru", True, 2),
    ]
    assert all(row["flops"] > 2 * 49 * 16 * 4 for row in rows)
    for row in rows:
        means, best = row["validation"], row["step_size"]
        assert means[str(best)] == max(means.values())
        for size in means:
            opened = (tmp_path / "grid" / f"{row['cell']}-patches-{size}" / "test_openings.jsonl").exists()
            assert opened == (size == str(best)), "only the chosen run is tested"
    assert (tmp_path / "grid" / "grid.png").exists()


@pytest.mark.parametrize(
    ("experiment", "flags", "num_params"),
    [
        ("mnist_rows_record", ["--steps", 301, "--batch-size", 2, "--num-seeds", 2, "--hidden", 8], 1_274),
        ("fashion_rows", ["--steps", 301, "--batch-size", 2, "--num-seeds", 1, "--hidden", 8], 1_274),
        ("mnist_pixels", ["--steps", 301, "--batch-size", 1, "--hidden", 1], 32),
    ],
)
@pytest.mark.slow
def test_the_other_experiments_run(experiment, flags, num_params, tmp_path):
    if experiment == "fashion_rows":
        try:
            load("fashion_mnist")
        except ValueError as error:
            pytest.skip(f"Fashion-MNIST is not here and cannot be had: {error}")
    status, _, err = run(*flags, "--run-dir", tmp_path / "run", experiment=experiment)
    assert (status, err) == (0, "")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["num_params"] == num_params
    status, _, err = run("--steps", 300, "--run-dir", tmp_path / "short", experiment=experiment)
    assert (status, err) == (2, "error: --steps is 300, and the step size warms up for 300; ask for more steps.\n")


@pytest.mark.slow
def test_orders_draws_those_that_are_named_and_refuses_others(tmp_path):
    words, environment = [sys.executable, "-m", "experiments.orders"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Picture: {tmp_path}/runs/orders/mnist-7.png\n" in done.stdout
    assert [path.name for path in tmp_path.rglob("*.png")] == ["mnist-7.png"]
    flags = ["--orders", "rows", "hilbert", "--output", tmp_path / "orders.png"]
    assert run(*flags, experiment="orders")[::2] == (0, "")
    with Image.open(tmp_path / "orders.png") as image:
        assert image.size == (1800, 492)
    for wrong, sentence in (
        (["--orders", "spiral"], "--orders names 'spiral'; choose from rows, "),
        (["--output", "orders.jpg"], "--output is orders.jpg; it must name a .png in a folder that can be written to."),
        (["--image", -1], "--image is -1; the training images are 0 to 59999."),
    ):
        status, _, err = run(*flags, *wrong, experiment="orders")
        assert status == 2
        assert err.startswith(f"error: {sentence}")
