"""The small files of runs. A writer leaves the old file or the new one, never a part; a reader trusts nothing.

The readers raise a UserError if a file can't be used. Its sentence ends with the `remedy`, which says what to do. If
the file does not exist, it is the sentence `missing`. Standard library and NumPy.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from rowlstm_jax.errors import UserError

SAVED = ".saved"  # a file in a run's folder: there has been a checkpoint
LARGEST_TEXT = 10_000_000  # bytes; a run's own summary has a few thousand
LARGEST_LINES = 2**32
LARGEST_ARRAYS = 2**32  # once unpacked

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    _replace(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[Any, Any]) -> None:
    """Write a compressed .npz."""
    _replace(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it; a loss of power leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        write(file)
        sync(file)
    temporary.replace(path)
    sync_folder(path.parent)


def sync(file: IO[Any]) -> None:
    """Wait until what was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: files that were made, renamed or removed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that can't
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all files and names below a folder are on the disk."""
    for directory, _, names in os.walk(folder):
        for name in names:
            with Path(directory, name).open("rb") as file:
                sync(file)
        sync_folder(Path(directory))


def to_lines(objects: Iterable[Mapping[str, Any]]) -> str:
    """The text of a .jsonl."""
    return "".join(json.dumps(value) + "\n" for value in objects)


def lines_digest(objects: Iterable[Mapping[str, Any]]) -> str:
    """The SHA-256 of `to_lines`."""
    return hashlib.sha256(to_lines(objects).encode()).hexdigest()


@contextlib.contextmanager
def _reading(path: Path, remedy: str, missing: str | None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(missing or f"{path} is missing; {remedy}.") from error
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"{path} can't be read ({error or type(error).__name__}); {remedy}.") from error


def read_text(path: Path, remedy: str, missing: str | None = None) -> str:
    """The text in a small file."""
    with _reading(path, remedy, missing):
        require_file(path, LARGEST_TEXT)
        return path.read_bytes().decode()


def read_json(path: Path, remedy: str, missing: str | None = None) -> dict[str, Any]:
    """The JSON object in a small file."""
    text = read_text(path, remedy, missing)
    with _reading(path, remedy, missing):
        value = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object; {remedy}.")
    return value


def read_lines(path: Path, remedy: str, *, whole: bool = False) -> list[dict[str, Any]]:
    """The objects of a .jsonl; none if there is no file. A damaged line raises a UserError.

    An unfinished last line, which a killed process leaves, is skipped. If the file is written `whole`, it is damage.
    """
    objects, number = [], 0
    try:
        require_file(path, LARGEST_LINES)
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007, it stands in the message
                if line.endswith(b"\n") or whole:
                    objects.append(as_object(line))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        where = f"{path} is damaged in line {number}" if number else f"{path} can't be read"
        raise UserError(f"{where} ({error}); {remedy}.") from error
    return objects


def read_arrays(path: Path, remedy: str, missing: str | None = None, largest: int = LARGEST_ARRAYS) -> dict[str, Any]:
    """The arrays of an .npz by name, of at most `largest` bytes together.

    Nothing is unpickled, and no more memory is taken than the file needs.
    """
    with _reading(path, remedy, missing):
        require_file(path, largest)
        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
            if (size := sum(member.file_size for member in files)) > largest:
                raise ValueError(f"it unpacks to {size:,} bytes, more than {largest:,}")
            return {member.filename.removesuffix(".npy"): _read_member(archive, member) for member in files}


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell() and not dtype.hasobject:
            raise ValueError(f"{member.filename} says that it is {dtype} {shape} and has another size")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def as_object(text: bytes) -> dict[str, Any]:
    """The JSON object in a text; raises a ValueError if it is something else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def require_file(path: Path, largest: int) -> None:
    """Raise a ValueError if a path is not a regular file (a pipe may never end), or has too many bytes."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is no file")
    if size > largest:
        raise ValueError(f"it has {size:,} bytes, more than {largest:,}")


def require_inside(directory: Path) -> None:
    """Raise a UserError if a run's folder contains links that lead out of it.

    Args:
      directory: its own links resolved. All of it is searched, so make sure first that it is a run's folder.
    """
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and not _target(path).is_relative_to(directory):
                raise UserError(f"{path} is a link that leads out of the run's folder; remove it, or name another run.")


def _target(link: Path) -> Path:
    try:
        return Path(os.path.realpath(link))
    except OSError:  # this user may not look there
        return Path("/")


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn an error of the file system within the block into a UserError, such as a full disk or a lost folder."""
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
    """Raise an OSError if a run's folder was removed: open files do not show it."""
    (directory / "config.json").stat()


def require_room(directory: Path, needed: int) -> None:
    """Raise an OSError if a folder can't be written to, or has no room for so many bytes."""
    test = directory / f".test.{os.getpid()}"
    try:
        test.write_bytes(bytes(4096))
    finally:
        test.unlink(missing_ok=True)
    if needed > (free := shutil.disk_usage(directory).free):
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.2f} MB are needed, and {free / 1e6:,.2f} MB are free")
