"""Where the folders of runs lie, and whether one can be written to."""

import contextlib
import datetime
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rowlstm_jax.config import RunConfig, absolute
from rowlstm_jax.errors import UserError

RUNS = Path("runs")
SAVED = ".saved"  # a file in a run's folder: there has been a checkpoint


def choose_directory(experiment: str, config: RunConfig) -> Path:
    """The folder that the flags name, by default a new one, or the latest where a run is resumed."""
    if config.run_dir is not None:
        return absolute(config.run_dir)
    folder, seeds = absolute(RUNS / experiment), config.seeds
    if config.resume:
        return (folder / "latest").resolve()
    now = datetime.datetime.now(datetime.UTC)
    name = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return folder / f"{now:%Y-%m-%dT%H-%M-%S.%f}Z-{name}"


def name_latest(experiment: str, directory: Path) -> None:
    """Let runs/<experiment>/latest point to a folder that lies beside it; others stay unnamed."""
    if directory.parent == absolute(RUNS / experiment):
        link = directory.parent / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
        link.replace(directory.parent / "latest")


def clean(directory: Path) -> None:
    """Remove the temporary files that a killed process left: .<name>.<process>."""
    for path in directory.glob(".*.*"):
        if path.suffix[1:].isdecimal():
            path.unlink()


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Within the block, an error of the file system, as a full disk or a run's folder that is gone, is a UserError."""
    try:
        yield
    except OSError as error:
        if not (directory / "config.json").exists() and not directory.is_dir():
            raise UserError(f"The run folder {directory} is gone, and with it what was saved; start again.") from error
        raise UserError(
            f"The run folder {directory} can't be written to ({error.strerror or error}); put that right, and "
            "continue with the same flags and --resume: what was saved is untouched."
        ) from error


def require_there(directory: Path) -> None:
    """Look whether a run's folder is still there: files that are open hide that it is gone.

    Raises:
      OSError: it is not.
    """
    (directory / "config.json").stat()


def require_room(directory: Path, needed: int) -> None:
    """Write something, and ask whether there is room for so many bytes.

    Raises:
      OSError: the folder can't be written to, or has no room.
    """
    test = directory / f".test.{os.getpid()}"
    try:
        test.write_bytes(bytes(4096))
    finally:
        test.unlink(missing_ok=True)
    if needed > (free := shutil.disk_usage(directory).free):
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.2f} MB are needed, and {free / 1e6:,.2f} MB are free")
