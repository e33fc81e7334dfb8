"""What a finished run left in its folder: test results, weights, and which model they are of."""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from rowlstm_jax.cells import CELLS
from rowlstm_jax.config import UserError, absolute
from rowlstm_jax.describe import describe
from rowlstm_jax.model import WAYS_TO_COMPUTE, SequenceClassifier

LARGEST = 10_000_000  # bytes of a summary.json; real ones have a few thousand
DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Result:
    """The test results of a finished run.

    Attributes:
      directory: its folder, links resolved.
      experiment: its name.
      seeds: [S].
      num_params: of one seed's network.
      steps: of training.
      openings: how often the test set was opened.
      protocol: {"name", "sha256", "fields"}.
      data: {"name", "version", "sha256"}.
      labels: int [N], of the test examples.
      correct: bool [S, N], whether each seed's network classifies each rightly.
    """

    directory: Path
    experiment: str
    seeds: list[int]
    num_params: int
    steps: int
    openings: int
    protocol: dict[str, Any]
    data: dict[str, Any]
    labels: np.ndarray
    correct: np.ndarray

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, [S]."""
        return self.correct.mean(axis=1).tolist()


def load(path: Path) -> Result:
    """Read the results of a finished run.

    Args:
      path: its folder, a link to it such as runs/<experiment>/latest, or its summary.json.

    Raises:
      UserError: there is no finished run, or its files are damaged or do not belong together.
    """
    directory = absolute(path)
    directory = directory.parent if directory.name == "summary.json" else directory
    if not directory.is_dir():
        raise UserError(f"There is no run folder {path}; name one, such as runs/mnist_rows/latest.")
    summary = _read_summary(directory)
    predictions, labels = _read_predictions(directory)
    result = Result(
        directory,
        experiment=_get(directory, summary, "experiment", str),
        seeds=_get(directory, summary, "seeds", list),
        num_params=_get(directory, summary, "num_params", int),
        steps=_get(directory, summary, "steps", int),
        openings=len(_get(directory, summary, "test_openings", list)),
        protocol=_get(directory, summary, "protocol", dict),
        data=_get(directory, summary, "data", dict),
        labels=labels,
        correct=predictions == labels[None],
    )
    for values, names in ((result.protocol, ("name", "sha256")), (result.data, ("name", "version", "sha256"))):
        for name in names:
            _get(directory, values, name, str)
    _get(directory, result.protocol, "fields", dict)
    _require_agreement(result, summary)
    return result


def load_weights(result: Result) -> dict[str, Any]:
    """The selected weights of a finished run: the parameters of its model, every array [S, ...].

    Raises:
      UserError: their file is missing or damaged.
    """
    path = result.directory / "weights.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return unflatten_dict(dict(arrays), sep="/")
    except DAMAGED as error:
        raise UserError(f"{path} can't be read ({error}); run the experiment again.") from error


def load_model(result: Result) -> SequenceClassifier:
    """The model of a finished run, if it is one layer of a cell of `CELLS` as it comes.

    Raises:
      UserError: it is another model, or config.json does not say which.
    """
    path = result.directory / "config.json"
    try:
        saved = dict(json.loads(path.read_bytes())["identity"])
        features, classes = int(saved["recipe.model.cell.features"]), int(saved["recipe.model.num_classes"])
    except DAMAGED as error:
        raise UserError(f"{path} does not say what the run's model is ({error}); run the experiment again.") from error
    for make in CELLS.values():
        model = SequenceClassifier(make(features), classes)
        if all(saved.get(name) == value for name, value in describe(model, "recipe.model").items() if _computes(name)):
            return model
    raise UserError(f"The model of {result.directory} is not a single layer of one of the cells {', '.join(CELLS)}.")


def _computes(name: str) -> bool:
    """Whether a part of a model's description says what it computes; not how it starts, nor in which way."""
    return "_init" not in name and name.rpartition(".")[2] not in WAYS_TO_COMPUTE


def _read_summary(directory: Path) -> dict[str, Any]:
    path = directory / "summary.json"
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST:,} bytes, so it is no run's; name another run.")
        summary = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{directory} is no finished run: it has no summary.json; finish it with --resume.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read ({error}); run the experiment again.") from error
    if not isinstance(summary, dict):
        raise UserError(f"{path} is no JSON object; run the experiment again.")
    return summary


def _get(directory: Path, values: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(values.get(name), kind):
        raise UserError(
            f"{directory / 'summary.json'} has no {name} of type {kind.__name__}; run the experiment again with this "
            "version."
        )
    return values[name]


def _read_predictions(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [S, N] and labels [N]."""
    path = directory / "test.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            predictions, labels = arrays["predictions"], arrays["labels"]
    except FileNotFoundError as error:
        raise UserError(f"{directory} has no test.npz; run the experiment again with this version.") from error
    except DAMAGED as error:
        raise UserError(f"{path} can't be read ({error}); run the experiment again.") from error
    shapes = predictions.ndim == 2 and predictions.shape[1:] == labels.shape and labels.size > 1
    if not shapes or {predictions.dtype.kind, labels.dtype.kind} - set("iu"):
        raise UserError(
            f"{path} has predictions {predictions.dtype} {predictions.shape} and labels {labels.dtype} {labels.shape}; "
            "whole numbers [S, N] and [N] are expected: run the experiment again."
        )
    return predictions, labels


def _require_agreement(result: Result, summary: dict[str, Any]) -> None:
    """The two files must be of one run."""
    if len(result.seeds) != len(result.correct):
        raise UserError(
            f"{result.directory} has {len(result.seeds)} seeds in summary.json and {len(result.correct)} in test.npz; "
            "run the experiment again."
        )
    recorded = summary.get("test_accuracy")
    values = recorded.get("values") if isinstance(recorded, dict) else [recorded]
    try:
        agree = np.allclose(np.asarray(values, np.float64), result.accuracies, rtol=0, atol=1e-6)
    except (TypeError, ValueError):
        agree = False
    if not agree or not isinstance(values, list) or len(values) != len(result.seeds):
        raise UserError(
            f"{result.directory} has test accuracies in summary.json ({values}) that are not those of the predictions "
            f"in test.npz ({result.accuracies}); run the experiment again."
        )
