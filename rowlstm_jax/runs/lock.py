"""The lock of a run's folder: one process writes there."""

import json
import os
import socket
from pathlib import Path

import filelock

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.files import write_json


class FolderLock:
    """A lock that ends with the process that holds it, however it ends; `.owner` beside it says which one that is."""

    def __init__(self, directory: Path):
        self._directory, self._owner = directory, directory / ".owner"
        self._lock = filelock.FileLock(directory / ".lock")

    def acquire(self) -> None:
        """Take the lock, at once.

        Raises:
          UserError: another process has it.
          OSError: the folder can't be written to.
        """
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(
                f"{self._holder()} is using {self._directory}; wait for its end, or choose another --run-dir."
            ) from error
        write_json(self._owner, {"host": socket.gethostname(), "process": os.getpid()})

    def release(self) -> None:
        """Give the lock back, if this process has it."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()

    def remove(self) -> None:
        """Give the lock back, and leave no trace of it."""
        (self._directory / ".lock").unlink(missing_ok=True)  # while it is held, or somebody could hold what is removed
        self.release()

    def _holder(self) -> str:
        try:
            owner = json.loads(self._owner.read_text())
            return f"Process {int(owner['process'])} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
            return "Another process"
