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

import numpy as np

from experiments.benchmarks import machine, processes, timing
from experiments.benchmarks.flags import BenchmarkConfig
from experiments.benchmarks.problem import make_problem
from experiments.benchmarks.runs import Runs
from rowlstm_jax import cli, console
from rowlstm_jax.data import Examples


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
    measured = {"ms a step": steps(config), "s a whole run": whole_runs(config)}
    rows = [
        {"name": name} | {what: {"median": pair[n], "ratio": pair[n] / pair[1]} for what, pair in measured.items()}
        for n, name in enumerate((f"{number} seeds in one program", f"{number} runs, one after the other"))
    ]
    cells = [(r["name"], *(f"{r[what]['median']:.1f} ({r[what]['ratio']:.2f})" for what in measured)) for r in rows]
    console.show_table("All seeds together", ("", *measured), cells)
    machine.write(config, rows, meanwhile)


def steps(config: Config) -> tuple[float, float]:
    """Milliseconds a training step of all seeds: together, and one after the other."""
    problem = make_problem(1_000, 28, 28, 128)
    examples = Examples(problem.images, problem.labels.astype(np.uint8))
    together, *alone = (
        Runs(seeds, examples, 100, 128, config.devices)
        for seeds in (range(config.num_seeds), *(range(seed, seed + 1) for seed in range(config.num_seeds)))
    )
    np.testing.assert_allclose(together.steps(100), np.concatenate([run.steps(100) for run in alone]), rtol=1e-4)
    systems = {"together": together.steps, "alone": lambda count: [run.steps(count) for run in alone]}
    first, second = timing.alternate(systems, config.rounds).values()
    return first.median, second.median


def whole_runs(config: Config) -> tuple[float, float]:
    """Seconds of `experiments.mnist_rows`: with all seeds, and once for each of them."""
    with tempfile.TemporaryDirectory() as folder:

        def run(first: int, number: int, steps: int = config.steps) -> float:
            flags = {"seed": first, "num-seeds": number, "steps": steps, "compilation-cache": Path(folder) / "compiled"}
            flags |= {"devices": config.devices} if config.devices else {}
            flags["run-dir"] = tempfile.mkdtemp(dir=folder)
            return processes.seconds("experiments.mnist_rows", flags, Path(folder) / "output")

        run(0, config.num_seeds, 10), run(0, 1, 10)  # compile what the others find compiled
        times = [
            (run(0, config.num_seeds), sum(run(seed, 1) for seed in range(config.num_seeds)))
            for _ in range(config.repeats)
        ]
    together, alone = zip(*times, strict=True)
    return statistics.median(together), statistics.median(alone)


if __name__ == "__main__":
    cli.run(main, Config)
