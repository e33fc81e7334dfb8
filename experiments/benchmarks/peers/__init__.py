"""The systems that the benchmarks compare: each trains the same LSTM classifier as its users would."""

import dataclasses
import importlib
from typing import Any, Literal

from experiments.benchmarks.problem import Problem

NOT_INSTALLED = "not installed (pip install -e .[bench])"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A system: the module here that builds it, imported only when it is wanted, and how.

    Attributes:
      module: has `build(problem, **options)`.
      options: keywords of `build`.
      biases: how many the LSTM has; torch and cuDNN add and train two.
      split: whether it splits the batch, over all devices or, to compare, over one.
    """

    module: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    biases: int = 1
    split: Literal["no", "one", "all"] = "no"


PEERS = {
    "torch": Peer("torch_lstm", biases=2),  # nn.LSTM, eager, Adam(fused=True)
    "torch-compile": Peer("torch_lstm", {"compiled": True}, biases=2),  # torch.compile of the same model
    "flax": Peer("flax_rnn", {"cell": "LSTMCell"}),  # nn.RNN
    "flax-optimized": Peer("flax_rnn", {"cell": "OptimizedLSTMCell"}),
    "haiku": Peer("haiku_unroll"),  # LSTM and dynamic_unroll
    "equinox": Peer("equinox_scan"),  # LSTMCell and jax.lax.scan
    "keras": Peer("keras_layer"),  # the LSTM layer on the JAX backend, trained by fit
    "cudnn": Peer("cudnn", biases=2),  # jax.experimental.rnn
    "rowlstm_jax": Peer("ours", {"recurrence": "fused"}, split="all"),
    "rowlstm_jax-one-device": Peer("ours", {"recurrence": "fused"}, split="one"),
    "rowlstm_jax-scan": Peer("ours", {"recurrence": "scan"}, split="all"),  # nn.scan, the definition
    "matrix-products": Peer("products", split="all"),  # what no implementation can do without
}


def build(name: str, problem: Problem, devices: int | None) -> Any:
    """Give a system the problem.

    Args:
      name: a key of `PEERS`.
      problem: the same for all.
      devices: how many the batch is split over, by the systems that can; None for the most that divide it.

    Returns:
      A `trainer.Trainer`, or, of a system that computes no loss, one with `steps` only.

    Raises:
      ModuleNotFoundError: its library is not installed.
      UnavailableError: it can't be timed here.
    """
    peer = PEERS[name]
    chosen = {"no": {}, "one": {"devices": 1}, "all": {"devices": devices}}[peer.split]
    return importlib.import_module(f"{__name__}.{peer.module}").build(problem, **peer.options, **chosen)
