"""The training of some seeds, without its logs and files."""

import numpy as np
import optax

from experiments.benchmarks import timing
from experiments.benchmarks.problem import NUM_CLASSES, make_problem
from rowlstm_jax.data import Examples, batch_indices
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.parallel import CompiledSteps, Seeds, make_mesh
from rowlstm_jax.tasks import Preprocessing
from rowlstm_jax.training import Recipe

STEPS_PER_DISPATCH = 10  # as a run that logs every ten


class Runs:
    """S runs of the notebook's classifier with Adam, as one program."""

    def __init__(self, seeds: range, examples: Examples, batch_size: int, hidden: int, devices: int | None):
        layout = Seeds(len(seeds), make_mesh(batch_size, devices, len(seeds)))
        recipe = Recipe(SequenceClassifier(BasicLSTMCell(hidden), NUM_CLASSES), optax.adam(1e-3))
        reading = Preprocessing(order=lambda images: images)
        programs = CompiledSteps(recipe, reading, examples, batch_size, STEPS_PER_DISPATCH, layout)
        self._programs = programs.compile()
        self._progress = self._programs.begin(np.array(seeds, np.uint32))
        batches = batch_indices(0, len(examples), batch_size, 0, STEPS_PER_DISPATCH)
        self._indices = np.stack([batches] * len(seeds))

    def steps(self, count: int) -> np.ndarray:
        """Take so many steps of every seed; returns the sums of the losses so far, [S]."""
        for start in range(0, count, STEPS_PER_DISPATCH):
            self._progress = self._programs.train(self._progress, self._indices[:, : count - start])
            np.asarray(self._progress.metrics.loss)  # wait, as a run does that logs
        return np.asarray(self._progress.metrics.loss)


def time_steps(num_seeds: int, rounds: int, devices: int | None) -> tuple[float, float]:
    """Milliseconds a training step of all seeds: in one program, and in one after the other."""
    problem = make_problem(1_000, 28, 28, 128)
    examples = Examples(problem.images, problem.labels.astype(np.uint8))
    all_of_them, each = range(num_seeds), [range(seed, seed + 1) for seed in range(num_seeds)]
    together, *alone = (Runs(seeds, examples, 100, 128, devices) for seeds in (all_of_them, *each))
    np.testing.assert_allclose(together.steps(100), np.concatenate([run.steps(100) for run in alone]), rtol=1e-4)
    systems = {"together": together.steps, "alone": lambda count: [run.steps(count) for run in alone]}
    first, second = timing.alternate(systems, rounds).values()
    return first.median, second.median
