"""A run killed again and again ends in the bits of one never disturbed; what says so tells one bit from another."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import same_bits
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]


def finished(run: Path, kernel: np.ndarray) -> None:
    """The files of a finished run that are compared."""
    run.mkdir()
    (run / ".lock").touch()
    (run / "metrics.jsonl").write_text('{"step": 3, "loss": 0.5}\n')
    np.savez_compressed(run / "weights.npz", kernel=kernel)
    np.savez_compressed(run / "test.npz", predictions=np.arange(4, dtype=np.uint8))
    with Checkpoints(run / "checkpoints", {}) as checkpoints:
        checkpoints.save(3, {"kernel": kernel, "step": np.int32(3)})


def change_a_byte(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7"))


def change_a_bit_of_the_checkpoint(run: Path) -> None:
    kernel = np.ones((2, 3), np.float32)
    kernel.view(np.uint32)[1, 2] ^= 1
    shutil.rmtree(run / "checkpoints")
    with Checkpoints(run / "checkpoints", {}) as checkpoints:
        checkpoints.save(3, {"kernel": kernel, "step": np.int32(3)})


def change_a_prediction(run: Path) -> None:
    np.savez_compressed(run / "test.npz", predictions=np.array([0, 1, 2, 2], np.uint8))


def change_a_type(run: Path) -> None:
    np.savez_compressed(run / "weights.npz", kernel=np.ones((2, 3), np.float32).view(np.int32))


@pytest.mark.parametrize(
    ("change", "different"),
    [
        (change_a_byte, r"differ in metrics\.jsonl\."),
        (change_a_bit_of_the_checkpoint, r"differ in checkpoints/3/kernel\."),
        (change_a_prediction, r"differ in test\.npz/predictions\."),
        (change_a_type, r"differ in weights\.npz/kernel\."),
        (lambda run: (run / ".metrics.jsonl.17").touch(), r"temporary files: \.metrics\.jsonl\.17\."),
        (lambda run: (run / "checkpoints/4.orbax-checkpoint-tmp").mkdir(), r"files: checkpoints/4\.orbax"),
    ],
)
def test_one_byte_that_differs_and_one_file_too_many_are_found(tmp_path, change, different):
    runs = [tmp_path / "killed", tmp_path / "undisturbed"]
    for run in runs:
        finished(run, np.ones((2, 3), np.float32))
    assert same_bits.require(*runs) == 4
    change(runs[0])
    with pytest.raises(UserError, match=different):
        same_bits.require(*runs)


def killed(tmp_path: Path, kills: int, *flags: object, cell: str = "lstm") -> list[dict[str, Any]]:
    """The rows of the benchmark, whose runs train a cell or a layer."""
    words = ["--kills", kills, "--json", tmp_path / "rows.json", *flags]
    program = f"kill_resume.FLAGS['cell'] = {cell!r}; cli.run(kill_resume.main, kill_resume.Config)"
    imports = "from experiments.benchmarks import kill_resume; from rowlstm_jax import cli"
    command = [sys.executable, "-c", f"{imports}; {program}", *map(str, words)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (process.returncode, process.stderr) == (0, "")
    equal = re.search(r"The bits are equal: metrics\.jsonl and (\d+) arrays of the last checkpoint, ", process.stdout)
    assert equal, process.stdout
    assert int(equal[1]) == 29 if cell == "lstm" else int(equal[1]) > 29
    *rows, everything = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert everything["seconds"] > max(row["seconds"] for row in rows) / 2
    assert sum(row["kills"] for row in rows) == kills
    *steps, end, undisturbed = [row["steps"] for row in rows]
    assert sum(steps) + end == undisturbed
    return rows


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_in_the_bits_of_one_never_disturbed(tmp_path, mnist):
    rows = killed(tmp_path, 10, "--jobs", 2)
    assert sum(row["steps"] for row in rows[:3]) > 0, "some kills came after a save"


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["s5", "rg_lru"])
def test_a_run_of_a_layer_that_was_killed_ends_in_the_bits_of_one_never_disturbed(tmp_path, mnist, cell):
    killed(tmp_path, 2, cell=cell)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_after_one_of_them_is_killed(tmp_path, mnist):
    killed(tmp_path, 3, "--num-processes", 2, "--devices", 1)
