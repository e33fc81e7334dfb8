"""What a finished run left in its folder: test results, weights, and which model they are of."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rowlstm_jax.config import absolute
from rowlstm_jax.data import IMAGE_SHAPE
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE, SequenceClassifier
from rowlstm_jax.models.cells import CELLS
from rowlstm_jax.runs import describe, read_arrays, read_json, require_inside
from rowlstm_jax.tasks import order_index

LARGEST_PREDICTIONS = 10**9  # bytes of a test.npz, unpacked; for MNIST 10,000 a seed
AGAIN = "run the experiment again"


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

    def model(self) -> SequenceClassifier:
        """The model, if it is one layer of a cell of `cells.CELLS` as it comes.

        Raises:
          UserError: it is another model, or config.json does not say which.
        """
        return load_model(self)

    def params(self) -> dict[str, Any]:
        """The selected weights, as the parameters of `model()`; every array is [S, ...].

        Raises:
          UserError: their file is missing or damaged, or `model()` raises.
        """
        return load_weights(self, self.model(), *order_index(self.protocol["fields"]["order"], *IMAGE_SHAPE).shape)


def open_run(path: Path | str) -> Result:
    """Read the results of a finished run.

    Args:
      path: its folder, a link to it such as runs/<experiment>/latest, or its summary.json.

    Raises:
      UserError: there is no finished run, or its files are damaged or do not belong together.
    """
    path = Path(path)
    directory = absolute(path.parent if path.name == "summary.json" else path)
    if not directory.is_dir():
        raise UserError(f"There is no run folder {path}; name one, such as runs/mnist_rows/latest.")
    if not os.path.lexists(directory / "summary.json"):
        raise UserError(f"{directory} is no finished run: it has no summary.json; finish it with --resume.")
    require_inside(directory)
    summary = read_json(directory / "summary.json", AGAIN)
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


def load_weights(result: Result, model: SequenceClassifier, time_steps: int, features: int) -> dict[str, Any]:
    """The selected weights of a finished run.

    Args:
      result: of the run.
      model: its model.
      time_steps: T, that it reads.
      features: F.

    Returns:
      The parameters of the model, every array [S, ...].

    Raises:
      UserError: their file is missing or damaged, or they are those of another model.
    """
    path = result.directory / "weights.npz"
    arrays = read_arrays(path, AGAIN)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, time_steps, features)))["params"]
    leaves: dict[str, Any] = flatten_dict(shapes, sep="/")
    expected = {name: (len(result.seeds), *leaf.shape) for name, leaf in leaves.items()}
    if {name: a.shape for name, a in arrays.items()} != expected or {a.dtype.kind for a in arrays.values()} - {"f"}:
        raise UserError(f"{path} does not hold the weights of the model that config.json describes; {AGAIN}.")
    return unflatten_dict(arrays, sep="/")


def load_model(result: Result) -> SequenceClassifier:
    """The model of a finished run, if it is one layer of a cell of `CELLS` as it comes.

    Raises:
      UserError: it is another model, or config.json does not say which.
    """
    path = result.directory / "config.json"
    try:
        saved = dict(read_json(path, AGAIN)["identity"])
        features, classes = int(saved["recipe.model.cell.features"]), int(saved["recipe.model.num_classes"])
        if not (1 <= features < 2**31 and 1 <= classes < 2**31):
            raise ValueError(f"{features} units and {classes} classes")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not say what the run's model is ({error}); {AGAIN}.") from error
    for make in CELLS.values():
        model = SequenceClassifier(make(features), classes)
        if all(saved.get(name) == value for name, value in describe(model, "recipe.model").items() if _computes(name)):
            return model
    raise UserError(f"The model of {result.directory} is not a single layer of one of the cells {', '.join(CELLS)}.")


def _computes(name: str) -> bool:
    """Whether a part of a model's description says what it computes; not how it starts, nor in which way."""
    return "_init" not in name and name.rpartition(".")[2] not in WAYS_TO_COMPUTE


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
    lacking = f"{directory} has no test.npz; {AGAIN} with this version."
    arrays = read_arrays(path, AGAIN, lacking, LARGEST_PREDICTIONS)
    if not {"predictions", "labels"} <= arrays.keys():
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}, not predictions and labels; {AGAIN}.")
    predictions, labels = arrays["predictions"], arrays["labels"]
    shapes = predictions.ndim == 2 and predictions.shape[1:] == labels.shape and predictions.size and labels.size > 1
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
