"""Experiments as processes, as a user starts them."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from rowlstm_jax.errors import UserError


def start(module: str, flags: Mapping[str, object], output: IO[str]) -> subprocess.Popen[bytes]:
    """Start `python -m module`, which prints to a file at once; a flag whose value is True stands alone."""
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value) if word is not True]
    return subprocess.Popen([sys.executable, "-u", "-m", module, *words], stdout=output, stderr=output)


def seconds(
    module: str, flags: Mapping[str, object], output: Path, watch: Callable[[], object] = lambda: None
) -> float:
    """Run `python -m module` to its end, and say how long that took.

    Args:
      module: of an experiment.
      flags: its flags, by name without dashes.
      output: file for what it prints.
      watch: called every few milliseconds, and at the end.

    Raises:
      UserError: it failed; the message ends with the last line it printed.
    """
    with output.open("w+") as file:
        began = time.perf_counter()
        process = start(module, flags, file)
        while process.poll() is None:
            watch()
            time.sleep(0.005)
        elapsed = time.perf_counter() - began
        watch()
    if process.returncode:
        raise UserError(f"{module} could not be timed: {last_line(output)}")
    return elapsed


def last_line(output: Path) -> str:
    """The last line that a process has printed to a file."""
    return ["nothing was printed", *output.read_text().strip().splitlines()][-1]
