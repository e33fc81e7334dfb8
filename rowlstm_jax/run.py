"""The folder of a run: config.json, metrics.jsonl, summary.json, TensorBoard events, and where time went."""

import contextlib
import dataclasses
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import optax
import psutil

from rowlstm_jax import environment
from rowlstm_jax.config import RunConfig, UserError, to_json
from rowlstm_jax.devices import all_or_none, from_first_process, is_first_process, largest_of_all
from rowlstm_jax.events import EventFile
from rowlstm_jax.files import read_json, read_lines, require_inside, write_json, write_text
from rowlstm_jax.folder import choose_directory, clean, name_latest, require_there, writing
from rowlstm_jax.identity import different_arrays, identity, require_same
from rowlstm_jax.lock import FolderLock
from rowlstm_jax.protocols import Protocol
from rowlstm_jax.recipe import Recipe
from rowlstm_jax.records import Record

# What a resumed run may change, and processes must have in common all the same.
SAME_IN_ALL_PROCESSES = {"steps", "log_every", "checkpoint_every", "devices", "resume", "reset_optimizer"} | {
    "strict_compile",
    "profile",
    "recurrence",
    "memory_health",
}


class Run:
    """One run and its folder, which of several processes the first one writes; a context manager.

    Entering checks all that can be checked without data, creates the folder and locks it. `begin` writes config.json,
    from which moment on the run can be resumed, and opens the files that grow; a folder in which nothing began is
    removed at the end.

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
        if config.on_nonfinite == "skip":  # how many in a row are too many is the loop's to say
            recipe = dataclasses.replace(recipe, optimizer=optax.apply_if_finite(recipe.optimizer, 2**31 - 1))
        self.recipe = recipe
        self.directory = Path(from_first_process(lambda: str(choose_directory(experiment, config))))
        # From the start of the process to here: the imports, most of all.
        self.seconds = {"start": time.time() - psutil.Process().create_time()}
        self._lock = FolderLock(self.directory)
        self._made = False
        self._metrics = None
        self._events = None

    def __enter__(self) -> "Run":
        """Check the folder, create it and lock it.

        Raises:
          UserError: it is in use, holds another run, nothing to resume, or a run that differs, or can't be written.
        """
        settings = self.identity() | {name: getattr(self.config, name) for name in SAME_IN_ALL_PROCESSES}
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
            self._made = not self.directory.exists()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            clean(self.directory)
        except OSError as error:
            raise UserError(
                f"The run folder {self.directory} can't be used ({error.strerror}); choose another --run-dir."
            ) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the files; remove the folder if nothing was written."""
        if not is_first_process():
            return
        for file in (self._metrics, self._events):
            with writing(self.directory) if kind is None else contextlib.suppress(OSError):  # the first error counts
                if file is not None:
                    file.close()
        with contextlib.suppress(OSError):
            if self._is_empty():
                self._lock.remove()
                if self._made:
                    self.directory.rmdir()
            self._lock.release()

    def _is_empty(self) -> bool:
        """Whether no run has begun in the folder; a killed start may have left files whose names start with a dot."""
        return self.directory.is_dir() and all(path.name.startswith(".") for path in self.directory.iterdir())

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that it resumes, as JSON values."""
        return identity(self.experiment, self.config, self.protocol, self.recipe)

    def require_same(self, where: Path, saved: dict[str, Any]) -> None:
        """Refuse to resume a run as another one.

        Args:
          where: what is resumed.
          saved: its "identity", and the "versions" that it was saved with.

        Raises:
          UserError: it is another run.
        """

        def table() -> str:
            checkpoints, seeds = self.directory / "checkpoints", self.config.num_seeds
            return different_arrays(checkpoints, self.protocol, self.recipe, seeds)

        require_same(where, saved, self.identity(), table, reset_optimizer=self.config.reset_optimizer)

    def _check_resumable(self) -> None:
        path = self.directory / "config.json"
        none = f"There is no run to resume in {self.directory}; name one with --run-dir, or leave --resume out."
        saved = read_json(path, "resume another run", missing=none)
        require_inside(self.directory)
        try:
            described = {name: dict(saved[name]) for name in ("identity", "versions")}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} can't be read as a run's config ({error}); resume another run.") from error
        self.require_same(self.directory, described)

    def begin(self, step: int) -> None:
        """Write config.json, and open the files that grow, to continue after `step`; later steps in them are cut off.

        The run is now the experiment's latest. A summary is removed if there are steps to take: it speaks of fewer.
        """
        from_first_process(lambda: self._begin(step))

    def _begin(self, step: int) -> None:
        content = {"config": to_json(self.config), "identity": self.identity(), "versions": environment.versions()}
        write_json(self.directory / "config.json", content)
        name_latest(self.experiment, self.directory)
        if step < self.config.steps:
            (self.directory / "summary.json").unlink(missing_ok=True)
        kept = [record for record in self.records() if record["step"] <= step]
        metrics = self.directory / "metrics.jsonl"
        write_text(metrics, "".join(json.dumps(record) + "\n" for record in kept))
        self._metrics = metrics.open("a")
        # A killed process loses events that it had not flushed, so they are written anew from the records.
        for old in self.directory.glob("events.out.tfevents.*"):
            old.unlink()
        self._events = EventFile(self.directory)
        for record in kept:
            self._show(**record)

    def log(self, step: int, record: Record) -> None:
        """Append one object to metrics.jsonl, and its numbers to the TensorBoard events."""
        if not is_first_process():
            return
        if self._metrics is None:
            raise RuntimeError("begin() comes before log()")
        require_there(self.directory)
        self._metrics.write(json.dumps({"step": step, **record}) + "\n")
        self._metrics.flush()
        self._show(step, **record)

    def _show(self, step: int, **record: Any) -> None:
        if self._events is None:
            return
        scalars = {name: value for name, value in record.items() if not isinstance(value, list)}
        for name, value in record.items():
            if isinstance(value, list) and len(value) == self.config.num_seeds and not isinstance(value[0], list):
                of_seeds = zip(self.config.seeds, value, strict=True)
                scalars |= {f"{name}/seed{seed}": of_seed for seed, of_seed in of_seeds}
        self._events.add(step, {name: value for name, value in scalars.items() if value is not None})

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
        path = self.directory / "metrics.jsonl"
        records = read_lines(path)
        if any(type(record.get("step")) is not int for record in records):
            raise UserError(f"{path} is damaged: not all of its lines have a step; resume another run.")
        return records

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
