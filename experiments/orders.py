"""Draw what reading orders do to an image: where each reads at which time, and the sequence that comes out.

    python -m experiments.orders
    python -m experiments.orders --orders rows snake hilbert --image 7

A few seconds, no training.
"""

import dataclasses
from pathlib import Path

from rowlstm_jax import cli
from rowlstm_jax.analysis import plots
from rowlstm_jax.config import DataConfig, absolute, require_writable
from rowlstm_jax.data import load
from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks import orders as sequences


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """Draw what reading orders do to an image."""

    orders: tuple[str, ...] = tuple(sequences.ORDERS)
    """Keys of `rowlstm_jax.tasks.orders.ORDERS`."""
    dataset: str = "mnist"
    """A key of `rowlstm_jax.data.DATASETS`."""
    image: int = 7
    """Which training image, from 0."""
    output: Path = Path("orders.png")
    """PNG to draw."""

    def __post_init__(self):
        super().__post_init__()
        sequences.require_orders(self.orders)
        require_writable("--output", self.output, ".png")


def main(config: Config) -> None:
    images = load(config.dataset, config.data_dir, config.local_files).train.images
    if not 0 <= config.image < len(images):
        raise UserError(f"--image is {config.image}; the training images are 0 to {len(images) - 1}.")
    image = images[config.image]
    indices = {name: sequences.order_index(name, *image.shape) for name in config.orders}
    plots.orders(absolute(config.output), image, indices)
    print(f"Picture: {config.output}")


if __name__ == "__main__":
    cli.run(main, Config)
