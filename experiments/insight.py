"""Look into a finished run of mnist_rows: when its network knows the class, and what its gates do.

    python -m experiments.insight runs/mnist_rows/latest

Draws into the run's folder `plots/`, from validation images, for the test set stays sealed: the probabilities after
each row for some images, the gates while the first of them is read (of the LSTM), and how many rows all images need
until the final class stays above 99 %. Of several seeds, the first. Half a minute, no training.
"""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rowlstm_jax import cells, cli, console, insight, plots, protocols, results
from rowlstm_jax.checkpoint import Checkpoints
from rowlstm_jax.config import StartConfig, UserError
from rowlstm_jax.data import load, split
from rowlstm_jax.metrics import Metrics
from rowlstm_jax.model import SequenceClassifier
from rowlstm_jax.progress import Progress
from rowlstm_jax.recipe import Recipe
from rowlstm_jax.sequences import scale
from rowlstm_jax.step import init_state


@dataclasses.dataclass(frozen=True)
class Config(StartConfig):
    """Look into a finished run of mnist_rows, by validation images."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""


def restore(folder: Path, model: SequenceClassifier, num_seeds: int):
    """The parameters of the first seed after the last step."""
    recipe, here = Recipe(model, optax.adam(1.0)), jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    state = jax.eval_shape(lambda: init_state(recipe, jnp.zeros((1, 28, 28)), 0))
    one = Progress(state, jax.eval_shape(Metrics.zeros))
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype, sharding=here), one)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        if (step := checkpoints.latest_step) is None:
            raise UserError(f"{folder} has no checkpoint; name the folder of a finished run.")
        return jax.tree.map(lambda x: x[0], checkpoints.restore(step, like).state.params)


def main(config: Config) -> None:
    run = results.load(config.run)
    flags = json.loads((run.directory / "config.json").read_text())["config"]
    protocol = protocols.find(run.protocol["name"])
    if run.experiment != "mnist_rows" or protocol.order != "rows" or not protocol.validation_examples:
        raise UserError(f"{config.run} is no run of mnist_rows that reads rows and holds out validation images.")
    data_dir, local_files = (flags[name] and Path(flags[name]) for name in ("data_dir", "local_files"))
    data = split(load(protocol.dataset, data_dir, local_files), protocol.validation_examples)
    images, labels, names = data.validation.images, data.validation.labels.astype(int), data.class_names
    model = SequenceClassifier(cells.make(flags["cell"], flags["hidden"]), num_classes=10)
    params = restore(run.directory, model, len(run.seeds))
    read = jax.jit(lambda images: insight.probabilities_over_time(model, params, scale(images)))
    probabilities = np.concatenate([read(images[start : start + 500]) for start in range(0, len(images), 500)])
    needed = np.asarray(insight.rows_needed(jnp.asarray(probabilities)))
    picture = run.directory / "plots" / "probabilities_over_rows.png"
    plots.probabilities_over_rows(picture, images[:8], probabilities[:8], names, needed[:8])
    plots.rows_needed(picture.with_stem("rows_needed"), needed, labels, names, rows=28)
    if flags["cell"] == "lstm":
        (gates,) = insight.gates_over_time(model, params, scale(jnp.asarray(images[:1]))).values()
        gates = {name: np.asarray(values[:, 0]) for name, values in gates.items()}
        plots.gates_over_time(picture.with_stem("gates_over_time"), images[0], gates)
    groups = {"all": needed} | {name: needed[labels == index] for index, name in enumerate(names)}
    rows = [(name, f"{np.median(of):g}", f"{np.mean(of > 28):.1%}") for name, of in groups.items()]
    console.show_table("Rows until above 99 % (29: never)", ("class", "median", "never"), rows)
    print(f"Pictures: {picture.parent}")


if __name__ == "__main__":
    cli.run(main, Config)
