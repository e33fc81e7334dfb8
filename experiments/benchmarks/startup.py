"""Time an experiment from the start of its process to its first training step, and to its end, phase by phase.

    python -m experiments.benchmarks.startup

A cold start finds an empty folder of compiled programs. A warm start finds what a cold one left there. MNIST has been
prepared before both. The phases are those of summary.json; `checkpoint` makes the first state and saves the last.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

from experiments.benchmarks import processes
from experiments.benchmarks.harness import BenchmarkConfig, Measurement
from rowlstm_jax import cli
from rowlstm_jax.runs import console

PHASES = ("start", "data", "compile", "checkpoint", "train", "validation", "test", "plots")
FIRST_STEP, END = "first step logged", "end of the process"


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time the start of experiments.mnist_rows, cold and warm."""

    repeats: int = 3
    """Starts of either kind; the median counts."""


def main(config: Config) -> None:
    measurement = Measurement(config)
    timings: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(config.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for kind in timings:
                timings[kind].append(start(Path(folder), kind, config.devices))
    rows = [
        {"name": phase, **{kind: statistics.median(timing[phase] for timing in timings[kind]) for kind in timings}}
        for phase in (*PHASES, FIRST_STEP, END)
    ]
    cells = [(row["name"], f"{row['cold']:.2f}", f"{row['warm']:.2f}") for row in rows]
    console.show_table(f"Seconds of a start of {processes.MODULE}", ("phase", "cold", "warm"), cells)
    measurement.write(rows)


def start(folder: Path, kind: str, devices: int | None) -> dict[str, float]:
    """Run two steps of the experiment in a process of its own; seconds by phase, and of the whole."""
    run_dir, first_step = folder / kind, []
    flags = {"steps": 2, "log-every": 1, "run-dir": run_dir, "compilation-cache": folder / "compiled"}
    metrics, began = run_dir / "metrics.jsonl", time.perf_counter()

    def watch(_: int) -> None:
        if not first_step and metrics.exists() and metrics.stat().st_size:
            first_step.append(time.perf_counter() - began)

    end = processes.seconds(processes.experiment(flags | {"devices": devices}), folder / "output", watch)
    seconds = json.loads((run_dir / "summary.json").read_text())["timing"]["seconds"]
    return {**{phase: seconds.get(phase, 0.0) for phase in PHASES}, FIRST_STEP: first_step[0], END: end}


if __name__ == "__main__":
    cli.run(main, Config)
