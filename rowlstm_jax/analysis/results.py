"""What a finished run left in its folder: test results, its model and its weights."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rowlstm_jax.analysis.rebuild import rebuild_model
from rowlstm_jax.config import absolute
from rowlstm_jax.data import IMAGE_SHAPE
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.runs import read_arrays, read_json, require_inside
from rowlstm_jax.tasks import order_index

LARGEST_PREDICTIONS = 10**9  # bytes of a test.npz, unpacked; MNIST has 10,000 for each seed
LONGEST_NAME = 500  # characters
AGAIN = "run the experiment again"


@dataclasses.dataclass(frozen=True)
class Result:
    """The test results of a finished run."""

    directory: Path  # links resolved
    experiment: str
    seeds: list[int]  # [S]
    num_params: int  # of the network of one seed
    steps: int
    openings: int  # how often the test set was opened
    protocol: dict[str, Any]  # name, sha256 and fields
    data: dict[str, Any]  # name, version and sha256
    labels: np.ndarray  # int [N], of the test examples
    correct: np.ndarray  # bool [S, N], whether the network of each seed classifies each example correctly

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, [S]."""
        return self.correct.mean(axis=1).tolist()

    def model(self) -> SequenceClassifier:
        """The model that config.json describes; see `rebuild_model`. A cell of your own must be in `cells.CELLS`.

        Raises:
          UserError: it can't be rebuilt.
        """
        path, inputs = self.directory / "config.json", self._inputs()
        identity = read_json(path, AGAIN).get("identity")
        if not isinstance(identity, dict):
            raise UserError(f"{path} does not say what the run's model is; {AGAIN}.")
        try:
            model = rebuild_model(identity)
            jax.eval_shape(model.init, jax.random.key(0), inputs)  # the model checks its own fields
        except Exception as error:  # a changed file can lead to any
            reason = str(error).rstrip(".") or type(error).__name__
            raise UserError(
                f"The model of {self.directory} can't be rebuilt from config.json: {reason}. Build it in Python, and "
                "call params(model)."
            ) from error
        return model

    def params(self, model: nn.Module | None = None) -> dict[str, Any]:
        """The selected weights as the parameters of a model, by default of `model()`; every array is [S, ...].

        Raises:
          UserError: their file is missing or damaged, they are those of another model, or `model()` raises.
        """
        model, path = self.model() if model is None else model, self.directory / "weights.npz"
        arrays = read_arrays(path, AGAIN)
        variables = jax.eval_shape(model.init, jax.random.key(0), self._inputs())  # shapes: nothing is computed
        leaves: dict[str, Any] = flatten_dict(variables["params"], sep="/")
        for name in arrays.keys() & leaves.keys():
            if arrays[name].dtype.kind == "V" and arrays[name].itemsize == leaves[name].dtype.itemsize:
                arrays[name] = arrays[name].view(leaves[name].dtype)  # NumPy stores bfloat16 as bytes
        needed: dict[str, Any] = {name: (len(self.seeds), *leaf.shape) for name, leaf in leaves.items()}
        found = {name: a.shape if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype for name, a in arrays.items()}
        if wrong := [name for name in {**needed, **found} if needed.get(name) != found.get(name)]:
            there, here = (shapes.get(wrong[0], "missing") for shapes in (found, needed))
            raise UserError(
                f"{path} does not hold the weights of this model: {wrong[0]} is {there} there and {here} in the model. "
                f"Give params the model that was trained, or {AGAIN}."
            )
        return unflatten_dict(arrays, sep="/")

    def _inputs(self) -> jax.Array:
        """Sequences [1, T, F] as the run reads them, zeros."""
        order: Any = self.protocol["fields"].get("order")
        try:
            return jnp.zeros((1, *order_index(order, *IMAGE_SHAPE).shape))
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.directory} reads in the order {order!r}; add it to ORDERS first.") from error


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

    def get(name: str, kind: type, values: dict[str, Any] = summary) -> Any:
        if not isinstance(values.get(name), kind):
            raise UserError(f"{directory / 'summary.json'} has no {name} of type {kind.__name__}; {AGAIN}.")
        if kind is str and len(values[name]) > LONGEST_NAME:
            raise UserError(f"{directory / 'summary.json'} has a {name} of {len(values[name]):,} characters; {AGAIN}.")
        return values[name]

    result = Result(
        directory,
        experiment=get("experiment", str),
        seeds=get("seeds", list),
        num_params=get("num_params", int),
        steps=get("steps", int),
        openings=len(get("test_openings", list)),
        protocol=get("protocol", dict),
        data=get("data", dict),
        labels=labels,
        correct=predictions == labels[None],
    )
    for values, names in ((result.protocol, ("name", "sha256")), (result.data, ("name", "version", "sha256"))):
        for name in names:
            get(name, str, values)
    get("fields", dict, result.protocol)
    _require_agreement(result, summary)
    return result


def percent_over_seeds(values: Sequence[float]) -> str:
    """The mean of shares, [S], in percent, with the standard deviation (with S - 1) if there are several.

    Example:
      >>> percent_over_seeds([0.5]), percent_over_seeds([0.5, 0.75])
      ('50.00', '62.50 ± 17.68')
    """
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


def values_over_seeds(value: Any) -> list[float]:
    """The values over seeds, [S], of a figure in summary.json: a number for one seed, {"values": [...]} for several.

    Example:
      >>> values_over_seeds(0.5), values_over_seeds({"values": [0.5, 0.75], "mean": 0.625})
      ([0.5], [0.5, 0.75])

    Raises:
      ValueError: it is neither.
    """
    values = value.get("values") if isinstance(value, dict) else [value]
    if not (values and isinstance(values, list) and all(type(v) in (int, float) and abs(v) < 1e300 for v in values)):
        raise ValueError(f"{value!r} is neither a number nor values over seeds")
    return [float(value) for value in values]


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
            f"they must be whole numbers [S, N] and [N]: {AGAIN}."
        )
    return predictions, labels


def _require_agreement(result: Result, summary: dict[str, Any]) -> None:
    """Check that summary.json and test.npz are of one run."""
    if len(result.seeds) != len(result.correct):
        raise UserError(
            f"{result.directory} has {len(result.seeds)} seeds in summary.json and {len(result.correct)} in test.npz; "
            f"{AGAIN}."
        )
    recorded = summary.get("test_accuracy")
    try:
        values = np.array(values_over_seeds(recorded))
    except ValueError:
        values = np.array([])
    if len(values) != len(result.seeds) or not np.allclose(values, result.accuracies, rtol=0, atol=1e-6):
        raise UserError(
            f"{result.directory} has test accuracies in summary.json ({recorded}) that are not those of the "
            f"predictions in test.npz ({result.accuracies}); {AGAIN}."
        )
