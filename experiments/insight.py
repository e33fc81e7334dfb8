"""Look into a finished run: when its network knows the class, and what its gates do.

    python -m experiments.insight runs/mnist_rows/latest

It draws into the run's `plots/`, from validation images, the first seed: the class probabilities after each row, the
rows needed until the final class stays above 99 %, the gates of an LSTM, and how far the gradient reaches back. If a
run has LRU or S5 layers, it also draws their eigenvalues before and after training, whatever the run reads.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from rowlstm_jax import UserError, cli, naming_flags, open_dataset, open_run, plots
from rowlstm_jax.analysis import draw_insight, eigenvalues_in_training  # what only this script needs
from rowlstm_jax.config import DataConfig, StartConfig, make_folder  # flags of a script that trains nothing
from rowlstm_jax.data import split  # data without a run
from rowlstm_jax.runs import console


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Look into a finished run, by validation images and by its eigenvalues."""

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
    reads_rows = plain and isinstance(dataset, str) and isinstance(held_out, int) and held_out > 0
    params, about = run.params(model := run.module()), plots.about_run(run.directory, "first seed drawn")
    before, after = eigenvalues_in_training(run, model)
    if not (after or reads_rows):
        raise UserError(
            f"{config.run} is no run that reads rows and holds out validation images, and it has no LRU or S5 layers; "
            "name one that does or has."
        )
    folder = make_folder(config.folder or run.directory / "plots", "choose another one with --folder")
    if after:
        plots.eigenvalues(folder / "eigenvalues.png", before, after, about)
    if reads_rows:
        with naming_flags(config, always=True):
            data = split(open_dataset(config.data or dataset, config.data_dir, config.local_files), held_out, seed)
        if data.sha256 != run.data["sha256"]:
            raise UserError(f"{config.run} has read other data than {data.name} is now; name its own with --data.")
        of_one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), params)
        draw_insight(folder, model, of_one, data.validation, data.class_names, about)
    console.say(f"Pictures: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
