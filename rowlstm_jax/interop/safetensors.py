"""Arrays in safetensors files. The only file that imports the package safetensors."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rowlstm_jax.errors import UserError
from rowlstm_jax.interop.arrays import as_numpy

SEPARATOR = "/"
DTYPES = {"bool", "complex64", "bfloat16", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
MISSING = "safetensors files need the package safetensors; install it with: pip install safetensors"


def save_safetensors(path: str | Path, params: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays to a safetensors file, which is replaced if it exists.

    Args:
      path: the file.
      params: arrays by name, nested or not, such as the parameters of a model or the `state_dict` of `to_torch`. Nested
        names are joined by "/": `layer_0_forward/kernel`.
      metadata: texts by name.

    Raises:
      ValueError: a name is empty or has "/" in it, an array has a dtype that such files can't hold, or the metadata
        are not texts.
      UserError: safetensors is not installed, or the file can't be written.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise UserError(MISSING) from error
    metadata = dict(metadata or {})
    for name, text in metadata.items():
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ValueError(f"metadata holds {name!r}: {text!r}; both must be a str.")
    contents = save(dict(_flat(params, ())), metadata or None)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(contents)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_safetensors(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file: what `save_safetensors` was given.

    Raises:
      UserError: safetensors is not installed, or the file can't be read.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UserError(MISSING) from error
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as a safetensors file: {error}.") from error
    return _nested(path, arrays), metadata


def _flat(params: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays by their joined names. The file's writer copies memory as it lies, so each is made C-contiguous."""
    for name, value in params.items():
        if not isinstance(name, str) or not name or SEPARATOR in name:
            raise ValueError(f"{name!r} can't be the name of an array; it must be a str without {SEPARATOR!r}.")
        if isinstance(value, Mapping):
            yield from _flat(value, (*above, name))
            continue
        array = np.array(as_numpy(value), order="C")
        whole = SEPARATOR.join((*above, name))
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{whole} is {array.dtype}; safetensors files hold {', '.join(sorted(DTYPES))}.")
        yield whole, array


def _nested(path: str | Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, array in arrays.items():
        *above, last = name.split(SEPARATOR)
        for length in range(1, len(above) + 1):
            if (upper := SEPARATOR.join(above[:length])) in arrays:
                raise UserError(f"{path} has an array {upper} and another one below it, {name}.")
        place = nested
        for part in above:
            place = place.setdefault(part, {})
        place[last] = array
    return nested
