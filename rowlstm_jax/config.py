"""What a run is: frozen dataclasses, checked before JAX starts. Standard library only."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rowlstm_jax.errors import UserError


def _local_files() -> Path | None:
    folder = os.environ.get("ROWLSTM_LOCAL_FILES")
    return Path(folder) if folder else None


def _compilation_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or f"{home}/rowlstm_jax/compilation")


FOLDERS = ("data_dir", "local_files", "compilation_cache")  # flags that name folders, which may not be there yet
MOST_DEVICES = 1024  # of one process; XLA would make any number of them on a CPU, until the memory is full


@dataclasses.dataclass(frozen=True)
class Flags:
    """What the flags of all scripts have in common: a path among them is checked before anything is done.

    Raises:
      UserError: a path can't be used.
    """

    def __post_init__(self):
        for name, value in vars(self).items():
            for path in value if isinstance(value, tuple) else [value]:
                if isinstance(path, Path):
                    _check_path(flag(name), path, is_folder=name in FOLDERS)


@dataclasses.dataclass(frozen=True)
class StartConfig(Flags):
    """The flags with which any script starts JAX.

    Raises:
      UserError: a value is outside its range.
    """

    devices: int | None = None
    """Devices of this process, on a CPU its cores, for seeds and batches to be split over; by default all they fill."""
    compilation_cache: Path | None = dataclasses.field(default_factory=_compilation_cache)
    """Folder where compiled programs are kept from one start to the next; None turns that off."""

    def __post_init__(self):
        super().__post_init__()
        if self.devices is not None and not 1 <= self.devices <= MOST_DEVICES:
            raise UserError(f"--devices is {self.devices}; it must be from 1 to {MOST_DEVICES}.")


@dataclasses.dataclass(frozen=True)
class DataConfig(Flags):
    """The flags that say where data are."""

    data_dir: Path | None = None
    """Folder of the prepared data sets; by default the one of TensorFlow Datasets."""
    local_files: Path | None = dataclasses.field(default_factory=_local_files)
    """Folder that holds <dataset>/ with the original .gz files; by default $ROWLSTM_LOCAL_FILES."""


@dataclasses.dataclass(frozen=True)
class RunConfig(StartConfig, DataConfig):
    """The flags that every experiment has; an experiment inherits them, sets its defaults and adds its own.

    Raises:
      UserError: a value is outside its range.
    """

    seed: int = 0
    """Seed of the initial weights, the data order, augmentation and dropout: a whole number from 0 to 2**32 - 1."""
    num_seeds: int = 1
    """How many independent runs, with consecutive seeds from --seed on, to train at once."""
    steps: int = 1000
    """Training steps in all; may be raised when a run is resumed, unless the optimiser's schedule depends on it."""
    batch_size: int = 100
    """Examples a training step."""
    learning_rate: float = 1e-3
    """The optimiser's step size."""
    hidden: int = 128
    """Units of the recurrent cell."""
    recurrence: Literal["auto", "fused", "scan"] = "auto"
    """How the recurrence is computed: by `lstm_scan`, for the LSTM, or by nn.scan over the cell, which defines it."""
    memory_health: bool = False
    """Log how far back gradients reach, how many gates are saturated and how long the cell remembers."""
    log_every: int = 10
    """Steps between two log lines."""
    eval_every: int = 500
    """Steps between two evaluations on the validation set; the last step is always evaluated."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; evaluated steps and the last step are always saved."""
    run_dir: Path | None = None
    """Folder of this run; by default a new one, runs/<experiment>/<UTC time>-seed<seed>, or -seeds<first>-<last>."""
    resume: bool = False
    """Continue the run in --run-dir, or the experiment's latest run, from its last good checkpoint."""
    reset_optimizer: bool = False
    """With --resume: keep weights and step, and start the optimiser anew, with its present settings; once for these."""
    from_checkpoint: Path | None = None
    """Folder of a run of the same model, from whose last weights, not their average, a new run starts."""
    on_nonfinite: Literal["halt", "skip"] = "halt"
    """When loss, gradient or weights are not finite: end the run, or skip the step; more than ten in a row end it."""
    strict_compile: bool = False
    """End the run if anything is compiled after its first steps."""
    profile: bool = False
    """Write a trace of some steps, for TensorBoard or Perfetto, to the run's folder."""
    distributed: bool = False
    """This is one of several processes, which find each other under SLURM, Open MPI or Kubernetes."""
    coordinator: str | None = None
    """host:port of the first process, where --distributed can't find it out."""
    num_processes: int | None = None
    """How many processes there are, with --coordinator."""
    process_id: int | None = None
    """Which of them this is, from 0, with --coordinator."""
    peer_timeout: int = 100
    """Seconds that processes of --distributed wait for each other, at the start and when one falls silent."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed is {self.seed}; it must be a whole number from 0 to {2**32 - 1}.")
        if not 1 <= self.num_seeds <= 2**32 - self.seed:
            raise UserError(f"--num-seeds is {self.num_seeds}; it must be from 1 to {2**32 - self.seed}.")
        for name in ("steps", "batch_size", "hidden", "log_every", "eval_every", "checkpoint_every", "peer_timeout"):
            if not 1 <= getattr(self, name) < 2**31:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be from 1 to {2**31 - 1}.")
        if not 2.0**-126 <= self.learning_rate < 2.0**128:  # what float32 holds in full; false for nan
            raise UserError(f"--learning-rate is {self.learning_rate}; it must be a number from 1.2e-38 to 3.4e38.")
        if self.reset_optimizer and not self.resume:
            raise UserError("--reset-optimizer is given without --resume; a new run starts its optimiser anew anyway.")
        self._check_processes()

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.num_seeds)

    def _check_processes(self) -> None:
        given = [self.coordinator is not None, self.num_processes is not None, self.process_id is not None]
        if any(given) and not (self.distributed and all(given)):
            raise UserError(
                "--coordinator, --num-processes and --process-id are given together, and with --distributed."
            )
        if self.coordinator is not None:
            port = re.fullmatch(r"[!-~]+:([0-9]{1,5})", self.coordinator)
            if not port or not 1 <= int(port[1]) < 2**16:
                raise UserError(f"--coordinator is {self.coordinator}; it must be host:port of the first process.")
        if self.num_processes is not None and not 0 <= (self.process_id or 0) < self.num_processes < 2**31:
            raise UserError(
                f"--process-id is {self.process_id} of --num-processes {self.num_processes}; "
                f"it must be 0 or more, and less than their number, which is less than {2**31}."
            )


# Fields that say where and how a run is computed and how often it reports, not what: a resumed run may change them.
FREE_ON_RESUME = frozenset(
    {"steps", "log_every", "checkpoint_every", "data_dir", "local_files", "run_dir", "resume", "compilation_cache"}
    | {"reset_optimizer", "from_checkpoint", "strict_compile", "recurrence", "memory_health", "profile", "devices"}
    | {"distributed", "coordinator", "num_processes", "process_id", "peer_timeout"}
)


def flag(field: str) -> str:
    """The command-line flag of a config field: `batch_size` -> `--batch-size`."""
    return "--" + field.replace("_", "-")


@contextlib.contextmanager
def naming_flags(config: object) -> Iterator[None]:
    """Turn a ValueError about a value into a UserError about the flag that gave the value.

    Models, data, tasks and training know no flags: their messages begin with the name of an argument, or have its
    name in them where it is of several words. Where the config has a field of that name, the flag takes its place.

    Example:
      >>> with naming_flags(DataConfig()):
      ...     raise ValueError("local_files is x; it must be a folder.")
      Traceback (most recent call last):
      rowlstm_jax.errors.UserError: --local-files is x; it must be a folder.

    Args:
      config: whose fields are flags.

    Raises:
      UserError: the block raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        names = [name for name in vars(config) if "_" in name]
        first = [f"^{name}" for name in vars(config)]
        pattern = rf"(?<![\w-])({'|'.join([*names, *first])})(?![\w-])"
        raise UserError(re.sub(pattern, lambda found: flag(found[0]), str(error))) from error


