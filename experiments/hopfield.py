"""Hopfield networks: complete digits whose lower half is hidden, and measure how many patterns a network stores.

    python -m experiments.hopfield

Each network sees the upper half of a training image of MNIST that it has stored; 99 % of the pixels must become right.
Expected of 5,000 images: the modern network with β = 1 recalls all, the classical ones none. A minute on two cores.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from rowlstm_jax import UserError, cli, naming_flags, plots
from rowlstm_jax.config import DataConfig, StartConfig, make_folder  # flags of a script that trains nothing
from rowlstm_jax.data import load  # data without a run
from rowlstm_jax.models import hopfield
from rowlstm_jax.runs import console, write_json

HEBBIAN, PSEUDO_INVERSE = (jax.jit(jax.vmap(rule)) for rule in (hopfield.hebbian, hopfield.pseudo_inverse))
RECALL, MODERN = (jax.jit(jax.vmap(of, (0, 0, None))) for of in (hopfield.recall, hopfield.modern_update))


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Complete digits whose lower half is hidden, and measure how many patterns a Hopfield network stores."""

    stored: tuple[int, ...] = (2, 3, 5, 10, 30, 100, 150, 200, 500, 5000)
    """Numbers of stored digits, growing; one picture shows the first, the middle one and the last."""
    units: tuple[int, ...] = (250, 500, 1000)
    """Sizes of the networks that store random patterns."""
    seed: int = 0
    """Seed of the choice of digits, the random patterns and the order of updates."""
    folder: Path | None = None
    """Folder for pictures and figures; None takes `runs/hopfield`."""

    def __post_init__(self):
        super().__post_init__()
        growing = bool(self.stored) and list(self.stored) == sorted({*self.stored} & {*range(1, 60_001)})
        if not (growing and self.units and all(100 <= of <= 10_000 for of in self.units) and 0 <= self.seed < 2**32):
            raise UserError("--stored must be growing, from 1 to 60,000; --units 100 to 10,000; --seed 0 to 2**32 - 1.")


def complete(images: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
    """Digits of which `count` are stored, what is shown, and what each network makes of it: [sets, n, 784] by name."""
    chosen = np.random.default_rng(seed).permutation(len(images))[: (200 // count + 1) * count]
    sets = np.where(images[chosen].reshape(-1, count, 784) > 127, np.float32(1), np.float32(-1))
    shown, inverse = sets[:, :200] * (np.arange(784) < 392), PSEUDO_INVERSE(sets)
    return {
        "stored": sets[:, :200],
        "shown": shown,
        "Hebb's rule": RECALL(HEBBIAN(sets), shown, jax.random.key(seed)),
        "pseudo-inverse": RECALL(inverse, shown, jax.random.key(seed)),
        "the same, synchronous": RECALL(inverse, shown, None),
        "modern, β = 1/28": MODERN(sets, shown, 1 / 28),  # attention's own beta, H ** -0.5
        "modern, β = 1": MODERN(sets, shown, 1.0),
    }


def main(config: Config) -> None:
    with naming_flags(config, always=True):
        images = load("mnist", config.data_dir, config.local_files).train.inputs
    folder = make_folder(config.folder or Path("runs/hopfield"), "choose another one with --folder")
    counts, loads, about = config.stored, hopfield.LOADS, f"experiments.hopfield · seed {config.seed}"
    found = [complete(images, count, config.seed) for count in counts]
    right = {name: [(np.sign(of[name]) == of["stored"]).mean(axis=-1) for of in found] for name in [*found[0]][2:]}
    recalled = {name: [round(float(np.mean(of >= 0.99)), 4) for of in shares] for name, shares in right.items()}
    console.show_table("Share recalled", ("stored", *recalled), zip(counts, *recalled.values(), strict=True))
    few = {f"{counts[n]:,} stored": found[n] for n in (0, len(counts) // 2, -1)}
    plots.completions(folder / "completions.png", few, (28, 28), about=f"{about} · training images of MNIST")
    plots.recalled(folder / "recalled.png", counts, recalled, f"{about} · training images of MNIST")
    kept = {f"H = {units:,}": hopfield.shares_kept(jax.random.key(config.seed), units) for units in config.units}
    plots.capacity(folder / "capacity.png", loads, kept, about=f"{about} · random patterns, Hebb's rule")
    write_json(folder / "figures.json", {"stored": counts, "recalled": recalled, "loads": loads, "kept": kept})
    console.say(f"Pictures and figures: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
