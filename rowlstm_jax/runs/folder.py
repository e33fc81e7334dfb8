"""The folder of a run: its path, its lock, and the files that a start writes."""

import contextlib
import datetime
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rowlstm_jax.config import RunConfig, absolute, agreed_by_processes, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import (
    all_or_none,
    ending_together,
    from_first_process,
    is_first_process,
    largest_of_all,
    start,
)
from rowlstm_jax.paths import require_plain
from rowlstm_jax.runs import console, environment
from rowlstm_jax.runs.callbacks import Callbacks
from rowlstm_jax.runs.clock import Clock
from rowlstm_jax.runs.describe import opaque
from rowlstm_jax.runs.files import SAVED, read_json, require_inside, write_json, writing
from rowlstm_jax.runs.journal import Journal
from rowlstm_jax.runs.lock import FolderLock
from rowlstm_jax.runs.manifest import newest
from rowlstm_jax.runs.run import Run, require_same_run
from rowlstm_jax.runs.trackers import make_trackers

RUNS = Path("runs")
SHAPING = ("steps", "log_every", "reset_optimizer", "accept_changed_code")  # flags that a resumed run may change


def choose_directory(experiment: str, config: RunConfig) -> Path:
    """The folder that the flags name; by default a new one, or the latest if a run is resumed."""
    if config.run_dir is not None:
        return absolute(config.run_dir)
    folder, seeds = absolute(RUNS / experiment), config.seeds
    try:
        require_plain(folder)
    except ValueError as error:
        raise UserError(f"The run folder would be {error} Name one with --run-dir.") from error
    if config.resume:
        return (folder / "latest").resolve()
    now = datetime.datetime.now(datetime.UTC)
    name = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return folder / f"{now:%Y-%m-%dT%H-%M-%S.%f}Z-{name}"


def name_latest(experiment: str, directory: Path) -> None:
    """Point runs/<experiment>/latest to a folder, if the folder lies in runs/<experiment>/."""
    if directory.parent == absolute(RUNS / experiment):
        link = directory.parent / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
        link.replace(directory.parent / "latest")


