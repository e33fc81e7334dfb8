"""Test whether two finished runs differ: over seeds, and paired on the test examples.

    python -m experiments.compare runs/mnist_rows/latest runs/other/latest

Both runs must follow the same protocol. `--differ-in order`, after the two folders, lets them differ in the order. It
prints the tests and what each test says, and draws the seeds and the examples on which the runs disagree. A few
seconds, no training.
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import cli
from rowlstm_jax import compare as compare_runs
from rowlstm_jax.config import Flags, absolute, require_writable  # flags of a script that trains nothing


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Test whether two finished runs differ, over seeds and over test examples."""

    runs: cli.Positional[tuple[Path, Path]]
    """Two run folders, links to them, or their summary.json."""
    differ_in: tuple[str, ...] = ()
    """Fields of the protocol in which the runs may differ, such as order or augmentation."""
    output: Path = Path("comparison.png")
    """PNG to draw."""

    def __post_init__(self):
        super().__post_init__()
        require_writable("--output", self.output, ".png")


def main(config: Config) -> None:
    found = compare_runs(*config.runs, config.differ_in)
    found.show()
    found.draw(absolute(config.output))
    print(f"Picture: {config.output}")


if __name__ == "__main__":
    cli.run(main, Config)
