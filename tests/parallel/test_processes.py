"""What becomes of several processes that train one model when one of them is missing, stopped, silent or lost."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks.processes import free_port
from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, UserError
from rowlstm_jax.parallel import processes as distributed

ROOT = Path(__file__).parents[2]
SMALL = ["--hidden", 8, "--devices", 1, "--log-every", 5, "--eval-every", 50, "--checkpoint-every", 10]
LOST = "error: Another process of this run was lost, it seems, or silent for 10 seconds; when all have ended, "


@pytest.fixture
def processes():
    """Those that a test starts; none outlives it."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        process.kill()  # a stopped one too
        process.communicate()


@pytest.fixture
def start(processes):
    """Starts processes of one run, by default two, and returns them."""

    def begin(*flags: object, which=(0, 1), port: int | None = None, own=((), ())) -> list[subprocess.Popen]:
        address = f"localhost:{port or free_port()}"
        together = ["--distributed", "--coordinator", address, "--num-processes", 2, "--peer-timeout", 10]
        new = []
        for i in which:
            arguments = map(str, [*SMALL, *together, "--process-id", i, *flags, *own[i]])
            command = [sys.executable, "-m", "experiments.mnist_rows", *arguments]
            pipe = subprocess.PIPE
            new.append(subprocess.Popen(command, cwd=ROOT, text=True, stdout=pipe, stderr=pipe))
            processes.append(new[-1])
        return new

    return begin


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """The exit status of each, and what it said on stderr; of an output nobody reads, a process might wait."""
    return [(p.returncode, err) for p, (_, err) in [(p, p.communicate(timeout=120)) for p in processes]]


def wait_for_log(folder: Path, processes: list[subprocess.Popen]) -> None:
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert [process.poll() for process in processes] == [None, None], ends(processes)
        time.sleep(0.01)


def checkpoints(folder: Path) -> list[int]:
    """The steps whose checkpoints are finished."""
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def results(folder: Path) -> tuple[str, dict[str, bytes]]:
    with np.load(folder / "weights.npz") as arrays:
        return (folder / "metrics.jsonl").read_text(), {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("signalled", "signum"), [(1, signal.SIGTERM), (0, signal.SIGINT)])
