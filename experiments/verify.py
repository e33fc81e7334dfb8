"""Train a run again, from what it says of itself, and compare: every record, and every weight.

    python -m experiments.verify runs/mnist_rows/latest --steps 200
    python -m experiments.verify experiments/results/mnist_rows.json --steps 200

It needs the folder of the run without its checkpoints, or its summary.json alone; the data come from where they always
do. Flags, protocol, data and seeds are those of the run. The test set is not opened. It says "equal in every bit", or
the first step and value that differ, by how much, and what differs between then and now: versions, devices, code. The
exit status is 1 if something differs. All steps take as long as the run took; `--steps` trains the first ones only.
"""

import dataclasses
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from experiments import find_experiment
from rowlstm_jax import UserError, cli
from rowlstm_jax.analysis import verify
from rowlstm_jax.config import FOLDERS, DataConfig
from rowlstm_jax.runs import console, following


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Train a run again, from what it says of itself, and compare every record and weight."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, a link to it, or its summary.json."""
    steps: int | None = None
    """Compare the first steps only, up to the record at this step or after it."""
    data: str | None = None
    """The data of the run again, if they are your own: an .npz file, a folder of pictures, or tfds:<name>."""
    script: Path | None = None
    """A Python file of your own, with `Config` and `main` of the run, or with what its flags name. It is run."""

    def __post_init__(self):
        super().__post_init__()
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps is {self.steps}; it must be 1 or more.")


def main(config: Config) -> None:
    then = verify.read_recorded(config.run)
    own = load(config.script) if config.script else None
    script = own if own and hasattr(own, "Config") else find_experiment(then.experiment)
    if script is None:
        raise UserError(f"{config.run} was trained by {then.experiment}, which is no experiment here; name --script.")
    given = {"data": config.data, "data_dir": config.data_dir, "local_files": config.local_files}
    saved = {name: value for name, value in then.config.items() if name not in FOLDERS}  # they are of its machine
    saved |= {name: str(value) for name, value in given.items() if value}
    saved |= {"track": ["csv"], "devices": then.num_devices or saved.get("devices")}
    with tempfile.TemporaryDirectory() as folder:
        words = [*cli.words(script.Config, saved), "--no-test", "--run-dir", f"{folder}/run"]
        last = config.steps or (then.records[-1]["step"] if then.whole else then.steps)
        with following(verify.StopAfter(last)):
            script.main(cli.parse(script.Config, words))
        found = verify.compare_recorded(then, verify.read_recorded(Path(folder, "run")))
    for line in found.lines:
        console.say(line)
    if not found.equal:
        sys.exit(1)


def load(path: Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"--script is {path}, which is no Python file; name one.")
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    cli.run(main, Config)
