"""Timing systems against one another on a machine that is never quite quiet: alternating rounds, medians."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

ROUND_SECONDS = 0.3
MIN_STEPS, MAX_STEPS = 10, 100  # a run dispatches ten steps at once, as it comes, and never more than a hundred

Steps = Callable[[int], object]


class Timing(NamedTuple):
    """Milliseconds a step: the median of the rounds, and the quartiles around it."""

    low: float
    median: float
    high: float


def alternate(systems: Mapping[str, Steps], rounds: int) -> dict[str, Timing]:
    """Time each system once a round, round after round, so that a disturbance touches them all.

    A round of a system takes about 0.3 s, or ten steps. One step goes before it untimed: it brings the caches back,
    and lets the threads of the system before it fall asleep.

    Args:
      systems: name -> function that takes so many steps and waits for them.
      rounds: 1 or more.
    """
    counts = {name: _steps_a_round(steps) for name, steps in systems.items()}
    measured: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, steps in systems.items():
            steps(1)
            measured[name].append(1000 * seconds(steps, counts[name]) / counts[name])
    return {name: summarise(values) for name, values in measured.items()}


def seconds(steps: Steps, count: int) -> float:
    """How long so many steps take."""
    start = time.perf_counter()
    steps(count)
    return time.perf_counter() - start


def summarise(values: list[float]) -> Timing:
    """The median and the quartiles of one value or more.

    Example:
      >>> summarise([3.0, 1.0, 2.0, 5.0, 4.0])
      Timing(low=2.0, median=3.0, high=4.0)
    """
    if len(values) == 1:
        return Timing(values[0], values[0], values[0])
    return Timing(*statistics.quantiles(values, n=4, method="inclusive"))


def _steps_a_round(steps: Steps) -> int:
    """How many steps take about a round; the steps taken to find out also compile what is compiled late."""
    steps(1)
    return max(MIN_STEPS, min(MAX_STEPS, round(3 * ROUND_SECONDS / max(1e-9, seconds(steps, 3)))))
