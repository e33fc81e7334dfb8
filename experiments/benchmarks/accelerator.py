"""Check and time this repository on the accelerator of this machine, and say so in one table.

    python -m experiments.benchmarks.accelerator

It takes less than 8 minutes on one GPU, see `--limit`; `--quick` takes small sizes, and 3 minutes on a CPU. It
answers: Do the losses agree with those of a CPU? Do repeated runs, and a run that was killed and resumed, have the same
bits? How long does a training step take against other libraries, how long with 8 seeds in one program, and how long a
whole run? How does a step on the host's own cores grow faster with their number?
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import devices, processes, same_bits, seeds
from experiments.benchmarks.harness import BenchmarkConfig, Measurement, alternate
from experiments.benchmarks.peers import compare, ours
from experiments.benchmarks.problem import Dtype, System, make_problem, reference
from rowlstm_jax import cli
from rowlstm_jax.data import Examples
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console

SYSTEMS = ("torch", "cudnn", "flax", "rowlstm_jax", "rowlstm_jax-scan", "matrix-products")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
LOSS_STEPS = 20
PATIENCE = 120.0  # seconds until a run that is to be killed has saved a checkpoint

Row = dict[str, Any]  # "part", "name", "figure" (a number or null), "unit" and "note"


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Check and time this repository on the accelerator of this machine."""

    quick: bool = False
    """Small sizes, to see that it works."""
    rounds: int = 3
    """Times that each system is timed, for about 0.3 s."""
    limit: int = 420
    """Seconds after which no other training step is timed; what is left out is a row that says so."""
    command_buffers: str | None = None
    """What XLA puts into CUDA graphs on a GPU, for example +WHILE for loops; None takes XLA's choice."""
    autotune_level: int | None = None
    """How hard XLA searches for fast kernels on a GPU, 1 to 4; None takes XLA's choice."""
    deterministic: bool = False
    """Let XLA use only GPU kernels whose results have the same bits each time."""


def main(config: Config) -> None:
    use_flags(config)
    measurement, rows, began = Measurement(config), [], time.perf_counter()
    parts: tuple[Callable[[Config], Iterator[Row]], ...] = (losses, whole_runs, all_seeds, host_cores)
    for part in (*parts, lambda config: steps(config, began + config.limit)):
        for found in part(config):
            rows.append(found)
            print(f"{time.perf_counter() - began:4.0f} s: {' | '.join(as_text(found))}", flush=True)
    name = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    console.show_table(f"{name}, {os.cpu_count()} cores", ("part", "what", "figure", "note"), map(as_text, rows))
    measurement.write(rows)


def use_flags(config: Config) -> None:
    """Give XLA the flags to try, before it starts; the processes that are started here inherit them."""
    flags = {
        "--xla_gpu_enable_command_buffer": config.command_buffers,
        "--xla_gpu_autotune_level": config.autotune_level,
        "--xla_gpu_deterministic_ops": "true" if config.deterministic else None,
    }
    chosen = [f"{name}={value}" for name, value in flags.items() if value is not None]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *chosen]).strip()


def losses(config: Config) -> Iterator[Row]:
    """How far the losses of some steps are from those that a CPU computes by the equations."""
    for dtype in DTYPES:
        problem = make_problem(*sizes(config)[0], dtype)
        found = losses_of(ours.classifier(problem, "fused", config.devices))
        with jax.default_device(jax.devices("cpu")[0]):
            expected = losses_of(reference(problem))
        apart = float(np.max(np.abs(np.subtract(found, expected) / expected)))
        yield row(
            "losses", f"{dtype}, {LOSS_STEPS} steps", apart, "", "largest relative difference to a CPU in float32"
        )


def losses_of(system: System) -> list[float]:
    """The losses after each of some steps."""
    found = []
    for _ in range(LOSS_STEPS):
        system.steps(1)
        found.append(system.loss() if system.loss else float("nan"))
    return found


def whole_runs(config: Config) -> Iterator[Row]:
    """`mnist_rows` twice, and once killed and resumed: the time of a whole run, and whether the bits are the same."""
    steps = 120 if config.quick else 999
    with tempfile.TemporaryDirectory() as folder:
        for flags in ("", DETERMINISTIC):
            found, took = runs(Path(folder, flags or "plain"), steps, flags)
            if not flags:
                yield row("whole run", "compiled anew", took["first"], "s", f"{steps} steps, {processes.MODULE}")
                yield row("whole run", "compiled before", took["repeated"], "s")
            note = f"with {flags}" if flags else ""
            for name in ("repeated", "killed and resumed"):
                apart = [array for array in found["first"] if found["first"][array] != found[name].get(array)]
                verdict = f"other bits in {len(apart)} of {len(found['first'])} items" if apart else "the same bits"
                yield row("bits", name, None, "", f"{verdict} {note}".strip())
            if jax.default_backend() != "gpu" or found["first"] == found["repeated"] == found["killed and resumed"]:
                return


