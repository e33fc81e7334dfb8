"""Whether two finished runs hold the same bits, and no temporary files."""

from pathlib import Path

import numpy as np

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import arrays_on_disk

LOCKS = {".lock", ".owner", ".saved"}


def require(run: Path, other: Path) -> int:
    """Compare the folders of two finished runs; returns how many arrays were compared.

    Raises:
      UserError: they differ, or hold temporary files.
    """
    for folder in (run, other):
        if left := leftovers(folder):
            raise UserError(f"{folder} is that of a finished run, and still holds temporary files: {', '.join(left)}.")
    found, expected = contents(run), contents(other)
    if different := [name for name in {**found, **expected} if found.get(name) != expected.get(name)]:
        raise UserError(f"{run} and {other} should hold the same bits, and differ in {', '.join(different)}.")
    return len(found) - 1


def contents(run: Path) -> dict[str, bytes]:
    """The records of a finished run and, with their types and shapes, the arrays of its last checkpoint and results."""
    step = last_step(run)
    saved = arrays_on_disk(run / "checkpoints" / str(step) / "state")
    arrays = {f"checkpoints/{step}/{name}": array for name, array in saved.items()}
    for file in ("weights.npz", "test.npz"):
        with np.load(run / file, allow_pickle=False) as stored:
            arrays |= {f"{file}/{name}": stored[name] for name in stored}
    bits = {name: f"{array.dtype} {array.shape} ".encode() + array.tobytes() for name, array in arrays.items()}
    return {"metrics.jsonl": (run / "metrics.jsonl").read_bytes(), **bits}


def saved_steps(run: Path) -> list[int]:
    """The steps that a run has saved, newest first."""
    return sorted((int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit()), reverse=True)


def last_step(run: Path) -> int:
    """The last step that a run has saved; 0 if it has saved none."""
    return max(saved_steps(run), default=0)


def half_saved(run: Path) -> list[Path]:
    """The checkpoints that are being written, or were being written when the run was killed."""
    return [path for path in (run / "checkpoints").glob("*") if not path.name.isdigit()]


def leftovers(run: Path) -> list[str]:
    """The temporary files and folders in a run's folder."""
    hidden = [path for path in run.rglob(".*") if path.name not in LOCKS]
    return sorted({str(path.relative_to(run)) for path in half_saved(run) + hidden})
