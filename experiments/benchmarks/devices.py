"""Time a training step on a CPU with 1, 2, 4, ... devices, in one process.

    python -m experiments.benchmarks.devices

Every device has a thread and an equal part of the batch. The numbers of devices are those that divide the batch, up to
the number of cores or to `--devices`. A run chooses among them by the rule in `rowlstm_jax/parallel/mesh.py`.
"""

import dataclasses

from experiments.benchmarks.harness import BenchmarkConfig, Measurement, alternate
from experiments.benchmarks.peers import ours
from experiments.benchmarks.problem import make_problem
from rowlstm_jax import cli
from rowlstm_jax.parallel import cores, make_mesh
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time a training step with different numbers of CPU devices."""

    batch_size: int = 100
    """B, examples a step."""
    time_steps: int = 28
    """T."""
    features: int = 28
    """F, inputs a time step."""
    hidden: int = 128
    """H, units of the LSTM."""
    rounds: int = 7
    """Times that each number of devices is timed, for about 0.3 s."""


def main(config: Config) -> None:
    measurement = Measurement(config)
    problem = make_problem(config.batch_size, config.time_steps, config.features, config.hidden)
    most = config.devices or cores()
    counts = [count for count in range(1, most + 1) if config.batch_size % count == 0]
    timings = alternate({str(count): ours.classifier(problem, "fused", count).steps for count in counts}, config.rounds)
    chosen = make_mesh(config.batch_size).size
    rows = [
        {
            "devices": int(name),
            "rows_a_device": config.batch_size // int(name),
            "median_ms": timing.median,
            "ratio_to_one": timing.median / timings["1"].median,
            "chosen": int(name) == chosen,
        }
        for name, timing in timings.items()
    ]
    cells = [
        (str(r["devices"]), str(r["rows_a_device"]), f"{r['median_ms']:.2f}", f"{r['ratio_to_one']:.2f}", "*" * r["chosen"])
        for r in rows
    ]
    header = ("devices", "rows each", "ms", "1 device = 1", "a run's choice")
    sizes = f"B={config.batch_size}, T={config.time_steps}, F={config.features}, H={config.hidden}"
    console.show_table(f"Milliseconds a training step: {sizes}, {cores()} cores", header, cells)
    measurement.write(rows)


if __name__ == "__main__":
    cli.run(main, Config)
