"""What a program prints: a screen that goes away does not end it, and foreign text can't control a terminal.

Standard library only.
"""

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's categories: control, format, surrogate, line, paragraph

LONGEST = 2000  # characters of a line


def printable(text: str) -> str:
    r"""A text with its control and bidirectional characters escaped and its longest lines cut; line breaks stay.

    Example:
      >>> printable("red \x1b[31m")
      'red \\x1b[31m'
    """
    lines = (line if len(line) <= LONGEST else _shortened(line) for line in text.split("\n"))
    text = "\n".join(lines)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(map(_escaped, text))


def _shortened(line: str) -> str:
    """Its beginning and its end, which says what to do."""
    return f"{line[: LONGEST // 2]}... ({len(line):,} characters) ...{line[-LONGEST // 2 :]}"


def _escaped(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in CONTROLS:
        return character
    return character.encode("unicode_escape").decode()


@contextlib.contextmanager
def unbreakable() -> Iterator[None]:
    """Let nothing that is printed within the block fail: a closed pipe, a full disk or a closed stream loses the text.

    Results are files; what is printed is only a view of them.
    """
    for number in range(3):  # or the next file that is opened gets the number, and with it what XLA prints
        with contextlib.suppress(OSError):
            while not _is_open(number) and os.open(os.devnull, os.O_RDWR) < number:
                pass
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Screen(stream or Path(os.devnull).open("w")) for stream in before)  # noqa: SIM115
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Screen):
                stream.flush()
        sys.stdout, sys.stderr = before


class _Screen:
    """A stream that drops what it can't write."""

    def __init__(self, stream: Any):
        self._stream: TextIO = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        with self._dropping():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # an ASCII terminal
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # the latter for a closed stream
            # What is still buffered goes nowhere, or the interpreter's last flush would fail again.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
