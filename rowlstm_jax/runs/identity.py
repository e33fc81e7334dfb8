"""What a run is, as JSON values and digests of code, and what it must have in common with the run that it resumes."""

import collections
import dataclasses
import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from rowlstm_jax.config import RunConfig, differences, free_on_resume, of_the_optimizer, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE
from rowlstm_jax.runs import environment
from rowlstm_jax.runs.describe import describe, is_number, walk
from rowlstm_jax.runs.source import definition, digest, digest_of, is_users
from rowlstm_jax.tasks import Protocol
from rowlstm_jax.training import Recipe

MOST = 8  # settings that a refusal names
BUILD_RECIPES = ("rowlstm_jax", "jax", "flax", "optax")  # packages
ACCEPTED = "accept_changed_code"  # a name in an identity only if the flag is given
IN_SOURCE = {"__code__", "__globals__", "__defaults__", "__dict__"}  # parts that stand in the source of a user
SCRIPT, OUR_SCRIPTS = "script ", "experiments."


def identity(experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe) -> dict[str, Any]:
    """All that decides what a run computes: experiment, flags, protocol, and the parts of its recipe, by name."""
    flags = {name: value for name, value in to_json(config).items() if not free_on_resume(name)}
    accepted = {ACCEPTED: True} if config.accept_changed_code else {}
    fields = {f"protocol.{name}": value for name, value in protocol.fields().items()}
    ways = {f"recipe.model.{name}" for name in WAYS_TO_COMPUTE}
    parts = {name: value for name, value in describe(recipe, "recipe").items() if name not in ways}
    return json.loads(json.dumps({"experiment": experiment, **flags, **accepted, **fields, **parts}))


def code_of(recipe: Any, extra: Iterable[Any] = ()) -> dict[str, str]:
    """Digests of the user's functions and classes that a recipe is made of, and of the script, by name.

    Installed packages and rowlstm_jax are left out: their versions identify them.

    Args:
      recipe: model, optimiser and loss.
      extra: other values that decide the numbers, such as the function that makes a reading order.
    """
    used: dict[int, types.FunctionType | type] = {}
    for _, value, _, _ in walk((recipe, *extra), "code"):
        if isinstance(value, types.FunctionType | type):
            of_it = value.__mro__ if isinstance(value, type) else [value]
            used |= {id(value): value for value in of_it if is_users(value)}
    script = environment.script_file()
    found = {f"{SCRIPT}{script.name}": digest(script.read_bytes())} if script else {}
    classes = {_name(value) for value in used.values() if isinstance(value, type)}
    times = collections.Counter[str]()
    for value in used.values():
        name = _name(value)
        if name.rpartition(".")[0] not in classes:  # the source of a class contains its methods
            times[name] += 1
            found[f"{name} ({times[name]})" if times[name] > 1 else name] = digest_of(value)
    return found


def changed_code(saved: Mapping[str, str], now: Mapping[str, str], same_version: bool) -> list[str]:
    """The names in `code_of` whose code has changed since a run was saved.

    Names that only one of the two has are not compared: the recipe's description shows other parts, and a run may be
    resumed from another script or a notebook. Neither are digests of code that two versions of Python compiled, nor,
    unless both starts are of the `same_version` of rowlstm_jax, its experiments.
    """
    changed = []
    for name, after in now.items():
        ours = name.startswith((SCRIPT, OUR_SCRIPTS))
        before = saved.get(name) or next((saved[other] for other in saved if _is_same(name, other)), after)
        same_python = before.rpartition(":")[0] == after.rpartition(":")[0]
        if before != after and same_python and (same_version or not ours):
            changed.append(name)
    return changed


