"""What a run left in its folder, finished or not: results, records, model and weights."""

import dataclasses
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.analysis.opened import index_of, module_of, trained, weights_of
from rowlstm_jax.analysis.tested import TestArrays, read_test, require_agreement
from rowlstm_jax.analysis.trained import TrainedModel
from rowlstm_jax.config import absolute
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import read_json, read_lines, read_stored, require_inside, selected_weights
from rowlstm_jax.tasks import protocol_digest

LONGEST_NAME = 500  # characters
AGAIN = "run the experiment again"


@dataclasses.dataclass(frozen=True)
class Result:
    """A run as its folder says. If it was not tested, `labels` and `correct` are of no examples."""

    directory: Path  # links resolved
    experiment: str
    seeds: list[int]  # [S]
    num_params: int  # of the network of one seed
    steps: int  # that are saved
    openings: int  # how often the test set was opened
    protocol: dict[str, Any]  # name, sha256 and fields
    data: dict[str, Any]  # name, version and sha256
    labels: np.ndarray  # int [N], of the test examples; targets, float [N, ...], if these are no classes
    correct: np.ndarray  # bool [S, N], whether the network of each seed classifies each example correctly, if classes
    losses: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))  # [S, N], of each test example
    sequence_shape: tuple[int, int] | None = None  # T and F of what the model reads; earlier versions did not say it
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)  # how an input is read, besides the protocol
    state: Literal["finished", "stopped", "running"] = "finished"
    where: str = ""  # the process that is training it, such as "process 12 on cluster3"

    @property
    def config(self) -> dict[str, Any]:
        """Its flags, from config.json. Raises a UserError if that is missing or damaged."""
        return read_stored(self.directory).config

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl. Raises a UserError if one is damaged."""
        return read_lines(self.directory / "metrics.jsonl", AGAIN)

    @property
    def checkpoints(self) -> list[int]:
        """The steps that have a checkpoint, newest first."""
        return read_stored(self.directory).checkpoints

    @property
    def tested(self) -> bool:
        """Whether its test set was opened for these weights."""
        return bool(self.labels.size)

    @property
    def measure(self) -> str:
        """What its test examples are judged by: "accuracy" if the targets are classes, else "loss"."""
        return "accuracy" if self.correct.size else "loss"

    @property
    def judged(self) -> np.ndarray:
        """How the networks do on each test example, [S, N]: whether the class is right, or the loss; see `measure`."""
        self.require_tested()
        return self.correct if self.correct.size else self.losses

    def require_tested(self) -> None:
        """Raise a UserError if the run was not tested."""
        if self.state != "finished":
            do = f"{self.where} is training it; wait for its end" if self.where else "finish it with --resume"
            raise UserError(f"{self.directory} is no finished run: {do}.")
        if not self.tested:
            raise UserError(
                f"The weights of {self.directory} were not tested (--no-test). To open the test set for them, once: "
                f"python -m experiments.test {self.directory}, or its script again with --resume and without --no-test."
            )

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed, [S]. Raises a UserError if the run was not tested, or has no classes."""
        self.require_tested()
        if not self.correct.size:
            raise UserError(f"The targets of {self.directory} are no classes, so it has no accuracy; see `losses`.")
        return self.correct.mean(axis=1).tolist()

    @property
    def results(self) -> list[float]:
        """Test accuracy of each seed, or the mean test loss if the targets are no classes, [S]; see `measure`."""
        return self.judged.mean(axis=1).tolist()

    def module(self, classes: Iterable[type] = (), *, trust_code: bool = False) -> nn.Module:
        """The Flax module that config.json describes; see `rebuild_model`.

        A cell of your own is found in `cells.CELLS`; any module of your own is one of `classes`, or with `trust_code`
        is imported from where the run says that it was: that runs the code there.

        Raises:
          UserError: it can't be rebuilt.
        """
        return module_of(self.directory, self.example_inputs(), classes, trust_code=trust_code)

    def params(self, module: nn.Module | TrainedModel | None = None) -> dict[str, Any]:
        """The selected weights of a module, by default of `module()`; every array is [S, ...].

        They are the parameters; or all variables, if the module has others too, such as "batch_stats". Those of a run
        that has not finished are what it would test if it ended now.

        Raises:
          UserError: their file is missing or damaged, they are those of another model, or `module()` raises.
        """
        module = self.module() if module is None else module
        if isinstance(module, TrainedModel):
            module = module.module
        arrays = None if self.state == "finished" else selected_weights(self.directory)[1]
        return weights_of(self.directory, module, self.example_inputs(), len(self.seeds), arrays)

    def model(
        self, module: nn.Module | None = None, *, classes: Iterable[type] = (), trust_code: bool = False
    ) -> TrainedModel:
        """The trained networks, which take pictures or sequences as the data set has them.

        Args:
          module: the Flax module that was trained, by default `module(classes, trust_code=trust_code)`.
          classes: see `module`.
          trust_code: see `module`.

        Raises:
          UserError: model, weights or preprocessing can't be rebuilt.
        """
        module = self.module(classes, trust_code=trust_code) if module is None else module
        return trained(self.directory, self.protocol, self.reading, module, self.params(module), self.seeds)

    def example_inputs(self) -> jax.Array:
        """Sequences [1, T, F] as the run reads them, zeros."""
        if self.sequence_shape:
            return jnp.zeros((1, *self.sequence_shape))
        return jnp.zeros((1, *index_of(self.protocol["fields"].get("order"), (28, 28), self.directory).shape))


