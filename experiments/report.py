"""Write a report of one run or several as one HTML file: no network, no scripts, opens anywhere.

    python -m experiments.report runs/mnist_rows/latest -o report.html
    python -m experiments.report runs/lstm runs/gru runs/mgu -o report.html

It has the results with intervals, curves, confusions and errors, diagnostics, protocol, environment, and how to repeat
the run. Several runs stand side by side, and each is tested against the first, if both are finished and comparable.
"""

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any

from experiments import find_experiment
from rowlstm_jax import UserError, cli
from rowlstm_jax.analysis import report_page
from rowlstm_jax.config import Flags, absolute, require_writable  # flags of a script that trains nothing
from rowlstm_jax.errors import flag
from rowlstm_jax.runs import console, write_text

PLACES = ("run_dir", "data_dir", "local_files", "compilation_cache")  # flags that change no result
MOST = 26


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Write a report of one run or several as one HTML file."""

    runs: cli.Positional[tuple[Path, ...]]
    """Run folders, links to them, or their summary.json; finished or not."""
    output: Annotated[Path, cli.arg(aliases=("-o",))] = Path("report.html")
    """HTML file to write."""
    differ_in: tuple[str, ...] = ()
    """Fields of the protocol in which compared runs may differ, such as order or augmentation."""

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= len(self.runs) <= MOST:
            raise UserError(f"RUNS are {len(self.runs)} folders; name from 1 to {MOST}.")
        require_writable("--output", self.output, ".html")


def main(config: Config) -> None:
    text = report_page(config.runs, lambda run: command(run.experiment, run.config), config.differ_in)
    write_text(absolute(config.output), text)
    console.say(f"Report: {config.output}")


def command(experiment: str, saved: dict[str, Any]) -> str:
    """What trains a run again: with the flags that are not the defaults of its experiment, or with all."""
    saved = {name: value for name, value in saved.items() if name not in PLACES and value is not None}
    words = [flag(name) for name in ("no_test",) if saved.get(name) is True]
    words += [flag("from_checkpoint"), str(saved["from_checkpoint"])] if "from_checkpoint" in saved else []
    if script := find_experiment(experiment):
        try:
            words = [*cli.words(script.Config, saved), *words]
            return f"python -m experiments.{experiment} {shlex.join(words)}".strip()
        except (UserError, TypeError, ValueError):  # an earlier version had other flags
            pass
    words = []
    for name, value in saved.items():
        given = [] if value is True else value if isinstance(value, list) else [value]
        words += [flag(name), *map(str, given)] if value is not False else []
    return f"The run's own script, {experiment}, with all flags that it had:\n{shlex.join(words)}"


if __name__ == "__main__":
    cli.run(main, Config)
