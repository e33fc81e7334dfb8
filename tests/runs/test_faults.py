"""Faults under a run: numbers that are not finite, compilation where none is due, disks and folders that go away."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rowlstm_jax.analysis import report
from rowlstm_jax.data import Examples
from rowlstm_jax.errors import NonFiniteError, UserError
from rowlstm_jax.parallel.recompilation import RecompilationError
from rowlstm_jax.runs import records
from rowlstm_jax.runs.folder import RunFolder
from rowlstm_jax.runs.loop import fit
from rowlstm_jax.runs.run import Run
from rowlstm_jax.training.optimizers import evaluation_params, params_ema, skip_nonfinite
from rowlstm_jax.training.recipe import Recipe
from tests.runs.test_resume import MODEL, PROTOCOL, make
from tests.trials import at_steps, journal, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one_bad_label(tiny_data):
    """One of the 41 training examples has a class that there is not, so that the loss of its batches is NaN."""
    labels = tiny_data.train.targets.copy()
    labels[7] = 200
    return tiny_data.__class__(**vars(tiny_data) | {"train": Examples(tiny_data.train.inputs, labels)})


def test_a_run_halts_at_a_loss_that_is_not_finite_and_names_the_seeds(tmp_path, one_bad_label):
    run = make(tmp_path / "run", num_seeds=3, steps=30)
    with pytest.raises(
        NonFiniteError, match=r"after step 4 of seed 1, where .* and after step 4 of seed 2, where"
    ) as error:
        train(run, one_bad_label)
    assert "or skip such steps by --on-nonfinite skip. No checkpoint was saved yet." in str(error.value)


def test_steps_that_are_not_finite_can_be_skipped(tmp_path, one_bad_label, capsys):
    run = make(tmp_path / "run", num_seeds=2, steps=30, on_nonfinite="skip", log_every=1)
    fitted = train(run, one_bad_label)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.params))
    steps = [record for record in journal(run.config).records() if "loss" in record]
    for seed in range(2):
        counts = [record["skipped_steps"][seed] for record in steps]
        bad = [record["step"] for record in steps if record["loss"][seed] is None]
        assert counts[-1] == len(bad) in (2, 3), "each epoch of 41 examples has one bad batch"
        assert [
            record["step"]
            for record, before in zip(steps, [0, *counts], strict=False)
            if record["skipped_steps"][seed] > before
        ] == bad
    assert "steps skipped so far" in capsys.readouterr().out


def test_more_than_ten_skipped_steps_in_a_row_end_a_run(tmp_path, one_bad_label):
    """The update is not finite from the fifth on, and now and then the loss."""
    schedule = optax.join_schedules([optax.constant_schedule(1e-2), optax.constant_schedule(np.inf)], [4])
    config = make(tmp_path / "run", steps=40, on_nonfinite="skip", log_every=1, eval_every=50).config
    run = Run("tiny", config, PROTOCOL, Recipe(MODEL, optax.adam(schedule)))
    words = rf"Up to step 15, {records.MAX_SKIPPED + 1} steps in a row of seed 0 were not finite and skipped"
    with pytest.raises(NonFiniteError, match=words):
        train(run, one_bad_label)
    assert max(record["skipped_steps"] for record in journal(run.config).records()) == records.MAX_SKIPPED


@pytest.mark.slow
def test_what_is_too_much_does_not_depend_on_how_often_a_run_looks(tmp_path, tiny_data):
    rates = [optax.constant_schedule(rate) for rate in (1e-2, np.inf, 1e-2)]
    recipe = Recipe(MODEL, optax.inject_hyperparams(optax.adam)(optax.join_schedules(rates, [4, 20])))
    for log_every in (1, 60):
        plain = make(tmp_path / str(log_every), steps=60, on_nonfinite="skip", log_every=log_every, eval_every=60)
        with pytest.raises(NonFiniteError, match=r"steps in a row of seed 0 were not finite and skipped, more than 10"):
            train(Run("tiny", plain.config, PROTOCOL, recipe), tiny_data)


def test_a_refused_update_leaves_parameters_average_and_optimiser_alone():
    optimizer: Any = skip_nonfinite(optax.chain(optax.adam(0.1), params_ema(0.5)))
    params: Any = {"w": jnp.arange(3.0)}
    state = optimizer.init(params)
    for gradient, refused in ((1.0, False), (np.nan, True), (np.inf, True), (2.0, False)):
        updates, after = optimizer.update({"w": jnp.array([1.0, gradient, 1.0])}, state, params)
        assert bool((updates["w"] == 0).all()) == refused
        same = jax.tree.map(lambda a, b: bool((a == b).all()), after.inner, state.inner)
        assert all(jax.tree.leaves(same)) == refused
        params, state = optax.apply_updates(params, updates), after
        assert jnp.isfinite(evaluation_params(params, state)["w"]).all()
    assert (int(state.in_a_row), int(state.longest), int(state.total)) == (0, 2, 2)
    overflow: Any = skip_nonfinite(optax.sgd(1e38))
    updates, state = overflow.update({"w": jnp.full(3, 1e30)}, overflow.init(params), params)
    assert (int(state.total), updates["w"].tolist()) == (1, [0.0, 0.0, 0.0]), "gradients were finite"


def test_weights_that_are_not_finite_are_not_tested(tmp_path, tiny_data):
    run = make(tmp_path / "run")
    with RunFolder(run) as folder:
        fitted = fit(run, tiny_data, folder)
        nothing = jax.tree.map(lambda x: x * np.nan, fitted.params)
        with pytest.raises(NonFiniteError, match=r"weights of the run in .* are not finite"):
            report.finish(run, dataclasses.replace(fitted, params=nothing), tiny_data, folder)
    assert folder.journal.test_openings() == []


def test_a_validation_loss_that_is_not_finite_ends_a_run(tmp_path, tiny_data):
    labels = tiny_data.validation.targets.copy()
    labels[3] = 200
    data = dataclasses.replace(tiny_data, validation=Examples(tiny_data.validation.inputs, labels))
    with pytest.raises(NonFiniteError, match=r"The validation loss at step 5 is not finite \(nan\); lower"):
        train(make(tmp_path / "run"), data)


def test_a_late_compilation_is_an_error_that_names_function_and_shapes(tmp_path, tiny_data):
    def later() -> None:
        jax.jit(lambda a_strange_name: a_strange_name * 3)(jax.device_put(np.ones(23, np.float32)))

    words = r"<lambda>.* was compiled after the first steps, for .*float32\[23\]"
    with pytest.raises(RecompilationError, match=words), at_steps(5, action=later):
        train(make(tmp_path / "run", log_every=1), tiny_data)
    with at_steps(5, action=later):
        assert train(make(tmp_path / "free", log_every=1, strict_compile=False), tiny_data).last_step == 10


def test_the_shapes_that_a_function_was_compiled_for_before_are_told(tmp_path, tiny_data):
    double = jax.jit(lambda x: x + x)
    shapes = iter((3, 4))

    def twice() -> None:
        double(jax.device_put(np.ones(next(shapes), np.float32)))

    stopping = pytest.raises(RecompilationError, match=r"for .*float32\[4\].*; before it was for .*float32\[3\]")
    with stopping, at_steps(1, 2, action=twice):
        train(make(tmp_path / "run", log_every=1), tiny_data)


def test_a_folder_that_is_removed_under_a_run_ends_it_at_the_next_record(tmp_path, tiny_data):
    stopping = pytest.raises(UserError, match=r"run is gone, and with it what was saved; start again")
    with stopping, at_steps(5, action=lambda: shutil.rmtree(tmp_path / "run")):
        train(make(tmp_path / "run", log_every=1), tiny_data)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_compiles(tmp_path, tiny_data, monkeypatch, compilations):
    usage = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    words = r"run can't be written to \(0.00 MB are needed, and 0.00 MB are free\); put that right"
    with pytest.raises(UserError, match=words):
        train(make(tmp_path / "run"), tiny_data)
    assert not (tmp_path / "run").exists()
    assert compilations == []


# In a mount namespace of its own: a small disk, an experiment on it, and what happens to the disk meanwhile.
ON_A_SMALL_DISK = """
import pathlib, subprocess, sys, time
disk, fault = pathlib.Path(sys.argv[1]), sys.argv[2]
def mount(*options, on=disk):
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(on)], check=True)
mount("-o", "size=4m")
flags = "--hidden 8 --steps 100000 --log-every 50 --eval-every 100000 --checkpoint-every 50".split()
command = [sys.executable, "-m", "experiments.mnist_rows", *flags, "--run-dir", str(disk / "run")]
process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
while not (disk / "run" / "checkpoints" / "100").exists():
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.01)
if fault == "full":
    with (disk / "rest").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1000)): pass
        except OSError: pass
