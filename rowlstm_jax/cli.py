"""From the command line to a script's `main`, and from its errors to a sentence and an exit status."""

import contextlib
import dataclasses
import gc
import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import tyro

from rowlstm_jax.config import RunConfig, StartConfig, to_json
from rowlstm_jax.errors import UserError, ending, flag
from rowlstm_jax.parallel import start
from rowlstm_jax.screen import unbreakable

ConfigT = TypeVar("ConfigT")
arg = tyro.conf.arg  # more about a field, such as its short name
Positional = tyro.conf.Positional  # marks a field that is given without its flag
OF_A_START = ("run_dir", "resume", "no_test", "reset_optimizer", "accept_changed_code", "from_checkpoint", "profile")
OF_A_START += ("distributed", "coordinator", "num_processes", "process_id", "peer_timeout", "progress")
NARROWEST = 40  # columns; in fewer, tyro searches for a place to break a line for ever


def run(main: Callable[[ConfigT], object], config_type: type[ConfigT]) -> NoReturn:
    """Read the flags, start JAX if they are those of a `StartConfig`, call `main` and leave the process.

    The exit status is 0 after a finished run, 2 after a user's mistake, 1 after a run that failed or lost one of its
    processes, and 128 plus the signal's number after a signal that the run survived: 130 for Ctrl-C, 143 for SIGTERM.
    """
    gc.freeze()  # what was imported stays: no later collection need walk it
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # the scripts' choice for their imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    with unbreakable():
        try:
            sys.exit(_status(main, config_type))
        finally:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would show a traceback from its own end
            gc.freeze()  # the interpreter's last collection would take half a second


def words(config_type: type[RunConfig], saved: Mapping[str, Any]) -> list[str]:
    """The flags that give an experiment's config the saved values, where its defaults do not.

    What only says how the earlier start was made is left out: its folder, that it resumed, its processes.
    """
    missing = dataclasses.MISSING
    specs = [of for of in dataclasses.fields(config_type) if of.default is missing and of.default_factory is missing]
    needed = {spec.name: saved.get(spec.name, "") for spec in specs}
    defaults, found = to_json(config_type(**needed)), []
    for name, default in defaults.items():
        value = saved.get(name, default)
        if name in OF_A_START or (value == default and name not in needed):
            continue
        if bad := [of for of in (value if isinstance(value, list) else [value]) if str(of).startswith("--")]:
            raise UserError(f"{flag(name)} was {bad[0]!r}, which is a flag itself; the run's config.json was changed.")
        if isinstance(value, bool):
            found.append(flag(name) if value else flag(f"no_{name}"))
        else:
            found += [flag(name), *map(str, value if isinstance(value, list) else [value])]
    return found


def parse(config_type: type[ConfigT], given: Sequence[str]) -> ConfigT:
    """The config that these flags give. Raises a UserError if they are wrong."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            return tyro.cli(config_type, args=given, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as error:
        raise UserError(f"The flags {shlex.join(given)} are not those of this version of the experiment.") from error


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
