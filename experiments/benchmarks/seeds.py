"""Time S seeds in one program against S runs of one seed, one after the other, in alternation.

    python -m experiments.benchmarks.seeds

The first measurement times training steps alone: the notebook's classifier on random images, in one process. The
losses of both ways, summed over 100 steps, must agree. The second times whole runs of `experiments.mnist_rows`, as a
user starts them: each is a process that starts, trains, validates, tests and draws.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.benchmarks import processes
from experiments.benchmarks.harness import BenchmarkConfig, Measurement, alternate
from experiments.benchmarks.peers.ours import compile_steps
from experiments.benchmarks.problem import NUM_CLASSES, make_problem
from rowlstm_jax import cli
from rowlstm_jax.data import Examples, batch_indices
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.parallel import Seeds, make_mesh
from rowlstm_jax.runs import console

BATCH_SIZE = 100
STEPS_PER_DISPATCH = 10  # as in a run that logs every ten steps


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
    measurement, number = Measurement(config), config.num_seeds
    step_ms, run_seconds = time_steps(number, config.rounds, config.devices), time_whole_runs(config)
    names = f"{number} seeds in one program", f"{number} runs, one after the other"
    rows = [
        {"name": name, "step_ms": ms, "step_ratio": ms / step_ms[1], "run_s": s, "run_ratio": s / run_seconds[1]}
        for name, ms, s in zip(names, step_ms, run_seconds, strict=True)
    ]
    header = ("", "ms a step", "ratio", "s a whole run", "ratio")
    cells = [
        (r["name"], f"{r['step_ms']:.1f}", f"{r['step_ratio']:.2f}", f"{r['run_s']:.1f}", f"{r['run_ratio']:.2f}")
        for r in rows
    ]
    console.show_table("All seeds together", header, cells)
    measurement.write(rows)


def time_steps(num_seeds: int, rounds: int, devices: int | None) -> tuple[float, float]:
    """Milliseconds a training step of all seeds: in one program, and in one program after the other."""
    problem = make_problem(1_000, 28, 28, 128)
    examples = Examples(problem.images, problem.labels.astype(np.uint8))
    together = training(examples, range(num_seeds), devices)
    alone = [training(examples, range(seed, seed + 1), devices) for seed in range(num_seeds)]
    np.testing.assert_allclose(together(100), np.concatenate([steps(100) for steps in alone]), rtol=1e-4)
    systems = {"together": together, "alone": lambda count: [steps(count) for steps in alone]}
    first, second = alternate(systems, rounds).values()
    return first.median, second.median


def training(examples: Examples, seeds: range, devices: int | None, hidden: int = 128) -> Callable[[int], np.ndarray]:
    """A function that takes training steps of all seeds, and returns the sums of their losses so far, [S]."""
    model = SequenceClassifier(BasicLSTMCell(hidden), NUM_CLASSES)
    layout = Seeds(len(seeds), make_mesh(BATCH_SIZE, devices, len(seeds)))
    programs = compile_steps(model, examples, BATCH_SIZE, layout, STEPS_PER_DISPATCH)
    progress = programs.begin(np.array(seeds, np.uint32))
    indices = np.stack([batch_indices(0, len(examples), BATCH_SIZE, 0, STEPS_PER_DISPATCH)] * len(seeds))

    def steps(count: int) -> np.ndarray:
        nonlocal progress
        for start in range(0, count, STEPS_PER_DISPATCH):
            progress = programs.train(progress, indices[:, : count - start])
            np.asarray(progress.metrics.loss)  # wait, as a run does that logs
        return np.asarray(progress.metrics.loss)

    return steps


def time_whole_runs(config: Config) -> tuple[float, float]:
    """Seconds of `experiments.mnist_rows`: with all seeds, and once for each of them."""
    with tempfile.TemporaryDirectory() as folder:

        def run(first: int, number: int, steps: int = config.steps) -> float:
            flags = {"seed": first, "num-seeds": number, "steps": steps, "devices": config.devices}
            flags |= {"compilation-cache": Path(folder, "compiled"), "run-dir": tempfile.mkdtemp(dir=folder)}
            return processes.seconds(processes.experiment(flags), Path(folder, "output"))

        for number in (config.num_seeds, 1):
            run(0, number, 10)  # fills the folder of compiled programs
        times = [
            (run(0, config.num_seeds), sum(run(seed, 1) for seed in range(config.num_seeds)))
            for _ in range(config.repeats)
        ]
    together, alone = zip(*times, strict=True)
    return statistics.median(together), statistics.median(alone)


if __name__ == "__main__":
    cli.run(main, Config)
