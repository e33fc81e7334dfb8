import os
import signal
import threading

import pytest

from rowlstm_jax.runs.loop import stop_signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_collected_and_the_second_acts_as_it_always_did(signum):
    heard = []
    before = signal.signal(signum, lambda *_: heard.append(signum))
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signum)
            assert (received, heard) == ([signum], [])
            os.kill(os.getpid(), signum)
            assert (received, heard) == ([signum], [signum])
        os.kill(os.getpid(), signum)
        assert heard == [signum, signum], "the handler of before is back"
    finally:
        signal.signal(signum, before)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signal.SIGINT)
        assert received == []
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_collects_none_and_goes_on():
    found = []

    def collect():
        with stop_signals() as received:
            found.append(received)

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    assert found == [[]]
