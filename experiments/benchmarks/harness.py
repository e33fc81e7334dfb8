"""What all benchmarks share: flags, timing in alternating rounds, and the file that keeps a measurement."""

import contextlib
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import psutil

from rowlstm_jax.config import StartConfig, absolute, flag, require_writable
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import environment, write_json

QUIET = 0.05  # largest share of the machine that other processes may use during a measurement that counts
PACKAGES = ("rowlstm_jax", "jax", "jaxlib", "flax", "optax", "torch", "dm-haiku", "equinox", "keras", "numpy")
ROUND_SECONDS = 0.3
MIN_STEPS, MAX_STEPS = 10, 100  # in a round

Steps = Callable[[int], object]  # takes so many steps, and returns when they are done


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(StartConfig):
    """The flags that every benchmark has; each benchmark adds its own.

    Raises:
      UserError: a value is outside its range, the batch can't be split over the devices, or a file can't be written.
    """

    compilation_cache: Path | None = None
    """Folder where compiled programs are kept from one start to the next; None turns that off."""
    json: Path | None = None
    """File to write the rows to, with the settings and the machine."""

    RANGES: ClassVar = {"seed": (0, 2**32 - 1)}  # of whole numbers; all others are from 1 to 2**31 - 1
    FILES: ClassVar = ("json", "plot")
    BATCH_SIZE: ClassVar[int] = 100  # of experiments.mnist_rows; a field batch_size takes its place

    def __post_init__(self):
        super().__post_init__()
        for name, value in vars(self).items():
            low, high = self.RANGES.get(name, (1, 2**31 - 1))
            if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
                raise UserError(f"{flag(name)} is {value}; it must be from {low} to {high}.")
            if isinstance(value, Path) and name in self.FILES:
                require_writable(flag(name), value)
        batch_size = getattr(self, "batch_size", self.BATCH_SIZE)
        if batch_size % (self.devices or 1):
            raise UserError(f"--devices is {self.devices}; it must divide the batch of {batch_size} examples.")


@dataclasses.dataclass(frozen=True)
class SizesConfig(BenchmarkConfig):
    """The flags of a benchmark of a training step."""

    batch_size: int = 100
    """B, examples a step."""
    time_steps: int = 28
    """T."""
    features: int = 28
    """F, inputs a time step."""
    hidden: int = 128
    """H, units of the LSTM."""


@contextlib.contextmanager
def kept_after_a_fault(prefix: str) -> Iterator[Path]:
    """A temporary folder that stays, and is named, if the block raises a UserError."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    except UserError as error:
        raise UserError(f"{error} All files are kept in {folder}.") from error
    shutil.rmtree(folder)


class Measurement:
    """Measures, from its making to `write`, how much of the machine other processes use.

    It matters: where a core is taken away, a barrier between two threads takes a time slice, not a microsecond.
    """

    def __init__(self, config: BenchmarkConfig):
        self._config = config
        self._began = time.perf_counter(), _others_seconds()

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Print the share that others used; write it, the rows, the flags and the machine to the file of `--json`."""
        began, used = self._began
        elapsed = (time.perf_counter() - began) * (os.cpu_count() or 1)
        share = min(1.0, max(0.0, (_others_seconds() - used) / elapsed))
        again = ": measure again" if share > QUIET else ""
        print(f"Other processes used {100 * share:.0f} % of the machine meanwhile{again}.")
        if file := self._config.json:
            settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self._config).items()}
            machine = {**environment.describe(PACKAGES), "used_by_others": round(share, 3)}
            write_json(absolute(file), {"rows": rows, "settings": settings, "machine": machine})
            print(f"Written to {file}.")


def _others_seconds() -> float:
    """Processor seconds since the machine started, without this process and the children that it waited for."""
    whole = psutil.cpu_times()
    idle = whole.idle + getattr(whole, "iowait", 0.0)
    return sum(whole) - idle - sum(psutil.Process().cpu_times()[:4])


class Timing(NamedTuple):
    """Milliseconds a step: the median of the rounds, and the quartiles around it."""

    low: float
    median: float
    high: float


def alternate(systems: Mapping[str, Steps], rounds: int) -> dict[str, Timing]:
    """Time each system once a round, round after round, so that a disturbance touches all of them.

    A system is timed for about 0.3 s a round, and for ten steps at least. One step before it is not timed: it fills
    the caches, and lets the threads of the system before it fall asleep.
    """
    counts = {name: _steps_a_round(steps) for name, steps in systems.items()}
    measured: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, steps in systems.items():
            steps(1)
            measured[name].append(1000 * _seconds(steps, counts[name]) / counts[name])
    return {name: summarise(values) for name, values in measured.items()}


def summarise(values: list[float]) -> Timing:
    """The median and the quartiles of one value or more.

    Example:
      >>> summarise([3.0, 1.0, 2.0, 5.0, 4.0])
      Timing(low=2.0, median=3.0, high=4.0)
    """
    return Timing(*(statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values))


def _seconds(steps: Steps, count: int) -> float:
    start = time.perf_counter()
    steps(count)
    return time.perf_counter() - start


def _steps_a_round(steps: Steps) -> int:
    """How many steps take about a round. The first steps, which may compile, are not timed."""
    steps(1)
    return max(MIN_STEPS, min(MAX_STEPS, round(3 * ROUND_SECONDS / max(1e-9, _seconds(steps, 3)))))
