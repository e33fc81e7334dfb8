"""Unexpected compilation: found in JAX's own log, and made an error."""

import contextlib
import logging
import sys
from collections.abc import Iterator

LOGGER = "jax._src.interpreters.pxla"  # where JAX says "Compiling <function> with global shapes and types <shapes>"


class RecompilationError(Exception):
    """Something was compiled after the first steps. It is a mistake in the code, so it keeps its traceback."""


class CompilationWatch(logging.Handler):
    """Notes what is compiled, and for which shapes. After `forbid`, it raises a `RecompilationError` instead."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self._seen: dict[str, list[str]] = {}
        self._forbidden = False

    def forbid(self) -> None:
        """From now on, compilation is an error."""
        self._forbidden = True

    def emit(self, record: logging.LogRecord) -> None:
        """Called by JAX's logger before anything is compiled.

        Raises:
          RecompilationError: after `forbid`.
        """
        if not str(record.msg).startswith("Compiling") or not record.args or _is_between_processes():
            return
        name, shapes = map(str, tuple(record.args)[:2])
        before = self._seen.setdefault(name, [])
        if self._forbidden:
            earlier = f"before it was for {'; for '.join(before)}" if before else "it was not before"
            raise RecompilationError(f"{name} was compiled after the first steps, for {shapes}; {earlier}.")
        before.append(shapes)


def _is_between_processes() -> bool:
    """Whether the compilation is for a message between processes; these have any length."""
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "jax.experimental.multihost_utils":
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def watch_compilation() -> Iterator[CompilationWatch]:
    """Within the block, note what JAX compiles."""
    watch, logger = CompilationWatch(), logging.getLogger(LOGGER)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # keep these records off the terminal
    logger.addHandler(watch)
    try:
        yield watch
    finally:
        logger.removeHandler(watch)
        logger.setLevel(level)
        logger.propagate = propagate
