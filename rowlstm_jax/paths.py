"""Folders that the libraries below can use. Standard library only."""

import re
from pathlib import Path

PATTERN = re.compile(r"[\[\]*?{}\\]")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def resolved(path: Path) -> Path:
    """The path from the root, ~ and links resolved.

    Raises:
      ValueError: that can't be done; the message is a phrase that begins with the path.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{path}, which can't be used (its home folder is not known here); choose another, or write it in full."
        ) from error
    try:
        path = path.resolve()
        str(path).encode()  # Orbax takes nothing but text
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, no text, no working directory, links in a circle
        raise ValueError(f"{str(path)!r}, which can't be used ({error}); choose another.") from error
    return path


def require_plain(path: Path) -> None:
    """Refuse a folder that Orbax or TensorFlow Datasets would not take for one.

    They take some characters for a pattern, even in the name of a folder above, and a name that ends with a colon for
    the beginning of a URL.

    Raises:
      ValueError: it is such a folder; the message is a phrase that begins with the path.
    """
    what = None
    if any(URL.fullmatch(part) for part in path.parts):
        what = "which a library takes for a URL; name a folder of this machine"
    elif found := PATTERN.search(str(resolved(path))):
        what = f"and {found[0]} in the name of a folder is taken for a pattern; choose another folder"
    if what:
        raise ValueError(f"{path}, {what}.")
