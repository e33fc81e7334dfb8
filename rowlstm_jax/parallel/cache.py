"""The folder in which JAX keeps compiled programs from one start to the next."""

import contextlib
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax

from rowlstm_jax.parallel.toolchain import hide_false_errors
from rowlstm_jax.screen import printable

CAN_NOT_READ = re.compile(r"Error reading persistent compilation cache entry for '(\w+)'")
CAN_NOT_WRITE = r"Error writing persistent compilation cache entry"
PROBE = bytes(2**16)


def use_cache(folder: Path | None) -> None:
    """Keep compiled programs in a folder; None keeps none.

    A folder that can only be read is read, after one sentence. A program that can't be read, which a killed process or
    a full disk may leave, is removed and compiled anew.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # every program, however small
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # or some releases put the path into the key
    if folder is None:
        return
    hide_false_errors()
    try:  # where the folder would be made: a start that is refused makes none
        with tempfile.TemporaryFile(dir=next(path for path in (folder, *folder.parents) if path.exists())) as file:
            file.write(PROBE)
    except OSError as error:
        if getattr(warnings.showwarning, "of_rowlstm_jax", None) != folder:  # once, though a run calls this twice
            message = f"{folder} can't be written to ({error.strerror}): what is compiled now is compiled again next"
            print(printable(f"warning: The compilation cache {message} time."), file=sys.stderr)
        warnings.filterwarnings("ignore", CAN_NOT_WRITE)
        if not folder.is_dir():
            jax.config.update("jax_compilation_cache_dir", None)
    _remove_what_cannot_be_read(folder)


def _remove_what_cannot_be_read(folder: Path) -> None:
    show = warnings.showwarning

    def remove_or_show(message: Warning | str, *others: Any, **named: Any) -> None:
        if not (found := CAN_NOT_READ.match(str(message))):
            show(message, *others, **named)
            return
        with contextlib.suppress(OSError):  # a folder that can only be read
            for path in folder.glob(f"{found[1]}-*"):
                path.unlink(missing_ok=True)

    if getattr(show, "of_rowlstm_jax", None) != folder:
        remove_or_show.of_rowlstm_jax = folder  # pyright: ignore[reportFunctionMemberAccess]
        warnings.showwarning = remove_or_show
