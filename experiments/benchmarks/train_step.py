"""Time a training step of the LSTM classifier against PyTorch, Flax, Haiku, Equinox and Keras, in one process.

    python -m experiments.benchmarks.train_step

A step is forward, backward and Adam, on one batch that stays on the device. The losses of each system are first
compared with those of the reference. A system that disagrees is named and not timed. The others take turns, and the
median over the rounds counts.
"""

import dataclasses
from typing import Any

from experiments.benchmarks.harness import Measurement, SizesConfig
from experiments.benchmarks.peers import PEERS, compare
from experiments.benchmarks.problem import Dtype, make_problem
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(SizesConfig):
    """Time a training step of an LSTM classifier in several libraries."""

    dtype: Dtype = "float32"
    """Type of the matrix products; weights and optimiser stay float32."""
    rounds: int = 15
    """Times that each system is timed, for about 0.3 s."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Systems to time."""

    def __post_init__(self):
        super().__post_init__()
        choices = f"choose one or more of {' '.join(PEERS)}"
        if not self.peers:
            raise UserError(f"--peers names nothing; {choices}.")
        if unknown := [name for name in self.peers if name not in PEERS]:
            raise UserError(f"--peers names {unknown[0]!r}; {choices}.")


def main(config: Config) -> None:
    measurement = Measurement(config)
    problem = make_problem(config.batch_size, config.time_steps, config.features, config.hidden, config.dtype)
    rows = compare(list(dict.fromkeys(config.peers)), problem, config.devices, config.rounds)
    sizes = f"B={config.batch_size}, T={config.time_steps}, F={config.features}, H={config.hidden}, {config.dtype}"
    header = ("system", "ms", "quartiles", "torch = 1", "note")
    cells = [(row["name"], *(_times(row) if row["median_ms"] else ("", "", "")), row["note"]) for row in rows]
    console.show_table(f"Milliseconds a training step: {sizes}", header, cells)
    measurement.write(rows)


def _times(row: dict[str, Any]) -> tuple[str, str, str]:
    ratio = f"{row['ratio_to_torch']:.2f}" if row["ratio_to_torch"] else ""
    return f"{row['median_ms']:.2f}", "-".join(f"{quartile:.2f}" for quartile in row["quartiles_ms"]), ratio


if __name__ == "__main__":
    cli.run(main, Config)
