"""Draw on a page of this machine, and see the probabilities of a trained network row by row. Ctrl-C ends it.

python -m experiments.serve runs/mnist_rows/latest
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import UserError, cli, naming_flags, open_run
from rowlstm_jax.config import StartConfig  # flags of a script that trains nothing
from rowlstm_jax.interop import DrawingServer


@dataclasses.dataclass(frozen=True)
class Config(StartConfig):
    """Draw on a page of this machine, and see what a trained network thinks row by row."""

    run: cli.Positional[Path] = dataclasses.field(kw_only=True)
    """The run's folder, or a link to it."""
    port: int = 8765
    """Port of the page; 0 takes a free one."""
    seed: int | None = None
    """The seed of the network; None takes the run's first."""
    as_is: bool = False
    """Do not prepare drawings as MNIST's digits were."""
    trust_code: bool = False
    """Import a model of your own from where the run says that it was: this runs the code there."""


def main(config: Config) -> None:
    model = (run := open_run(config.run)).model(trust_code=config.trust_code)
    if not (model.pictures and model.class_names):
        raise UserError(f"{run.directory} was not trained to classify pictures; name a run that was.")
    like_mnist = run.data["name"] == "mnist" and not config.as_is
    with naming_flags(config), DrawingServer(model, config.seed, config.port, like_mnist=like_mnist) as server:
        print(f"Draw at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    cli.run(main, Config)
