"""The promises of bits, at the sizes that users run: `mnist_rows` with its defaults."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.benchmarks import same_bits
from rowlstm_jax.parallel import cores

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("mnist")]


def command(run: Path, *flags: object) -> list[str]:
    words = ("--steps", 60, "--checkpoint-every", 20, "--num-seeds", 2, "--run-dir", run, *flags)
    return [sys.executable, "-m", "experiments.mnist_rows", *map(str, words)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("promises") / "run"
    subprocess.run(command(run), cwd=ROOT, check=True, capture_output=True)
    return run


def test_a_repeated_run_holds_the_same_bits(tmp_path, undisturbed):
    subprocess.run(command(tmp_path / "run"), cwd=ROOT, check=True, capture_output=True)
    same_bits.require(tmp_path / "run", undisturbed)


def test_a_run_held_to_one_core_holds_the_same_bits(tmp_path, undisturbed):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system can't hold a process to a core")
    core = min(os.sched_getaffinity(0))
    words = command(tmp_path / "run", "--devices", cores())
    hold = f"import os, sys; os.sched_setaffinity(0, [{core}]); os.execv(sys.executable, sys.argv[1:])"
    subprocess.run([sys.executable, "-c", hold, *words], cwd=ROOT, check=True, capture_output=True)
    same_bits.require(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_stopped_and_resumed_holds_the_same_bits(tmp_path, undisturbed, signum):
    run = tmp_path / "run"
    with subprocess.Popen(command(run), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while same_bits.last_step(run) < 20:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signum)
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM)
    subprocess.run(command(run, "--resume"), cwd=ROOT, check=True, capture_output=True)
    same_bits.require(run, undisturbed)


def test_how_many_steps_are_in_a_compiled_call_changes_no_weight(tmp_path, undisturbed):
    subprocess.run(command(tmp_path / "run", "--log-every", 3), cwd=ROOT, check=True, capture_output=True)
    found, expected = (same_bits.contents(run) for run in (tmp_path / "run", undisturbed))
    weights = [name for name in expected if "params" in name or name.startswith("weights.npz")]
    assert weights
    assert [name for name in weights if found[name] != expected[name]] == []
