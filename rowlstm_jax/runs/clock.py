"""How long the phases of a run take."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil


class Clock:
    """Wall time by phase, in seconds; "start" runs from the start of the process, and is mostly imports."""

    def __init__(self):
        self.seconds = {"start": _seconds_since_start()}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to `seconds[name]`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def _seconds_since_start() -> float:
    """The age of this process, by a clock that nobody sets."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")  # 22nd: starttime
    except (OSError, AttributeError):  # not Linux
        return max(0.0, time.time() - psutil.Process().create_time())