def open_run(path: Path | str) -> Result:
    """Read what a run has left so far, whether it has finished, has stopped or is going on.

    Args:
      path: its folder, a link to it such as runs/<experiment>/latest, or its summary.json.

    Raises:
      UserError: there is no run, or its files are damaged or do not belong together.
    """
    path = Path(path)
    directory = absolute(path.parent if path.name == "summary.json" else path)
    if not directory.is_dir():
        raise UserError(f"There is no run folder {path}; name one, such as runs/mnist_rows/latest.")
    finished = os.path.lexists(directory / "summary.json")
    if not finished and not any(os.path.lexists(directory / name) for name in ("config.json", "checkpoints")):
        raise UserError(
            f"{directory} is no run: it has neither summary.json nor config.json; name the folder of a run."
        )
    require_inside(directory)
    return _finished(directory) if finished else _unfinished(directory)


def _finished(directory: Path) -> Result:
    summary = read_json(directory / "summary.json", AGAIN)
    untested = "test_loss" in summary and summary["test_loss"] is None
    arrays = TestArrays(np.zeros(0, int)) if untested else read_test(directory)
    get = functools.partial(_get, directory / "summary.json")
    result = Result(
        directory,
        experiment=get(summary, "experiment", str),
        seeds=get(summary, "seeds", list),
        num_params=get(summary, "num_params", int),
        steps=get(summary, "steps", int),
        openings=len(get(summary, "test_openings", list)),
        protocol=get(summary, "protocol", dict),
        data=get(summary, "data", dict),
        sequence_shape=_sequence_shape(directory, summary),
        reading=get({"reading": {}, **summary}, "reading", dict),
        labels=arrays.targets,
        correct=arrays.predictions == arrays.targets[None] if arrays.predictions.size else np.zeros((0, 0), bool),
        losses=arrays.losses,
    )
    for values, names in ((result.protocol, ("name", "sha256")), (result.data, ("name", "version", "sha256"))):
        for name in names:
            get(values, name, str)
    get(result.protocol, "fields", dict)
    if result.tested:
        recorded = summary.get(f"test_{result.measure}")
        require_agreement(directory, result.measure, result.judged, len(result.seeds), recorded)
    return result


def _unfinished(directory: Path) -> Result:
    stored = read_stored(directory)
    identity, get = stored.identity, functools.partial(_get, directory / "config.json")
    fields = {name.partition(".")[2]: of for name, of in identity.items() if name.startswith("protocol.")}
    name = identity.get("protocol") or fields.get("dataset")
    first, count = get(identity, "seed", int), get(identity, "num_seeds", int)
    data, reading = stored.about.get("data"), stored.about.get("reading") or {}
    return Result(
        directory,
        experiment=get(identity, "experiment", str),
        seeds=[*range(first, first + count)],
        num_params=stored.num_params,
        steps=max([0, *stored.checkpoints[:1]]),
        openings=len(read_lines(directory / "test_openings.jsonl", AGAIN)),
        protocol={"name": str(name), "sha256": protocol_digest(fields), "fields": fields},
        data=data or {"name": str(fields.get("dataset")), "version": "", "sha256": str(fields.get("dataset_sha256"))},
        labels=np.zeros(0, int),
        correct=np.zeros((0, 0), bool),
        sequence_shape=_shape_of(directory, fields, tuple(stored.about.get("image_shape") or ())),
        reading=reading,
        state="running" if stored.running else "stopped",
        where=stored.running,
    )


def _shape_of(directory: Path, fields: dict[str, Any], image_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """T and F of what the model of an unfinished run reads."""
    if not image_shape:
        return None
    steps, features = index_of(fields.get("order"), image_shape, directory).shape
    return fields.get("noise_to") or steps, features


def _get(path: Path, values: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(values.get(name), kind):
        raise UserError(f"{path} has no {name} of type {kind.__name__}; {AGAIN}.")
    if kind is str and len(values[name]) > LONGEST_NAME:
        raise UserError(f"{path} has a {name} of {len(values[name]):,} characters; {AGAIN}.")
    return values[name]


def _sequence_shape(directory: Path, summary: dict[str, Any]) -> tuple[int, int] | None:
    if (shape := summary.get("sequence_shape")) is None:
        return None
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        raise UserError(f"{directory / 'summary.json'} has the sequence_shape {shape!r}, not [T, F]; {AGAIN}.")
    return shape[0], shape[1]
