"""Every recurrent cell on every reading order, over seeds: one table, one picture.

    python -m experiments.cells_by_order
    python -m experiments.cells_by_order --cells lstm gru --orders rows columns snake --num-seeds 5

Each pair is a run in `<run-dir>/<cell>-<order>/`. All have the same short training: Adam at one step size, with a
clipped gradient. It is a first look only, because some cells need another step size. With `--resume --run-dir`,
finished pairs stay as they are and the others continue.

Expected, on rows: 97 to 98 % with the gated cells and LEM, 92.9 % with Elman's, 83 % with coRNN, 71 % with Jordan's and
69 % with an echo state network (seeds 0-3); 21 minutes for all on two cores of an AMD EPYC with AVX-512.
"""

import dataclasses

import optax

from rowlstm_jax import (
    Protocol,
    Recipe,
    Run,
    RunConfig,
    SequenceClassifier,
    UserError,
    cells,
    cli,
    layers,
    naming_flags,
    plots,
)
from rowlstm_jax.analysis import show_grid, train_grid  # a grid of runs; no script but this one needs it
from rowlstm_jax.tasks import require_orders


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Train a grid of cells and reading orders on MNIST, over seeds."""

    cells: tuple[str, ...] = tuple(cells.CELLS)
    """Keys of `rowlstm_jax.cells.CELLS`."""
    orders: tuple[str, ...] = ("rows", "columns", "patches")
    """Keys of `rowlstm_jax.ORDERS`."""
    num_seeds: int = 4
    learning_rate: float = 3e-3
    eval_every: int = 1000
    checkpoint_every: int = 1000
    log_every: int = 50

    def __post_init__(self):
        super().__post_init__()
        with naming_flags(self):
            require_orders(self.orders)
            for name in self.cells:
                layers.make(name, self.hidden, self.recurrence)
        if not self.cells:
            raise UserError("--cells names no cell; name one or more.")
        if len(set(self.cells)) < len(self.cells) or len(set(self.orders)) < len(self.orders):
            raise UserError("--cells or --orders names something twice; name each once.")
        if self.distributed:
            raise UserError("A grid trains in one process; leave --distributed out.")


def make_run(config: RunConfig, cell: str, order: str) -> Run:
    model = SequenceClassifier(layers.make(cell, config.hidden), num_classes=10, recurrence=config.recurrence)
    recipe = Recipe(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate)))
    return Run("cells_by_order", config, Protocol(f"mnist_{order}", "mnist", 5_000, order), recipe)


def main(config: Config) -> None:
    folder, rows = train_grid("cells_by_order", config, config.cells, config.orders, make_run)
    show_grid(rows)
    about = f"cells_by_order · {plots.name_seeds(config.seeds)} · each cell with {config.hidden} units"
    plots.grid(folder / "grid.png", rows, f"{config.steps:,} steps of {config.batch_size}, H = {config.hidden}", about)
    print(f"Table and picture: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
