"""Time S seeds in one program against S runs of one seed, one after the other, in alternation.

    python -m experiments.benchmarks.seeds

Two measurements: training steps alone, in one process, of the notebook's classifier on random images; and whole runs of
`experiments.mnist_rows` as a user starts them, each a process that starts, trains, validates, tests and draws. A run of
one seed splits its batch over the devices, several seeds are themselves spread over them first. First their losses,
summed over 100 steps, must agree.
"""

import dataclasses
import statistics
import tempfile
from pathlib import Path

from experiments.benchmarks import machine, processes
from experiments.benchmarks.flags import BenchmarkConfig
from experiments.benchmarks.runs import time_steps
from rowlstm_jax import cli
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time several seeds in one program against as many runs."""

    num_seeds: int = 8
    """S."""
    rounds: int = 15
    """Times that the steps of each are timed."""
    repeats: int = 3
    """Times that the whole runs of each are timed."""
    steps: int = 999
    """Training steps of a whole run."""


def main(config: Config) -> None:
    meanwhile, number = machine.Meanwhile(), config.num_seeds
    step_ms, run_seconds = time_steps(number, config.rounds, config.devices), time_whole_runs(config)
    rows = [
        {"name": name, "step_ms": ms, "step_ratio": ms / step_ms[1], "run_s": s, "run_ratio": s / run_seconds[1]}
        for name, ms, s in zip(
            (f"{number} seeds in one program", f"{number} runs, one after the other"), step_ms, run_seconds, strict=True
        )
    ]
    header = ("", "ms a step", "ratio", "s a whole run", "ratio")
    cells = [
        (r["name"], f"{r['step_ms']:.1f}", f"{r['step_ratio']:.2f}", f"{r['run_s']:.1f}", f"{r['run_ratio']:.2f}")
        for r in rows
    ]
    console.show_table("All seeds together", header, cells)
    machine.write(config, rows, meanwhile)


def time_whole_runs(config: Config) -> tuple[float, float]:
    """Seconds of `experiments.mnist_rows`: with all seeds, and once for each of them."""
    with tempfile.TemporaryDirectory() as folder:

        def run(first: int, number: int, steps: int = config.steps) -> float:
            flags = {"seed": first, "num-seeds": number, "steps": steps, "compilation-cache": Path(folder) / "compiled"}
            flags |= {"devices": config.devices} if config.devices else {}
            flags["run-dir"] = tempfile.mkdtemp(dir=folder)
            return processes.seconds("experiments.mnist_rows", flags, Path(folder) / "output")

        for number in (config.num_seeds, 1):
            run(0, number, 10)  # compiles what the others find compiled
        times = [
            (run(0, config.num_seeds), sum(run(seed, 1) for seed in range(config.num_seeds)))
            for _ in range(config.repeats)
        ]
    together, alone = zip(*times, strict=True)
    return statistics.median(together), statistics.median(alone)


if __name__ == "__main__":
    cli.run(main, Config)
