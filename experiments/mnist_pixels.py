"""MNIST read pixel by pixel (sequential MNIST) by an LSTM of 128 units: 784 steps of one pixel.

    python -m experiments.mnist_pixels
    python -m experiments.mnist_pixels --protocol mnist_permuted_bit_reversal

Biases of forget and input gates start so that the units remember over 1 to 784 steps; AdamW under a warm-up and a
cosine, a clipped gradient, averaged weights. By default as far as two cores come in 20 minutes, which is far from the
end: the full protocol takes `--steps 110000` (200 epochs), and a GPU. The test set is opened once.

Expected: 89.29 % on the 10,000 test images with seed 0 (10 epochs), in 20 minutes on two cores of an AMD EPYC with
AVX-512; the full protocol has not been run.
"""

import dataclasses

from rowlstm_jax import cli
from rowlstm_jax.analysis import report
from rowlstm_jax.config import RunConfig
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell, chrono_bias
from rowlstm_jax.runs import Run, fit
from rowlstm_jax.tasks import protocol as protocols
from rowlstm_jax.training import Recipe, adamw_cosine


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Classify MNIST digits read pixel by pixel with an LSTM."""

    protocol: str = "mnist_pixels"
    """What is read, in which order: a key of `rowlstm_jax.tasks.protocol.PROTOCOLS`."""
    steps: int = 5_500
    learning_rate: float = 3e-3
    """The highest step size: reached after the warm-up, it falls to zero."""
    warmup: int = 300
    """Steps of the warm-up."""
    log_every: int = 50
    eval_every: int = 550
    checkpoint_every: int = 550


def main(config: Config) -> None:
    cell = BasicLSTMCell(config.hidden, forget_bias=0.0, bias_init=chrono_bias(784))
    model = SequenceClassifier(cell, num_classes=10, recurrence=config.recurrence)
    optimizer = adamw_cosine(config.learning_rate, config.steps, warmup=config.warmup, weight_decay=1e-2)
    with Run("mnist_pixels", config, protocols.find_protocol(config.protocol), Recipe(model, optimizer)) as run:
        data = report.load_data(run)
        fitted = fit(run, data)
        published = {"mnist_pixels": "98.8 % of an LSTM of 256 units, as cited in arXiv:2110.04744"}
        report.finish(run, fitted, data, reference=published.get(config.protocol, ""))


if __name__ == "__main__":
    cli.run(main, Config)
