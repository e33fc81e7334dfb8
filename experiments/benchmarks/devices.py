"""Time a training step on a CPU with 1, 2, 4, ... devices, each number in processes of its own.

    python -m experiments.benchmarks.devices

Every device has a thread and an equal part of the batch. The numbers of devices are those that divide the batch, up to
the number of cores or to `--devices`. A run takes the number that `rowlstm_jax.parallel.best_count` chooses.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmarks import train_step
from experiments.benchmarks.harness import Measurement, SizesConfig
from rowlstm_jax import cli
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import best_count, cores
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(SizesConfig):
    """Time a training step with different numbers of CPU devices."""

    rounds: int = 3
    """Processes for each number of devices, in alternation; the median counts."""


def main(config: Config) -> None:
    measurement, most = Measurement(config), config.devices or cores()
    counts = [count for count in range(1, most + 1) if config.batch_size % count == 0]
    seen: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(config.rounds):
            for count in counts:
                seen[count].append(step_ms(config, count, Path(folder)))
    chosen = best_count(cores(), 1, config.batch_size, 1)
    rows = [
        {
            "devices": count,
            "rows_each": config.batch_size // count,
            "median_ms": statistics.median(values),
            "ratio_to_one": statistics.median(values) / statistics.median(seen[1]),
            "chosen": count == chosen,
        }
        for count, values in seen.items()
    ]
    show(rows, f"B={config.batch_size}, T={config.time_steps}, F={config.features}, H={config.hidden}, {cores()} cores")
    measurement.write(rows)


def step_ms(config: Config, count: int, folder: Path) -> float:
    """Milliseconds a training step in a new process with so many devices."""
    sizes = {name: getattr(config, name) for name in ("batch_size", "time_steps", "features", "hidden")}
    flags = {**sizes, "devices": count, "rounds": 3, "json": folder / "rows.json", "compilation_cache": folder}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", train_step.__name__, "--peers", "rowlstm_jax", *words]
    done = subprocess.run(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{train_step.__name__} failed with {count} devices: {done.stderr.strip()[-300:]}")
    return json.loads((folder / "rows.json").read_text())["rows"][0]["median_ms"]


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print the table."""
    cells = [
        (
            str(row["devices"]),
            str(row["rows_each"]),
            f"{row['median_ms']:.2f}",
            f"{row['ratio_to_one']:.2f}",
            "chosen" if row["chosen"] else "",
        )
        for row in rows
    ]
    header = ("devices", "rows each", "ms", "1 device = 1", "")
    console.show_table(f"Milliseconds a training step: {title}", header, cells)


if __name__ == "__main__":
    cli.run(main, Config)
