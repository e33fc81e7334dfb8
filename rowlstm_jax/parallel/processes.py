"""Several processes that train one model: finding each other, agreeing on values, and ending together."""

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, UserError

T = TypeVar("T")


def fetch(tree: Any) -> Any:
    """The arrays of a tree as whole NumPy arrays, in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    with jax.transfer_guard("allow"):
        return multihost_utils.process_allgather(tree, tiled=True)


def is_first_process() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def from_first_process(function: Callable[[], T]) -> T:
    """Call a function in the first process. All processes get its result, a JSON value, or raise its error."""
    if jax.process_count() == 1:
        return function()
    outcome: dict[str, Any] = {}
    failure = None
    if is_first_process():
        try:
            outcome["result"] = function()
        except Exception as error:  # the other processes wait, so any error must reach them
            failure, outcome["error"] = error, str(error)
    text = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
    with jax.transfer_guard("allow"):
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
        text = multihost_utils.broadcast_one_to_all(np.resize(text, length))
    outcome = json.loads(np.asarray(text, np.uint8).tobytes())
    if failure is not None:
        raise failure
    if "error" in outcome:
        raise UserError(outcome["error"])
    return outcome["result"]


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """If the block fails in one process, for example because a file is missing on its machine, it fails in all."""
    failure = None
    try:
        yield
    except Exception as error:  # the other processes wait, so any error must reach them
        failure = error
    failed = largest_of_all(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise UserError("Another process could not go on; its own message says why.")


def largest_of_all(value: int) -> int:
    """The largest of the values that the processes pass."""
    if jax.process_count() == 1:
        return value
    with jax.transfer_guard("allow"):
        return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def join(config: RunConfig) -> None:
    """Find the other processes of a distributed run, before JAX starts.

    Raises:
      UserError: they can't be found in time.
    """
    how = (
        "start all of them together, under SLURM, Open MPI or Kubernetes or with --coordinator, --num-processes and "
        "--process-id, or raise --peer-timeout."
    )
    _keep_what_libraries_print()
    late = f"in time (--peer-timeout {config.peer_timeout})"
    if config.coordinator and config.process_id == 0:  # where the port is taken, JAX dies of a segmentation fault
        try:
            socket.create_server(("", int(config.coordinator.rpartition(":")[2]))).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--coordinator is {config.coordinator}; its port can't be opened, choose another."
            ) from error
    try:
        _say_on_abort(f"The processes of --distributed did not find each other {late}; {how}")
        with _signals_act_at_once():
            jax.distributed.initialize(
                config.coordinator,
                config.num_processes,
                config.process_id,
                initialization_timeout=config.peer_timeout,
                heartbeat_timeout_seconds=config.peer_timeout,
            )
        _say_on_abort(_lost(config))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"The processes of --distributed did not find each other ({reason}); {how}") from error


def _lost(config: RunConfig) -> str:
    folder = f" --run-dir {config.run_dir}" if config.run_dir else ""
    return (
        f"Another process of this run was lost, it seems, or silent for {config.peer_timeout} seconds; "
        f"when all have ended, start all of them again, with --resume{folder}."
    )


@contextlib.contextmanager
def _signals_act_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM act at once while JAX waits: it would delay the one and swallow the other."""
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    if previous[signal.SIGINT] != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _keep_what_libraries_print() -> None:
    """Show what C++ writes to standard error at a normal end only: JAX's stack trace would hide our sentence."""
    try:
        if sys.stderr.fileno() != 2:
            return  # a notebook, or a test
    except (AttributeError, OSError, ValueError):
        return
    terminal, kept = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
    sys.stderr.flush()
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")
    os.dup2(kept.fileno(), 2)

    def show() -> None:
        kept.seek(0)
        with contextlib.suppress(OSError):
            os.write(terminal, kept.read())

    atexit.register(show)


_on_abort = None  # C has a pointer to it, so it must not be collected


def _say_on_abort(sentence: str) -> None:
    """Let this process end with a sentence and status 1 if JAX's C++ aborts it, as it does when a process is lost.

    This needs a handler in C: Python would call its own handler after the C++ code returns, which it does not.
    """
    global _on_abort

    def leave(_: int) -> None:
        _leave(f"error: {sentence}", 1)

    _on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)


def _leave(message: str, status: int) -> NoReturn:
    """End this process at once. JAX's normal end would wait for the other processes, which may wait for this one."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(status)


@contextlib.contextmanager
def ending_together(config: RunConfig) -> Iterator[None]:
    """Make sure that an error in the block ends all processes: the others notice when this one ends at once."""
    try:
        yield
    except BaseException as error:
        if not config.distributed:
            raise
        if _is_lost_connection(error):
            _leave(f"error: {_lost(config)}", 1)
        if isinstance(error, (UserError, InterruptedRun, SystemExit)):  # all processes raise it
            raise
        if isinstance(error, KeyboardInterrupt):
            _leave("Interrupted.", 130)
        _leave("".join(traceback.format_exception(error)).rstrip(), 1)


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is what JAX or Orbax raises when another process is lost."""
    if error is None:
        return False
    lost = (
        "Connection (reset|closed|refused)|Broken pipe|Socket closed|[Tt]imed out|Barrier failed|remote process exited"
    )
    raised = isinstance(error, (RuntimeError, TimeoutError, ValueError)) and re.search(lost, str(error)) is not None
    return raised or _is_lost_connection(error.__cause__ or error.__context__)
