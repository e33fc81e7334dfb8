"""The folder of a run: config.json, metrics.jsonl, summary.json, TensorBoard events, and where time went."""

import contextlib
import dataclasses
import datetime
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from rowlstm_jax.config import FREE_ON_RESUME, Protocol, RunConfig, UserError, differences, to_json

RUNS = Path("runs")


class Run:
    """One run and its folder; a context manager.

    Entering checks everything that can be checked without data and creates the folder; `begin` writes the first file.
    A folder that is still empty at the end, because something failed before that, is removed again.

    Attributes:
      experiment: name of the script.
      config: the flags.
      protocol: what is being measured.
      model: the model's attributes by name, as text; a resumed run must have the same.
      directory: the run's folder.
      seconds: wall time by phase.
    """

    def __init__(self, experiment: str, config: RunConfig, protocol: Protocol, model: dict[str, str]):
        self.experiment = experiment
        self.config = config
        self.protocol = protocol
        self.model = model
        self.directory = self._choose_directory()
        # From the start of the process to here: the imports, most of all.
        self.seconds = {"start": time.time() - psutil.Process().create_time()}
        self._metrics = None
        self._events = None

    def __enter__(self) -> "Run":
        """Check the folder and create it.

        Raises:
          UserError: it holds another run, nothing to resume, a run that differs, or can't be written.
        """
        if self.config.resume:
            self._check_resumable()
        elif self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise UserError(f"{self.directory} is not an empty folder; choose another --run-dir, or add --resume.")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.directory / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"The run folder {self.directory} can't be written ({error.strerror}); choose another --run-dir."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files; remove the folder if nothing was written."""
        for file in (self._metrics, self._events):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def _choose_directory(self) -> Path:
        if self.config.run_dir is not None:
            return self.config.run_dir.expanduser().absolute()
        folder = RUNS.absolute() / self.experiment
        if self.config.resume:
            return (folder / "latest").resolve()
        now = datetime.datetime.now(datetime.UTC)
        return folder / f"{now:%Y-%m-%dT%H-%M-%S.%f}Z-seed{self.config.seed}"

    def _identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it resumes."""
        config = {k: v for k, v in to_json(self.config).items() if k not in FREE_ON_RESUME}
        protocol = {f"protocol.{k}": v for k, v in dataclasses.asdict(self.protocol).items()}
        return {"experiment": self.experiment, **config, **protocol, **{f"model.{k}": v for k, v in self.model.items()}}

    def _check_resumable(self) -> None:
        try:
            saved = dict(json.loads((self.directory / "config.json").read_text())["identity"])
        except FileNotFoundError as error:
            raise UserError(
                f"There is no run to resume in {self.directory}; name one with --run-dir, or leave --resume out."
            ) from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{self.directory / 'config.json'} can't be read as a run's config ({error}).") from error
        if different := differences(saved, self._identity()):
            raise UserError(
                f"The run in {self.directory} can't be resumed with other settings: {'; '.join(different)}. "
                "Start with the saved settings, or without --resume in another --run-dir."
            )

    def begin(self, step: int) -> None:
        """Open the run's files to continue after `step`; whatever they say of later steps is cut off."""
        config = {"config": to_json(self.config), "identity": self._identity()}
        write_json(self.directory / "config.json", config)
        metrics = self.directory / "metrics.jsonl"
        kept = "".join(json.dumps(record) + "\n" for record in self.records() if record["step"] <= step)
        write_atomically(metrics, kept)
        self._metrics = metrics.open("a")
        # Imported here: it costs 0.15 s that a mistake in the flags should not wait for.
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(self.directory), purge_step=step + 1)
        if self.directory.parent == RUNS.absolute() / self.experiment:
            link = self.directory.parent / f".latest-{os.getpid()}"
            link.symlink_to(self.directory.name)
            link.replace(self.directory.parent / "latest")

    def log(self, step: int, record: dict[str, int | float]) -> None:
        """Append one object to metrics.jsonl, and its values to the TensorBoard events."""
        if self._metrics is None or self._events is None:
            raise RuntimeError("begin() comes before log()")
        self._metrics.write(json.dumps({"step": step, **record}) + "\n")
        self._metrics.flush()
        for name, value in record.items():
            self._events.add_scalar(name, value, step)

    def records(self) -> list[dict[str, Any]]:
        """The objects of metrics.jsonl; a last line that a killed process left unfinished is no record."""
        path = self.directory / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to `seconds[name]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def write_json(path: Path, value: object) -> None:
    """Write indented JSON so that a reader sees the old file or the new one, never a part."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
