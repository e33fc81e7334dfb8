"""Small files, written so that a reader sees the old one or the new one, never a part. Standard library and NumPy."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from rowlstm_jax.config import UserError


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    _replace(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[Any, Any]) -> None:
    """Write a compressed .npz."""
    _replace(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl, none if there is no file; a last line that was left unfinished is no object.

    Raises:
      UserError: a finished line is damaged.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove the line, or resume another run.") from error


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        write(file)
    temporary.replace(path)
