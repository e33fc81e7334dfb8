"""What a run is: frozen dataclasses, checked before JAX starts. Standard library only."""

import contextlib
import dataclasses
import os
import re
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from rowlstm_jax.errors import UserError, flag
from rowlstm_jax.paths import require_plain, resolved

# What a resumed run may do with a field of RunConfig; without metadata, its value must stay as it was.
FREE = {"free": True}  # it may change: it says where and how a run is computed or how often it reports, not what
AGREED = {"agreed": True}  # all processes of a run must have the same value, though it is free
OPTIMIZER = {"optimizer": True}  # it may change with --reset-optimizer

FOLDERS = ("data_dir", "local_files", "compilation_cache")  # flags that name folders, which need not exist yet
PLAIN = (*FOLDERS, "run_dir", "from_checkpoint")  # a library must not take them for a pattern or a URL
MOST_DEVICES = 1024  # of one process; on a CPU, XLA would make any number of them, until the memory is full


def _local_files() -> Path | None:
    folder = os.environ.get("ROWLSTM_LOCAL_FILES")
    return Path(folder) if folder else None


def _compilation_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or f"{home}/rowlstm_jax/compilation")


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags of a script. Making them raises a UserError if a value is outside its range or a path can't be used."""

    def __post_init__(self):
        for name, kind in ((spec.name, spec.type) for spec in dataclasses.fields(self)):
            if isinstance(value := getattr(self, name), str) and kind in (Path, Path | None):
                object.__setattr__(self, name, value := Path(value))  # in Python, a path may be given as text
            for path in value if isinstance(value, tuple) else [value]:
                if isinstance(path, Path):
                    _check_path(name, path)


@dataclasses.dataclass(frozen=True)
class StartConfig(Flags):
    """The flags with which any script starts JAX."""

    devices: int | None = field(default=None, metadata=FREE | AGREED)
    """Devices of this process, on a CPU its cores; by default the most that seeds and batch can be split over."""
    compilation_cache: Path | None = field(default_factory=_compilation_cache, metadata=FREE)
    """Folder where compiled programs are kept from one start to the next; None keeps none."""

    def __post_init__(self):
        super().__post_init__()
        if self.devices is not None and not 1 <= self.devices <= MOST_DEVICES:
            raise UserError(f"--devices is {self.devices}; it must be from 1 to {MOST_DEVICES}.")


@dataclasses.dataclass(frozen=True)
class DataConfig(Flags):
    """The flags that say where data are."""

    data_dir: Path | None = field(default=None, metadata=FREE)
    """Folder of the prepared data sets; by default the one of TensorFlow Datasets."""
    local_files: Path | None = field(default_factory=_local_files, metadata=FREE)
    """Folder with a folder <dataset>/ of the original .gz files; by default $ROWLSTM_LOCAL_FILES."""


