"""Time a whole run of `experiments.mnist_rows` against a bare PyTorch script of the same training, in alternation.

    python -m experiments.benchmarks.whole_run

Both are processes of their own, which read the prepared MNIST, train, validate and test. The script in
`peers/torch_script.py` does no more than that: no checkpoint, no records, no pictures. The peak of memory is that of
the resident set, looked at every 5 ms.
"""

import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmarks import processes
from experiments.benchmarks.harness import BenchmarkConfig, Measurement
from experiments.benchmarks.peers import NOT_INSTALLED, torch_script
from rowlstm_jax import cli
from rowlstm_jax.runs import console

OURS, COLD, TORCH = "rowlstm_jax", "rowlstm_jax, compiled anew", "a bare torch script"


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time whole runs of mnist_rows against a bare PyTorch script."""

    steps: int = 999
    """Training steps of a run."""
    repeats: int = 5
    """Runs of each; the median counts."""


def main(config: Config) -> None:
    measurement, seen = Measurement(config), {name: [] for name in (OURS, COLD, TORCH)}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(config.repeats):
            flags: dict[str, object] = {"steps": config.steps, "devices": config.devices}
            if config.steps < 333:  # the smallest of the flags that the experiment sets
                flags |= {"eval-every": config.steps, "checkpoint-every": config.steps}
            for name, cache in ((COLD, f"new{number}"), (OURS, "new0")):
                places = {"run-dir": Path(folder, f"{name}{number}"), "compilation-cache": Path(folder, cache)}
                seen[name].append(measure(processes.experiment(flags | places), Path(folder, "output")))
            if torch_script.is_available():
                command = [sys.executable, "-m", torch_script.__name__, str(config.steps)]
                seen[TORCH].append(measure(command, Path(folder, "output")))
    rows = [row(name, values) for name, values in seen.items()]
    cells = [
        (r["name"], *(("", "") if r["note"] else (f"{r['median_s']:.2f}", f"{r['peak_mb']:.0f}")), r["note"])
        for r in rows
    ]
    console.show_table(f"A whole run, {config.steps} steps", ("", "s", "peak MB", "note"), cells)
    measurement.write(rows)


def measure(command: list[str], output: Path) -> tuple[float, float]:
    """Seconds of a process, and the peak of its memory in MB."""
    peak = processes.Peak()
    seconds = processes.seconds(command, output, peak)
    return seconds, peak.megabytes


def row(name: str, values: list[tuple[float, float]]) -> dict[str, Any]:
    """The medians of a kind of run, as a JSON object; null if there was none."""
    if not values:
        return {"name": name, "median_s": None, "peak_mb": None, "note": NOT_INSTALLED}
    seconds, megabytes = zip(*values, strict=True)
    return {"name": name, "median_s": statistics.median(seconds), "peak_mb": statistics.median(megabytes), "note": ""}


if __name__ == "__main__":
    cli.run(main, Config)
