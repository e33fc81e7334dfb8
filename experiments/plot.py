"""Draw the curves of a run, finished, stopped or going on; with `--live`, again and again until it ends.

    python -m experiments.plot runs/mnist_rows/latest --live

It reads metrics.jsonl, and changes nothing in the run. `--live` draws anew whenever there is a new record.
"""

import dataclasses
import time
from pathlib import Path

from rowlstm_jax import UserError, cli, open_run, plots
from rowlstm_jax.config import Flags, require_writable  # flags of a script that trains nothing
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Draw the curves of a run."""

    run: cli.Positional[Path]
    """The run's folder, or a link to it."""
    live: bool = False
    """Draw them again whenever there is a new record, until the run ends."""
    every: float = 2.0
    """With --live, seconds between two looks."""
    output: Path | None = None
    """PNG to draw; None takes `curves_live.png` in the run's folder."""

    def __post_init__(self):
        super().__post_init__()
        if not 0.1 <= self.every <= 3600:
            raise UserError(f"--every is {self.every:g}; it must be from 0.1 to 3600 seconds.")
        if self.output is not None:
            require_writable("--output", self.output, ".png")


def main(config: Config) -> None:
    run, drawn = open_run(config.run), 0
    path = config.output or run.directory / "curves_live.png"
    if not run.records and not (config.live and run.state == "running"):
        raise UserError(f"{run.directory} has no record yet; draw it when it has trained for some steps.")
    while True:
        records = run.records
        if len(records) > drawn:
            plots.curves(path, records, about=plots.about_run(run.directory))
            console.say(f"{path}: up to step {records[-1]['step']:,}.")
            drawn = len(records)
        if not config.live or run.state != "running":
            break
        time.sleep(config.every)
        run = open_run(run.directory)
    if config.live:
        console.say(f"The run is {run.state}.")


if __name__ == "__main__":
    cli.run(main, Config)
