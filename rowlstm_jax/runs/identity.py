"""What a run is, as JSON values, and what it must have in common with the run that it resumes."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from rowlstm_jax.config import RunConfig, differences, free_on_resume, of_the_optimizer, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE
from rowlstm_jax.runs import environment, manifest
from rowlstm_jax.runs.describe import describe
from rowlstm_jax.runs.parts import is_number
from rowlstm_jax.runs.source import OF_SOURCE
from rowlstm_jax.tasks import Protocol, order_index
from rowlstm_jax.training import Recipe, initial_state

MOST = 8  # settings that a refusal names
BUILD_RECIPES = ("rowlstm_jax", "flax", "optax")  # packages
ACCEPTED = "accept_changed_code"  # stands in an identity only where the flag is given


def identity(experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe) -> dict[str, Any]:
    """All that decides what a run computes: experiment, flags, protocol, and the parts of its recipe, by name."""
    flags = {name: value for name, value in to_json(config).items() if not free_on_resume(name)}
    accepted = {ACCEPTED: True} if config.accept_changed_code else {}
    fields = {f"protocol.{name}": value for name, value in protocol.fields().items()}
    ways = {f"recipe.model.{name}" for name in WAYS_TO_COMPUTE}
    parts = {name: value for name, value in describe(recipe, "recipe").items() if name not in ways}
    return json.loads(json.dumps({"experiment": experiment, **flags, **accepted, **fields, **parts}))


def without_optimizer(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a run keeps when its optimiser is reset.

    Flags that only one script has are left out: they act through the protocol and the recipe, which are compared.
    """
    flags = {field.name for field in dataclasses.fields(RunConfig)} | {"experiment"}
    return {
        name: value
        for name, value in identity.items()
        if (name in flags and not of_the_optimizer(name))
        or (name.startswith(("protocol.", "recipe")) and not name.startswith("recipe.optimizer"))
    }


def comparable(
    saved: Mapping[str, Any], now: Mapping[str, Any], versions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two identities say of the same things.

    A flag that is new since the run was saved is left out if it has its default. With other versions of the packages
    that build recipes, only what both name is compared, and of optimisers and initialisers only the values. With
    `--accept-changed-code`, what stands in source code is left out.

    Args:
      saved: of the run that is resumed.
      now: of the present start.
      versions: of the packages with which the former was saved, by name.

    Returns:
      Of both, what is to be equal.
    """
    installed = environment.versions()
    same_names = all(versions.get(package) in (version, None) for package, version in installed.items())
    detailed = [any(".__" in name for name in identity) for identity in (saved, now)]  # version 0.1.0 said less
    same = len(set(detailed)) == 1 and all(versions.get(package) == installed[package] for package in BUILD_RECIPES)
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}

    def kept(name: str) -> bool:
        before, after, both = saved.get(name), now.get(name), name in saved and name in now
        if name in defaults:
            return not free_on_resume(name) and (name in saved or after != defaults[name])
        if not name.startswith("recipe"):
            return same or both
        if (ACCEPTED in now and is_of_source(name)) or (name.endswith(".__module__") and not same_names):
            return False
        if name.endswith(".__code__") and before and after and before.partition(":")[0] != after.partition(":")[0]:
            return False  # made by another version of Python
        return same or (both and _says_the_same_kind(name, before, after))

    return {k: v for k, v in saved.items() if kept(k)}, {k: v for k, v in now.items() if kept(k)}


def is_of_source(name: str) -> bool:
    """Whether a part of a recipe, by its name, stands in the source of a user's function or class."""
    return not set(OF_SOURCE).isdisjoint(name.split("."))


def _says_the_same_kind(name: str, before: Any, after: Any) -> bool:
    """Whether two versions of the packages that build recipes are expected to write the same of a part."""
    if str(after).startswith((f"{before}(", f"{before},")):  # the older one named the type only
        return False
    ours = name.startswith("recipe.model") and "_init" not in name and ".__" not in name
    return ours or (_is_value(before) and _is_value(after))


def _is_value(text: Any) -> bool:
    """Whether it describes a number, a truth value, None or an array, and not a function or a class."""
    return is_number(str(text)) or re.fullmatch(r"\w+\(.+\)", str(text)) is not None


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
    shown = [*settings[:MOST], *([f"and {len(settings) - MOST} more"] if len(settings) > MOST else [])]
    what = f"with other settings: {'; '.join(shown)}" if settings else "by this program, whose arrays are others"
    arrays = f"\nArrays, as they are saved and as they are needed:\n{table}" if table else ""
    reset = "add --reset-optimizer, which keeps the weights and starts the optimiser anew, "
    accept = "add --accept-changed-code, which goes on with the present code, "
    of_source = bool(settings) and all(is_of_source(phrase.partition(" was ")[0]) for phrase in settings)
    of_it = all("  state/opt_state/" in row for row in table.splitlines())
    raise UserError(
        f"The run in {where} can't be resumed {what}.{arrays}\nStart with the saved settings, "
        f"{accept * of_source}{reset * (same_but_optimizer and of_it)}or without --resume in another --run-dir, where "
        "--from-checkpoint takes the weights of a run of the same model."
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
