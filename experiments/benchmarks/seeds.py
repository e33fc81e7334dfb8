"""Time S seeds in one program against S runs of one seed, one after the other, in alternation.

    python -m experiments.benchmarks.seeds

Each takes the same training steps of the notebook's classifier with Adam, on random images; a run of one seed splits
its batch over the devices, several seeds are themselves spread over them first. First their losses, summed over 100
steps, must agree.
"""

import dataclasses

import numpy as np

from experiments.benchmarks import machine
from experiments.benchmarks.flags import BenchmarkConfig
from experiments.benchmarks.problem import make_problem
from experiments.benchmarks.runs import Runs
from experiments.benchmarks.timing import alternate
from rowlstm_jax import cli, console
from rowlstm_jax.data import Examples


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time several seeds in one program against as many runs."""

    num_seeds: int = 8
    """S."""
    batch_size: int = 100
    """B, examples a step."""
    hidden: int = 128
    """H, units of the LSTM."""
    rounds: int = 15
    """Times that each is timed."""


def main(config: Config) -> None:
    meanwhile, problem = machine.Meanwhile(), make_problem(1_000, 28, 28, config.hidden)
    examples = Examples(problem.images, problem.labels.astype(np.uint8))

    def start(first: int, count: int) -> Runs:
        return Runs(range(first, first + count), examples, config.batch_size, config.hidden, config.devices)

    together, alone = start(0, config.num_seeds), [start(seed, 1) for seed in range(config.num_seeds)]
    np.testing.assert_allclose(together.steps(100), np.concatenate([runs.steps(100) for runs in alone]), rtol=1e-4)
    systems = {
        f"{config.num_seeds} seeds in one program": together.steps,
        f"{config.num_seeds} runs, one after the other": lambda count: [runs.steps(count) for runs in alone],
    }
    timings = list(alternate(systems, config.rounds).items())
    whole = timings[-1][1].median
    rows = [{"name": name, "median_ms": timing.median, "ratio": timing.median / whole} for name, timing in timings]
    cells = [(row["name"], f"{row['median_ms']:.1f}", f"{row['ratio']:.2f}") for row in rows]
    console.show_table("Milliseconds a training step of all seeds", ("", "ms", "ratio"), cells)
    machine.write(config, rows, meanwhile)


if __name__ == "__main__":
    cli.run(main, Config)
