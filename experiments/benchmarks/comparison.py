"""Systems on one problem: first whether each computes the same, then, of those that do, how long a step takes."""

from collections.abc import Sequence
from typing import Any

from experiments.benchmarks import peers, reference
from experiments.benchmarks.agreement import losses, require_agreement
from experiments.benchmarks.problem import Problem
from experiments.benchmarks.timing import Steps, Timing, alternate
from experiments.benchmarks.trainer import Trainer, UnavailableError


def compare(names: Sequence[str], problem: Problem, devices: int | None, rounds: int) -> list[dict[str, Any]]:
    """Check the systems, time them in alternating rounds, and return a JSON object for each."""
    systems, reasons = prepare(names, problem, devices)
    return rows(names, alternate(systems, rounds), reasons)


def prepare(names: Sequence[str], problem: Problem, devices: int | None) -> tuple[dict[str, Steps], dict[str, str]]:
    """Build the systems and hold each against the reference.

    Returns:
      The systems that agree with it, by name, and the reasons why the others are not timed.
    """
    agreeing: dict[str, Steps] = {}
    reasons: dict[str, str] = {}
    biases = {peers.PEERS[name].biases for name in names}
    expected = {number: losses(reference.build(problem, number)) for number in biases}
    for name in names:
        try:
            system = peers.build(name, problem, devices)
            if isinstance(system, Trainer):
                require_agreement(losses(system), expected[peers.PEERS[name].biases], problem.dtype)
            agreeing[name] = system.steps
        except ModuleNotFoundError:
            reasons[name] = peers.NOT_INSTALLED
        except UnavailableError as error:
            reasons[name] = str(error)
        except Exception as error:  # a peer that breaks here is a finding, not the end of the others
            reasons[name] = f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    return agreeing, reasons


def rows(names: Sequence[str], timings: dict[str, Timing], reasons: dict[str, str]) -> list[dict[str, Any]]:
    """One JSON object a system, in the order asked for; null is what was not measured."""
    torch = timings.get("torch")
    return [
        {
            "name": name,
            "median_ms": timing and timing.median,
            "quartiles_ms": timing and [timing.low, timing.high],
            "ratio_to_torch": timing and torch and timing.median / torch.median,
            "note": reasons.get(name, ""),
        }
        for name in names
        for timing in [timings.get(name)]
    ]
