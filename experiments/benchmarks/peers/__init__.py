"""The systems that the benchmarks compare: each trains the same LSTM classifier, as the users of its library would.

A system is timed only if it computes the losses of the reference. A library is imported when its system is built, so
that one that is missing stops no other.
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.benchmarks.harness import Steps, Timing, alternate
from experiments.benchmarks.problem import Problem, System, UnavailableError, losses, reference, require_agreement
from rowlstm_jax.errors import UserError

NOT_INSTALLED = "not installed (pip install -e .[bench])"


class Peer(NamedTuple):
    """How a system is built: by a function of a module of this folder, from the problem and some options."""

    module: str
    function: str
    options: dict[str, Any] = {}  # noqa: RUF012, nobody changes it
    biases: int = 1  # of the LSTM; those of torch and cuDNN have two, and train both
    split: bool = False  # whether the function also takes the number of devices to split the batch over


PEERS = {
    "torch": Peer("torch_and_keras", "torch_lstm", biases=2),  # nn.LSTM, eager, Adam(fused=True)
    "torch-compile": Peer("torch_and_keras", "torch_lstm", {"compiled": True}, biases=2),  # torch.compile of the same
    "flax": Peer("jax_libraries", "flax_rnn", {"cell": "LSTMCell"}),  # nn.RNN
    "flax-optimized": Peer("jax_libraries", "flax_rnn", {"cell": "OptimizedLSTMCell"}),
    "haiku": Peer("jax_libraries", "haiku_unroll"),  # LSTM and dynamic_unroll
    "equinox": Peer("jax_libraries", "equinox_scan"),  # LSTMCell and jax.lax.scan
    "keras": Peer("torch_and_keras", "keras_layer"),  # the LSTM layer on the JAX backend, trained by fit
    "cudnn": Peer("jax_libraries", "cudnn", biases=2),  # jax.experimental.rnn
    "rowlstm_jax": Peer("ours", "classifier", {"recurrence": "fused"}, split=True),
    "rowlstm_jax-one-device": Peer("ours", "classifier", {"recurrence": "fused", "devices": 1}),
    "rowlstm_jax-scan": Peer("ours", "classifier", {"recurrence": "scan"}, split=True),  # nn.scan over the cell
    "matrix-products": Peer("ours", "matrix_products", split=True),  # no implementation can do without them
}


def build(name: str, problem: Problem, devices: int | None) -> System:
    """Build a system; those that can split the batch do so, over the most devices that divide it if None are given.

    Raises:
      ModuleNotFoundError: its library is not installed.
      UnavailableError: it can't be timed here.
    """
    peer = PEERS[name]
    options = peer.options | ({"devices": devices} if peer.split else {})
    return getattr(importlib.import_module(f"{__name__}.{peer.module}"), peer.function)(problem, **options)


def compare(names: Sequence[str], problem: Problem, devices: int | None, rounds: int) -> list[dict[str, Any]]:
    """Time the systems that agree with the reference, in alternating rounds; one JSON object a system."""
    systems, reasons = prepare(names, problem, devices)
    return rows(names, alternate(systems, rounds), reasons)


def prepare(names: Sequence[str], problem: Problem, devices: int | None) -> tuple[dict[str, Steps], dict[str, str]]:
    """Build the systems, and compare the losses of each with those of the reference.

    Returns:
      The systems to time, by name, and the reasons why the others are not timed.

    Raises:
      UserError: the batch can't be split over so many devices.
    """
    agreeing: dict[str, Steps] = {}
    reasons: dict[str, str] = {}
    expected = {number: losses(reference(problem, number)) for number in {PEERS[name].biases for name in names}}
    for name in names:
        try:
            system = build(name, problem, devices)
            if system.loss:
                require_agreement(losses(system), expected[PEERS[name].biases], problem.dtype)
            agreeing[name] = system.steps
        except UserError:
            raise
        except ModuleNotFoundError:
            reasons[name] = NOT_INSTALLED
        except UnavailableError as error:
            reasons[name] = str(error)
        except Exception as error:  # a system that fails here is a row that says so; the others go on
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
