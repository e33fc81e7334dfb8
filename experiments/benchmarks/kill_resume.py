"""Kill a run again and again, resume it each time, and compare its bits with those of a run that was never killed.

    python -m experiments.benchmarks.kill_resume --kills 100

The run is `experiments.mnist_rows` with a small model. It is killed with SIGKILL at moments drawn from a seed: a sixth
of them anywhere from the start of the process on, a third after its first logged step, half while a checkpoint is
written. How often it saves is drawn for each start. At the end it is resumed for a few steps more.
"""

import dataclasses
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks import processes, same_bits
from experiments.benchmarks.harness import BenchmarkConfig, Measurement, kept_after_a_fault
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console

BATCH_SIZE = 20
FLAGS = {"hidden": 8, "batch-size": BATCH_SIZE, "log-every": 3, "eval-every": 100}
MORE_STEPS = 7
CADENCES = (1, 5, 50, 200)  # steps between two checkpoints
PHASES = BEFORE_A_STEP, BETWEEN_SAVES, SAVING = "before its first step", "between two saves", "in a save"
ANYWHERE, AFTER_A_STEP, IN_A_SAVE = range(3)
SHARES = (1 / 6, 1 / 3, 1 / 2)
PATIENCE = 120.0  # seconds


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Kill a training run again and again, and compare it with one that was never killed."""

    kills: int = 100
    """Times that the run is killed and resumed."""
    seed: int = 1
    """Seed of the moments."""

    BATCH_SIZE: ClassVar[int] = BATCH_SIZE


def main(config: Config) -> None:
    measurement = Measurement(config)
    with kept_after_a_fault("kill-resume-") as folder:
        rows = train_both(config, folder)
        arrays = same_bits.require(folder / "killed", folder / "undisturbed")
    cells = [(row["name"], row["kills"], row["steps"], f"{row['seconds']:.0f}") for row in rows]
    console.show_table(f"Starts of {processes.MODULE}", ("ended", "kills", "steps kept", "seconds"), cells)
    print(f"The bits are equal: metrics.jsonl and {arrays} arrays of the last checkpoint, weights.npz and test.npz.")
    measurement.write(rows)


def train_both(config: Config, folder: Path) -> list[dict[str, Any]]:
    """Train one run through all kills and one without; the kills, steps kept and seconds of each kind of start."""
    run, draw = folder / "killed", np.random.default_rng(config.seed)
    flags = FLAGS | {"devices": config.devices, "compilation-cache": folder / "compiled"}
    rows = {phase: {"name": f"killed {phase}", "kills": 0, "steps": 0, "seconds": 0.0} for phase in PHASES}
    for _ in range(config.kills):
        began, saved = time.perf_counter(), same_bits.last_step(run)
        row = rows[kill(run, flags, folder / "output", draw)]
        row["kills"] += 1
        row["steps"] += same_bits.last_step(run) - saved
        row["seconds"] += time.perf_counter() - began
    flags |= {"steps": same_bits.last_step(run) + MORE_STEPS}
    for name, directory in (("finished after the kills", run), ("never disturbed", folder / "undisturbed")):
        saved = same_bits.last_step(directory)
        seconds = processes.seconds(processes.experiment(flags | where(directory)), folder / "output")
        rows[name] = {"name": name, "kills": 0, "steps": same_bits.last_step(directory) - saved, "seconds": seconds}
    return list(rows.values())


def where(run: Path) -> dict[str, Any]:
    """The flags that start a run in its folder, or resume it if it has begun."""
    return {"run-dir": run} | ({"resume": True} if (run / "config.json").exists() else {})


def kill(run: Path, flags: Mapping[str, object], output: Path, draw: np.random.Generator) -> str:
    """Start a run, kill it with SIGKILL, and return in which of the phases that was.

    Raises:
      UserError: it ended by itself, did not go on from its last checkpoint, or made no progress.
    """
    kind, cadence, saved = draw.choice(len(SHARES), p=SHARES), draw.choice(CADENCES), same_bits.last_step(run)
    with output.open("w") as file:
        process = processes.start({**flags, **where(run), "steps": 10**6, "checkpoint-every": cadence}, file)
    try:
        if kind == ANYWHERE:
            time.sleep(draw.uniform(0, 2.0))  # a warm start logs its first step after about 1.7
        else:
            _wait(process, lambda: _stepped(output))
            time.sleep(draw.uniform(0, 0.5))
        if kind == IN_A_SAVE:
            _wait(process, lambda: bool(same_bits.half_saved(run)))
            time.sleep(draw.uniform(0, 0.05))  # as long as a save takes
    finally:
        process.kill()
        status = process.wait()
    if status != -signal.SIGKILL:
        raise UserError(f"{processes.MODULE} ended before it was killed: {processes.last_line(output)}.")
    if not _stepped(output):
        return BEFORE_A_STEP
    if saved and "\nResumed from step " not in output.read_text():
        raise UserError(f"{processes.MODULE} had saved step {saved} and started from step 0 again.")
    return SAVING if same_bits.half_saved(run) else BETWEEN_SAVES


def _stepped(output: Path) -> bool:
    return "\nstep " in output.read_text()


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{processes.MODULE} took no step, or saved none, for {PATIENCE:.0f} seconds.")
        time.sleep(0.001)


if __name__ == "__main__":
    cli.run(main, Config)
