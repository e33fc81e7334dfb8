"""Every recurrent cell on every reading order, over seeds: one table, one picture.

    python -m experiments.cells_by_order
    python -m experiments.cells_by_order --cells lstm gru --orders rows columns snake --num-seeds 5

Each pair is a run of its own in `<run-dir>/<cell>-<order>/`, all with the same short training: Adam at one step size
and a clipped gradient. That favours the cells that like this step size; it is a first look, not a verdict. With
`--resume --run-dir` the pairs that are finished stay as they are and the others go on.
"""

import dataclasses
import json

import optax

from rowlstm_jax import cells, cli, plots, report, sequences
from rowlstm_jax.config import RunConfig
from rowlstm_jax.costs import forward_flops
from rowlstm_jax.files import write_json
from rowlstm_jax.model import SequenceClassifier
from rowlstm_jax.protocols import Protocol
from rowlstm_jax.recipe import Recipe
from rowlstm_jax.run import Run, choose_directory
from rowlstm_jax.train import fit


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Train a grid of cells and reading orders on MNIST, over seeds."""

    cells: tuple[str, ...] = tuple(cells.CELLS)
    """Keys of `rowlstm_jax.cells.CELLS`."""
    orders: tuple[str, ...] = ("rows", "columns", "patches")
    """Keys of `rowlstm_jax.sequences.ORDERS`."""
    num_seeds: int = 4
    learning_rate: float = 3e-3
    eval_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 50

    def __post_init__(self):
        super().__post_init__()
        sequences.require_orders(self.orders)
        for name in self.cells:
            cells.make(name, self.hidden)  # refuses a name that is none


def train(config: RunConfig, cell: str, order: str) -> dict:
    model = SequenceClassifier(cells.make(cell, config.hidden), num_classes=10, recurrence=config.recurrence)
    recipe = Recipe(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate)))
    with Run("cells_by_order", config, Protocol(f"mnist_{order}", "mnist", 5_000, order), recipe) as run:
        if not (run.directory / "summary.json").exists():
            data = report.load_data(run)
            report.finish(run, fit(run, data), data)
        summary = json.loads((run.directory / "summary.json").read_text())
    accuracy = summary["test_accuracy"]
    accuracies = accuracy["values"] if config.num_seeds > 1 else [accuracy]
    steps, features = sequences.order_index(order, 28, 28).shape
    costs = {"num_params": summary["num_params"], "flops": forward_flops(model.cell, 10, steps, features)}
    return {"cell": cell, "order": order, "accuracies": accuracies, **costs, "timing": summary["timing"]}


def main(config: Config) -> None:
    folder = choose_directory("cells_by_order", config)
    flags = {field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)}
    rows = []
    for cell in config.cells:
        for order in config.orders:
            there = folder / f"{cell}-{order}"
            again = config.resume and (there / "config.json").exists()
            rows.append(train(RunConfig(**flags | {"run_dir": there, "resume": again}), cell, order))
            write_json(folder / "table.json", {"rows": rows, "steps": config.steps, "seeds": list(config.seeds)})
    report.show_grid(rows)
    plots.grid(folder / "grid.png", rows, f"{config.steps:,} steps of {config.batch_size}, H = {config.hidden}")
    print(f"Table and picture: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
