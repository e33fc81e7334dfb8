"""`experiments.mnist_rows` as a process of its own, as a user starts it."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from rowlstm_jax.errors import UserError

MODULE = "experiments.mnist_rows"


def start(flags: Mapping[str, object], output: IO[str]) -> subprocess.Popen[bytes]:
    """Start the experiment; what it prints goes to a file at once.

    `flags` maps names without dashes to values: True is a flag without a value, None leaves a flag out.
    """
    given = {f"--{name}": value for name, value in flags.items() if value is not None}
    words = [str(word) for pair in given.items() for word in pair if word is not True]
    return subprocess.Popen([sys.executable, "-u", "-m", MODULE, *words], stdout=output, stderr=output)


def seconds(flags: Mapping[str, object], output: Path, watch: Callable[[], object] = lambda: None) -> float:
    """Run the experiment to its end; returns the seconds that it took. `watch` is called every few milliseconds.

    Raises:
      UserError: it failed; the message ends with the last line it printed.
    """
    with output.open("w+") as file:
        began = time.perf_counter()
        process = start(flags, file)
        while process.poll() is None:
            watch()
            time.sleep(0.005)
        elapsed = time.perf_counter() - began
        watch()
    if process.returncode:
        raise UserError(f"{MODULE} could not be timed: {last_line(output)}")
    return elapsed


def last_line(output: Path) -> str:
    """The last line that the process has printed."""
    return ["nothing was printed", *output.read_text().strip().splitlines()][-1]
