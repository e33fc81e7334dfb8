"""The folder of a run: config.json, metrics.jsonl, summary.json, TensorBoard events, and where time went."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import psutil

from rowlstm_jax.config import RunConfig, absolute, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import all_or_none, from_first_process, is_first_process, largest_of_all
from rowlstm_jax.runs import environment
from rowlstm_jax.runs.files import read_json, require_inside, write_json
from rowlstm_jax.runs.folder import SAVED, choose_directory, clean, name_latest, writing
from rowlstm_jax.runs.identity import different_arrays, identity, newest, require_same
from rowlstm_jax.runs.journal import Journal
from rowlstm_jax.runs.lock import FolderLock
from rowlstm_jax.tasks import Protocol
from rowlstm_jax.training import Recipe, skip_nonfinite

# What a resumed run may change, and processes must have in common all the same.
SAME_IN_ALL_PROCESSES = {"steps", "log_every", "checkpoint_every", "devices", "resume", "reset_optimizer"} | {
    "strict_compile",
    "profile",
    "recurrence",
    "memory_health",
}


class Run(Journal):
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
      from_checkpoint: the folder whose weights it begins with, if any.
    """

    def __init__(self, experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe):
        self.experiment = experiment
        self.config = config
        self.protocol = protocol
        if config.on_nonfinite == "skip":
            recipe = dataclasses.replace(recipe, optimizer=skip_nonfinite(recipe.optimizer))
        self.recipe = recipe
        self.directory = Path(from_first_process(lambda: str(choose_directory(experiment, config))))
        # From the start of the process to here: the imports, most of all.
        self.seconds = {"start": time.time() - psutil.Process().create_time()}
        self._lock = FolderLock(self.directory)
        self.from_checkpoint: str | None = None
        self._made = False
        super().__init__(self.directory, config.seeds)

    def __enter__(self) -> "Run":
        """Check the folder, create it and lock it.

        Raises:
          UserError: it is in use, holds another run, nothing to resume, or a run that differs, or can't be written.
        """
        settings = self.identity() | {name: getattr(self.config, name) for name in SAME_IN_ALL_PROCESSES}
        if largest_of_all(from_first_process(lambda: settings) != settings):
            raise UserError("The processes were started with different flags or programs; give all of them the same.")
        self.from_checkpoint = from_first_process(self._open)
        return self

    def _open(self) -> str | None:
        source = self.config.from_checkpoint and str(absolute(self.config.from_checkpoint))
        try:
            if self.config.resume:
                source = self._check_resumable()
            elif self.directory.exists() and not self._is_empty():
                resume = ", or add --resume" if (self.directory / "config.json").exists() else ""
                raise UserError(f"{self.directory} is not an empty folder; choose another --run-dir{resume}.")
            self._made = not self.directory.exists()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            clean(self.directory)
        except OSError as error:
            raise UserError(
                f"The run folder {self.directory} can't be used ({error.strerror}); choose another --run-dir."
            ) from error
        return source

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the files; remove the folder if nothing was written."""
        if not is_first_process():
            return
        with writing(self.directory) if kind is None else contextlib.suppress(OSError):  # the first error counts
            self.close_files()
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

    def _check_resumable(self) -> str | None:
        """The folder whose weights the run began with, if any."""
        path = self.directory / "config.json"
        none = f"There is no run to resume in {self.directory}; name one with --run-dir, or leave --resume out."
        saved = read_json(path, "resume another run", missing=none)
        require_inside(self.directory)
        self.test_openings()  # if it is damaged, now is the time to say so
        if not all(isinstance(saved.get(name), dict) for name in ("config", "identity", "versions")):
            raise UserError(f"{path} can't be read as a run's config; resume another run.")
        if found := newest(self.directory / "checkpoints"):  # what the flags were in a start that saved nothing is moot
            saved |= {"identity": found.about["identity"], **found.about["environment"]}
        self.require_same(self.directory, saved)
        return saved["config"].get("from_checkpoint")

    def begin(self, step: int) -> None:
        """Write config.json, and open the files that grow, to continue after `step`; later steps in them are cut off.

        The run is now the experiment's latest. A summary is removed if there are steps to take: it speaks of fewer.
        """
        from_first_process(lambda: self._begin(step))

    def _begin(self, step: int) -> None:
        config = to_json(self.config) | {"from_checkpoint": self.from_checkpoint}
        content = {"config": config, "identity": self.identity(), "versions": environment.versions()}
        write_json(self.directory / "config.json", content)
        name_latest(self.experiment, self.directory)
        if not self.config.resume:  # of a run that lay here and was removed
            (self.directory / SAVED).unlink(missing_ok=True)
        if step < self.config.steps:
            (self.directory / "summary.json").unlink(missing_ok=True)
        self.open_files(step)

    def summary(self) -> dict[str, Any]:
        """The summary.json of a finished run; empty if there is none."""
        path = self.directory / "summary.json"
        return read_json(path, "run the experiment again") if path.exists() else {}

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