def absolute(path: Path) -> Path:
    """The path from the root, ~ and links resolved.

    Raises:
      UserError: it names a user who has no home here, or no path at all.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path} names a home folder that is not known here; write the path in full.") from error
    try:
        path = path.resolve()
        str(path).encode()  # Orbax takes nothing but text
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, no text, no working directory, links in a circle
        raise UserError(f"{str(path)!r} can't be used as a path ({error}); choose another.") from error
    return path


def _check_path(name: str, path: Path, is_folder: bool) -> None:
    try:
        absolute(path).stat()
    except (FileNotFoundError, PermissionError):  # it may be made; or is refused where it is used
        return
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except OSError as error:
        raise UserError(f"{name} is {path}, which can't be used ({error.strerror}); choose another.") from error
    if is_folder and not absolute(path).is_dir():
        raise UserError(f"{name} is {path}, which is no folder; it must name one.")


def require_writable(name: str, path: Path, suffix: str = "") -> None:
    """Refuse a file that can't be written, before any work is done for it.

    Raises:
      UserError: it is a folder, its folder is not there or can't be written to, or its name ends otherwise.
    """
    file = absolute(path)
    if file.is_dir() or not os.access(file.parent, os.W_OK) or not file.name.endswith(suffix):
        kind = f"a {suffix}" if suffix else "a file"
        raise UserError(f"{name} is {path}; it must name {kind} in a folder that can be written to.")


def to_json(config: RunConfig) -> dict[str, Any]:
    """The fields of a config as JSON values, paths as text."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(config).items()}


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One phrase for each key whose value differs between the saved run and this start."""
    keys = [key for key in {**saved, **now} if saved.get(key) != now.get(key)]
    return [f"{key} was {saved.get(key, 'absent')} and is now {now.get(key, 'absent')}" for key in keys]
