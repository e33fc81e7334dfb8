import time

import pytest

from rowlstm_jax.runs.clock import Clock


def test_a_phase_is_timed_and_added_up():
    clock = Clock()
    for _ in range(2):
        with clock.phase("work"):
            time.sleep(0.01)
    assert 0.02 <= clock.seconds["work"] < 1
    assert clock.seconds["start"] > 0


def test_a_wall_clock_that_jumps_changes_no_duration(monkeypatch):
    before = Clock().seconds["start"]
    monkeypatch.setattr(time, "time", lambda: -880_504_968.0)
    after = Clock().seconds["start"]
    assert before <= after < before + 5


def test_on_a_system_without_proc_a_duration_is_never_negative(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert Clock().seconds["start"] == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_phase_that_fails_is_timed_too(error):
    clock = Clock()
    with pytest.raises(error), clock.phase("work"):
        raise error
    assert clock.seconds["work"] >= 0
