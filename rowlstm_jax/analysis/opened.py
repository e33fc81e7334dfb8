"""Module, weights and preprocessing of a run, made again from what its folder says."""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rowlstm_jax.analysis.rebuild import rebuild_model
from rowlstm_jax.analysis.trained import TrainedModel
from rowlstm_jax.data import DATASETS
from rowlstm_jax.errors import UserError
from rowlstm_jax.models import lasting, weights
from rowlstm_jax.runs import read_arrays, read_stored
from rowlstm_jax.tasks import Preprocessing, Standardization, order_digest, order_index, read

AGAIN = "run the experiment again"


def module_of(
    directory: Path, inputs: jax.Array, classes: Iterable[type] = (), *, trust_code: bool = False
) -> nn.Module:
    """The Flax module that a run's folder describes; see `Result.module`. `inputs` are sequences [1, T, F], zeros."""
    stored = read_stored(directory)
    try:
        own = [*classes, *(_import(**where) for where in stored.modules.values() if trust_code)]
        module = rebuild_model(stored.identity, own)
        jax.eval_shape(module.init, jax.random.key(0), inputs)  # the module checks its own fields
    except Exception as error:  # a changed file can lead to any
        reason = str(error).rstrip(".") or type(error).__name__
        names = sorted({f"{where['name']} of {where['module']}" for where in stored.modules.values()})
        own = (
            f"Its own code is {', '.join(names)}: give its classes, or trust_code=True to import it. " if names else ""
        )
        raise UserError(
            f"The model of {directory} can't be rebuilt from config.json: {reason}. {own * (not trust_code)}"
            "Build it in Python, and call params(model), or model(model)."
        ) from error
    return module


def _import(module: str, name: str, file: str) -> type:
    """A class of a user, from its module if that is found, else from its file; either runs the code there."""
    loaded = sys.modules.get(module)
    same = getattr(loaded, "__file__", None) and str(Path(str(loaded.__file__)).resolve()) == file  # pyright: ignore
    if module != "__main__" and (same or _is_found(module)):
        found: Any = importlib.import_module(module)
    elif same:
        found = loaded
    else:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        if spec is None or spec.loader is None or not Path(file).is_file():
            raise ValueError(f"its module {module} is not found, and {file or 'no file'} is not there")
        found = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, found)
        spec.loader.exec_module(found)
    return functools.reduce(getattr, name.split("."), found)


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def weights_of(
    directory: Path, module: nn.Module, inputs: jax.Array, num_seeds: int, nested: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The weights of a run, [S, ...], from weights.npz or as they are given; a UserError if the module has others."""
    path = directory / ("weights.npz" if nested is None else "checkpoints")
    arrays: dict[str, Any] = read_arrays(path, AGAIN) if nested is None else flatten_dict(nested, sep="/")
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)  # nothing is computed
    leaves: dict[str, Any] = flatten_dict(weights(shapes["params"], lasting(shapes)), sep="/")
    for name in arrays.keys() & leaves.keys():
        if arrays[name].dtype.kind == "V" and arrays[name].itemsize == leaves[name].dtype.itemsize:
            arrays[name] = arrays[name].view(leaves[name].dtype)  # NumPy stores bfloat16 as bytes
    needed: dict[str, Any] = {name: (num_seeds, *leaf.shape) for name, leaf in leaves.items()}
    kinds = {name: jnp.floating if name not in leaves else _kind(leaves[name].dtype) for name in arrays}
    found = {name: a.shape if jnp.issubdtype(a.dtype, kinds[name]) else a.dtype for name, a in arrays.items()}
    if wrong := [name for name in {**needed, **found} if needed.get(name) != found.get(name)]:
        there, here = (of.get(wrong[0], "missing") for of in (found, needed))
        raise UserError(
            f"{path} does not hold the weights of this model: {wrong[0]} is {there} there and {here} in the model. "
            f"Give params the model that was trained, or {AGAIN}."
        )
    return unflatten_dict(arrays, sep="/")


def _kind(dtype: Any) -> Any:
    return jnp.floating if jnp.issubdtype(dtype, jnp.floating) else dtype


def index_of(order: Any, shape: tuple[int, ...], directory: Path) -> np.ndarray:
    """The index [T, F] of a run's reading order; a UserError if it is not known here."""
    try:
        return order_index(order, *shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"{directory} reads in the order {order!r}; add it to ORDERS first.") from error


def trained(
    directory: Path, protocol: Mapping[str, Any], reading: Mapping[str, Any], module: nn.Module, params: Any, seeds: Any
) -> TrainedModel:
    """The trained networks of a run; see `Result.model`. `reading` is what `runs.reading` noted; {} in older runs."""
    fields = protocol["fields"]
    try:
        known = DATASETS.get(fields.get("dataset"))
        grey = bool(fields.get("grey", False))
        usual = known.image_shape[: 2 if grey else 3] if known else None
        shape = tuple(reading["shape"]) if reading else usual
        if not shape:
            raise UserError(
                f"{directory} is of an earlier version, which did not note the shape of its inputs; {AGAIN}."
            )
        names = reading["class_names"] if reading else known.class_names if known else ()
        measured = reading.get("standardization")
        standardize = Standardization(*map(tuple, (measured["mean"], measured["deviation"]))) if measured else None
        pictures = reading["inputs"] == "uint8" if reading else True
        shape, names = tuple(map(int, shape)), tuple(map(str, names))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{directory / 'summary.json'} does not say how inputs are read; {AGAIN}.") from error
    if fields.get("scaling") == "standardized" and standardize is None:
        raise UserError(f"{directory} is of an earlier version, which did not note how inputs are scaled; {AGAIN}.")
    index = index_of(fields.get("order"), shape, directory)
    if fields.get("order_sha256") not in (None, order_digest(index_of(fields.get("order"), usual or shape, directory))):
        raise UserError(f"{directory} reads in another order {fields['order']!r} than ORDERS has; put its own there.")
    how = Preprocessing(functools.partial(read, index=index), None, standardize, fields.get("noise_to"))
    return TrainedModel(module, params, tuple(seeds), how, shape, pictures, grey, names)
