"""The three errors that end a run with one sentence. Standard library only."""

import contextlib
import re
import sys
from collections.abc import Iterator
from types import TracebackType

from rowlstm_jax.screen import printable


class UserError(Exception):
    """A mistake of the user, or a fault of their machine: one sentence that says what was wrong and what to do."""

    status = 2

    def __init__(self, message: str):
        super().__init__(message)
        _end_with_a_sentence()

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [printable(f"error: {self}")]


class NonFiniteError(UserError):
    """The loss or its gradient stopped being finite."""

    status = 1


class InterruptedRun(BaseException):
    """A signal ended the run between two steps, after its state was saved; the message says how to go on.

    Like KeyboardInterrupt it is no `Exception`, so that a loop over runs that handles errors stops too.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message, signum)
        self.signum = signum
        _end_with_a_sentence()

    def __str__(self) -> str:
        return self.args[0]

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [printable(str(self))]


def ending(error: BaseException) -> tuple[str, int] | None:
    """The sentence and the exit status with which a program ends after one of these errors; None for any other."""
    if isinstance(error, UserError):
        return printable(f"error: {error}"), error.status
    if isinstance(error, InterruptedRun):
        return printable(str(error)), 128 + error.signum
    return None


def _end_with_a_sentence() -> None:
    """Let a script that does not catch one of these errors end as the command line does: no traceback, our status.

    It is called when such an error is made, so that nothing changes for programs without one.
    """
    previous = sys.excepthook
    if getattr(previous, "of_rowlstm_jax", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        known = ending(error)
        if known is None:
            previous(kind, error, traceback)
            return
        print(known[0], file=sys.stderr)
        if not hasattr(sys, "ps1") and not sys.flags.interactive:  # an interactive session goes on
            sys.exit(known[1])

    hook.of_rowlstm_jax = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook = hook


def flag(name: str) -> str:
    """The command-line flag of a config field: `batch_size` -> `--batch-size`."""
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def naming_flags(config: object, always: bool = False) -> Iterator[None]:
    """Turn a ValueError about an argument ("steps is 3; ...") into a UserError about the flag ("--steps is 3; ...").

    Other ValueErrors are mistakes in the code and stay as they are, unless `always`.

    Example:
      >>> class Config:
      ...     def __init__(self):
      ...         self.local_files = "x"
      >>> with naming_flags(Config()):
      ...     raise ValueError("local_files is x; it must be a folder.")
      Traceback (most recent call last):
      rowlstm_jax.errors.UserError: --local-files is x; it must be a folder.
    """
    try:
        yield
    except ValueError as error:
        names = "|".join(vars(config))
        pattern = rf"^({names})(?= is | names | holds )|(?<= )({names})(?==)"  # "pass local_files=DIR"
        message, found = re.subn(pattern, lambda match: flag(match[0]), str(error))
        if not found and not always:
            raise
        raise UserError(message) from error
