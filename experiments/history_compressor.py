"""History compression and a lag of 20 steps: a chunker teaches an automatiser, a conventional network learns beside it.

    python -m experiments.history_compressor

Published: 13 of 17 runs in 5,000 sequences, a conventional network not in 1,000,000. Expected: 17 of 17 seeds in 1,470
to 3,027 (100 targets in a row within 0.2), the conventional network never; 45 s on two cores of an AMD EPYC.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rowlstm_jax import UserError, cells, cli, naming_flags, plots
from rowlstm_jax.config import StartConfig, flag, make_folder  # flags of a script that reads no data
from rowlstm_jax.runs import console, write_json
from rowlstm_jax.tasks import lag_stream, solved_after
from rowlstm_jax.training import ChunkingSystem, init_chunking, learn_stream, predict_stream


@dataclasses.dataclass(frozen=True)
class Config(StartConfig):
    """Learn a task with a long lag by history compression."""

    cell: str = "elman"
    """The cell of all networks, with 16 units, in the chunker 8: a key of `rowlstm_jax.cells.CELLS`."""
    times: bool = False
    """The chunker also reads how much time passed since its last input. The published experiment did without."""
    sequences: int = 5_000
    learning_rates: tuple[float, ...] = (0.02, 0.005, 0.05)
    """Step sizes of plain gradient descent: the first for the chunking system, all for the conventional network."""
    seed: int = 0
    num_seeds: int = 17
    folder: Path | None = None
    """Folder for picture and figures; None takes `runs/history_compressor`."""

    def __post_init__(self):
        super().__post_init__()
        for name, least, most in (("seed", 0, 2**31 - 1), ("num_seeds", 1, 1_000), ("sequences", 100, 10**6)):
            if not least <= getattr(self, name) <= most:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be from {least:,} to {most:,}.")
        if not all(1e-9 < rate < 100 for rate in self.learning_rates or (0.0,)):
            raise UserError("--learning-rates must be one or more numbers above 1e-9 and below 100.")


def train(system: ChunkingSystem, sequences: int, seed: jax.Array) -> dict[str, jax.Array]:
    """One seed: the error of each sequence's target and its unexpected inputs, [N]; then A alone, without learning."""

    def read(learning, is_a):
        learning, noticed = learn_stream(system, learning, *lag_stream(is_a))
        return learning, {"error": abs(noticed.predicted[0, -1] - is_a[0]), "passed_on": noticed.unexpected.sum()}

    is_a = jax.random.bernoulli(jax.random.fold_in(key := jax.random.key(seed), 1), shape=(sequences + 1001,))
    before, now = is_a[:sequences], is_a[1 : sequences + 1]  # a target is that of the sequence before
    learning, found = jax.lax.scan(read, init_chunking(system, key), jnp.stack([before, now], axis=1))
    answers = predict_stream(system, learning, lag_stream(is_a[sequences:])[0])[21::21, -1] > 0.5
    return found | {"accuracy": (answers == is_a[sequences + 1 : -1]).mean()}


def main(config: Config) -> None:
    with naming_flags(config, always=True):
        cell, chunker = cells.make(config.cell, 16), cells.make(config.cell, 8)
    folder = make_folder(config.folder or Path("runs/history_compressor"), "choose another one with --folder")
    found, figures, rates, seeds = {}, {}, config.learning_rates, config.seed + np.arange(config.num_seeds)
    systems = {"chunking system": ChunkingSystem(cell, chunker, 23, optax.sgd(rates[0]), times=config.times)}
    systems |= {f"conventional, rate {rate:g}": ChunkingSystem(cell, None, 23, optax.sgd(rate), 21) for rate in rates}
    for name, of in systems.items():
        found[name] = jax.device_get(jax.jit(jax.vmap(lambda seed, of=of: train(of, config.sequences, seed)))(seeds))
        found[name]["needed"] = needed = solved_after(found[name]["error"] < 0.2)
        console.say(f"{name}: solved by {(needed > 0).sum()} of {len(needed)} seeds, after {needed} sequences")
        figures[name] = {"needed": needed.tolist(), "accuracy": found[name]["accuracy"].astype(float).round(4).tolist()}
    write_json(folder / "lag.json", {"sequences": config.sequences, "times": config.times, "systems": figures})
    plots.chunking(folder / "lag.png", found)


if __name__ == "__main__":
    cli.run(main, Config)
