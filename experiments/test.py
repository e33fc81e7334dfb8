"""Open the test set of a finished run that was trained with --no-test: once, and on record.

    python -m experiments.test runs/mnist_rows/latest

It starts the run's own experiment again, with the flags that its config.json holds, with --resume and without
--no-test: no step is taken, so the results are those of a run that was tested at its end. A run of a script of your own
is tested in the same way: start the script again.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

from experiments import find_experiment
from rowlstm_jax import UserError, cli, open_run
from rowlstm_jax.config import DataConfig
from rowlstm_jax.runs import console, read_json


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Open the test set of a finished run that was trained with --no-test, once."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""
    local_files: Path | None = None
    """Folder with a folder <dataset>/ of the original .gz files; by default the run's own."""


def main(config: Config) -> None:
    result = open_run(config.run)
    if result.tested:
        raise UserError(f"{result.directory} was tested; its results are in summary.json.")
    saved = read_json(result.directory / "config.json", "run the experiment again").get("config")
    again = f"start its own script again with --resume --run-dir {result.directory} and without --no-test."
    if not isinstance(saved, dict):
        raise UserError(f"{result.directory} does not say with which flags it was trained; {again}")
    name, script = f"experiments.{result.experiment}", find_experiment(result.experiment)
    if script is None:
        raise UserError(f"{result.directory} was trained by {result.experiment}, which is no experiment here; {again}")
    given = {"data_dir": config.data_dir, "local_files": config.local_files}
    saved |= {name: str(folder) for name, folder in given.items() if folder}
    words = ["-m", name, *cli.words(script.Config, saved), "--run-dir", str(result.directory), "--resume"]
    console.say(f"python {shlex.join(words)}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    cli.run(main, Config)
