"""Where the folders of runs lie, and whether one can be written to."""

import datetime
import os
import shutil
from pathlib import Path

from rowlstm_jax.config import RunConfig, UserError, absolute

RUNS = Path("runs")


def choose_directory(experiment: str, config: RunConfig) -> Path:
    """The folder that the flags name, by default a new one, or the latest where a run is resumed."""
    if config.run_dir is not None:
        return absolute(config.run_dir)
    folder, seeds = RUNS.absolute() / experiment, config.seeds
    if config.resume:
        return (folder / "latest").resolve()
    now = datetime.datetime.now(datetime.UTC)
    name = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return folder / f"{now:%Y-%m-%dT%H-%M-%S.%f}Z-{name}"


def name_latest(experiment: str, directory: Path) -> None:
    """Let runs/<experiment>/latest point to a folder that lies beside it; others stay unnamed."""
    if directory.parent == RUNS.absolute() / experiment:
        link = directory.parent / f".latest-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
        link.replace(directory.parent / "latest")


def clean(directory: Path) -> None:
    """Remove the temporary files that a killed process left: .<name>.<process>."""
    for path in directory.glob(".*.*"):
        if path.suffix[1:].isdecimal():
            path.unlink()


def require_room(directory: Path, size: int) -> None:
    """Write something, and ask for room for more.

    Args:
      directory: of a run.
      size: bytes of a checkpoint; two are kept, and one is under way.

    Raises:
      OSError: the folder can't be written to.
      UserError: its disk is too full.
    """
    test = directory / f".test.{os.getpid()}"
    try:
        test.write_bytes(bytes(4096))
    finally:
        test.unlink(missing_ok=True)
    needed, free = 3 * size, shutil.disk_usage(directory).free
    if needed > free:
        raise UserError(
            f"The checkpoints of this run take {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free in "
            f"{directory}; make room, or choose another --run-dir."
        )