@dataclasses.dataclass(frozen=True)
class RunConfig(StartConfig, DataConfig):
    """The flags that every experiment has. An experiment inherits them, sets its own defaults and adds flags."""

    seed: int = 0
    """Seed of the initial weights, the data order, augmentation and dropout: a whole number from 0 to 2**32 - 1."""
    num_seeds: int = 1
    """Number of independent runs that are trained at once; their seeds are --seed, --seed + 1 and so on."""
    steps: int = field(default=1000, metadata=FREE | AGREED)
    """Training steps in all. A resumed run may ask for more, unless the optimiser's schedule depends on it."""
    batch_size: int = 100
    """Examples in a training step."""
    learning_rate: float = field(default=1e-3, metadata=OPTIMIZER)
    """The optimiser's step size."""
    hidden: int = 128
    """Units of the recurrent cell."""
    recurrence: Literal["auto", "fused", "scan"] = field(default="auto", metadata=FREE | AGREED)
    """How the recurrence is computed: by nn.scan over the cell, or, for the LSTM only, by the faster `lstm_scan`."""
    memory_health: bool = field(default=False, metadata=FREE | AGREED)
    """Log how far back gradients reach, how many gates are saturated and how long the cell remembers."""
    log_every: int = field(default=10, metadata=FREE | AGREED)
    """Steps between two log lines."""
    eval_every: int = 500
    """Steps between two evaluations on the validation set; the last step is always evaluated."""
    checkpoint_every: int = field(default=500, metadata=FREE | AGREED)
    """Steps between two checkpoints; evaluated steps and the last step are always saved."""
    run_dir: Path | None = field(default=None, metadata=FREE)
    """Folder of this run; by default a new one, runs/<experiment>/<UTC time>-seed<seed>, or -seeds<first>-<last>."""
    resume: bool = field(default=False, metadata=FREE | AGREED)
    """Continue the run in --run-dir, or the experiment's latest run, from its last good checkpoint."""
    reset_optimizer: bool = field(default=False, metadata=FREE | AGREED)
    """With --resume: keep weights and step, and start the optimiser anew. A restarted job does not do it again."""
    accept_changed_code: bool = field(default=False, metadata=FREE | AGREED)
    """With --resume: go on although the source of the model, the optimiser or the script has changed."""
    from_checkpoint: Path | None = field(default=None, metadata=FREE)
    """Folder of a run of the same model. The new run starts from its last weights, not from their average."""
    on_nonfinite: Literal["halt", "skip"] = field(default="halt", metadata=OPTIMIZER)
    """If loss, gradient or weights are not finite: end the run, or skip the step; more than ten in a row end it."""
    track: tuple[Literal["tensorboard", "csv", "wandb", "mlflow"], ...] = field(
        default=("tensorboard",), metadata=FREE | AGREED
    )
    """Where records go besides metrics.jsonl; wandb and mlflow must be installed. `--track` alone: nowhere else."""
    progress: bool = field(default=False, metadata=FREE)
    """Show one line that changes, with loss, accuracy, steps a second and time left, instead of a line a record."""
    no_test: bool = field(default=False, metadata=FREE | AGREED)
    """Do not open the test set: the run is only validated. `python -m experiments.test RUN` opens it later, once."""
    data_on: Literal["auto", "device", "host"] = field(default="auto", metadata=FREE | AGREED)
    """Where the training data lie: on the devices, if they fit, or on the host, which then sends each batch."""
    strict_compile: bool = field(default=False, metadata=FREE | AGREED)
    """End the run if anything is compiled after its first steps."""
    profile: bool = field(default=False, metadata=FREE | AGREED)
    """Write a trace of some steps to the run's folder, for TensorBoard or Perfetto."""
    distributed: bool = field(default=False, metadata=FREE)
    """This is one of several processes. Under SLURM, Open MPI or Kubernetes they find each other."""
    coordinator: str | None = field(default=None, metadata=FREE)
    """host:port of the first process, if --distributed can't find it."""
    num_processes: int | None = field(default=None, metadata=FREE)
    """Number of processes; given with --coordinator."""
    process_id: int | None = field(default=None, metadata=FREE)
    """Number of this process, from 0; given with --coordinator."""
    peer_timeout: int = field(default=100, metadata=FREE)
    """Seconds that processes of --distributed wait for each other, at the start and when one stops answering."""

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
        if min(self.log_every, self.steps) * self.batch_size >= 2**31:
            both = f"--log-every is {self.log_every} and --batch-size is {self.batch_size}"
            raise UserError(f"{both}; there must be fewer than {2**31} examples between two log lines.")
        for name in ("reset_optimizer", "accept_changed_code"):
            if getattr(self, name) and not self.resume:
                raise UserError(f"{flag(name)} is given without --resume; it says how a run is resumed.")
        self._check_processes()

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.num_seeds)

    def _check_processes(self) -> None:
        given = [self.coordinator is not None, self.num_processes is not None, self.process_id is not None]
        if any(given) and not (self.distributed and all(given)):
            raise UserError("--coordinator, --num-processes and --process-id need each other and --distributed.")
        if self.coordinator is not None:
            port = re.fullmatch(r"[!-~]+:([0-9]{1,5})", self.coordinator)
            if not port or not 1 <= int(port[1]) < 2**16:
                raise UserError(f"--coordinator is {self.coordinator}; it must be host:port of the first process.")
        if self.num_processes is not None and not 0 <= (self.process_id or 0) < self.num_processes < 2**31:
            of = f"--process-id is {self.process_id} of --num-processes {self.num_processes}"
            raise UserError(f"{of}; it must be from 0 to less than their number, which must be less than {2**31}.")


def free_on_resume(name: str) -> bool:
    """Whether a resumed run may change a field; one that only an experiment's config has must stay as it was."""
    return _rule(name, "free")


def of_the_optimizer(name: str) -> bool:
    """Whether a field says how weights are updated; with --reset-optimizer, a resumed run may change it."""
    return _rule(name, "optimizer")


def agreed_by_processes(config: RunConfig) -> dict[str, Any]:
    """The fields that a resumed run may change, but in which all processes of a run must agree."""
    names = [rule.name for rule in dataclasses.fields(RunConfig)]
    values = to_json(config)
    return {name: values[name] for name in names if _rule(name, "agreed")}


def _rule(name: str, key: str) -> bool:
    # A field that an experiment redefines, to set its default, has lost its metadata; RunConfig's own has them.
    return any(rule.name == name and key in rule.metadata for rule in dataclasses.fields(RunConfig))


def absolute(path: Path) -> Path:
    """The path from the root, ~ and links resolved; raises a UserError if that can't be done."""
    try:
        return resolved(path)
    except ValueError as error:
        raise UserError(f"The path is {error}") from error


def _check_path(field: str, path: Path) -> None:
    name = flag(field)
    try:
        if field in PLAIN:
            require_plain(path)
        resolved(path).stat()
    except (FileNotFoundError, PermissionError):  # it may be made; or is refused where it is used
        return
    except ValueError as error:
        raise UserError(f"{name} is {error}") from error
    except OSError as error:
        raise UserError(f"{name} is {path}, which can't be used ({error.strerror}); choose another.") from error
    if field in FOLDERS and not absolute(path).is_dir():
        raise UserError(f"{name} is {path}, which is no folder; it must name one.")


def require_writable(name: str, path: Path, suffix: str = "") -> None:
    """Raise a UserError if a file can't be written or its name does not end with `suffix`."""
    file = absolute(path)
    if file.is_dir() or not os.access(file.parent, os.W_OK) or not file.name.endswith(suffix):
        raise UserError(f"{name} is {path}; it must name a {suffix or 'file'} in a folder that can be written to.")


def make_folder(path: Path, remedy: str) -> Path:
    """Make a folder if need be, and return it from the root; raises a UserError if it can't be written to."""
    folder = absolute(path)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(f"{folder}/", os.W_OK | os.X_OK):
        raise UserError(f"The folder {folder} can't be written to; {remedy}.")
    return folder


def to_json(config: RunConfig) -> dict[str, Any]:
    """The fields of a config as JSON values, paths as text."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One phrase for each key whose value differs between the saved run and this start."""
    keys = [key for key in {**saved, **now} if saved.get(key) != now.get(key)]
    return [f"{key} was {saved.get(key, 'absent')} and is now {now.get(key, 'absent')}" for key in keys]
