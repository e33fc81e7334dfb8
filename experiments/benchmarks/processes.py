"""Experiments as processes, as a user starts them."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rowlstm_jax.config import UserError


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
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    with output.open("w+") as file:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", module, *words], stdout=file, stderr=file)
        while process.poll() is None:
            watch()
            time.sleep(0.005)
        elapsed = time.perf_counter() - began
        watch()
        file.seek(0)
        if process.returncode:
            raise UserError(f"{module} could not be timed: {file.read().strip().splitlines()[-1]}")
    return elapsed
