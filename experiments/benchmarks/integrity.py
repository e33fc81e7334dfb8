"""Time what a run spends on integrity: making and comparing the digests of its data and checkpoints.

    python -m experiments.benchmarks.integrity

The run is `experiments.mnist_rows` with its defaults, in this process. Then it is resumed after it has finished. The
digests of files are made in the background while training goes on, and all of that time counts. To time the functions
that make digests, this file replaces them behind the doors of `data` and `runs`.
"""

import contextlib
import dataclasses
import importlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from experiments import mnist_rows
from experiments.benchmarks.harness import BenchmarkConfig, Measurement
from rowlstm_jax import cli
from rowlstm_jax.runs import checkpoint, console, manifest

load = importlib.import_module("rowlstm_jax.data.load")  # the module; the door gives its function of the same name
PLACES = (manifest.Leaf, "of"), (manifest.Manifest, "write"), (checkpoint, "read"), (load, "checked")


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time the integrity checks of a run."""

    steps: int = 999
    """Training steps of the run."""
    checkpoint_every: int = 333
    """Steps between two checkpoints."""


def main(config: Config) -> None:
    measurement, rows, spent = Measurement(config), [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        for owner, name in PLACES:
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), spent)))
        for name, resume in (("trained", False), ("resumed at its end", True)):
            spent.clear()
            fields = {"steps": config.steps, "eval_every": config.checkpoint_every, "devices": config.devices}
            fields |= {"checkpoint_every": config.checkpoint_every, "run_dir": Path(folder, "run"), "resume": resume}
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                mnist_rows.main(mnist_rows.Config(**fields, compilation_cache=None))
            rows.append({"name": name, "seconds": time.perf_counter() - began, "integrity": sum(spent)})
    share = [f"{row['integrity'] / row['seconds']:.2%}" for row in rows]
    cells = [(r["name"], f"{r['seconds']:.2f}", f"{r['integrity']:.4f}", s) for r, s in zip(rows, share, strict=True)]
    console.show_table("Seconds of experiments.mnist_rows", ("", "in all", "integrity", "share"), cells)
    measurement.write(rows)


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The function, with the seconds of each call appended to a list."""

    def timing(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args)
        finally:
            spent.append(time.perf_counter() - began)

    return timing


if __name__ == "__main__":
    cli.run(main, Config)
