"""What a user's environment may hold, a closed screen and the signals of clusters: a run goes on, or one sentence."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.benchmarks import same_bits

ROOT = Path(__file__).parents[2]
FLAGS = ["--steps", "20", "--hidden", "8", "--batch-size", "20", "--log-every", "5", "--eval-every", "10"]

pytestmark = pytest.mark.usefixtures("mnist")


def command(run: Path, *flags: object) -> list[str]:
    return [sys.executable, "-m", "experiments.mnist_rows", *FLAGS, "--run-dir", str(run), *map(str, flags)]


def start(run: Path, *flags: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(run, *flags), cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"JAX_ENABLE_X64": "1"}, r"JAX_ENABLE_X64 is True, but this project computes in float32; unset it\."),
        ({"JAX_DISABLE_JIT": "1"}, r"JAX_DISABLE_JIT is True, but a run is compiled; unset it\."),
        (
            {"JAX_ENABLE_X64": "maybe"},
            r"JAX can't use a setting of the environment \(.*JAX_ENABLE_X64'?\); correct it.*",
        ),
        (
            {"JAX_PLATFORMS": "nonsense"},
            r"JAX can't start with JAX_PLATFORMS=nonsense \(.*\); correct it, or unset it\.",
        ),
        ({"XLA_FLAGS": "--nonsense"}, r"XLA does not start with XLA_FLAGS=--nonsense \(Unknown flag.*\); correct .*"),
    ],
)
def test_a_setting_with_which_nothing_works_is_refused_before_anything_is_made(tmp_path, environment, sentence):
    done = start(tmp_path / "run", **environment)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert re.fullmatch(rf"error: {sentence}\n", done.stderr)


@pytest.mark.parametrize("imported", ["optax", "tyro", "orbax"])
def test_ctrl_c_while_modules_are_imported_ends_a_script_without_a_word(tmp_path, imported):
    (tmp_path / f"{imported}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = start(tmp_path / "run", PYTHONPATH=f"{tmp_path}")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert start(run).returncode == 0
    return run


@pytest.mark.slow
def test_a_finished_run_is_read_where_it_can_only_be_read(tmp_path, undisturbed):
    """On a mount: permissions alone do not stop root."""
    place = tmp_path / "place"
    run = shutil.copytree(undisturbed, place / "run")
    mount = ["unshare", "-rm", "sh", "-c", f'mount --bind -o ro {place} {place} && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")

    def script(name: str, *flags: object) -> tuple[int, str]:
        words = [*mount, sys.executable, "-m", f"experiments.{name}", *map(str, flags)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr

    assert script("insight", run, "--folder", tmp_path) == (0, "")
    assert (tmp_path / "gradients_over_rows.png").exists()
    said = f"error: The folder {run}/plots can't be written to; choose another one with --folder.\n"
    assert script("insight", run) == (2, said)
    assert script("compare", run, undisturbed, "--output", tmp_path / "compared.png") == (0, "")
    assert script("mnist_rows", *FLAGS, "--from-checkpoint", run, "--run-dir", tmp_path / "another") == (0, "")
    said = f"error: The run folder {run} can't be used (Read-only file system); choose another --run-dir.\n"
    assert script("mnist_rows", *FLAGS, "--run-dir", run, "--resume") == (2, said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_DEFAULT_PRNG_IMPL": "rbg"},
        {"JAX_THREEFRY_PARTITIONABLE": "0"},
        {"MPLBACKEND": "module://nowhere.backend"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "1"},
    ],
    ids=str,
)
def test_a_setting_that_must_not_matter_changes_no_bit_and_no_picture(tmp_path, undisturbed, environment):
    done = start(tmp_path / "run", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    same_bits.require(tmp_path / "run", undisturbed)
    assert {path.name for path in (tmp_path / "run/plots").iterdir()} == {
        path.name for path in (undisturbed / "plots").iterdir()
    }


@pytest.mark.slow
def test_a_flag_that_changes_bits_is_recorded_and_named_when_a_run_is_resumed_without_it(tmp_path):
    flags = "--xla_cpu_enable_fast_math=true"
    assert start(tmp_path / "run", XLA_FLAGS=flags).returncode == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["environment"]["settings"]["XLA_FLAGS"] == flags
    done = start(tmp_path / "run", "--resume", "--steps", 25)
    assert f"It was saved with XLA_FLAGS {flags} (now None): from here on its bits may be others." in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("where", ["| head -3", "| head -60", "> /dev/full", "2>&-", ">&- 2>&-", "2>&1 | true"])
def test_a_run_whose_output_goes_nowhere_is_whole(tmp_path, undisturbed, where):
    words = " ".join(command(tmp_path / "run"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} {where}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    same_bits.require(tmp_path / "run", undisturbed)


def test_help_into_a_closed_pipe_is_no_error():
    words = f"{sys.executable} -m experiments.mnist_rows --help | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_the_signals_of_closed_terminals_and_clusters_save_and_stop(tmp_path, signum):
    run = tmp_path / "run"
    with subprocess.Popen(command(run, "--steps", 100_000), cwd=ROOT, text=True, stderr=subprocess.PIPE) as process:
        while not ((metrics := run / "metrics.jsonl").exists() and metrics.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    (step,) = re.findall(r"Stopped at step (\d+) of 100000; its state is saved\.", err)
    assert same_bits.last_step(run) == int(step)


IN_A_THREAD = """
import threading
from experiments import mnist_rows
config = mnist_rows.Config(steps=20, hidden=8, batch_size=20, log_every=5, eval_every=10, run_dir="run")
thread = threading.Thread(target=mnist_rows.main, args=[config])
thread.start()
thread.join()
"""


@pytest.mark.slow
def test_a_run_in_another_thread_computes_the_same(tmp_path, undisturbed):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("This is not the main thread") == 1
    same_bits.require(tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.npz", "test.npz"])
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["missing", "empty"])
def test_arrays_lost_beside_a_finished_summary_are_noticed_with_the_way_out(tmp_path, undisturbed, name, lose):
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", undisturbed, run], check=True)
    lose(run / name)
    done = start(run, "--resume")
    if name == "weights.npz":
        assert done.returncode == 0
        assert "was missing or damaged; it is written again from the checkpoint." in done.stderr
    else:
        assert done.returncode == 2
        assert re.search(r"test\.npz .*; remove .*summary\.json and resume again, to test once more: that", done.stderr)
        (run / "summary.json").unlink()
        assert start(run, "--resume").returncode == 0
        assert len(json.loads((run / "summary.json").read_text())["test_openings"]) == 2
    same_bits.require(run, undisturbed)


@pytest.mark.slow
def test_an_empty_summary_is_to_be_removed_and_made_anew(tmp_path, undisturbed):
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", undisturbed, run], check=True)
    (run / "summary.json").write_bytes(b"")
    done = start(run, "--resume")
    assert done.returncode == 2
    assert re.search(r"summary\.json can't be read .*; remove it, and resume again: it is made anew\.\n$", done.stderr)
    (run / "summary.json").unlink()
    assert start(run, "--resume").returncode == 0
    same_bits.require(run, undisturbed)
