"""What a run is, as JSON values, and what it must have in common with the run that it resumes."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from rowlstm_jax.config import FREE_ON_RESUME, RunConfig, differences, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE
from rowlstm_jax.runs import environment, manifest
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.tasks import Protocol, order_index
from rowlstm_jax.training import Recipe, initial_state

MOST = 8  # settings that a refusal names
BUILD_RECIPES = ("rowlstm_jax", "flax", "optax")  # packages

# What says how weights are updated, and not which weights there are.
OF_THE_OPTIMIZER = ("learning_rate", "on_nonfinite", "recipe.optimizer")


def identity(experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe) -> dict[str, Any]:
    """All that decides what a run computes: experiment, flags, protocol, and the parts of its recipe, by name."""
    flags = {name: value for name, value in to_json(config).items() if name not in FREE_ON_RESUME}
    fields = {f"protocol.{name}": value for name, value in protocol.fields().items()}
    ways = {f"recipe.model.{name}" for name in WAYS_TO_COMPUTE}
    parts = {name: value for name, value in describe(recipe, "recipe").items() if name not in ways}
    return json.loads(json.dumps({"experiment": experiment, **flags, **fields, **parts}))


def without_optimizer(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a run keeps whose optimiser is reset.

    Flags that only one script has act through the protocol and the recipe, which stand there by themselves.
    """
    flags = {field.name for field in dataclasses.fields(RunConfig)} | {"experiment"}
    return {
        name: value
        for name, value in identity.items()
        if not name.startswith(OF_THE_OPTIMIZER) and (name in flags or name.startswith(("protocol.", "recipe")))
    }


def comparable(
    saved: Mapping[str, Any], now: Mapping[str, Any], versions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two identities say of the same things.

    A flag that there was not yet is none that was different, if it has its default now. Other versions may build the
    same recipe of other parts; of those that are not this project's, only plain values are compared then.

    Args:
      saved: of the run that is resumed.
      now: of the present start.
      versions: of the packages with which the former was saved, by name.

    Returns:
      Of both, what is to be equal.
    """
    same = all(versions.get(package) == version for package, version in environment.versions(BUILD_RECIPES).items())
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}

    def kept(name: str) -> bool:
        if name in FREE_ON_RESUME or (name not in saved and name in defaults and now[name] == defaults[name]):
            return False
        if same or not name.startswith("recipe"):
            return True
        ours = name.startswith("recipe.model") and "_init" not in name
        return name in saved and name in now and (ours or (_is_plain(saved[name]) and _is_plain(now[name])))

    return {k: v for k, v in saved.items() if kept(k)}, {k: v for k, v in now.items() if kept(k)}


def _is_plain(text: Any) -> bool:
    """Whether it describes a number, a truth value or None, and not a function or a class."""
    if text in ("True", "False", "None"):
        return True
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def require_same(
    where: object,
    saved: Mapping[str, Any],
    now: Mapping[str, Any],
    different_arrays: Callable[[], str],
    *,
    reset_optimizer: bool,
) -> None:
    """Refuse to resume a run as another one.

    Args:
      where: the run's folder, or its checkpoints.
      saved: the "identity" of the run there, and the "versions" that it was saved with.
      now: the identity of the present start.
      different_arrays: makes the table of the arrays that differ.
      reset_optimizer: whether its optimiser may be another.

    Raises:
      UserError: the two differ; the message shows how, and which flags would help.
    """
    before, now = comparable(saved["identity"], now, saved["versions"])
    same_but_optimizer = without_optimizer(before) == without_optimizer(now)
    different = differences(before, now)
    if different and not (reset_optimizer and same_but_optimizer):
        refuse(where, different, different_arrays(), same_but_optimizer)


def refuse(where: object, settings: Sequence[str], table: str, same_but_optimizer: bool) -> NoReturn:
    """Say why a run can't be resumed, and what would help.

    Args:
      where: the run's folder, or its checkpoints.
      settings: those that differ, a phrase each.
      table: the arrays that differ, a line each.
      same_but_optimizer: whether all else is the same.

    Raises:
      UserError: always.
    """
    flags = [phrase for phrase in settings if not phrase.startswith("recipe")]  # they say it in fewer words
    settings = flags or settings
    if len(settings) > MOST:
        settings = [*settings[:MOST], f"and {len(settings) - MOST} more"]
    what = f"with other settings: {'; '.join(settings)}" if settings else "by this program, whose arrays are others"
    arrays = f"\nArrays, as they are saved and as they are needed:\n{table}" if table else ""
    reset = "add --reset-optimizer, which keeps the weights and starts the optimiser anew, "
    of_it = all("  state/opt_state/" in row for row in table.splitlines())
    raise UserError(
        f"The run in {where} can't be resumed {what}.{arrays}\nStart with the saved settings, "
        f"{reset * (same_but_optimizer and of_it)}or without --resume in another --run-dir, where --from-checkpoint "
        "takes the weights of a run of the same model."
    )


def newest(checkpoints: Path) -> manifest.Manifest | None:
    """The manifest of the newest checkpoint of a run that has a readable one; its files may be damaged."""
    for step in manifest.steps(checkpoints):
        with contextlib.suppress(manifest.DamagedError, UserError):
            found = manifest.Manifest.of(manifest.read(checkpoints / str(step), verify=False))
            if manifest.is_of_a_run(found.about):
                return found
    return None


def different_arrays(checkpoints: Path, protocol: Protocol, recipe: Recipe, num_seeds: int) -> str:
    """How the arrays of a folder's newest checkpoint differ from those of a program; empty if they do not."""
    saved = newest(checkpoints)
    if saved is None:
        return ""
    index = order_index(protocol.order, *saved.about["image_shape"])
    inputs = jax.ShapeDtypeStruct((1, *index.shape), np.float32)
    best, seeds = protocol.selection == "best_validation", np.zeros(num_seeds, np.uint32)
    now = jax.eval_shape(lambda seeds: initial_state(recipe, inputs, seeds, select_best=best), seeds)
    return manifest.differences(saved.leaves, manifest.named(now))
