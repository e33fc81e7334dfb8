"""Every cell and layer on several tasks, each at its best step size, over seeds: one table, one picture.

    python -m experiments.cells_by_order
    python -m experiments.cells_by_order --cells lstm gru lru --tasks rows snake kmnist_rows --num-seeds 5

All have the same short training: Adam with a clipped gradient, and one step size for all parameters, though layers are
often trained with smaller steps of their eigenvalues. Each pair is trained with each step size, in a folder
`<run-dir>/<cell>-<task>-<step size>/`. The best on validation images is chosen, and only that run opens its test set.
With `--resume --run-dir`, finished runs stay as they are and the others continue. With one step size the folders are
`<cell>-<task>/`.

Expected, on rows: 95.6 to 96.9 % with the gated cells and LEM, 94.7 % with LRU, 95.8 % with S5, 88.3 % with Elman's
(seeds 0-2); 45 minutes for all on two busy cores of an AMD EPYC with AVX-512.
"""

import dataclasses

import optax

from rowlstm_jax import Recipe, Run, RunConfig, SequenceClassifier, UserError, cli, layers, naming_flags, plots
from rowlstm_jax.analysis import find_task, show_grid, train_grid  # a grid of runs; no script but this one needs it


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Train a grid of networks and tasks, over seeds."""

    cells: tuple[str, ...] = layers.names()
    """Keys of `rowlstm_jax.cells.CELLS` and `rowlstm_jax.layers.LAYERS`."""
    tasks: tuple[str, ...] = ("rows", "patches", "fashion_rows")
    """Reading orders of MNIST, keys of `rowlstm_jax.ORDERS`; or protocols, keys of `rowlstm_jax.PROTOCOLS`."""
    step_sizes: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Of the optimiser; the one with the highest mean validation accuracy is tested."""
    learning_rate: float = dataclasses.field(default=1e-3, init=False)  # no flag: each run has one of --step-sizes
    num_seeds: int = 3
    steps: int = 600
    hidden: int = 64
    eval_every: int = 600
    checkpoint_every: int = 600
    log_every: int = 50

    def __post_init__(self):
        super().__post_init__()
        for name, values in (("cells", self.cells), ("tasks", self.tasks), ("step-sizes", self.step_sizes)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"--{name} must name one or more, each once.")
        if unknown := [name for name in self.cells if name not in layers.names()]:
            raise UserError(f"--cells names {unknown[0]!r}; choose from {', '.join(layers.names())}.")
        with naming_flags(self):
            held_out = [find_task(name).validation_examples for name in self.tasks]
            for name in self.cells:
                layers.make(name, self.hidden, self.recurrence)
        if len(self.step_sizes) > 1 and not all(held_out):
            raise UserError("--tasks names one that holds out no validation images; give one value of --step-sizes.")
        if not all(2.0**-126 <= size < 2.0**128 for size in self.step_sizes):
            raise UserError(f"--step-sizes is {self.step_sizes}; each must be a number from 1.2e-38 to 3.4e38.")
        if self.distributed:
            raise UserError("A grid trains in one process; leave --distributed out.")


def make_run(config: RunConfig, cell: str, task: str) -> Run:
    protocol = find_task(task)
    model = SequenceClassifier(layers.make(cell, config.hidden), protocol.num_outputs, recurrence=config.recurrence)
    recipe = Recipe(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate)))
    return Run("cells_by_order", config, protocol, recipe)


def main(config: Config) -> None:
    folder, rows = train_grid("cells_by_order", config, config.cells, config.tasks, config.step_sizes, make_run)
    show_grid(rows)
    about = f"cells_by_order · {plots.name_seeds(config.seeds)} · each network with {config.hidden} units"
    plots.grid(folder / "grid.png", rows, f"{config.steps:,} steps of {config.batch_size}, H = {config.hidden}", about)
    print(f"Table and picture: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
