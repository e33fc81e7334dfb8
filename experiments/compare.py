"""Test whether two finished runs differ: over seeds, and paired on the test examples.

    python -m experiments.compare runs/mnist_rows/latest runs/other/latest

Both runs must follow the same protocol. `--differ-in order`, after the two folders, lets them differ in the order. It
prints the tests and what each test says, and draws the seeds and the examples on which the runs disagree, into
`runs/compare/<first>-<second>/` unless `--output` names a PNG. A few seconds, no training.
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import cli
from rowlstm_jax import compare as compare_runs
from rowlstm_jax.config import Flags, absolute, make_folder, require_writable  # flags of a script that trains nothing


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Test whether two finished runs differ, over seeds and over test examples."""

    runs: cli.Positional[tuple[Path, Path]]
    """Two run folders, links to them, or their summary.json."""
    differ_in: tuple[str, ...] = ()
    """Fields of the protocol in which the runs may differ, such as order or augmentation."""
    output: Path | None = None
    """PNG to draw; None takes `comparison.png` in a folder of `runs/compare` that has the names of both."""

    def __post_init__(self):
        super().__post_init__()
        if self.output is not None:
            require_writable("--output", self.output, ".png")


def main(config: Config) -> None:
    found = compare_runs(*config.runs, config.differ_in)
    found.show()
    if config.output is None:
        names = (run.directory.name[:100] for run in (found.first, found.second))
        picture = make_folder(Path("runs/compare", "-".join(names)), "name a PNG with --output") / "comparison.png"
    else:
        picture = absolute(config.output)
    found.draw(picture)
    print(f"Picture: {picture}")


if __name__ == "__main__":
    cli.run(main, Config)
