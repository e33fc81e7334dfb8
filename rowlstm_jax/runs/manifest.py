"""The manifest.json of a checkpoint: digests that show damage, and what run the checkpoint is of."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.files import LARGEST_TEXT, as_object, require_file, write_json

FORMAT = 1
NAME, ORBAX = "manifest.json", "_CHECKPOINT_METADATA"
LEAF_NAME = re.compile(r"[\w\-.]+(/[\w\-.]+)*")


class DamagedError(Exception):
    """A file of a checkpoint is not as it was saved; its arguments are the path and a phrase."""

    def __str__(self) -> str:
        return ": ".join(map(str, self.args))


def is_of_a_run(about: Mapping[str, Any]) -> bool:
    """Whether a manifest contains all that resuming needs."""
    kinds = {"identity": dict, "image_shape": list, "data": dict, "environment": dict, "layout": dict, "recorded": str}
    environment = {"versions": dict, "devices": list, "processor": str}
    known = all(isinstance(about.get(name), kind) for name, kind in kinds.items()) and "optimizer_reset" in about
    return known and all(isinstance(about["environment"].get(name), kind) for name, kind in environment.items())


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a checkpoint: its dtype, its shape, and the SHA-256 of its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    @classmethod
    def of(cls, array: np.ndarray) -> "Leaf":
        """The dtype, shape and digest of an array."""
        return cls(str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint contains, and what run it is of."""

    step: int
    leaves: Mapping[str, Leaf]  # by name, such as state/params/readout/kernel
    about: Mapping[str, Any]  # JSON values by name: the run, its data, versions and devices

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Manifest":
        """From the JSON values of a manifest.json."""
        leaves = {
            name: Leaf(leaf["dtype"], tuple(map(int, leaf["shape"])), leaf["sha256"])
            for name, leaf in content["leaves"].items()
        }
        return cls(int(content["step"]), leaves, dict(content["about"]))

    def write(self, folder: Path, item: str) -> None:
        """Add manifest.json to a checkpoint, with the SHA-256 of each file in its folder `item` and of itself."""
        paths = sorted(path for path in (folder / item).rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): _sha256(path) for path in paths}
        leaves = {name: dataclasses.asdict(leaf) for name, leaf in self.leaves.items()}
        content = {"format": FORMAT, "step": self.step, "about": dict(self.about), "leaves": leaves, "files": files}
        write_json(folder / NAME, {"sha256": _digest(content), **content})


def read(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """The content of the manifest in a checkpoint's folder, for `Manifest.of`; `verify` also checks the other files.

    Raises:
      DamagedError: the manifest, or a file, is not as it was saved.
      UserError: a newer version saved it.
    """
    path = folder / NAME
    try:
        content = _read_object(path)
        if content.pop("sha256") != _digest(content):
            raise DamagedError(path, "is not what was saved")
        if content["format"] != FORMAT:
            raise UserError(
                f"{folder} has format {content['format']}, and this version reads {FORMAT}; install the version that "
                "saved it."
            )
        manifest = Manifest.of(content)
        files = {folder / name: str(digest) for name, digest in content["files"].items()}
    except FileNotFoundError as error:
        raise DamagedError(path, "is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(path, f"can't be read ({error})") from error
    if str(manifest.step) != folder.name:
        raise DamagedError(path, f"is that of step {manifest.step}")
    for name in manifest.leaves:
        if not LEAF_NAME.fullmatch(name) or ".." in name.split("/"):
            raise DamagedError(path, f"names an array {name!r}")
    if verify:
        _verify(folder, files)
    return content


def _verify(folder: Path, files: Mapping[Path, str]) -> None:
    path = folder / ORBAX  # Orbax changes it after the manifest is written, so it has no digest; it must be JSON
    try:
        if path.exists():
            _read_object(path)
        for path, sha256 in files.items():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise DamagedError(path, "lies outside the checkpoint")
            require_file(path, 2**50)
            if _sha256(path) != sha256:
                raise DamagedError(path, "does not have the bytes that were saved")
    except FileNotFoundError as error:
        raise DamagedError(path, "is missing") from error
    except (OSError, ValueError, RuntimeError) as error:  # the last for links in a circle
        raise DamagedError(path, f"can't be read ({error})") from error


def _read_object(path: Path) -> dict[str, Any]:
    require_file(path, LARGEST_TEXT)
    return as_object(path.read_bytes())


def steps(directory: Path) -> list[int]:
    """The steps that have a checkpoint, whole or not, newest first."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted((int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)), reverse=True)


def is_good_checkpoint(folder: Path) -> bool:
    """Whether the folder of a checkpoint is whole, by its manifest."""
    try:
        read(folder)
    except (DamagedError, UserError):
        return False
    return True


def set_aside(folder: Path, why: str) -> str:
    """Rename a checkpoint, so that another one of its step can be saved; the new name."""
    aside = next(path for n in itertools.count(1) if not (path := Path(f"{folder}.{why}-{n}")).exists())
    return folder.rename(aside).name


def newest(directory: Path) -> Manifest | None:
    """The newest manifest of a run that can be read; the files of its checkpoint may be damaged."""
    for step in steps(directory):
        with contextlib.suppress(DamagedError, UserError):
            found = Manifest.of(read(directory / str(step), verify=False))
            if is_of_a_run(found.about):
                return found
    return None


def named(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by name, such as state/params/readout/kernel; typed PRNG keys as their raw bits."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _bits(leaf) for path, leaf in leaves}


def _bits(leaf: Any) -> Any:
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, jax.Array):
        return jax.random.key_data(leaf)
    bits = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(bits.shape, bits.dtype, sharding=leaf.sharding)


def differences(saved: Mapping[str, Leaf], now: Mapping[str, Any]) -> str:
    """A table with a line for each array that differs between a checkpoint and a program; empty if none does."""
    rows = []
    for name in sorted({**saved, **now}):
        before = str(saved[name]) if name in saved else ""
        after = f"{now[name].dtype} {list(now[name].shape)}" if name in now else ""
        if before != after:
            kind = "changed" if before and after else "missing" if after else "extra"
            rows.append((kind, name, " -> ".join(filter(None, (before, after)))))
    width = max((len(name) for _, name, _ in rows), default=0)
    return "\n".join(f"  {kind:<7}  {name:<{width}}  {what}" for kind, name, what in rows)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
