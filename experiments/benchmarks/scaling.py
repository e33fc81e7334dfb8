"""Measure how a training step of this repository and of PyTorch grows with T, H, B and the number of devices.

    python -m experiments.benchmarks.scaling --quick

One size grows at a time, from B=128, T=28, F=28, H=128. A system whose step takes a second is not measured at larger
sizes. The whole takes about 10 minutes on two cores, and 1 or 2 with --quick.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import jax

from experiments.benchmarks.harness import BenchmarkConfig, Measurement
from experiments.benchmarks.peers import compare
from experiments.benchmarks.problem import Dtype, make_problem
from rowlstm_jax import cli
from rowlstm_jax.analysis import plots
from rowlstm_jax.config import absolute, make_folder
from rowlstm_jax.runs import console, environment

SYSTEMS = ("rowlstm_jax", "rowlstm_jax-scan", "torch")
BASE = {"batch_size": 128, "time_steps": 28, "features": 28, "hidden": 128}
AXES = {
    "time_steps": (28, 64, 128, 256, 512, 1024),
    "hidden": (64, 128, 256, 512, 1024),
    "batch_size": (32, 64, 128, 256, 512, 1024),
}
QUICK_AXES = {"time_steps": (28, 56), "hidden": (32, 64), "batch_size": (32, 64)}
SLOW_MS = 1000


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Measure how the time of a training step grows with sequence length, width, batch and devices."""

    quick: bool = False
    """Two small sizes an axis, one round: to see that it works."""
    dtype: Dtype = "float32"
    """Type of the matrix products; weights and optimiser stay float32."""
    plot: Path | None = None
    """PNG to draw; None takes `scaling.png` in `runs/scaling`."""

    BATCH_SIZE: ClassVar[int] = 32  # the smallest; the others are multiples of it


def main(config: Config) -> None:
    measurement = Measurement(config)
    most = min(config.devices or jax.local_device_count(), BASE["batch_size"])
    counts = [count for count in range(1, most + 1) if BASE["batch_size"] % count == 0]
    axes = {**(QUICK_AXES if config.quick else AXES), "devices": (1, counts[-1]) if config.quick else counts}
    rows = [row for axis, values in axes.items() for row in measure(axis, sorted(set(values)), config)]
    measurement.write(rows)  # before the picture, which may fail
    named = config.plot and absolute(config.plot)
    picture = named or make_folder(Path("runs/scaling"), "name a PNG with --plot") / "scaling.png"
    plots.scaling(picture, rows, about(rows, config))
    print(f"Picture: {picture}")


def about(rows: list[dict[str, Any]], config: Config) -> str:
    """The line below the picture: what was timed, where, and what could not be timed."""
    machine = environment.describe(("jax",))
    sizes = ", ".join(f"{name} {value}" for name, value in BASE.items())
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['backend']}, JAX {machine['versions']['jax']}"
    parts = ["benchmarks.scaling", "LSTM classifier", f"where not said: {sizes}", config.dtype, where]
    missing = {row["name"]: row["note"] for row in rows if row["note"]}
    return " · ".join([*parts, *(f"{name}: {note}" for name, note in missing.items())])


def measure(axis: str, values: list[int], config: Config) -> list[dict[str, Any]]:
    """Time the systems along one axis, print a table, and return a JSON object for each system and value."""
    names, rows = list(SYSTEMS), []
    for value in values:
        sizes = {**BASE, **({axis: value} if axis in BASE else {})}
        devices = value if axis == "devices" else config.devices
        found = compare(names, make_problem(**sizes, dtype=config.dtype), devices, 1 if config.quick else 3)
        rows += [{"axis": axis, "value": value, **row} for row in found]
        names = [row["name"] for row in found if row["median_ms"] and row["quartiles_ms"][0] < SLOW_MS]
    times = {(row["value"], row["name"]): f"{row['median_ms']:.2f}" for row in rows if row["median_ms"]}
    cells = [(str(value), *(times.get((value, name), "") for name in SYSTEMS)) for value in values]
    console.show_table("Milliseconds a training step", (axis, *SYSTEMS), cells)
    return rows


if __name__ == "__main__":
    cli.run(main, Config)
