"""Time a training step of the LSTM classifier against PyTorch, Flax, Haiku, Equinox and Keras, in one process.

    python -m experiments.benchmarks.train_step

A step is forward, backward and Adam, on one batch that stays on the device. Each system is first held against the
equations: one that computes another loss, or learns otherwise, is named and not timed. The rest take turns, for the
machine is never quiet, and the median over the rounds counts.

Tried for `recurrence.lstm_scan` and given up (ms a step with B=50 on one core, T=F=28, H=128, unless said):
- the input's product before the loop: forward, two devices, 4.3-4.8 against 3.1-3.6 (it writes and reads [T, B, 4 H]);
- `lax.scan` instead of writing in place: 8.3 against 7.9, and under vmap 14.0 against 9.2 a seed;
- the derivatives of the gates in the backward loop, from stored gates: 11.8 against 7.8; before that loop: 7.9;
- arrays [4 H, B], or a product for each gate: forward loop 2.9-3.0 against 2.4;
- jit's own sharding instead of shard_map: 22-24 against 13-14 (B=100, two devices; it gathers the gates' gradients);
- XLA's vector width of 512, its threads or its scheduler off: 10.1-10.9, and 10.1 as it comes (B=100, two devices).
"""

import dataclasses
from typing import Any

from experiments.benchmarks import machine
from experiments.benchmarks.comparison import compare
from experiments.benchmarks.flags import BenchmarkConfig
from experiments.benchmarks.peers import PEERS
from experiments.benchmarks.problem import Dtype, make_problem
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time a training step of an LSTM classifier in several libraries."""

    batch_size: int = 100
    """B, examples a step."""
    time_steps: int = 28
    """T."""
    features: int = 28
    """F, inputs a time step."""
    hidden: int = 128
    """H, units of the LSTM."""
    dtype: Dtype = "float32"
    """Of the matrix products; weights and optimiser stay float32."""
    rounds: int = 15
    """Times that each system is timed, for about 0.3 s."""
    peers: str = ",".join(PEERS)
    """Systems to time, separated by commas."""

    def __post_init__(self):
        super().__post_init__()
        if self.batch_size % (self.devices or 1):
            raise UserError(f"--batch-size is {self.batch_size}; it must be a multiple of --devices, {self.devices}.")
        if unknown := [name for name in self.peers.split(",") if name not in PEERS]:
            raise UserError(f"--peers names {unknown[0]!r}; choose from {', '.join(PEERS)}.")


def main(config: Config) -> None:
    meanwhile = machine.Meanwhile()
    problem = make_problem(config.batch_size, config.time_steps, config.features, config.hidden, config.dtype)
    rows = compare(list(dict.fromkeys(config.peers.split(","))), problem, config.devices, config.rounds)
    sizes = f"B={config.batch_size}, T={config.time_steps}, F={config.features}, H={config.hidden}, {config.dtype}"
    header = ("system", "ms", "quartiles", "torch = 1", "note")
    console.show_table(f"Milliseconds a training step: {sizes}", header, [_cells(row) for row in rows])
    machine.write(config, rows, meanwhile)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["median_ms"] is None:
        return row["name"], "", "", "", row["note"]
    low, high = row["quartiles_ms"]
    ratio = f"{row['ratio_to_torch']:.2f}" if row["ratio_to_torch"] else ""
    return row["name"], f"{row['median_ms']:.2f}", f"{low:.2f}-{high:.2f}", ratio, row["note"]


if __name__ == "__main__":
    cli.run(main, Config)
