"""List the runs below a folder: experiment, state, seeds, what they reached on validation and test, and when.

    python -m experiments.list
    python -m experiments.list runs/mnist_rows --where state=finished cell=gru --sort validation

A run is finished, running, stopped at a step, or damaged; of a damaged one, a warning says why. Nothing is changed, and
no test set is opened. `--json` prints the same for programs, with all flags of each run.
"""

import dataclasses
import json
from pathlib import Path

from rowlstm_jax import cli
from rowlstm_jax.analysis import list_runs, show_runs
from rowlstm_jax.config import Flags  # flags of a script that trains nothing


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """List the runs below a folder."""

    below: cli.Positional[Path] = Path("runs")
    """The folder."""
    where: tuple[str, ...] = ()
    """Show runs of which all of this is true, NAME=PATTERN: a column or a flag, such as state=finished hidden=128."""
    sort: str = "when"
    """A column or a flag to sort by, the smallest first."""
    reverse: bool = False
    """Sort the other way round."""
    json: bool = False
    """Print JSON instead of a table."""


def main(config: Config) -> None:
    runs = list_runs(config.below, config.where, config.sort, reverse=config.reverse)
    if config.json:
        print(json.dumps([run.to_json() for run in runs], indent=2))
    else:
        show_runs(runs, config.below)


if __name__ == "__main__":
    cli.run(main, Config)
