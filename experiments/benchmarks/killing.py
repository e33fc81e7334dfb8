"""A training run that is started, and killed at a moment drawn at random."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import processes, same_bits
from rowlstm_jax.errors import UserError

MODULE = "experiments.mnist_rows"
FLAGS = {"hidden": 8, "batch-size": 20, "log-every": 3, "eval-every": 100}
CADENCES = (1, 5, 50, 200)  # steps between two checkpoints
PHASES = BEFORE_A_STEP, BETWEEN_SAVES, SAVING = "before its first step", "between two saves", "in a save"
ANYWHERE, AFTER_A_STEP, IN_A_SAVE = range(3)
SHARES = (1 / 6, 1 / 2, 1 / 3)
PATIENCE = 120.0  # seconds


def where(run: Path) -> dict[str, Any]:
    """The flags that start a run in its folder, or resume it if it can be resumed."""
    return {"run-dir": run} | ({"resume": True} if (run / "config.json").exists() else {})


def kill(run: Path, flags: Mapping[str, object], output: Path, draw: np.random.Generator) -> str:
    """Start a run, kill it with SIGKILL, and say in which of the phases that was.

    Raises:
      UserError: it ended by itself, did not go on from its last checkpoint, or stood still.
    """
    kind, cadence, saved = draw.choice(len(SHARES), p=SHARES), draw.choice(CADENCES), same_bits.last_step(run)
    flags = {**flags, **where(run), "steps": 10**6, "checkpoint-every": cadence}
    with output.open("w") as file:
        process = processes.start(MODULE, flags, file)
    try:
        if kind == ANYWHERE:
            time.sleep(draw.uniform(0, 2.0))  # a warm start logs its first step after about 1.7
        else:
            _wait(process, lambda: _stepped(output))
            time.sleep(draw.uniform(0, 0.5))
        if kind == IN_A_SAVE:
            _wait(process, lambda: _saving(run))
            time.sleep(draw.uniform(0, 0.05))  # as long as a save takes
    finally:
        process.kill()
        status = process.wait()
    if status != -signal.SIGKILL:
        raise UserError(f"{MODULE} ended by itself before it was killed: {processes.last_line(output)}.")
    if not _stepped(output):
        return BEFORE_A_STEP
    if saved and "\nResumed from step " not in output.read_text():
        raise UserError(f"{MODULE} had saved step {saved} and started over; it should have gone on from there.")
    return SAVING if _saving(run) else BETWEEN_SAVES


def _stepped(output: Path) -> bool:
    return "\nstep " in output.read_text()


def _saving(run: Path) -> bool:
    return bool(same_bits.half_saved(run))


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{MODULE} has not taken a step, or saved one, for {PATIENCE:.0f} seconds; see why.")
        time.sleep(0.001)
