"""Look into a finished run that read rows: when its network knows the class, and what its gates do.

    python -m experiments.insight runs/mnist_rows/latest

It draws into the run's folder `plots/`, from validation images: the class probabilities after each row; the rows that
are needed until the final class stays above 99 %; the gates of an LSTM while it reads the first image; how far the
gradient reaches back. It says what the model does not offer. For several seeds, it draws the first.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax import UserError, cli, diagnostics, open_run, plots
from rowlstm_jax.config import DataConfig, StartConfig, require_writable  # flags of a script that trains nothing
from rowlstm_jax.data import Examples, load, split  # data without a run
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import scale


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Look into a finished run that read rows, by validation images."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""


def main(config: Config) -> None:
    run = open_run(config.run)
    order, dataset, held_out = (run.protocol["fields"].get(k) for k in ("order", "dataset", "validation_examples"))
    if order != "rows" or not (isinstance(dataset, str) and isinstance(held_out, int) and held_out > 0):
        raise UserError(f"{config.run} is no run that reads rows and holds out validation images; name one that does.")
    try:
        model = run.model()
    except UserError as error:
        raise UserError(f"{error} experiments.insight.draw then makes the pictures.") from error
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), run.params(model))
    folder = run.directory / "plots"
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    require_writable("The picture", folder / "gradients_over_rows.png")
    data = split(load(dataset, config.data_dir, config.local_files), held_out)
    draw(folder, model, params, data.validation, data.class_names)
    console.say(f"Pictures: {folder}")


def draw(folder: Path, model: nn.Module, params: Any, examples: Examples, names: tuple[str, ...]) -> None:
    """Draw into a folder what a model that reads rows offers, and print what it does not; params are of one seed."""
    images, labels, missing = examples.images, examples.labels.astype(int), diagnostics.missing_diagnostics(model)
    for sentence in missing.values():
        console.say(f"The {sentence}")
    if "probabilities" not in missing:
        read = jax.jit(lambda images: diagnostics.probabilities_over_time(model, params, scale(images)))
        probabilities = np.concatenate([read(images[n : n + 500]) for n in range(0, len(images), 500)])
        needed, rows = np.asarray(diagnostics.rows_needed(jnp.asarray(probabilities))), images.shape[1]
        of_first = images[:8], probabilities[:8], names, needed[:8]
        plots.probabilities_over_rows(folder / "probabilities_over_rows.png", *of_first)
        plots.rows_needed(folder / "rows_needed.png", needed, labels, names, rows)
        groups = {"all": needed} | {name: needed[labels == n] for n, name in enumerate(names) if (labels == n).any()}
        table = [(name, f"{np.median(of):g}", f"{np.mean(of > rows):.1%}") for name, of in groups.items()]
        console.show_table("Rows until above 99 %", ("class", "median", "never"), table)
    if "gates" not in missing:
        layers = diagnostics.gates_over_time(model, params, scale(jnp.asarray(images[:1])))
        for layer, gates in layers.items():
            picture = folder / ("gates_over_time.png" if len(layers) == 1 else f"gates_over_time_{layer}.png")
            plots.gates_over_time(picture, images[0], {k: np.asarray(v[:, 0], np.float32) for k, v in gates.items()})
    batch = scale(jnp.asarray(images[:500])), jnp.asarray(labels[:500])
    measured = jax.jit(lambda params: diagnostics.gradient_diagnostics(model, params, *batch))(params)
    plots.memory(folder / "gradients_over_rows.png", [{k: v for k, v in measured.items() if "/gradient_norm" in k}])


if __name__ == "__main__":
    cli.run(main, Config)