class RunFolder:
    """The folder that a run is written to, locked; a context manager.

    Entering starts JAX if need be, checks all that can be checked without data, creates the folder and locks it.
    `begin` writes config.json: from then on the run can be resumed. Leaving closes the files, and removes the folder if
    no run began in it. Of several processes, the first one writes and prints.

    Attributes:
      path: of the folder.
      journal: metrics.jsonl, openings of the test set.
      callbacks: what follows the run.
      clock: seconds by phase.
      from_checkpoint: the folder of the run that gave the first weights, if any.
    """

    def __init__(self, run: Run):
        self.clock = Clock()
        start(run.config)
        self._run = run
        self.path = Path(from_first_process(lambda: str(choose_directory(run.experiment, run.config))))
        self.journal = Journal(self.path)
        self.callbacks = Callbacks()
        with all_or_none():
            self.callbacks.add(make_trackers(run.config.track))
        self.from_checkpoint: str | None = None
        self._lock, self._made, self._earlier = FolderLock(self.path), False, {}
        background = ThreadPoolExecutor(max_workers=1)  # git takes some milliseconds
        self._git = background.submit(environment.git_state)
        background.shutdown(wait=False)

    def __enter__(self) -> "RunFolder":
        """Check the folder, create it and lock it.

        Raises:
          UserError: it is in use, can't be written to, contains another run, or nothing that could be resumed.
        """
        config = self._run.config
        with contextlib.ExitStack() as stack:
            stack.enter_context(ending_together(config))
            settings = self._run.identity | agreed_by_processes(config)
            if largest_of_all(from_first_process(lambda: settings) != settings):
                raise UserError(
                    "The processes were started with different flags or programs; give all of them the same."
                )
            self.from_checkpoint = from_first_process(self._open)
            if not is_first_process():
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the files; remove the folder if no run began."""
        self._stack.__exit__(*error)

    def require(self, run: Run) -> None:
        """Raise a ValueError unless this is the folder of the run, and is used within its `with` block."""
        if run is not self._run:
            raise ValueError("The folder is that of another run; make one with RunFolder(run).")
        if not self._lock.lock.is_locked and is_first_process():
            raise ValueError("The folder is not open; use it within `with RunFolder(run) as folder:`.")

    def begin(self, step: int) -> None:
        """Write config.json, name the folder the latest, and open the journal after `step`; later records are cut off.

        The summary of an earlier end is removed if there are more steps to take.
        """
        from_first_process(lambda: self._begin(step))

    @property
    def git(self) -> dict[str, Any] | None:
        """The git commit of the script when the run began, and whether it was changed since; None without git."""
        return self._git.result()

    def summary(self) -> dict[str, Any]:
        """The summary.json of a finished run, also if `begin` removed it; empty if there was none."""
        path = self.path / "summary.json"
        return read_json(path, "remove it, and resume again: it is made anew") if path.exists() else self._earlier

    def _open(self) -> str | None:
        config = self._run.config
        source = config.from_checkpoint and str(absolute(config.from_checkpoint))
        try:
            if config.resume:
                source = self._check_resumable()
            elif self.path.exists() and not self._is_empty():
                resume = ", or add --resume" if (self.path / "config.json").exists() else ""
                raise UserError(f"{self.path} is not an empty folder; choose another --run-dir{resume}.")
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            # A process that was killed while it wrote leaves .<name>.<process>.
            for left in (*self.path.glob(".*.*"), *self.path.glob("checkpoints/.*.*")):
                if left.suffix[1:].isdecimal():
                    left.unlink()
        except OSError as error:
            raise UserError(
                f"The run folder {self.path} can't be used ({error.strerror}); choose another --run-dir."
            ) from error
        return source

    def _check_resumable(self) -> str | None:
        """The folder of the run that gave the first weights, if any."""
        path, found = self.path / "config.json", newest(self.path / "checkpoints")
        try:
            saved = _read_config(path)
        except UserError:
            if found is None:
                raise
            saved = {"config": {"from_checkpoint": found.about.get("from_checkpoint")}}
            console.warn(f"{path} is missing or damaged; the checkpoint of step {found.step} says what it said.")
        require_inside(self.path)
        self.journal.test_openings()  # raises if the file is damaged
        if not (opened := self.path / "test_openings.jsonl").exists() and (self.path / "test.npz").exists():
            raise UserError(f"{opened} is missing, though the test set was opened; put it back, or start a new run.")
        if found:  # config.json may be of a later start that saved nothing
            about = found.about
            saved |= {"identity": about["identity"], "code": about.get("code"), **about["environment"]}
        require_same_run(self._run, self.path, saved, self.path / "checkpoints")
        return saved["config"].get("from_checkpoint")

    def _begin(self, step: int) -> None:
        run = self._run
        content = {
            "config": to_json(run.config) | {"from_checkpoint": self.from_checkpoint},
            "earlier_flags": self._earlier_flags(step),
            **run.described(),
            "versions": environment.versions(),
            "git": self.git,
        }
        write_json(self.path / "config.json", content)
        name_latest(run.experiment, self.path)
        if not run.config.resume:  # an earlier run, now removed, may have left it
            (self.path / SAVED).unlink(missing_ok=True)
        if step < run.config.steps:
            with contextlib.suppress(UserError):
                self._earlier = self.summary()  # a run that has stopped early takes no step, and keeps it
            (self.path / "summary.json").unlink(missing_ok=True)
        self.journal.open(step)
        self.callbacks.begin(self.path, run.config, self.journal.records())
        if parts := opaque(run.recipe, "recipe"):
            console.warn(
                f"A resumed run can't tell whether these parts of the recipe are the same: {', '.join(parts)}."
            )

    def _earlier_flags(self, step: int) -> list[dict[str, Any]]:
        """The flags that shape the records and that earlier starts had otherwise, each with the step of their end."""
        try:
            saved = _read_config(self.path / "config.json")
        except UserError:
            return []
        before, now = saved["config"], to_json(self._run.config)
        changed = {name: before[name] for name in SHAPING if name in before and before[name] != now[name]}
        earlier = saved.get("earlier_flags", [])
        return [*earlier, {"until": step, **changed}] if changed and step else [*earlier]

    def _close(self, kind: type[BaseException] | None, *_: object) -> None:
        if not is_first_process():
            return
        self.callbacks.close()
        with writing(self.path) if kind is None else contextlib.suppress(OSError):  # an earlier error counts more
            self.journal.close()
        with contextlib.suppress(OSError):
            unused = self._is_empty()
            self._lock.release(remove=unused)
            if unused and self._made:
                self.path.rmdir()

    def _is_empty(self) -> bool:
        """Whether no run has begun in the folder; a killed start may have left files whose names start with a dot."""
        return self.path.is_dir() and all(path.name.startswith(".") for path in self.path.iterdir())


def _read_config(path: Path) -> dict[str, Any]:
    none = f"There is no run to resume in {path.parent}; name one with --run-dir, or leave --resume out."
    saved = read_json(path, "resume another run", missing=none)
    if not all(isinstance(saved.get(name), dict) for name in ("config", "identity", "versions")):
        raise UserError(f"{path} can't be read as a run's config; resume another run.")
    return saved
