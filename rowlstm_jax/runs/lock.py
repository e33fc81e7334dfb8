"""Who trains the run in a folder: a lock, and the process that holds it."""

import fcntl
import json
import os
import socket
from pathlib import Path

import filelock

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.files import write_json


class FolderLock:
    """A lock that ends with the process that holds it, however it ends; `.owner` names that process."""

    def __init__(self, directory: Path):
        self._directory, self._owner = directory, directory / ".owner"
        self.lock = filelock.FileLock(directory / ".lock")

    def acquire(self) -> None:
        """Take the lock. Raises a UserError if another process has it."""
        try:
            self.lock.acquire(timeout=0.2, poll_interval=0.02)  # who looks whether it is free holds it for a moment
        except filelock.Timeout as error:
            holder = running_on(self._directory) or "another process"
            raise UserError(
                f"{holder[0].upper()}{holder[1:]} is using {self._directory}; wait for its end, or choose another "
                "--run-dir."
            ) from error
        write_json(self._owner, {"host": socket.gethostname(), "process": os.getpid()})

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back, if this process has it; with `remove`, leave no file of it."""
        if remove:  # while it is locked, so that no other process can lock the removed file
            (self._directory / ".lock").unlink(missing_ok=True)
        if self.lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self.lock.release()


def running_on(directory: Path) -> str:
    """The process that trains the run in a folder, such as "process 12 on cluster3"; "" if there is none."""
    if _is_free(directory / ".lock"):
        return ""
    try:
        owner = json.loads((directory / ".owner").read_text())
        return f"process {int(owner['process'])} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
        return "another process"


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock; for a moment this asks for a shared one."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:  # it is held; or the file system has no locks
        return False
    return True
