"""The small files of runs. A writer leaves the old one or the new one, never a part; a reader trusts nothing.

Standard library and NumPy.
"""

import contextlib
import errno
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


def to_lines(objects: Iterable[Mapping[str, Any]]) -> str:
    """The text of a .jsonl."""
    return "".join(json.dumps(value) + "\n" for value in objects)


def write_arrays(path: Path, arrays: Mapping[Any, Any]) -> None:
    """Write a compressed .npz."""
    _replace(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_text(path: Path, remedy: str, missing: str | None = None) -> str:
    """The text in a small file.

    Args:
      path: of the file.
      remedy: what to do about a file that is not what it should be, as the end of a sentence.
      missing: the sentence to say instead where there is no file.

    Raises:
      UserError: it is missing, too large, or can't be read.
    """
    try:
        require_file(path, LARGEST_TEXT)
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise UserError(missing or f"{path} is missing; {remedy}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}); {remedy}.") from error


def read_json(path: Path, remedy: str, missing: str | None = None) -> dict[str, Any]:
    """The JSON object in a small file; the arguments are those of `read_text`.

    Raises:
      UserError: it is missing, too large, can't be read, or is no JSON object.
    """
    text = read_text(path, remedy, missing)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object; {remedy}.")
    return value


def read_lines(path: Path, remedy: str) -> list[dict[str, Any]]:
    """The objects of a .jsonl, none if there is no file; a last line that was left unfinished is no object.

    Args:
      path: of the file.
      remedy: what to do about a damaged line, as the end of a sentence.

    Raises:
      UserError: a finished line is damaged, or the file can't be read.
    """
    objects, number = [], 0
    try:
        require_file(path, LARGEST_LINES)
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007, it stands in the message
                if line.endswith(b"\n"):
                    objects.append(as_object(line))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        where = f"{path} is damaged in line {number}" if number else f"{path} can't be read"
        raise UserError(f"{where} ({error}); {remedy}.") from error
    return objects


def read_arrays(path: Path, remedy: str, missing: str | None = None, largest: int = LARGEST_ARRAYS) -> dict[str, Any]:
    """The arrays of an .npz, by name. Nothing is unpickled, and no room is made for more than the file holds.

    Args:
      path: of the file.
      remedy: what to do about a file that is not what it should be, as the end of a sentence.
      missing: the sentence to say instead where there is no file.
      largest: bytes of all arrays together.

    Raises:
      UserError: it is missing, too large, or can't be read.
    """
    try:
        require_file(path, largest)
        with zipfile.ZipFile(path) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > largest:
                raise ValueError(f"it unpacks to {size:,} bytes, more than {largest:,}")
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member) for member in archive.infolist()
            }
    except FileNotFoundError as error:
        raise UserError(missing or f"{path} is missing; {remedy}.") from error
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"{path} can't be read ({error or type(error).__name__}); {remedy}.") from error


def require_file(path: Path, largest: int) -> None:
    """Refuse what is no file, such as a pipe that would be read for ever, or a file that is too large.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is refused.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is no file")
    if size > largest:
        raise ValueError(f"it has {size:,} bytes, more than {largest:,}")


def require_inside(directory: Path) -> None:
    """Refuse a folder with links that lead out of it: what is read or written through them lies elsewhere.

    Args:
      directory: its links resolved; the folder itself may be reached through one, such as runs/<experiment>/latest.
        It is walked through, so make sure first that it holds a run.

    Raises:
      UserError: there is such a link.
    """
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and not _target(path).is_relative_to(directory):
                raise UserError(f"{path} is a link that leads out of the run's folder; remove it, or name another run.")


def _target(link: Path) -> Path:
    try:
        return Path(os.path.realpath(link))
    except OSError:  # it leads where nobody may look
        return Path("/")


def as_object(text: bytes) -> dict[str, Any]:
    """The JSON object that a text is.

    Raises:
      ValueError: it is none.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell() and not dtype.hasobject:
            raise ValueError(f"{member.filename} says that it is {dtype} {shape} and has another size")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        write(file)
    temporary.replace(path)


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
