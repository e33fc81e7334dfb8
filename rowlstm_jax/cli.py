"""From the command line to a script's `main`, and from its errors to a sentence and an exit status."""

import gc
import os
import shutil
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import tyro

from rowlstm_jax.config import StartConfig
from rowlstm_jax.errors import ending
from rowlstm_jax.parallel import start
from rowlstm_jax.screen import unbreakable

ConfigT = TypeVar("ConfigT")
Positional = tyro.conf.Positional  # marks a field that is given without its flag
NARROWEST = 40  # columns; in fewer, tyro searches for a place to break a line for ever


def run(main: Callable[[ConfigT], object], config_type: type[ConfigT]) -> NoReturn:
    """Read the flags, start JAX if they are those of a `StartConfig`, call `main` and leave the process.

    The exit status is 0 after a finished run, 2 after a user's mistake, 1 after a run that failed or lost one of its
    processes, and 128 plus the signal's number after a signal that the run survived: 130 for Ctrl-C, 143 for SIGTERM.
    """
    gc.freeze()  # what was imported stays: no later collection need walk it
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    with unbreakable():
        try:
            sys.exit(_status(main, config_type))
        finally:
            gc.freeze()  # the interpreter's last collection would take half a second


def _status(main: Callable[[ConfigT], object], config_type: type[ConfigT]) -> int:
    """Call `main` and print how it ended; the exit status."""
    spec = sys.modules["__main__"].__spec__
    try:
        config = tyro.cli(
            config_type, prog=f"python -m {spec.name}" if spec else None, config=(tyro.conf.FlagCreatePairsOff,)
        )
        if isinstance(config, StartConfig):
            start(config)
        main(config)
    except MemoryError as error:
        print(f"error: The memory does not hold it ({error}); choose smaller sizes.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BaseException as error:
        if (known := ending(error)) is None:
            raise
        print(known[0], file=sys.stderr)
        return known[1]
    return 0
