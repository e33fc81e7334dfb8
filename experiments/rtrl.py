"""A fully recurrent network learns to read MNIST row by row online, by real-time recurrent learning.

    python -m experiments.rtrl

After each row the network says which digit it reads, and the loss of that row changes the weights at once: it learns
while it reads. Beside it the same network learns from the same loss by backpropagation through time, with one update
after the last row. The recurrent weights start as the identity.

Expected after 10,000 sequences: 57.5 % online, 56.5 % by backpropagation (seeds 0-2, validation), in 100 s and 4 s a
seed on two busy cores of an AMD EPYC. Memory: 10 MB for any T; backpropagation needs 0.2 MB for T = 28, 14 for 1,792.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from rowlstm_jax import SequenceClassifier, UserError, cells, cli, naming_flags, open_dataset, plots
from rowlstm_jax.analysis import EVALUATIONS, learn_and_evaluate, planned_megabytes, rows_and_classes
from rowlstm_jax.config import DataConfig, StartConfig, flag, make_folder  # flags of a script that makes no run
from rowlstm_jax.data import split  # data without a run
from rowlstm_jax.runs import console, write_json
from rowlstm_jax.training import rtrl  # which no recipe can name

RTRL, BPTT = "real-time recurrent learning, online", "backpropagation through time"
WAYS: Any = {RTRL: (rtrl.learn_online, 3e-4), BPTT: (rtrl.learn_at_the_end, 3e-3)}  # Adam's step size by validation
LENGTHS = [7, 28, 112, 448, 1792, 7168]


@dataclasses.dataclass(frozen=True)
class Config(StartConfig, DataConfig):
    """Learn the rows of MNIST online, beside backpropagation through time."""

    seed: int = 0
    num_seeds: int = 1
    steps: int = 1_000
    batch_size: int = 10
    hidden: int = 32
    most_megabytes: int = 1_000  # that the sensitivities may take
    folder: Path = Path("runs/rtrl")

    def __post_init__(self):
        super().__post_init__()
        lowest = {"seed": 0, "num_seeds": 1, "steps": EVALUATIONS, "batch_size": 1, "hidden": 1, "most_megabytes": 1}
        for name, low in lowest.items():
            if not low <= getattr(self, name) <= 10**6:
                raise UserError(f"{flag(name)} is {getattr(self, name)}; it must be from {low} to 1,000,000.")


def main(config: Config) -> None:
    model = SequenceClassifier(cells.FullyRecurrentCell(config.hidden, kernel_init=cells.identity_recurrence), 10)
    forward = partial(rtrl.gradients, most_megabytes=config.most_megabytes)
    backward, batch = jax.grad(rtrl.loss_over_time, argnums=1), config.batch_size
    with naming_flags(config, always=True):
        data = split(open_dataset("mnist", config.data_dir, config.local_files), 5_000)
        memory = {RTRL: planned_megabytes(forward, model, batch, [28], 28) * len(LENGTHS)}  # it keeps no steps
    memory[BPTT] = planned_megabytes(backward, model, batch, LENGTHS, 28)
    folder, learned = make_folder(config.folder, "choose another one with --folder"), {}
    seeds = range(config.seed, config.seed + config.num_seeds)
    for name, (way, rate) in WAYS.items():
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
        learned[name] = of = learn_and_evaluate(way, model, optimizer, data, seeds, batch, config.steps)
        console.say(f"{name}: {np.mean(of.accuracies, axis=0)[-1]:.1%} of the validation images, {of.seconds:.0f} s")
    gap = float(rtrl.difference(model, learned[BPTT].params, *rows_and_classes(data.validation[:100])))
    console.say(f"On trained weights both gradients agree; they differ by {gap:.1e} of the largest value.")
    accuracies, read = {name: of.accuracies for name, of in learned.items()}, learned[BPTT].read
    figures = {"hidden": config.hidden, "batch_size": batch, "lengths": LENGTHS, "megabytes": memory, "difference": gap}
    figures |= {"accuracies": accuracies, "read": read, "seconds": {name: of.seconds for name, of in learned.items()}}
    write_json(folder / "rtrl.json", figures)
    about = f"experiments.rtrl · {plots.name_seeds(seeds)} · H = {config.hidden}, B = {batch}"
    plots.online(folder / "rtrl.png", read, accuracies, LENGTHS, memory, about)
    console.say(f"Picture and figures: {folder}")


if __name__ == "__main__":
    cli.run(main, Config)
