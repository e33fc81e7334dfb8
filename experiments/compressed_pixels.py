"""Shorten black and white MNIST to the pixels that a network did not expect, and how much time passed.

    python -m experiments.compressed_pixels
    python -m experiments.own_data --data runs/compressed_pixels/unexpected.npz --validation-examples 5000 \
        --steps 2000 --learning-rate 0.002

An LSTM predicts each pixel from those before it. unexpected.npz holds the pixels that it did not expect, 37 of 784.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import optax

from rowlstm_jax import Dataset, SequenceClassifier, UserError, cells, cli, naming_flags, plots
from rowlstm_jax.config import DataConfig, StartConfig, make_folder  # flags of a script that makes data
from rowlstm_jax.data import load  # data without a run
from rowlstm_jax.models import history
from rowlstm_jax.runs import console, write_arrays, write_json
from rowlstm_jax.training import learn_to_predict, log_odds


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Shorten black and white digits to the pixels that a network did not expect."""

    steps: int = 1_500
    seed: int = 0
    folder: Path | None = None
    """Folder for data, picture and figures; None takes `runs/compressed_pixels`."""

    def __post_init__(self):
        super().__post_init__()
        if not (1 <= self.steps <= 10**6 and 0 <= self.seed < 2**31):
            raise UserError("--steps must be from 1 to 1,000,000, and --seed from 0 to 2**31 - 1.")


def black_and_white(digits: Dataset) -> tuple[np.ndarray, ...]:
    """Pixels float32 [N, 784, 1] and labels of both parts, without the training images that are test images too."""
    train, test = ((p.inputs > 127).reshape(-1, 784, 1).astype(np.float32) for p in (digits.train, digits.test))
    tested = {image.tobytes() for image in test}
    kept = np.array([image.tobytes() not in tested for image in train])
    return train[kept], digits.train.targets[kept], test, digits.test.targets


def main(config: Config) -> None:
    with naming_flags(config, always=True):
        x_train, y_train, x_test, y_test = black_and_white(load("mnist", config.data_dir, config.local_files))
    folder = make_folder(config.folder or Path("runs/compressed_pixels"), "choose another one with --folder")
    model, rate = SequenceClassifier(cells.BasicLSTMCell(32), 1), optax.cosine_decay_schedule(0.01, config.steps)
    optimizer, key = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)), jax.random.key(config.seed)
    params, losses = jax.jit(lambda x: learn_to_predict(model, optimizer, x, config.steps, 32, key))(x_train)

    @jax.jit
    def shorten(x):
        missed = history.unexpected(jax.nn.sigmoid(log_odds(model, params, x)), x, 0.49)
        return missed, *history.compress(x, missed)

    found, figures = {"y_train": y_train, "y_test": y_test}, {}
    for part, x in (("test", x_test), ("train", x_train)):
        blocks = [jax.device_get(shorten(x[n : n + 500])) for n in range(0, len(x), 500)]
        missed, colours, gaps, lengths = map(np.concatenate, zip(*blocks, strict=True))
        rows, columns = np.divmod(np.cumsum(gaps, axis=1) - 1, 28)  # the time of an image is its row and column
        events = np.stack([colours[..., 0], gaps / 28, rows / 28, columns / 28], axis=-1) * (gaps > 0)[..., None]
        found |= {f"x_{part}": events.astype(np.float32), f"lengths_{part}": lengths}
        figures[part] = {"images": len(x), "unexpected": round(float(lengths.mean()), 2), "most": int(lengths.max())}
        figures[part]["changes of colour"] = round(float((x[:, 1:] != x[:, :-1]).sum() / len(x)), 2)
        console.say(f"{part}: {figures[part]}")
    longest = max(figures["train"]["most"], figures["test"]["most"])
    found |= {name: found[name][:, :longest] for name in ("x_train", "x_test")}
    write_arrays(folder / "unexpected.npz", found)
    write_arrays(folder / "pixels.npz", {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test})
    write_json(folder / "pixels.json", figures | {"nats an image": round(float(losses[-100:].mean()), 2)})
    plots.passed_on(folder / "passed_on.png", x_train[:8].reshape(-1, 28, 28), missed[:8].reshape(-1, 28, 28))


if __name__ == "__main__":
    cli.run(main, Config)
