"""Look into a finished run that read rows: when its network knows the class, and what its gates do.

    python -m experiments.insight runs/mnist_rows/latest

Draws into the run's folder `plots/`, from validation images, for the test set stays sealed: the probabilities after
each row for some images, the gates while the first of them is read (of the LSTM), and how many rows all images need
until the final class stays above 99 %. Of several seeds, the first. Half a minute, no training.
"""

import contextlib
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax import cli
from rowlstm_jax.analysis import plots, results
from rowlstm_jax.config import DataConfig, StartConfig, require_writable
from rowlstm_jax.data import IMAGE_SHAPE, load, split
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import cells
from rowlstm_jax.models import diagnostics as insight
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import scale


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Look into a finished run that read rows, by validation images."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""


def main(config: Config) -> None:
    run = results.open_run(config.run)
    order, dataset, held_out = (run.protocol["fields"].get(k) for k in ("order", "dataset", "validation_examples"))
    if order != "rows" or not (isinstance(dataset, str) and isinstance(held_out, int) and held_out > 0):
        raise UserError(f"{config.run} is no run that reads rows and holds out validation images; name one that does.")
    model = results.load_model(run)
    weights = results.load_weights(run, model, *IMAGE_SHAPE)
    picture = run.directory / "plots" / "probabilities_over_rows.png"
    with contextlib.suppress(OSError):
        picture.parent.mkdir(exist_ok=True)
    require_writable("The picture", picture)
    data = split(load(dataset, config.data_dir, config.local_files), held_out)
    images, labels, names = data.validation.images, data.validation.labels.astype(int), data.class_names
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), weights)
    read = jax.jit(lambda images: insight.probabilities_over_time(model, params, scale(images)))
    probabilities = np.concatenate([read(images[start : start + 500]) for start in range(0, len(images), 500)])
    needed = np.asarray(insight.rows_needed(jnp.asarray(probabilities)))
    plots.probabilities_over_rows(picture, images[:8], probabilities[:8], names, needed[:8])
    plots.rows_needed(picture.with_stem("rows_needed"), needed, labels, names, rows=28)
    if isinstance(model.cell, cells.BasicLSTMCell):
        (gates,) = insight.gates_over_time(model, params, scale(jnp.asarray(images[:1]))).values()
        gates = {name: np.asarray(values[:, 0]) for name, values in gates.items()}
        plots.gates_over_time(picture.with_stem("gates_over_time"), images[0], gates)
    groups = {"all": needed} | {name: needed[labels == index] for index, name in enumerate(names)}
    rows = [(name, f"{np.median(of):g}", f"{np.mean(of > 28):.1%}") for name, of in groups.items()]
    console.show_table("Rows until above 99 %", ("class", "median", "never"), rows)
    print(f"Pictures: {picture.parent}")


if __name__ == "__main__":
    cli.run(main, Config)
