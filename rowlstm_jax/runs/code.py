"""The user's own code that a run is made of, as digests, and the git commit that it belongs to."""

import collections
import subprocess
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rowlstm_jax.runs.describe import walk
from rowlstm_jax.runs.source import digest_of, digest_of_file, is_installed, is_users

GIT_SECONDS = 2.0
SCRIPT = "script "
OUR_SCRIPTS = "experiments."


def code_of(recipe: Any, extra: Iterable[Any] = ()) -> dict[str, str]:
    """SHA-256 of the source of each function and class of the user that a recipe is made of, and of the script.

    Installed packages and rowlstm_jax are left out: they are known by their versions. Comments, docstrings and layout
    do not count. Where there is no source, as for lambdas and for what is typed into a console, the digest is that of
    the compiled code.

    Args:
      recipe: model, optimiser and loss.
      extra: other values that decide the numbers, such as the function that makes a reading order.

    Returns:
      Digests by "module.qualified name", and by "script <file name>".
    """
    used: dict[int, types.FunctionType | type] = {}
    for part in walk((recipe, *extra), "code"):
        if isinstance(part.value, types.FunctionType | type):
            of = part.value.__mro__ if isinstance(part.value, type) else [part.value]
            used |= {id(value): value for value in of if is_users(value)}
    script = script_file()
    found = {f"{SCRIPT}{script.name}": digest_of_file(script)} if script else {}
    classes = {_name(value) for value in used.values() if isinstance(value, type)}
    times = collections.Counter[str]()
    for value in used.values():
        name = _name(value)
        if name.rpartition(".")[0] not in classes:  # the source of a class has that of its methods
            times[name] += 1
            found[f"{name} ({times[name]})" if times[name] > 1 else name] = digest_of(value)
    return found


def changed_code(saved: Mapping[str, str], now: Mapping[str, str], same_version: bool) -> list[str]:
    """The names of code that has changed since a run was saved.

    A name that only one of both has is no change: the recipe's description tells whether it is made of other parts,
    and a run may be resumed from another script or from a notebook. Nor are digests of compiled code compared between
    versions of Python.

    Args:
      saved: the `code_of` the run.
      now: that of the present start.
      same_version: whether both are of one version of rowlstm_jax; else its experiments are not compared.
    """
    changed = []
    for name, digest in now.items():
        ours = name.startswith((SCRIPT, OUR_SCRIPTS))
        before = saved.get(name) or next((saved[other] for other in saved if _is_same(name, other)), None)
        comparable = before and before.rpartition(":")[0] == digest.rpartition(":")[0]
        if comparable and before != digest and (same_version or not ours):
            changed.append(name)
    return changed


def script_file() -> Path | None:
    """The file that Python was started with; None in a notebook, and under a program that is installed, as pytest."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file) if file and not is_installed(file) and Path(file).is_file() else None


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """The git commit that is checked out, and whether files that git tracks have been changed since.

    Args:
      folder: within the checkout; by default that of the script, else the working directory.

    Returns:
      {"commit": SHA-1, "dirty": whether}; None if there is no commit, no git, or no answer in time.
    """
    script = script_file()
    folder = folder or (script.resolve().parent if script else Path.cwd())
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = done.stdout.splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ") and "(" not in line]
    return {"commit": commits[0], "dirty": not all(line.startswith("#") for line in lines)} if commits else None


def _name(value: types.FunctionType | type) -> str:
    is_class = isinstance(value, type)
    module = value.__module__ if is_class else value.__globals__.get("__name__")
    if module == "__main__" and (script := script_file()):  # the same name as where it is imported
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec else script.stem
    return f"{module}.{value.__qualname__ if is_class else value.__code__.co_qualname}"


def _is_same(name: str, other: str) -> bool:
    """Whether two names differ only in the packages around a module; a notebook's module has no name."""
    name, other = (text.removeprefix("__main__.") for text in (name, other))
    return f".{name}".endswith(f".{other}") or f".{other}".endswith(f".{name}")
