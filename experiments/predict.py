"""Say what a trained network sees in pictures: class, probability, and the runner-up.

    python -m experiments.predict runs/mnist_rows/latest digit.png folder/ --plot

A folder stands for the pictures in it, and `-` for a picture on standard input. For a network of MNIST each picture is
prepared as MNIST's digits were: grey, light on dark, cut out, fitted into 20 x 20 pixels, centred by mass in 28 x 28;
`--as-is` leaves that out. For any other network it is resized to what that reads. A few seconds.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from rowlstm_jax import UserError, cli, naming_flags, open_run, plots
from rowlstm_jax.config import StartConfig, make_folder  # flags of a script that trains nothing
from rowlstm_jax.data import read_picture
from rowlstm_jax.interop import Seen, find_pictures, load_picture
from rowlstm_jax.runs import console

HEADER, PAGE = ("picture", "class", "probability", "runner-up", "probability"), 12  # pictures in a drawing


@dataclasses.dataclass(frozen=True)
class Config(StartConfig):
    """Say what a trained network sees in pictures."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""
    pictures: cli.Positional[tuple[str, ...]] = dataclasses.field(kw_only=True)
    """PNG, JPEG, BMP or TIFF files, folders of them, or - for standard input."""
    seed: int | None = None
    """The seed of the network; None takes the run's first."""
    as_is: bool = False
    """Do not prepare pictures as MNIST's were."""
    plot: bool = False
    """Draw each picture, what the network reads, and the probabilities after each step."""
    output: Path | None = None
    """Folder of these drawings; None takes `predictions` in the run's folder."""
    json: bool = False
    """Print JSON instead of a table."""
    trust_code: bool = False
    """Import a model of your own from where the run says that it was: this runs the code there."""


def main(config: Config) -> None:
    model = (run := open_run(config.run)).model(trust_code=config.trust_code)
    if not (model.pictures and (names := model.class_names)):
        raise UserError(f"{run.directory} was not trained to classify pictures; name a run that was.")
    like_mnist = run.data["name"] == "mnist" and not config.as_is
    with tempfile.NamedTemporaryFile(prefix="standard-input-") as given, naming_flags(config, always=True):
        if "-" in config.pictures:
            given.write(sys.stdin.buffer.read())
            given.flush()
        files = find_pictures(given.name if name == "-" else name for name in config.pictures)
        called = ["standard input" if str(file) == given.name else str(file) for file in files]
        shown = [read_picture(file, None) for file in files] if config.plot else []
        read = np.stack([load_picture(file, model.shape, like_mnist=like_mnist) for file in files])
        found = model.predict(read, config.seed)
    seen = [Seen.of(file, of, names) for file, of in zip(called, found, strict=True)]
    if config.json:
        print(json.dumps([each._asdict() for each in seen], indent=2))
    else:
        console.show_table("Predictions", HEADER, [each.row() for each in seen])
    if config.plot:
        folder = make_folder(config.output or run.directory / "predictions", "choose another one with --output")
        seed = model.seeds[0] if config.seed is None else config.seed
        about = plots.about_run(run.directory, *[f"network of seed {seed}"] * (len(model.seeds) > 1))
        over = model.over_time(read, config.seed) if model.has_over_time else found[:, None]
        for page, start in enumerate(range(0, len(files), PAGE), 1):
            part, path = slice(start, start + PAGE), folder / f"predictions_{page}.png"
            plots.prediction(path, shown[part], [*read[part]], [*over[part]], names, called[part], about)
            print(f"Picture: {path}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, Config)
