"""Kill a run again and again, resume it each time, and compare its bits with those of a run that was never killed.

    python -m experiments.benchmarks.kill_resume --kills 100

The run is `experiments.mnist_rows` with a small model. It is killed with SIGKILL at moments drawn from a seed: a sixth
of them anywhere from the start of the process on, a third after its first logged step, half while a checkpoint is
written. How often it saves is drawn for each start. At the end it is resumed for a few steps more. With
`--num-processes 2` one of two processes is killed, and the other one must end by itself.
"""

import dataclasses
import functools
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
PEER_TIMEOUT = 10  # seconds


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Kill a training run again and again, and compare it with one that was never killed."""

    kills: int = 100
    """Times that the run is killed and resumed."""
    jobs: int = 1
    """Runs that are killed side by side, each with its part of the kills."""
    num_processes: int = 1
    """Processes of a run, all on this machine. One of them is killed, and the others must end by themselves."""
    seed: int = 1
    """Seed of the moments."""

    BATCH_SIZE: ClassVar[int] = BATCH_SIZE


def main(config: Config) -> None:
    measurement, began = Measurement(config), time.perf_counter()
    with kept_after_a_fault("kill-resume-") as folder, ThreadPoolExecutor(config.jobs) as pool:
        found = list(pool.map(functools.partial(train_both, config, folder), range(config.jobs)))
    rows = [
        {"name": same[0]["name"]} | {key: sum(row[key] for row in same) for key in ("kills", "steps", "seconds")}
        for same in zip(*(rows for rows, _ in found), strict=True)
    ]
    took = time.perf_counter() - began
    cells = [(row["name"], row["kills"], row["steps"], f"{row['seconds']:.0f}") for row in rows]
    console.show_table(f"Starts of {processes.MODULE}", ("ended", "kills", "steps kept", "seconds"), cells)
    print(
        f"The bits are equal: metrics.jsonl and {found[0][1]} arrays of the last checkpoint, weights.npz and test.npz. "
        f"It took {took / 60:.0f} minutes."
    )
    measurement.write([*rows, {"name": "all", "seconds": took}])


def train_both(config: Config, folder: Path, job: int) -> tuple[list[dict[str, Any]], int]:
    """Train one run through its kills and one without, and compare them.

    Returns the kills, steps kept and seconds of each kind of start, and how many arrays were compared.
    """
    folder = folder / str(job)
    folder.mkdir()
    run, draw = folder / "killed", np.random.default_rng([config.seed, job])
    flags = FLAGS | {"devices": config.devices, "compilation-cache": folder / "compiled"}
    rows = {phase: {"name": f"killed {phase}", "kills": 0, "steps": 0, "seconds": 0.0} for phase in PHASES}
    for _ in range(job, config.kills, config.jobs):
        began, saved = time.perf_counter(), same_bits.last_step(run)
        row = rows[kill(config, run, flags, draw)]
        row["kills"] += 1
        row["steps"] += same_bits.last_step(run) - saved
        row["seconds"] += time.perf_counter() - began
    flags |= {"steps": same_bits.last_step(run) + MORE_STEPS}
    for name, directory in (("finished after the kills", run), ("never disturbed", folder / "undisturbed")):
        began, saved = time.perf_counter(), same_bits.last_step(directory)
        statuses = [process.wait() for process in start(config, directory, flags)]
        if any(statuses):
            raise UserError(f"{processes.MODULE} failed: {processes.last_line(output(directory))}")
        steps, seconds = same_bits.last_step(directory) - saved, time.perf_counter() - began
        rows[name] = {"name": name, "kills": 0, "steps": steps, "seconds": seconds}
    return list(rows.values()), same_bits.require(run, folder / "undisturbed")


def start(config: Config, run: Path, flags: Mapping[str, object]) -> list[subprocess.Popen[bytes]]:
    """Start all processes of a run in its folder, or resume it if it has begun."""
    together: dict[str, object] = {"run-dir": run, "resume": (run / "config.json").exists() or None}
    if config.num_processes > 1:
        together |= {"distributed": True, "coordinator": f"localhost:{processes.free_port()}"}
        together |= {"num-processes": config.num_processes, "peer-timeout": PEER_TIMEOUT}
    started = []
    for number in range(config.num_processes):
        own = {"process-id": number} if config.num_processes > 1 else {}
        with output(run, number).open("w") as file:
            started.append(processes.start({**flags, **together, **own}, file))
    return started


def output(run: Path, number: int = 0) -> Path:
    """The file to which a process of a run prints."""
    return run.with_name(f"{run.name}-output-{number}")


def kill(config: Config, run: Path, flags: Mapping[str, object], draw: np.random.Generator) -> str:
    """Start a run, kill a process of it with SIGKILL, and return in which of the phases that was.

    Raises:
      UserError: it ended by itself, did not go on from its last checkpoint, or made no progress.
    """
    kind, cadence, saved = draw.choice(len(SHARES), p=SHARES), draw.choice(CADENCES), same_bits.last_step(run)
    all_of_it = start(config, run, {**flags, "steps": 10**6, "checkpoint-every": cadence})
    killed = all_of_it[draw.integers(len(all_of_it))]
    try:
        if kind == ANYWHERE:
            time.sleep(draw.uniform(0, 2.0))  # a warm start logs its first step after about 1.7
        else:
            _wait(all_of_it[0], lambda: _stepped(run))
            time.sleep(draw.uniform(0, 0.5))
        if kind == IN_A_SAVE:
            _wait(all_of_it[0], lambda: bool(same_bits.half_saved(run)))
            time.sleep(draw.uniform(0, 0.05))  # as long as a save takes
        if kind != ANYWHERE and any(process.poll() is not None for process in all_of_it):
            raise UserError(f"A process of {processes.MODULE} ended by itself: {processes.last_line(output(run))}.")
        killed.kill()
        status, in_a_save = killed.wait(), bool(same_bits.half_saved(run))
        if stepped := _stepped(run):  # before a first step, the others wait longer for a lost process
            for process in all_of_it:
                _wait(process, lambda: False)
                if process is not killed and process.returncode != 1:  # that of a run which has lost a process
                    raise UserError(f"The other process of {run} ended with status {process.returncode}, not 1.")
    finally:
        for process in all_of_it:
            process.kill()
            process.wait()
    if status != -signal.SIGKILL:
        raise UserError(f"{processes.MODULE} ended before it was killed: {processes.last_line(output(run))}.")
    if not stepped:
        return BEFORE_A_STEP
    if saved and "\nResumed from step " not in output(run).read_text():
        raise UserError(f"{processes.MODULE} had saved step {saved} and started from step 0 again.")
    return SAVING if in_a_save else BETWEEN_SAVES


def _stepped(run: Path) -> bool:
    return "\nstep " in output(run).read_text()


def _wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait until the condition holds or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        if time.monotonic() > deadline:
            raise UserError(f"{processes.MODULE} did not go on, or end, for {PATIENCE:.0f} seconds.")
        time.sleep(0.001)


if __name__ == "__main__":
    cli.run(main, Config)
