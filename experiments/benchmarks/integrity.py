"""Time what a run spends on integrity: the digests of its data and checkpoints, made and held against each other.

    python -m experiments.benchmarks.integrity

The run is `experiments.mnist_rows` as it comes, in this process, then the same resumed once it has finished. Digests of
files are made in the background, while training goes on; their time counts in full.

Expected: 0.3 % of a run of 13 s, and 1.2 % of 3 s in which there is nothing to train, on two cores of an AMD EPYC with
AVX-512.
"""

import contextlib
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from experiments import mnist_rows
from experiments.benchmarks import machine
from experiments.benchmarks.flags import BenchmarkConfig
from rowlstm_jax import cli
from rowlstm_jax.data import cache
from rowlstm_jax.runs import checkpoint, console, manifest


@dataclasses.dataclass(frozen=True)
class Config(BenchmarkConfig):
    """Time the integrity checks of a run."""

    steps: int = 999
    """Of the run."""
    checkpoint_every: int = 333
    """Steps between two checkpoints."""


def main(config: Config) -> None:
    meanwhile, rows, spent = machine.Meanwhile(), [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        places = (manifest.Leaf, "of"), (manifest.Manifest, "write"), (checkpoint, "read"), (cache, "checked")
        for owner, name in places:
            patches.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), spent)))
        for name, resume in (("trained", False), ("resumed at its end", True)):
            spent.clear()
            fields = {"steps": config.steps, "eval_every": config.checkpoint_every, "devices": config.devices}
            fields |= {"checkpoint_every": config.checkpoint_every, "run_dir": Path(folder, "run"), "resume": resume}
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                mnist_rows.main(mnist_rows.Config(**fields, compilation_cache=None))
            rows.append({"name": name, "seconds": time.perf_counter() - began, "integrity": sum(spent)})
    cells = [(r["name"], f"{r['seconds']:.2f}", f"{r['integrity']:.4f}", share(r)) for r in rows]
    console.show_table("Seconds of experiments.mnist_rows", ("", "in all", "integrity", "share"), cells)
    machine.write(config, rows, meanwhile)


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """A function, the seconds of whose calls are noted down."""

    def timing(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args)
        finally:
            spent.append(time.perf_counter() - began)

    return timing


def share(row: dict[str, Any]) -> str:
    """The share of the time that integrity took."""
    return f"{row['integrity'] / row['seconds']:.2%}"


if __name__ == "__main__":
    cli.run(main, Config)
