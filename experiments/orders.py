"""Draw what reading orders do to an image: when each pixel is read, and the sequence that results.

    python -m experiments.orders
    python -m experiments.orders --orders rows snake hilbert --image 7

It draws into `runs/orders/` unless `--output` names a PNG. A few seconds, no training. There is no run here, so data
and orders come from the floors `data` and `tasks`.
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import ORDERS, UserError, cli, naming_flags, plots
from rowlstm_jax.config import (
    DataConfig,
    absolute,
    make_folder,
    require_writable,
)  # flags of a script that trains nothing
from rowlstm_jax.data import load  # data without a run
from rowlstm_jax.tasks import order_index, require_orders


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Draw what reading orders do to an image."""

    orders: tuple[str, ...] = tuple(ORDERS)
    """Keys of `rowlstm_jax.ORDERS`."""
    dataset: str = "mnist"
    """A key of `rowlstm_jax.data.DATASETS`."""
    image: int = 7
    """Index of a training image."""
    output: Path | None = None
    """PNG to draw; None takes `<dataset>-<image>.png` in `runs/orders`."""

    def __post_init__(self):
        super().__post_init__()
        with naming_flags(self):
            require_orders(self.orders)
        if self.output is not None:
            require_writable("--output", self.output, ".png")


def main(config: Config) -> None:
    with naming_flags(config, always=True):
        images = load(config.dataset, config.data_dir, config.local_files).train.inputs
    if not 0 <= config.image < len(images):
        raise UserError(f"--image is {config.image}; the training images are 0 to {len(images) - 1}.")
    image = images[config.image]
    if config.output is None:
        folder = make_folder(Path("runs/orders"), "name a PNG with --output")
        picture = folder / f"{config.dataset}-{config.image}.png"
    else:
        picture = absolute(config.output)
    indices = {name: order_index(name, *image.shape) for name in config.orders}
    plots.orders(picture, image, indices, f"experiments.orders · {config.dataset}, training image {config.image}")
    print(f"Picture: {picture}")


if __name__ == "__main__":
    cli.run(main, Config)
