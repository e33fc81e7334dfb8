"""Take the power away at random moments, resume each time, and see that nothing but unsaved steps is lost.

    python -m experiments.benchmarks.power_loss --losses 200

A library that is loaded before the C library (power_loss.c, so a C compiler is needed) kills a run of
`experiments.mnist_rows` at a random call that writes, syncs or renames a file, and cuts every file to the bytes that
had been synced: what a computer without power forgets. Each time the run must go on from its newest checkpoint, or from
the one before it if the newest was not on the disk yet. At the end its bits must be those of a run that was never
disturbed.
"""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks import processes, same_bits
from experiments.benchmarks.harness import BenchmarkConfig, Measurement, kept_after_a_fault
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console, is_good_checkpoint

SOURCE = Path(__file__).with_suffix(".c")
BATCH_SIZE = 20
FLAGS = {"hidden": 8, "batch-size": BATCH_SIZE, "log-every": 3, "eval-every": 15, "checkpoint-every": 5, "steps": 30}


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Take the power away from runs at random moments, and compare them with one that was never disturbed."""

    losses: int = 200
    """Times that the power is taken away."""
    seed: int = 1
    """Seed of the moments."""

    BATCH_SIZE: ClassVar[int] = BATCH_SIZE


def main(config: Config) -> None:
    measurement = Measurement(config)
    with kept_after_a_fault("power-loss-") as folder:
        rows = lose(config, folder)
    console.show_table("Losses of power", ("during", "losses"), [(row["name"], row["losses"]) for row in rows])
    print("Each run went on from its newest checkpoint, and ended in the bits of one never disturbed.")
    measurement.write(rows)


def lose(config: Config, folder: Path) -> list[dict[str, Any]]:
    """Disturb run after run until there were so many losses; how many came before and after a first checkpoint."""
    library, draw = compiled(folder), np.random.default_rng(config.seed)
    flags = FLAGS | {"devices": config.devices, "compilation-cache": folder / "cache"}
    undisturbed, seen = folder / "undisturbed", {"before a checkpoint": 0, "later": 0}
    processes.seconds(processes.experiment(flags | {"run-dir": undisturbed}), folder / "output")
    counted, _ = start(flags | {"run-dir": folder / "counted"}, library, folder / "counted", folder / "count")
    calls = int((folder / "count").read_text())
    if counted or calls < 100:
        raise UserError(
            f"The run under {SOURCE.name} ended with status {counted} after {calls} calls; it should take more."
        )
    while sum(seen.values()) < config.losses:
        run = folder / f"run{sum(seen.values())}"
        status, saved = None, 0
        while status != 0:
            resume = {"resume": True} if (run / "config.json").exists() or saved else {}
            moment = int(draw.integers(1, calls + 1)) if sum(seen.values()) < config.losses else 0
            status, output = start(flags | {"run-dir": run} | resume, library, run, folder / "count", moment)
            if status not in (0, -signal.SIGKILL):
                raise UserError(f"After a loss of power the run in {run} ended with status {status}: {output[-500:]}")
            if saved and (found := re.search(r"^Resumed from step (\d+)", output, re.M)) and int(found[1]) != saved:
                raise UserError(f"The run in {run} had saved step {saved} and went on from step {found[1]}.")
            saved = last_step_on_disk(run)
            if status:
                seen["later" if saved else "before a checkpoint"] += 1
        same_bits.require(run, undisturbed)
        shutil.rmtree(run)
    return [{"name": name, "losses": number} for name, number in seen.items()]


def last_step_on_disk(run: Path) -> int:
    """The step from which a run must go on: of its newest checkpoint, or of the one before it.

    A checkpoint has its name before it is synced, at the latest by the next save, so a loss may take the newest one.
    """
    newest, before, *_ = [*same_bits.saved_steps(run), 0, 0]
    return newest if not before or is_good_checkpoint(run / "checkpoints" / str(newest)) else before


def compiled(folder: Path) -> Path:
    """The library that takes the power away. Raises a UserError if there is no C compiler."""
    library, compiler = folder / "power_loss.so", shutil.which("cc")
    if compiler is None:
        raise UserError(f"There is no C compiler (cc) to compile {SOURCE.name}; install one.")
    done = subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{SOURCE.name} can't be compiled: {done.stderr.strip()[-300:]}")
    return library


def start(flags: dict[str, Any], library: Path, run: Path, count: Path, moment: int = 0) -> tuple[int, str]:
    """Run the experiment until a number of calls below its folder; 0 lets it end. Its status and what it printed."""
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "POWER_LOSS_ROOT": str(run),
        "POWER_LOSS_AFTER": str(moment),
        "POWER_LOSS_COUNT": str(count),
    }
    done = subprocess.run(processes.experiment(flags), env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    cli.run(main, Config)
