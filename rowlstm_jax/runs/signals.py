"""The signals that end a run after the steps under way, with its state saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from rowlstm_jax.runs import console

ALWAYS = (signal.SIGINT, signal.SIGTERM)
# Closed terminals and clusters send these. Who has set a handler of their own for one, such as submitit, keeps it.
UNLESS_HANDLED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the signals that ask a run to stop, within the block; a second one acts as before.

    Only the main thread of a process can receive signals. In another one nothing is changed, and a sentence says so.
    """
    received: list[int] = []
    previous = {}

    def receive(signum: int, _: object) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    if threading.current_thread() is threading.main_thread():
        for signum in (*ALWAYS, *UNLESS_HANDLED):
            handler = signal.getsignal(signum)
            # A job in the background ignores Ctrl-C, and one under nohup SIGHUP.
            if handler == signal.SIG_DFL or (signum in ALWAYS and handler != signal.SIG_IGN):
                previous[signum] = signal.signal(signum, receive)
    else:
        console.say("This is not the main thread: a signal ends the run without a last checkpoint.")
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