else:
    checkpoints = str(disk / "run" / "checkpoints")
    subprocess.run(["mount", "--bind", checkpoints, checkpoints], check=True)
    while subprocess.run(["mount", "-o", "remount,bind,ro", checkpoints]).returncode:  # busy while a file is written
        time.sleep(0.01)
error = process.communicate(timeout=60)[1]
if fault == "full":
    (disk / "rest").unlink()
else:
    subprocess.run(["umount", str(disk / "run" / "checkpoints")], check=True)
kept = sorted(int(path.name) for path in (disk / "run" / "checkpoints").iterdir() if path.name.isdecimal())
print(process.returncode, kept[-1], error)
command[command.index("100000")] = str(kept[-1] + 10)
again = subprocess.run([*command, "--resume"], capture_output=True, text=True)
print(again.returncode, f"Resumed from step {kept[-1]}" in again.stdout, again.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
def test_a_disk_that_becomes_full_or_read_only_ends_a_run_and_costs_nothing_saved(tmp_path, fault, words):
    namespace = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    command = [*namespace, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path), fault]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    first, second, _ = outcome.stdout.rsplit("\n", 2)
    assert first.startswith("2 "), outcome.stdout
    assert words in first
    assert "Traceback" not in first
    assert second.startswith("0 True"), outcome.stdout
