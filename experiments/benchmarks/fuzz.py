"""Start experiments with random flags, folders, environments and ends, resume what they made, and look for faults.

    python -m experiments.benchmarks.fuzz --inputs 2000

Each input is a process with

- flags inside and outside their ranges, and a run folder with an odd name;
- settings of JAX, Python and the terminal in the environment;
- a screen that may go away, and perhaps a signal at a random moment.

What it has begun is resumed. These are faults: a traceback, a status that the README does not name, an error without a
sentence, a checkpoint that can't be read, a stop whose state is not saved, a run that can't be resumed.
"""

import dataclasses
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from experiments.benchmarks import same_bits
from experiments.benchmarks.fuzz_inputs import SIGNALS, Input, describe, draw_input
from experiments.benchmarks.harness import BenchmarkConfig, Measurement
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console, is_good_checkpoint

PATIENCE = 120.0  # seconds
NO_END = -1000  # in place of a status


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Start experiments with random flags, folders and environments, and look for faults."""

    inputs: int = 2000
    """Processes to start; those that resume are not counted."""
    seed: int = 1
    """Seed of the inputs."""
    jobs: int = 2
    """Processes at a time."""

    BATCH_SIZE: ClassVar[int] = 10


def main(config: Config) -> None:
    measurement, folder = Measurement(config), Path(tempfile.mkdtemp(prefix="fuzz-"))
    for signum in SIGNALS[:-1]:
        if signal.getsignal(signum) == signal.SIG_IGN:  # as in the background; what starts would ignore it too
            signal.signal(signum, signal.default_int_handler)
    draw = random.Random(config.seed)
    inputs = [draw_input(draw) for _ in range(config.inputs)]
    outcomes, faults = [], 0
    with ThreadPoolExecutor(config.jobs) as pool:
        for outcome in pool.map(lambda pair: try_input(pair[1], folder / f"{pair[0]}"), enumerate(inputs)):
            outcomes.append(outcome)
            if outcome[1]:
                faults += 1
                print(f"{outcome[1]}\n", flush=True)
            if len(outcomes) % 100 == 0:
                print(f"{len(outcomes)} inputs, {faults} faults", flush=True)
    rows = [
        {"name": name, "inputs": sum(name in of for of, _ in outcomes)}
        for name in sorted({n for of, _ in outcomes for n in of})
    ]
    console.show_table(f"{config.inputs} inputs", ("ended", "inputs"), [(row["name"], row["inputs"]) for row in rows])
    measurement.write([*rows, {"name": "faults", "inputs": faults}])
    if faults:
        raise UserError(f"{faults} of {config.inputs} inputs show a fault; their folders are kept in {folder}.")
    shutil.rmtree(folder)
    print("No fault was found.")


def try_input(given: Input, folder: Path) -> tuple[list[str], str]:
    """Start an input in a folder of its own and resume it; how it ended, and a fault if there is one."""
    folder.mkdir()
    status, output = start(given, folder)
    ended = [name_of(status)]
    fault = fault_of(given, status, output)
    runs = [path.parent for path in folder.rglob("config.json")]
    for run in runs:
        bad = [step for step in same_bits.saved_steps(run) if not is_good_checkpoint(run / "checkpoints" / str(step))]
        if bad:
            fault = fault or f"checkpoint {bad[0]} is no good"
        if "state is saved" in output and not (run / "checkpoints").is_dir():
            fault = fault or "its state is not saved"
    if not fault and len(runs) == 1 and (status == 0 or status > 128 or status == -signal.SIGKILL):
        last = same_bits.last_step(runs[0])
        words = [word for word in given.words if word not in ("--reset-optimizer",)]
        again = Input(
            [
                *words,
                "--run-dir",
                str(runs[0]),
                "--steps",
                str(last + 5),
                *(["--resume"] if "--resume" not in words else []),
            ],
            given.environment,
        )
        status, output = start(again, folder)
        ended.append(f"resumed: {name_of(status)}")
        fault = fault_of(again, status, output)
        if not fault and status not in (0, 1):
            fault = f"it can't be resumed, status {status}: {output[-300:]}"
    if fault:
        return ended, f"{describe(given)}\n  {fault}\n  in {folder}"
    shutil.rmtree(folder)
    return ended, ""


def start(given: Input, folder: Path) -> tuple[int, str]:
    """The status, negative for a signal that ended it, and what it printed."""
    module, *words = given.words
    command = shlex.join([sys.executable, "-m", f"experiments.{module}", *words])
    data = os.environ.get("TFDS_DATA_DIR") or Path("~/tensorflow_datasets").expanduser()
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(folder),
        "TFDS_DATA_DIR": str(data),
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache"),
    }
    script = f"{command} {given.screen}" if "|" in given.screen else f"exec {command} {given.screen}"
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=folder,
            env=environment | given.environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        if given.signum:
            time.sleep(given.after)
            process.send_signal(given.signum)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return NO_END, ""
    return status, output.read_text(errors="replace")


def fault_of(given: Input, status: int, output: str) -> str:
    """What is wrong with an end; empty if nothing is."""
    if "Traceback (most recent call last)" in output or "Fatal Python error" in output:
        return f"a traceback:\n{output[-1500:]}"
    if status == NO_END:
        return "it did not end"
    allowed = {0, 1, 2} | ({128 + given.signum, -given.signum} if given.signum else set())
    if status not in allowed:
        return f"status {status}: {output[-500:]}"
    if (
        re.search("[\x1b\u202e]", output.replace("\x1b[1m", "").replace("\x1b[0m", ""))
        and "TERM" not in given.environment
    ):
        return f"control characters: {output[-500:]!r}"
    if status in (1, 2) and not given.screen and not re.search(r"^(error: |╭)|For full helptext,", output, re.M):
        return f"status {status} without a sentence: {output[-500:]}"
    return ""


def name_of(status: int) -> str:
    """A status in words."""
    if status == NO_END:
        return "not ended"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


if __name__ == "__main__":
    cli.run(main, Config)
