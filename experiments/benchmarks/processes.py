"""Processes of their own, as a user starts them: `experiments.mnist_rows` above all."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from rowlstm_jax.errors import UserError

MODULE = "experiments.mnist_rows"


def experiment(flags: Mapping[str, object]) -> list[str]:
    """The command that starts the experiment.

    `flags` maps names without dashes to values: True is a flag without a value, None leaves a flag out.
    """
    given = {f"--{name}": value for name, value in flags.items() if value is not None}
    return [sys.executable, "-u", "-m", MODULE, *(str(x) for pair in given.items() for x in pair if x is not True)]


def start(flags: Mapping[str, object], output: IO[str]) -> subprocess.Popen[bytes]:
    """Start the experiment; what it prints goes to a file at once."""
    return subprocess.Popen(experiment(flags), stdout=output, stderr=output)


def seconds(command: Sequence[str], output: Path, watch: Callable[[int], object] = lambda pid: None) -> float:
    """Run a process to its end; returns the seconds that it took.

    `watch` is called with its id every few milliseconds, and once after its end.

    Raises:
      UserError: it failed; the message ends with the last line it printed.
    """
    with output.open("w+") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=file)
        while process.poll() is None:
            watch(process.pid)
            time.sleep(0.005)
        elapsed = time.perf_counter() - began
        watch(process.pid)
    if process.returncode:
        raise UserError(f"{command[command.index('-m') + 1]} could not be timed: {last_line(output)}")
    return elapsed


class Peak:
    """The largest resident set of a process that is watched, children left out."""

    def __init__(self):
        self.megabytes = 0.0

    def __call__(self, pid: int) -> None:
        """Look at the process."""
        with contextlib.suppress(psutil.Error):  # it has ended
            self.megabytes = max(self.megabytes, psutil.Process(pid).memory_info().rss / 1e6)


def free_port() -> int:
    """A port of this machine that nobody uses yet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def last_line(output: Path) -> str:
    """The last line that the process has printed."""
    return ["nothing was printed", *output.read_text().strip().splitlines()][-1]