def runs(folder: Path, steps: int, xla_flags: str) -> tuple[dict[str, dict[str, bytes]], dict[str, float]]:
    """What three runs hold and the seconds that they took: one, a second one, and one that is killed and resumed."""
    folder.mkdir()
    common: dict[str, object] = {"steps": steps, "devices": None, "compilation-cache": folder / "compiled"}
    common |= {"checkpoint-every": steps // 4}
    before = os.environ["XLA_FLAGS"]
    os.environ["XLA_FLAGS"] = f"{before} {xla_flags}".strip()
    try:
        took = {
            name: processes.seconds(processes.experiment(common | {"run-dir": folder / name}), folder / "output")
            for name in ("first", "repeated")
        }
        killed = common | {"run-dir": folder / "killed and resumed"}
        kill(killed, folder, steps // 4)
        processes.seconds(processes.experiment(killed | {"resume": True}), folder / "output")
    finally:
        os.environ["XLA_FLAGS"] = before
    return {name: same_bits.contents(folder / name) for name in ("first", "repeated", "killed and resumed")}, took


def kill(flags: dict[str, object], folder: Path, step: int) -> None:
    """Start a run, and kill it with SIGKILL after it has saved a checkpoint."""
    run, deadline = Path(str(flags["run-dir"])), time.monotonic() + PATIENCE
    with (folder / "output").open("w") as output:
        process = processes.start(flags, output)
        while same_bits.last_step(run) < step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        if process.wait() >= 0 or same_bits.last_step(run) < step:
            raise UserError(f"{processes.MODULE} could not be killed in time: {processes.last_line(folder / 'output')}")


def sizes(config: Config) -> list[tuple[int, int, int, int]]:
    """B, T, F and H of the timed steps."""
    if config.quick:
        return [(20, 7, 7, 16), (20, 14, 1, 16)]
    return [(100, 28, 28, 128), (100, 28, 28, 512), (100, 784, 1, 128), (100, 784, 1, 512)]


def steps(config: Config, deadline: float) -> Iterator[Row]:
    """A training step against other libraries and against its matrix products alone, until the time is up."""
    for size in sizes(config):
        for dtype in DTYPES:
            part = "step B={} T={} F={} H={} ".format(*size) + dtype
            if time.perf_counter() > deadline:
                yield row(part, "all systems", None, "", f"left out: {config.limit} s have passed")
                continue
            for found in compare(SYSTEMS, make_problem(*size, dtype), config.devices, config.rounds):
                ratio = f"torch = 1: {found['ratio_to_torch']:.2f}" if found["ratio_to_torch"] else ""
                yield row(part, found["name"], found["median_ms"], "ms", found["note"] or ratio)


def all_seeds(config: Config) -> Iterator[Row]:
    """A training step of 1 and of 8 seeds in one program."""
    problem = make_problem(1_000, 28, 28, 16 if config.quick else 128)
    examples = Examples(problem.images, problem.labels.astype(np.uint8))
    systems = {
        f"{number} seed{'s' * (number > 1)}": seeds.training(examples, range(number), config.devices, problem.hidden)
        for number in (1, 8)
    }
    timings = alternate(systems, config.rounds)
    for name, timing in timings.items():
        ratio = timing.median / timings["1 seed"].median
        yield row("seeds in one program", name, timing.median, "ms", f"1 seed = 1: {ratio:.2f}")


def host_cores(config: Config) -> Iterator[Row]:
    """A training step on the host's own cores, in a process that sees no accelerator."""
    batch, time_steps, features, hidden = sizes(config)[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        flags = ["--batch-size", batch, "--time-steps", time_steps, "--features", features, "--hidden", hidden]
        command = [sys.executable, "-m", devices.__name__, *flags, "--rounds", config.rounds, "--json", file]
        done = subprocess.run(
            [str(word) for word in command], env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"{devices.__name__} failed: {done.stderr.strip()[-300:]}")
        for found in json.loads(file.read_text())["rows"]:
            note = f"1 device = 1: {found['ratio_to_one']:.2f}" + ", a run's choice" * found["chosen"]
            yield row("host's cores", f"{found['devices']} devices", found["median_ms"], "ms", note)


def as_text(found: Row) -> tuple[str, str, str, str]:
    """A row, as the table shows it."""
    figure = "" if found["figure"] is None else f"{found['figure']:.4g} {found['unit']}".strip()
    return found["part"], found["name"], figure, found["note"]


def row(part: str, name: str, figure: float | None, unit: str = "", note: str = "") -> Row:
    """A row of the table, as it is written to the file of `--json`."""
    return {"part": part, "name": name, "figure": figure, "unit": unit, "note": note}


if __name__ == "__main__":
    cli.run(main, Config)
