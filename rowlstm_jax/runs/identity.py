"""What a run is, as JSON values and digests of code, and what it must have in common with the run that it resumes."""

import dataclasses
import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import flax.linen as nn

from rowlstm_jax.config import RunConfig, differences, free_on_resume, of_the_optimizer, to_json
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import WAYS_TO_COMPUTE
from rowlstm_jax.runs import environment
from rowlstm_jax.runs.describe import describe, is_number, walk
from rowlstm_jax.runs.source import definition, digest, digest_of, is_library, is_users
from rowlstm_jax.tasks import Protocol
from rowlstm_jax.training import Recipe

LATER = ("loss", "metrics", "learning_rate")  # fields of a recipe that earlier versions did not have
LOSS, METRICS = "recipe.loss", "recipe.metrics."  # names of parts
MOST = 8  # settings that a refusal names
BUILD_RECIPES = ("rowlstm_jax", "jax", "flax", "optax")  # packages
ACCEPTED = "accept_changed_code"  # a name in an identity only if the flag is given
IN_SOURCE = re.compile(r".*\.__(code|globals|defaults|dict)__\b")  # parts that the source of a user decides
OURS = ("script experiments.", "experiments.")


def identity(experiment: str, config: RunConfig, protocol: Protocol, recipe: Recipe) -> dict[str, Any]:
    """All that decides what a run computes: experiment, flags, protocol, and the parts of its recipe, by name."""
    flags = {name: value for name, value in to_json(config).items() if not free_on_resume(name)}
    accepted = {ACCEPTED: True} if config.accept_changed_code else {}
    fields = {f"protocol.{name}": value for name, value in protocol.fields().items()}
    ways = {f"recipe.model.{name}" for name in WAYS_TO_COMPUTE}
    described = describe(dataclasses.replace(recipe, metrics=None, learning_rate=None), "recipe")
    for name, metric in (recipe.metrics or {}).items():  # each alone, as a run may get further ones
        described |= describe(metric, f"{METRICS}{name}")
    defaults = {f"recipe.{spec.name}": str(spec.default) for spec in dataclasses.fields(recipe) if spec.name in LATER}
    parts = {name: value for name, value in described.items() if name not in ways and defaults.get(name) != value}
    return json.loads(json.dumps({"experiment": experiment, **flags, **accepted, **fields, **parts}))


def code_of(recipe: Any, extra: Iterable[Any] = ()) -> dict[str, str]:
    """Digests of the user's functions and classes in a recipe and in `extra` values, and of the script, by name.

    Installed packages and rowlstm_jax are left out: their versions identify them.
    """
    metrics = (recipe.metrics or {}) if isinstance(recipe, Recipe) else {}
    plain = dataclasses.replace(recipe, metrics=None, learning_rate=None) if isinstance(recipe, Recipe) else recipe
    of_metrics = {
        f"metrics.{name}: {part}": digest
        for name, metric in metrics.items()
        for part, digest in _code_in((metric,)).items()
    }
    return _script() | _code_in((plain, *extra)) | of_metrics


def _code_in(values: tuple[Any, ...]) -> dict[str, str]:
    """Digests of the user's functions, classes and modules in some values, by name."""
    used: dict[int, types.FunctionType | type] = {}
    found: dict[str, str] = {}
    for _, value, _, _ in walk(values, "code"):
        if isinstance(value, types.ModuleType) and not is_library(value.__name__) and getattr(value, "__file__", None):
            found[f"module {value.__name__}"] = digest(Path(value.__file__ or "").read_bytes())
        if isinstance(value, types.FunctionType | type):
            used |= {id(each): each for each in getattr(value, "__mro__", [value]) if is_users(each)}
    classes = {_name(value) for value in used.values() if isinstance(value, type)}
    for name, value in ((_name(value), value) for value in used.values()):
        if name.rpartition(".")[0] not in classes:  # the source of a class contains its methods
            same = sum(other.partition(" (")[0] == name for other in found)
            found[f"{name} ({same + 1})" if same else name] = digest_of(value)
    return found


def own_modules(model: Any, name: str = "recipe.model") -> dict[str, dict[str, str]]:
    """Where the classes of a user's Flax modules in a model are defined: module, name and file, by part."""
    found = {}
    for part, value, _, _ in walk(model, name):
        if isinstance(value, nn.Module) and is_users(kind := type(value)):
            module, qualified = definition(kind)
            file = getattr(sys.modules.get(module), "__file__", None)
            found[part] = {"module": module, "name": qualified, "file": str(Path(file).resolve()) if file else ""}
    return found


