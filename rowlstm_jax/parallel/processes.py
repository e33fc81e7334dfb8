"""Several processes that train one model: how they find each other, and how all end when one of them is lost."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax

from rowlstm_jax.config import RunConfig
from rowlstm_jax.errors import InterruptedRun, UserError
from rowlstm_jax.parallel.mesh import all_or_none, make_mesh


def join(config: RunConfig) -> None:
    """Find the other processes of a distributed run, and check that the batch can be split; before JAX starts.

    Raises:
      UserError: they can't be found, or the batch can't be split.
    """
    if config.profile:  # without this, a trace on a CPU names no operations
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_xprof_traceme=true"
    if config.distributed:
        _find_each_other(config)
    with all_or_none():  # a batch that can't be split is refused before the data are read
        make_mesh(config.batch_size, config.devices, config.num_seeds)


def _find_each_other(config: RunConfig) -> None:
    how = (
        "start all of them together, under SLURM, Open MPI or Kubernetes or with --coordinator, --num-processes and "
        "--process-id, or raise --peer-timeout."
    )
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
    """Else Ctrl-C would wait until JAX has waited, and SIGTERM, which JAX takes for itself, would do nothing."""
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    if previous[signal.SIGINT] != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


_on_abort = None  # kept alive: C has a pointer to it


def _say_on_abort(sentence: str) -> None:
    """When a process is lost, JAX's C++ aborts the others: let them end with this sentence and status 1.

    A handler of Python's own would be called when the C++ has returned, which after an abort it never does.
    """
    global _on_abort

    def leave(_: int) -> None:
        _leave(f"error: {sentence}", 1)

    _on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)


def _leave(message: str, status: int) -> NoReturn:
    """End this process without waiting for the others, as JAX's own end would, for they may wait for this one."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(status)


@contextlib.contextmanager
def ending_together(config: RunConfig) -> Iterator[None]:
    """End one process of several at once where the others don't end by themselves, so that they hear of it."""
    try:
        yield
    except BaseException as error:
        if not config.distributed:
            raise
        if _is_lost_connection(error):
            _leave(f"error: {_lost(config)}", 1)
        if isinstance(error, (UserError, InterruptedRun, SystemExit)):  # it comes in all of them
            raise
        if isinstance(error, KeyboardInterrupt):
            _leave("Interrupted.", 130)
        _leave("".join(traceback.format_exception(error)).rstrip(), 1)


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is what JAX or Orbax raises where another process is lost."""
    if error is None:
        return False
    lost = (
        "Connection (reset|closed|refused)|Broken pipe|Socket closed|[Tt]imed out|Barrier failed|remote process exited"
    )
    raised = isinstance(error, (RuntimeError, TimeoutError, ValueError)) and re.search(lost, str(error)) is not None
    return raised or _is_lost_connection(error.__cause__ or error.__context__)