def test_a_signal_to_one_process_ends_both_after_the_same_saved_step(mnist, start, tmp_path, signalled, signum):
    folder = tmp_path / "run"
    more = ["--num-seeds", "2", "--on-nonfinite", "skip", "--strict-compile"]  # a seed in each process
    both = start("--run-dir", folder, "--steps", 100_000, *more)
    wait_for_log(folder, both)
    both[signalled].send_signal(signum)
    ended = ends(both)
    assert [status for status, _ in ended] == [128 + signum] * 2, ended
    steps = [re.findall(r"^Stopped at step (\d+) of 100000; its state is saved", err, re.M) for _, err in ended]
    assert steps[0] == steps[1] != []
    step = int(steps[0][0])
    assert checkpoints(folder)[-1] == step
    assert not list((folder / "checkpoints").glob("*tmp*"))
    again = start("--run-dir", folder, "--steps", step + 3, "--resume", *more)
    out, err = again[0].communicate(timeout=120)
    assert (again[0].returncode, again[1].wait(60), f"Resumed from step {step}." in out) == (0, 0, True), err
    alone = [
        sys.executable,
        "-m",
        "experiments.mnist_rows",
        *map(str, SMALL),
        *more,
        "--resume",
        "--run-dir",
        str(folder),
    ]
    last = subprocess.run([*alone, "--steps", str(step + 5)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (last.returncode, f"Resumed from step {step + 3}." in last.stdout) == (0, True), last.stderr


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_killed_at_any_moment_ends_the_other_and_both_go_on(mnist, start, tmp_path, killed):
    folder = tmp_path / "killed"
    both = start("--run-dir", folder, "--steps", 100_000)
    wait_for_log(folder, both)
    moment = random.uniform(0, 1)  # a save is under way or not, and the processes wait for each other or not
    time.sleep(moment)
    both[killed].kill()
    status, err = ends([both[1 - killed]])[0]
    assert status == 1, (moment, err)
    assert err.splitlines()[-1] == f"{LOST}start all of them again, with --resume --run-dir {folder}.", moment
    saved = checkpoints(folder) if (folder / "checkpoints").exists() else []
    flags = ["--steps", max(saved, default=0) + 17]
    resumed = start("--run-dir", folder, "--resume", *flags)
    out, err = resumed[0].communicate(timeout=120)
    assert (resumed[0].returncode, resumed[1].wait(60)) == (0, 0), (moment, err)
    assert (f"Resumed from step {saved[-1]}." if saved else "it starts from step 0.") in out, moment
    undisturbed = ends(start("--run-dir", tmp_path / "undisturbed", *flags))
    assert [status for status, _ in undisturbed] == [0, 0], undisturbed
    assert results(folder) == results(tmp_path / "undisturbed"), moment


@pytest.mark.slow
def test_a_fault_that_only_the_first_process_sees_ends_both(mnist, start, tmp_path):
    both = start("--run-dir", tmp_path / "run", "--steps", 100_000)
    wait_for_log(tmp_path / "run", both)
    shutil.rmtree(tmp_path / "run", ignore_errors=True)  # a save may be under way, and make some of it again
    ended = ends(both)
    assert [status for status, _ in ended] == [2, 2], ended
    assert "The run folder " in ended[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_process_that_falls_silent_ends_the_other(mnist, start, tmp_path, silent):
    both = start("--run-dir", tmp_path / "run", "--steps", 100_000)
    wait_for_log(tmp_path / "run", both)
    both[silent].send_signal(signal.SIGSTOP)
    status, err = ends([both[1 - silent]])[0]
    assert (status, err.splitlines()[-1].startswith(LOST)) == (1, True), err


@pytest.mark.slow
@pytest.mark.parametrize("present", [0, 1])
def test_a_process_that_waits_in_vain_says_how_to_start_all(start, present):
    status, err = ends(start("--peer-timeout", 1, which=[present]))[0]
    assert status == 1
    assert err.splitlines()[-1].startswith(
        "error: The processes of --distributed did not find each other in time (--peer-timeout 1); start all of them"
    )


@pytest.mark.slow
def test_ctrl_c_ends_a_process_that_waits_for_others(start):
    port = free_port()
    (waiting,) = start("--peer-timeout", 100, which=[0], port=port)
    while True:
        try:
            socket.create_connection(("localhost", port)).close()
            break
        except OSError:
            assert waiting.poll() is None
            time.sleep(0.05)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == -signal.SIGINT


@pytest.mark.slow
def test_a_mistake_that_one_process_sees_ends_both(start):
    ended = ends(start(own=(["--batch-size", 7], ["--batch-size", 100])))
    assert [status for status, _ in ended] == [2, 2], ended
    assert "A batch of 7 can't be split" in ended[0][1]
    assert "Another process could not go on" in ended[1][1]


@pytest.mark.slow
def test_sigterm_ends_a_process_that_has_found_the_others_and_does_not_train_yet():
    program = (
        "import os, signal, sys, time; from rowlstm_jax.parallel import processes as distributed; "
        "from rowlstm_jax.config import RunConfig; "
        "distributed.join(RunConfig(distributed=True, coordinator=sys.argv[1], num_processes=1, process_id=0)); "
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(3)"
    )
    command = [sys.executable, "-c", program, f"localhost:{free_port()}"]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -signal.SIGTERM


def test_a_port_in_use_is_named(monkeypatch):
    monkeypatch.setattr("jax.distributed.initialize", lambda *_, **__: pytest.fail("JAX would crash"))
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        config = RunConfig(distributed=True, coordinator=address, num_processes=2, process_id=0)
        with pytest.raises(UserError, match=f"--coordinator is {address}; its port can't be opened"):
            distributed.join(config)


def test_processes_that_do_not_find_each_other_are_told_how(monkeypatch):
    monkeypatch.setattr("jax.config.update", lambda *_: None)

    def nobody(*_, **__):
        raise ValueError("coordinator_address should be defined.\nMore.")

    monkeypatch.setattr("jax.distributed.initialize", nobody)
    monkeypatch.setattr(
        "rowlstm_jax.parallel.processes._say_on_abort", lambda _: None
    )  # pytest's own aborts stay as they are
    with pytest.raises(
        UserError, match=r"did not find each other \(coordinator_address should be defined\); start all"
    ):
        distributed.join(RunConfig(distributed=True))


class Left(BaseException):
    """A process that has ended."""


def connection_lost() -> Exception:
    return ValueError("UNKNOWN: Gloo AllGather failed: Read error [127.0.0.1]:1: Connection reset by peer")


def from_a_lost_connection() -> Exception:
    error = UserError("The checkpoint can't be read.")
    error.__cause__ = connection_lost()
    return error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (connection_lost(), 1, "start all of them again, with --resume --run-dir run."),
        (from_a_lost_connection(), 1, "start all of them again, with --resume --run-dir run."),
        (TimeoutError("Timed out while waiting for async_write_complete barrier."), 1, "Another process of this run"),
        (jax.errors.JaxRuntimeError("INTERNAL: something else"), 1, "JaxRuntimeError: INTERNAL: something else"),
        (ZeroDivisionError("a mistake in the code"), 1, "Traceback (most recent call last):"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_one_process_of_several_ends_it_at_once(monkeypatch, capsys, error, status, said):
    left = []

    def leave(status: int) -> None:
        left.append(status)
        raise Left

    monkeypatch.setattr(os, "_exit", leave)
    config = RunConfig(distributed=True, run_dir=Path("run"))
    with pytest.raises(Left), distributed.ending_together(config):
        raise error
    assert left == [status]
    err = capsys.readouterr().err
    assert said in err
    assert ("Traceback" in err) == (type(error) in (jax.errors.JaxRuntimeError, ZeroDivisionError))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("error", [UserError("A mistake."), InterruptedRun("Stopped.", 15)])
def test_what_ends_all_processes_ends_each_in_order(error, several):
    with pytest.raises(type(error)), distributed.ending_together(RunConfig(distributed=several)):
        raise error


def test_one_process_alone_keeps_every_error():
    with pytest.raises(ValueError, match="Gloo"), distributed.ending_together(RunConfig()):
        raise connection_lost()


def test_an_error_of_one_process_ends_all(monkeypatch):
    with distributed.all_or_none():
        pass
    with pytest.raises(UserError, match="mine"), distributed.all_or_none():
        raise UserError("mine")
    monkeypatch.setattr("rowlstm_jax.parallel.processes.largest_of_all", lambda value: 1)
    with pytest.raises(UserError, match="Another process could not go on"), distributed.all_or_none():
        pass


def test_one_process_agrees_with_itself():
    assert distributed.from_first_process(lambda: "result") == "result"
    assert distributed.largest_of_all(15) == 15
