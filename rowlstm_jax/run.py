"""The folder of a run: config.json, metrics.jsonl, summary.json, TensorBoard events, and where time went."""

import contextlib
import datetime
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import psutil

from rowlstm_jax import events
from rowlstm_jax.config import FREE_ON_RESUME, RunConfig, UserError, absolute, differences, to_json
from rowlstm_jax.describe import describe
from rowlstm_jax.devices import all_or_none, from_first_process, is_first_process, largest_of_all
from rowlstm_jax.files import read_lines, write_json, write_text
from rowlstm_jax.model import WAYS_TO_COMPUTE
from rowlstm_jax.protocols import Protocol
from rowlstm_jax.recipe import Recipe
from rowlstm_jax.records import Record

RUNS = Path("runs")

# What a resumed run may change, and processes must have in common all the same.
SAME_IN_ALL_PROCESSES = (
    "steps",
    "log_every",
    "checkpoint_every",
    "devices",
    "resume",
    "profile",
    "recurrence",
    "memory_health",
)


class Run:
    """One run and its folder, which of several processes the first one writes; a context manager.

    Entering checks all that can be checked without data, creates the folder and locks it. `claim` writes config.json,
    from which moment on the run can be resumed; a folder that nothing has claimed is removed at the end. `begin` claims
    it too, and opens the files that grow.

    Attributes:
      experiment: name of the script.
      config: the flags.
      protocol: what is being measured.
      recipe: model, optimiser and loss.
      directory: the run's folder.
      seconds: wall time by phase.
    """

    def __init__(self, experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe):
        self.experiment = experiment
        self.config = config
        self.protocol = protocol
        self.recipe = recipe
        self.directory = Path(from_first_process(lambda: str(choose_directory(experiment, config))))
        # From the start of the process to here: the imports, most of all.
        self.seconds = {"start": time.time() - psutil.Process().create_time()}
        self._lock = filelock.FileLock(self.directory / ".lock")
        self._metrics = None
        self._events = None

    def __enter__(self) -> "Run":
        """Check the folder, create it and lock it.

        Raises:
          UserError: it is in use, holds another run, nothing to resume, or a run that differs, or can't be written.
        """
        settings = self._identity() | {name: getattr(self.config, name) for name in SAME_IN_ALL_PROCESSES}
        if largest_of_all(from_first_process(lambda: settings) != settings):
            raise UserError("The processes were started with different flags or programs; give all of them the same.")
        from_first_process(self._open)
        return self

    def _open(self) -> None:
        try:
            if self.config.resume:
                self._check_resumable()
            elif self.directory.exists() and not self._is_empty():
                raise UserError(f"{self.directory} is not an empty folder; choose another --run-dir, or add --resume.")
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(f"Another process is using {self.directory}; choose another --run-dir.") from error
        except OSError as error:
            raise UserError(
                f"The run folder {self.directory} can't be used ({error.strerror}); choose another --run-dir."
            ) from error

    def __exit__(self, *_: object) -> None:
        """Close the files; remove the folder if nothing was written."""
        if not is_first_process():
            return
        for file in (self._metrics, self._events):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            if self._is_empty():
                self._lock.release()
                (self.directory / ".lock").unlink(missing_ok=True)
                self.directory.rmdir()
        self._lock.release()

    def _is_empty(self) -> bool:
        """Whether no run has claimed the folder; a killed start may have left files whose names start with a dot."""
        return self.directory.is_dir() and all(path.name.startswith(".") for path in self.directory.iterdir())

    def _identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it resumes, as JSON values."""
        config = {name: value for name, value in to_json(self.config).items() if name not in FREE_ON_RESUME}
        protocol = {f"protocol.{name}": value for name, value in self.protocol.fields().items()}
        ways = {f"recipe.model.{name}" for name in WAYS_TO_COMPUTE}
        recipe = {k: v for k, v in describe(self.recipe, "recipe").items() if k not in ways}
        return json.loads(json.dumps({"experiment": self.experiment, **config, **protocol, **recipe}))

    def _check_resumable(self) -> None:
        path = self.directory / "config.json"
        try:
            saved = dict(json.loads(path.read_text())["identity"])
        except FileNotFoundError as error:
            raise UserError(
                f"There is no run to resume in {self.directory}; name one with --run-dir, or leave --resume out."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} can't be read as a run's config ({error}); resume another run.") from error
        if different := differences(saved, self._identity()):
            raise UserError(
                f"The run in {self.directory} can't be resumed with other settings: {'; '.join(different)}. "
                "Start with the saved settings, or without --resume in another --run-dir."
            )

    def claim(self) -> None:
        """Write config.json: from here on the run can be resumed, and it is the experiment's latest."""
        from_first_process(self._claim)

    def _claim(self) -> None:
        write_json(self.directory / "config.json", {"config": to_json(self.config), "identity": self._identity()})
        name_latest(self.experiment, self.directory)

    def begin(self, step: int) -> None:
        """Open the files that grow, to continue after `step`; what they say of later steps is cut off.

        A summary is removed if there are steps to take: it would speak of fewer.
        """
        from_first_process(lambda: self._begin(step))

    def _begin(self, step: int) -> None:
        self._claim()
        if step < self.config.steps:
            (self.directory / "summary.json").unlink(missing_ok=True)
        kept = [record for record in self.records() if record["step"] <= step]
        metrics = self.directory / "metrics.jsonl"
        write_text(metrics, "".join(json.dumps(record) + "\n" for record in kept))
        self._metrics = metrics.open("a")
        # A killed process loses events that it had not flushed, so they are written anew from the records.
        for old in self.directory.glob("events.out.tfevents.*"):
            old.unlink()
        self._events = events.summary_writer(self.directory)
        for record in kept:
            self._show(**record)

    def log(self, step: int, record: Record) -> None:
        """Append one object to metrics.jsonl, and its numbers to the TensorBoard events."""
        if not is_first_process():
            return
        if self._metrics is None:
            raise RuntimeError("begin() comes before log()")
        self._metrics.write(json.dumps({"step": step, **record}) + "\n")
        self._metrics.flush()
        self._show(step, **record)

    def _show(self, step: int, **record: Any) -> None:
        if self._events is None:
            return
        for name, value in record.items():
            if not isinstance(value, list):
                self._events.add_scalar(name, value, step)
            elif len(value) == self.config.num_seeds and not isinstance(value[0], list):
                for seed, of_seed in zip(self.config.seeds, value, strict=True):
                    self._events.add_scalar(f"{name}/seed{seed}", of_seed, step)

    def open_test(self, selected_steps: list[int]) -> None:
        """Write down that the test set is opened, and for the weights of which steps: once, in an honest run."""
        from_first_process(lambda: self._open_test(selected_steps))

    def _open_test(self, selected_steps: list[int]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        with (self.directory / "test_openings.jsonl").open("a") as file:
            file.write(json.dumps({"time": now.isoformat(timespec="seconds"), "selected_steps": selected_steps}) + "\n")

    def test_openings(self) -> list[Record]:
        """When the test set was opened, and for which weights; of all starts of the run."""
        return read_lines(self.directory / "test_openings.jsonl")

    def records(self) -> list[Record]:
        """The objects of metrics.jsonl; a last line that a killed process left unfinished is no record.

        Raises:
          UserError: a finished line is damaged.
        """
        return read_lines(self.directory / "metrics.jsonl")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to `seconds[name]`."""
        start = time.perf_counter()
        try:
            with all_or_none() if name in ("data", "compile", "checkpoint") else contextlib.nullcontext():
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextlib.contextmanager
    def trace(self) -> Iterator[None]:
        """Write what the devices do within the block to `profile/`, in the form of TensorBoard and Perfetto."""
        if not is_first_process():
            yield
            return
        with jax.profiler.trace(self.directory / "profile"):
            yield


def name_latest(experiment: str, directory: Path) -> None:
    """Let runs/<experiment>/latest point to a folder that lies beside it; others stay unnamed."""
    if directory.parent == RUNS.absolute() / experiment:
        link = directory.parent / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
        link.replace(directory.parent / "latest")


def choose_directory(experiment: str, config: RunConfig) -> Path:
    """The folder that the flags name, by default a new one, or the latest where a run is resumed."""
    if config.run_dir is not None:
        return absolute(config.run_dir)
    folder, seeds = RUNS.absolute() / experiment, config.seeds
    if config.resume:
        return (folder / "latest").resolve()
    now = datetime.datetime.now(datetime.UTC)
    name = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return folder / f"{now:%Y-%m-%dT%H-%M-%S.%f}Z-{name}"
