"""The ready callbacks, which `--track` names: records as TensorBoard events or CSV, or in Weights & Biases or MLflow.

Each package is imported where it is used, only if it is asked for.
"""

import csv
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.callbacks import Callback
from rowlstm_jax.runs.events import EventFile
from rowlstm_jax.runs.files import read_text, write_text
from rowlstm_jax.runs.records import Record

LONGEST = 250  # characters of a flag that a tracker is told
WHY = "name it to the run's folder, or choose another --track"


def scalars(record: Mapping[str, Any], seeds: range) -> dict[str, float]:
    """The numbers of a record by name; a list over seeds as `<name>/seed<seed>`."""
    found = {name: value for name, value in record.items() if not isinstance(value, list) and name != "step"}
    for name, value in record.items():
        if isinstance(value, list) and len(value) == len(seeds) and not isinstance(value[0], list):
            found |= {f"{name}/seed{seed}": of_seed for seed, of_seed in zip(seeds, value, strict=True)}
    return {name: value for name, value in found.items() if value is not None}


class Tracker(Callback):
    """Hands the numbers of each record to `show`."""

    def on_begin(self, directory: Path, config: Mapping[str, Any], records: list[Record]) -> None:
        """Open the tracker, and show what an earlier start has recorded."""
        self.directory = directory
        self.config = {name: str(value)[:LONGEST] for name, value in config.items()}
        self.seeds = range(config["seed"], config["seed"] + config["num_seeds"])
        self.open(records)

    def on_record(self, record: Record) -> None:
        """Show a record, with what was validated at the same step."""
        self.show(record["step"], scalars(record, self.seeds))

    def on_evaluation(self, record: Record) -> None:
        """Show an evaluation without a record of the training at its step."""
        if "loss" not in record:
            self.on_record(record)

    def open(self, records: list[Record]) -> None:
        """Begin, or go on after some records."""

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """Events in the run's folder: `tensorboard --logdir runs`; with the flags, and the pictures at the end."""

    def open(self, records: list[Record]) -> None:
        """Write the events anew: a killed process loses those that it had not flushed."""
        for old in self.directory.glob("events.out.tfevents.*"):
            old.unlink()
        self._events = EventFile(self.directory)
        for record in records:
            self.on_record(record)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Append an event."""
        self._events.add(step, values)

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Add flags, results and pictures."""
        results = {name: value for name, value in summary.items() if isinstance(value, float)}
        self._events.add_flags(self.config, results)
        for path in sorted((self.directory / "plots").glob("*.png")):
            self._events.add_picture(summary["steps"], path)

    def close(self) -> None:
        """Write what is buffered."""
        if events := getattr(self, "_events", None):
            events.close()


class Csv(Tracker):
    """metrics.csv in the run's folder: a row for each record, a column for each number."""

    def open(self, records: list[Record]) -> None:
        """Write the rows so far."""
        self._rows = [{"step": record["step"], **scalars(record, self.seeds)} for record in records]
        self._write()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row; with a new column the file is written anew."""
        self._rows.append({"step": step, **values})
        if set(values) <= set(self._names):
            with (self.directory / "metrics.csv").open("a", newline="") as file:
                csv.DictWriter(file, self._names).writerow(self._rows[-1])
        else:
            self._write()

    def _write(self) -> None:
        self._names = list(dict.fromkeys(["step", *(name for row in self._rows for name in row)]))
        with (self.directory / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, self._names)
            writer.writeheader()
            writer.writerows(self._rows)


class WandB(Tracker):
    """Weights & Biases; `WANDB_MODE=offline` keeps it on this machine, in the run's folder."""

    def open(self, records: list[Record]) -> None:
        """Begin a run, or go on with that of an earlier start."""
        wandb: Any = importlib.import_module("wandb")
        name, known = self.directory.name, _known(self.directory / ".wandb-run")
        of = {"project": self.directory.parent.name, "name": name, "id": known, "resume": "allow" if known else None}
        self._run = wandb.init(dir=str(self.directory), config=self.config, **of)
        write_text(self.directory / ".wandb-run", self._run.id)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self._run.log(dict(values), step=step)

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Log the results and the pictures."""
        wandb: Any = importlib.import_module("wandb")
        self._run.summary.update({name: value for name, value in summary.items() if isinstance(value, int | float)})
        pictures = sorted((self.directory / "plots").glob("*.png"))
        self._run.log({f"plots/{path.stem}": wandb.Image(str(path)) for path in pictures})

    def close(self) -> None:
        """End the run there."""
        if run := getattr(self, "_run", None):
            run.finish()


class MLflow(Tracker):
    """MLflow; `MLFLOW_TRACKING_URI` says where, by default in the working directory."""

    def open(self, records: list[Record]) -> None:
        """Begin a run, or go on with that of an earlier start."""
        mlflow: Any = importlib.import_module("mlflow")
        self._mlflow, known = mlflow, _known(self.directory / ".mlflow-run")
        mlflow.set_experiment(self.directory.parent.name)
        run = mlflow.start_run(run_id=known, run_name=self.directory.name)
        write_text(self.directory / ".mlflow-run", run.info.run_id)
        if not known:
            mlflow.log_params(self.config)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self._mlflow.log_metrics(dict(values), step=step)

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Log the results and the pictures."""
        self._mlflow.log_metrics({name: value for name, value in summary.items() if isinstance(value, float)})
        if (self.directory / "plots").is_dir():
            self._mlflow.log_artifacts(str(self.directory / "plots"), "plots")

    def close(self) -> None:
        """End the run there."""
        if mlflow := getattr(self, "_mlflow", None):
            mlflow.end_run()


TRACKERS: dict[str, tuple[Callable[[], Tracker], str]] = {  # by name: the class, and the package that it needs
    "tensorboard": (TensorBoard, "tensorboardX"),
    "csv": (Csv, "csv"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}


def make_trackers(names: tuple[str, ...]) -> list[Tracker]:
    """The trackers of these names. Raises a UserError if a package is not installed."""
    for name in names:
        if importlib.util.find_spec(TRACKERS[name][1]) is None:
            raise UserError(f"--track names {name}, which is not installed; install it with pip install {name}.")
    return [TRACKERS[name][0]() for name in names]


def _known(path: Path) -> str | None:
    """The number of the run that an earlier start began with a tracker."""
    return read_text(path, WHY).strip() if path.exists() else None