def comparable(
    saved: Mapping[str, Any], now: Mapping[str, Any], versions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of two identities that must be equal.

    A flag that the saved run did not have is left out if it has its default; so is, with `--accept-changed-code`, what
    source code decides. If the packages in `BUILD_RECIPES` had other `versions`, only what both have is compared, and
    outside the model only values.
    """
    installed = environment.versions()
    detailed = [any(".__" in name for name in identity) for identity in (saved, now)]  # version 0.1.0 had fewer names
    same = len(set(detailed)) == 1 and all(versions.get(package) == installed[package] for package in BUILD_RECIPES)
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}

    def kept(name: str) -> bool:
        before, after, both = saved.get(name), now.get(name), name in saved and name in now
        if name in defaults:
            return not free_on_resume(name) and (name in saved or after != defaults[name])
        if not name.startswith("recipe"):
            return same or both
        if ACCEPTED in now and is_in_source(name):
            return False
        if both and name.endswith(".__code__") and before.partition(":")[0] != after.partition(":")[0]:
            return False  # two versions of Python compiled it
        return same or (both and _is_stable(name, before, after))

    return {k: v for k, v in saved.items() if kept(k)}, {k: v for k, v in now.items() if kept(k)}


def _is_stable(name: str, before: str, after: str) -> bool:
    """Whether a part of a recipe has the same text with any version of the packages."""
    if after.startswith((f"{before}(", f"{before},")):  # version 0.1.0 wrote only the type
        return False
    if name.startswith("recipe.model") and "_init" not in name and ".__" not in name:
        return True
    return all(is_number(text) or re.fullmatch(r"\w+\(.+\)", text) for text in (before, after))


def is_in_source(name: str) -> bool:
    """Whether a part of a recipe, by its name, stands in the source of a user's function or class."""
    return not IN_SOURCE.isdisjoint(name.split("."))


def without_optimizer(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a run keeps when its optimiser is reset.

    Flags of the script are left out: they act through the protocol and the recipe, which are compared.
    """
    flags = {field.name for field in dataclasses.fields(RunConfig) if not of_the_optimizer(field.name)} | {"experiment"}
    parts = {name for name in identity if name.startswith(("protocol.", "recipe"))}
    return {k: v for k, v in identity.items() if k in flags | parts and not k.startswith("recipe.optimizer")}


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
    before, after = comparable(saved["identity"], now, saved["versions"])
    same_but_optimizer = without_optimizer(before) == without_optimizer(after)
    if before != after and not (reset_optimizer and same_but_optimizer):
        refuse(where, differences(before, after), different_arrays(), same_but_optimizer)


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
    settings = [phrase for phrase in settings if not phrase.startswith("recipe")] or settings  # flags say it shorter
    shown = [*settings[:MOST], *([f"and {len(settings) - MOST} more"] if len(settings) > MOST else [])]
    what = f"with other settings: {'; '.join(shown)}" if settings else "by this program, whose arrays are others"
    arrays = f"\nArrays, as they are saved and as they are needed:\n{table}" if table else ""
    reset = "add --reset-optimizer, which keeps the weights and starts the optimiser anew, "
    accept = "add --accept-changed-code, which goes on with the present code, "
    in_source = bool(settings) and all(is_in_source(phrase.partition(" was ")[0]) for phrase in settings)
    in_optimizer = same_but_optimizer and all("  state/opt_state/" in row for row in table.splitlines())
    raise UserError(
        f"The run in {where} can't be resumed {what}.{arrays}\nStart with the saved settings, "
        f"{accept * in_source}{reset * in_optimizer}or without --resume in another --run-dir, where --from-checkpoint "
        "takes the weights of a run of the same model."
    )


def _name(value: types.FunctionType | type) -> str:
    module, name = definition(value)
    if module == "__main__" and (script := environment.script_file()):  # the same name as where it is imported
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec else script.stem
    return f"{module}.{name}"


def _is_same(name: str, other: str) -> bool:
    """Whether two names differ only in the packages around a module; a notebook's module has no name."""
    name, other = (text.removeprefix("__main__.") for text in (name, other))
    return f".{name}".endswith(f".{other}") or f".{other}".endswith(f".{name}")
