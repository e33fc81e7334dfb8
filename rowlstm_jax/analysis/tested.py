"""test.npz: what the networks of a run say of each test example."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rowlstm_jax.analysis.figures import values_over_seeds
from rowlstm_jax.data import Examples
from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import Evaluation
from rowlstm_jax.runs import Run, read_arrays
from rowlstm_jax.training import default_loss

LARGEST = 10**10  # bytes of a test.npz, unpacked
AGAIN = "run the experiment again"


def of_test(run: Run, examples: Examples, test: Evaluation) -> dict[str, np.ndarray]:
    """What test.npz keeps: outputs [S, N, ...], losses [S, N], and targets; also predictions [S, N] of classes."""
    loss = run.recipe.loss or default_loss(jnp.asarray(examples.targets[:1]))
    losses = np.stack([np.asarray(loss(jnp.asarray(of), jnp.asarray(examples.targets))) for of in test.outputs])
    arrays = {"outputs": test.outputs, "losses": losses.astype(np.float32)}
    if test.metrics.correct is None:
        return arrays | {"targets": examples.targets}
    predictions = test.outputs.argmax(axis=-1).astype(examples.targets.dtype)
    return arrays | {"predictions": predictions, "labels": examples.targets}


class TestArrays(NamedTuple):
    """What test.npz holds."""

    targets: np.ndarray  # [N, ...]
    predictions: np.ndarray = np.zeros((0, 0), int)  # [S, N], if the targets are classes
    losses: np.ndarray = np.zeros((0, 0), np.float32)  # [S, N]


def read_test(directory: Path) -> TestArrays:
    """Read test.npz. Raises a UserError if it is missing, damaged or holds something else."""
    path = directory / "test.npz"
    lacking = f"{directory} has no test.npz; {AGAIN} with this version."
    arrays = read_arrays(path, AGAIN, lacking, LARGEST)
    if {"losses", "targets"} <= arrays.keys():
        targets, losses = arrays["targets"], arrays["losses"]
        if losses.ndim != 2 or losses.shape[1] != len(targets) or losses.dtype.kind != "f" or not losses.size:
            raise UserError(f"{path} has losses {losses.dtype} {losses.shape}, not float [S, {len(targets)}]; {AGAIN}.")
        return TestArrays(targets, losses=losses)
    if not {"predictions", "labels"} <= arrays.keys():
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}, not predictions and labels; {AGAIN}.")
    predictions, labels = arrays["predictions"], arrays["labels"]
    shapes = predictions.ndim == 2 and predictions.shape[1:] == labels.shape and predictions.size and labels.size > 1
    if not shapes or {predictions.dtype.kind, labels.dtype.kind} - set("iu"):
        raise UserError(
            f"{path} has predictions {predictions.dtype} {predictions.shape} and labels {labels.dtype} {labels.shape}; "
            f"they must be whole numbers [S, N] and [N]: {AGAIN}."
        )
    return TestArrays(labels, predictions, arrays.get("losses", np.zeros((len(predictions), 0), np.float32)))


def require_agreement(directory: Path, measure: str, judged: np.ndarray, num_seeds: int, recorded: Any) -> None:
    """Raise a UserError unless test.npz, which gives `judged` [S, N], and what summary.json recorded are of one run."""
    if num_seeds != len(judged):
        raise UserError(f"{directory} has {num_seeds} seeds in summary.json and {len(judged)} in test.npz; {AGAIN}.")
    found = judged.mean(axis=1)
    try:
        values = np.array(values_over_seeds(recorded))
    except ValueError:
        values = np.array([])
    if len(values) != num_seeds or not np.allclose(values, found, rtol=1e-4 * (measure == "loss"), atol=1e-6):
        raise UserError(
            f"{directory} has test {'accuracies' if measure == 'accuracy' else 'losses'} in summary.json ({recorded}) "
            f"that are not those of the predictions in test.npz ({found.tolist()}); {AGAIN}."
        )
