"""What a measurement was made on, and the file that keeps it."""

import os
import time
from pathlib import Path
from typing import Any

import psutil

from experiments.benchmarks.flags import BenchmarkConfig
from rowlstm_jax.config import absolute
from rowlstm_jax.runs import environment, write_json

QUIET = 0.05  # above this share, other processes have slowed some systems more than others
PACKAGES = ("rowlstm_jax", "jax", "jaxlib", "flax", "optax", "torch", "dm-haiku", "equinox", "keras", "numpy")


class Meanwhile:
    """How busy others keep the machine: a barrier between two threads then takes a time slice, not a microsecond."""

    def __init__(self):
        self._began = time.perf_counter(), _others_seconds()

    def share(self) -> float:
        """The share of the machine's time that they have used."""
        began, used = self._began
        elapsed = (time.perf_counter() - began) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (_others_seconds() - used) / elapsed))


def _others_seconds() -> float:
    """Processor time that all but this process, and the children it waited for, have used since the machine started."""
    whole = psutil.cpu_times()
    idle = whole.idle + getattr(whole, "iowait", 0.0)
    return sum(whole) - idle - sum(psutil.Process().cpu_times()[:4])


def write(config: BenchmarkConfig, rows: list[dict[str, Any]], meanwhile: Meanwhile) -> None:
    """Say how busy the machine was; write that, the rows, the flags and the machine to the file, if there is one."""
    share = meanwhile.share()
    print(f"Other processes used {100 * share:.0f} % of the machine meanwhile{': measure again' * (share > QUIET)}.")
    if config.json is not None:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(config).items()}
        machine = {**environment.describe(PACKAGES), "used_by_others": round(share, 3)}
        write_json(absolute(config.json), {"rows": rows, "settings": settings, "machine": machine})
        print(f"Written to {config.json}.")
