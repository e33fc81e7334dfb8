"""The signals that end a run with its state saved."""

import os
import signal
import threading

import pytest

from rowlstm_jax.runs.signals import ALWAYS, UNLESS_HANDLED, stop_signals


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


@pytest.mark.parametrize("signum", UNLESS_HANDLED)
def test_signals_of_closed_terminals_and_clusters_are_collected_unless_somebody_handles_them(signum):
    assert signal.getsignal(signum) == signal.SIG_DFL
    with stop_signals() as received:
        os.kill(os.getpid(), signum)
    assert received == [signum]
    assert signal.getsignal(signum) == signal.SIG_DFL
    heard = []
    signal.signal(signum, lambda *_: heard.append(signum))
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signum)
        assert (received, heard) == ([], [signum])
    finally:
        signal.signal(signum, signal.SIG_DFL)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signal.SIGINT)
        assert received == []
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_collects_none_says_so_and_goes_on(capsys):
    found, before = [], [signal.getsignal(signum) for signum in (*ALWAYS, *UNLESS_HANDLED)]

    def collect():
        with stop_signals() as received:
            found.append(received)

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    assert found == [[]]
    assert [signal.getsignal(signum) for signum in (*ALWAYS, *UNLESS_HANDLED)] == before
    assert capsys.readouterr().out == "This is not the main thread: a signal ends the run without a last checkpoint.\n"
