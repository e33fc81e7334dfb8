"""Look into a finished run that read rows: when its network knows the class, and what its gates do.

    python -m experiments.insight runs/mnist_rows/latest

It draws into the run's `plots/`, from validation images, the first seed: the class probabilities after each row, the
rows needed until the final class stays above 99 %, the gates of an LSTM, and how far the gradient reaches back.
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax import UserError, cli, diagnostics, naming_flags, open_dataset, open_run, plots
from rowlstm_jax.config import DataConfig, StartConfig, make_folder  # flags of a script that trains nothing
from rowlstm_jax.data import Examples, split  # data without a run
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import order_index, read, scale


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Look into a finished run that read rows, by validation images."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""
    data: str | None = None
    """The data of the run again, if they are your own: an .npz file, a folder of pictures, or tfds:<name>."""
    folder: Path | None = None
    """Folder to draw into; None takes `plots` in the run's folder."""


def main(config: Config) -> None:
    fields = (run := open_run(config.run)).protocol["fields"]
    dataset, held_out, seed = (fields.get(k) for k in ("dataset", "validation_examples", "validation_seed"))
    plain = (fields.get("order"), fields.get("scaling"), fields.get("noise_to")) == ("rows", "pixels / 255", None)
    if not (plain and isinstance(dataset, str) and isinstance(held_out, int) and held_out > 0):
        raise UserError(f"{config.run} is no run that reads rows and holds out validation images; name one that does.")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), run.params(model := run.module()))
    folder = make_folder(config.folder or run.directory / "plots", "choose another one with --folder")
    with naming_flags(config, always=True):
        data = split(open_dataset(config.data or dataset, config.data_dir, config.local_files), held_out, seed)
    if data.sha256 != run.data["sha256"]:
        raise UserError(f"{config.run} has read other data than {data.name} is now; name its own with --data.")
    draw(folder, model, params, data.validation, data.class_names, plots.about_run(run.directory, "first seed drawn"))
    console.say(f"Pictures: {folder}")


def draw(folder: Path, model: nn.Module, params: Any, examples: Examples, names: tuple[str, ...], about: str = ""):
    """Draw into a folder what a model that reads rows offers, and print what it does not; params are of one seed."""
    images, labels, missing = examples.inputs, examples.targets.astype(int), diagnostics.missing_diagnostics(model)
    index = order_index("rows", *images.shape[1:])
    for sentence in missing.values():
        console.say(f"The {sentence}")
    if "probabilities" not in missing:
        over_time = jax.jit(lambda x: diagnostics.probabilities_over_time(model, params, read(scale(x), index)))
        probabilities = np.concatenate([over_time(images[n : n + 500]) for n in range(0, len(images), 500)])
        needed, rows = np.asarray(diagnostics.rows_needed(jnp.asarray(probabilities))), images.shape[1]
        some = images[:8], probabilities[:8], names, needed[:8]
        plots.probabilities_over_rows(folder / "probabilities_over_rows.png", *some, about=about)
        plots.rows_needed(folder / "rows_needed.png", needed, labels, names, rows, about=about)
        groups = {"all": needed} | {name: needed[labels == n] for n, name in enumerate(names) if (labels == n).any()}
        table = [(name, f"{np.median(of):g}", f"{np.mean(of > rows):.1%}") for name, of in groups.items()]
        console.show_table("Rows until above 99 %", ("class", "median", "never"), table)
    if "gates" not in missing:
        layers = diagnostics.gates_over_time(model, params, read(scale(jnp.asarray(images[:1])), index))
        for layer, gates in layers.items():
            picture = folder / ("gates_over_time.png" if len(layers) == 1 else f"gates_over_time_{layer}.png")
            plots.gates_over_time(picture, images[0], {k: v[:, 0] for k, v in gates.items()}, layer, about)
    batch = read(scale(jnp.asarray(images[:500])), index), jnp.asarray(labels[:500])
    found = jax.jit(lambda params: diagnostics.gradient_diagnostics(model, params, *batch))(params)
    plots.memory(folder / "gradients_over_rows.png", [{k: v for k, v in found.items() if "/gradient_norm" in k}], about)


if __name__ == "__main__":
    cli.run(main, Config)