def _script() -> dict[str, str]:
    """The digest of the script, without arguments that a resumed run may change: `Config(steps=20, resume=True)`."""
    if not (script := environment.script_file()):
        return {}
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    free = {field.name for field in dataclasses.fields(RunConfig) if free_on_resume(field.name)}
    return {f"script {spec.name if spec else script.name}": digest(script.read_bytes(), without=free)}


def changed_code(saved: Mapping[str, str], now: Mapping[str, str], same_version: bool) -> list[str]:
    """The names in `code_of` whose code has changed since a run was saved.

    A name that only one start has is not compared: the run may be resumed from another script or a notebook. Code that
    two versions of Python compiled, and our experiments in two versions of rowlstm_jax, are not compared either.
    """

    def changed(name: str, after: str) -> bool:
        ours = name.startswith(OURS)
        before = saved.get(name) or next((saved[other] for other in saved if _is_same(name, other)), after)
        same_python = before.rpartition(":")[0] == after.rpartition(":")[0]
        return before != after and same_python and (same_version or not ours)

    return [name for name, digest in now.items() if changed(name, digest)]


def comparable(
    saved: Mapping[str, Any], now: Mapping[str, Any], versions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of two identities that must be equal.

    A flag that the saved run did not have is left out if it has its default. With `--accept-changed-code`, parts that
    source code decides are left out. If the packages in `BUILD_RECIPES` had other `versions`, only names that both have
    are compared, and outside the model only values.
    """
    installed = environment.versions()
    same = all(versions.get(package) == installed[package] for package in BUILD_RECIPES)
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}

    def is_compared(name: str) -> bool:
        both = name in saved and name in now
        if name in defaults:
            return not free_on_resume(name) and (name in saved or now[name] != defaults[name])
        if name.startswith(METRICS):
            metric = name.removeprefix(METRICS).partition(".")[0]
            if f"{METRICS}{metric}" not in saved or f"{METRICS}{metric}" not in now:
                return False  # a run may get further metrics, and lose some
        if name == LOSS:
            return True
        if not name.startswith("recipe"):
            return both or same
        if ACCEPTED in now and IN_SOURCE.match(name):
            return False
        if both and name.endswith(".__code__") and saved[name].partition(":")[0] != now[name].partition(":")[0]:
            return False  # two versions of Python compiled it
        return same or (both and _is_stable(name, saved[name], now[name]))

    before, after = ({name: of[name] for name in of if is_compared(name)} for of in (saved, now))
    return before, after


def _is_stable(name: str, before: str, after: str) -> bool:
    """Whether a part of a recipe has the same text with any version of the packages."""
    if after.startswith((f"{before}(", f"{before},")):  # version 0.1.0 wrote only the type
        return False
    if name.startswith("recipe.model") and "_init" not in name and ".__" not in name:
        return True
    return all(is_number(text) or re.fullmatch(r"\w+\(.+\)", text) for text in (before, after))


def without_optimizer(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a reset of the optimiser keeps; flags of a script only act through these parts."""
    flags = {field.name for field in dataclasses.fields(RunConfig) if not of_the_optimizer(field.name)} | {"experiment"}
    parts = {name for name in identity if name.startswith(("protocol.", "recipe"))}
    return {k: v for k, v in identity.items() if k in flags | parts and not k.startswith("recipe.optimizer")}


def require_same(
    where: object, saved: Mapping[str, Any], now: Mapping[str, Any], table: Callable[[], str], *, reset_optimizer: bool
) -> None:
    """Raise the UserError of `refuse` if the identity of a run differs from the "identity" that was saved with it."""
    before, after = comparable(saved["identity"], now, saved["versions"])
    same_but_optimizer = without_optimizer(before) == without_optimizer(after)
    if before != after and not (reset_optimizer and same_but_optimizer):
        refuse(where, differences(before, after), table(), same_but_optimizer)


def refuse(where: object, settings: Sequence[str], table: str, same_but_optimizer: bool) -> NoReturn:
    """Raise a UserError that names the settings and the arrays that differ, a line each, and says what would help."""
    settings = [phrase for phrase in settings if not phrase.startswith("recipe")] or settings  # flags say it shorter
    shown = [*settings[:MOST], *([f"and {len(settings) - MOST} more"] if len(settings) > MOST else [])]
    what = f"with other settings: {'; '.join(shown)}" if settings else "by this program, which has other arrays"
    arrays = f"\nArrays, as they are saved and as they are needed:\n{table}" if table else ""
    reset = "add --reset-optimizer, which keeps the weights and starts the optimiser anew, "
    accept = "add --accept-changed-code, which goes on with the present code, "
    in_source = bool(settings) and all(IN_SOURCE.match(phrase.partition(" was ")[0]) for phrase in settings)
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
