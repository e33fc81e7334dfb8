"""Stop signals, collected so that a run can end between two steps."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one of a kind acts at once, as it always did."""
    received: list[int] = []
    previous = {}

    def receive(signum: int, _: object) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])

    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) != signal.SIG_IGN:  # a job in the background ignores Ctrl-C
            previous[signum] = signal.signal(signum, receive)
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
