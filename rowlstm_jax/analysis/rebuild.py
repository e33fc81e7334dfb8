"""The model of a run, built again from its description in config.json."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from rowlstm_jax.models import WAYS_TO_COMPUTE, SequenceClassifier, Tree, TreeClassifier, layers
from rowlstm_jax.models.cells import CELLS
from rowlstm_jax.runs import describe

MODEL = "recipe.model"  # the name of the model in the description of a run
DTYPES = {name: getattr(jnp, name) for name in ("bfloat16", "float16", "float32", "float64")}
NUMPY_NUMBER = re.compile(r"(float16|float32|u?int(?:8|16|32|64))\((.+)\)")
MOST_LAYERS = 1000
SEQUENCES = {"tuple": tuple, "list": list}
LAYERS = {name: getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type)}
FLAX = {name: kind for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
READY = FLAX | LAYERS | {kind.__qualname__: kind for kind in (Tree, TreeClassifier)}


def rebuild_model(description: Mapping[str, Any], classes: Iterable[type] = ()) -> nn.Module:
    """Build the model that a run's identity describes.

    It is a `SequenceClassifier`, a `TreeClassifier`, or of the given classes or Flax.

    The cell is of the given classes or Flax, or made by the function in `CELLS` that makes a cell of the same class.
    Fields that are numbers, truth values, texts, dtypes or None get the values of the description; in the given classes
    and those of Flax also tuples, functions of Flax or JAX, and modules. All other fields keep their defaults. Then the
    new model is described, and both descriptions must be equal. Only initialisers (but not that of the carry) and ways
    to compute may differ.

    Args:
      description: the text of each part of the model by name, as `describe` writes it. It comes from a file, so no
        value in it is trusted, and no code that it names is loaded.
      classes: a user's own Flax modules, found by their qualified names.

    Raises:
      ValueError: the model can't be rebuilt; the message is a phrase that says why.
    """
    texts = {name: text for name, text in description.items() if f"{name}.".startswith(f"{MODEL}.")}
    if bad := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise ValueError(f"{bad[0]} is not a text")
    known = READY | {kind.__qualname__: kind for kind in classes}
    if (kind := texts.get(MODEL)) in known:
        return _require_same(texts, _construct(known[kind], MODEL, texts, known))
    if kind != "SequenceClassifier":
        raise ValueError(f"it is a {kind}, not a SequenceClassifier" if kind else "it is not described")
    kind, features = texts.get(f"{MODEL}.cell"), _parse(texts.get(f"{MODEL}.cell.features", "1"), "cell.features", 1)
    if features is None or features < 1:
        raise ValueError(f"cell.features is {features}, which can't be read as its value")
    different = None
    for make in CELLS.values():
        cell = make(features)
        if type(cell).__qualname__ == kind:
            cell = _with_fields(cell, f"{MODEL}.cell", texts)
            model = _with_fields(SequenceClassifier(cell, num_classes=1), MODEL, texts)
            found = _differences(texts, describe(model, MODEL))
            if not found and model.num_layers not in range(1, MOST_LAYERS + 1):
                raise ValueError(f"num_layers is {model.num_layers}; it must be from 1 to {MOST_LAYERS}")
            if not found:
                return model
            different = found if different is None else min(different, found, key=len)
    if kind in known:
        cells = {type(cell).__qualname__: type(cell) for cell in (make(1) for make in CELLS.values())}
        for within in (cells | known, known | cells):  # the cell of a layer may have the name of one of Flax
            cell = _construct(known[kind], f"{MODEL}.cell", texts, within)
            model = _with_fields(SequenceClassifier(cell, num_classes=1), MODEL, texts)
            if not _differences(texts, describe(model, MODEL)):
                break
        return _require_same(texts, model)
    if different is None:
        raise ValueError(f"its cell {kind} is not in cells.CELLS, where it can be registered")
    raise ValueError(f"what is built with the {kind} of cells.CELLS differs in {_shown(different)}")


def _require_same(texts: Mapping[str, str], model: Any) -> nn.Module:
    """The model, if it is described as the saved one."""
    if different := _differences(texts, describe(model, MODEL)):
        raise ValueError(f"what is built with {texts[MODEL]} differs in {_shown(different)}")
    return model


def _shown(different: list[str]) -> str:
    return ", ".join(name.removeprefix(f"{MODEL}.") for name in different[:3])


def _construct(kind: type, name: str, texts: Mapping[str, str], known: Mapping[str, type]) -> Any:
    """An object of a class with the fields of a description; `name` is that of the object."""
    values = {}
    for field in dataclasses.fields(kind):
        part, needed = f"{name}.{field.name}", field.default is field.default_factory is dataclasses.MISSING
        if part not in texts or not field.init:
            continue
        if needed or texts[part] in known or texts[part] in SEQUENCES:
            values[field.name] = _value(part, texts, known, "Callable" in str(field.type))
    return _with_fields(kind(**values), name, texts)


def _value(part: str, texts: Mapping[str, str], known: Mapping[str, type], is_function: bool = False) -> Any:
    text = texts[part]
    if text in known:
        return _construct(known[text], part, texts, known)
    if text in SEQUENCES:
        inner = iter(f"{part}.{n}" for n in range(MOST_LAYERS))
        return SEQUENCES[text](_value(of, texts, known) for of in itertools.takewhile(texts.__contains__, inner))
    if is_function and (function := getattr(nn, text, getattr(jnp, text, None))):
        return function
    return _parse(text, part.removeprefix(f"{MODEL}."), _read_number(text))


def _with_fields(module: Any, name: str, texts: Mapping[str, str]) -> Any:
    """A copy of a module whose plain fields have the values of a description; `name` is that of the module."""
    now, changed = describe(module, name), {}
    for field in dataclasses.fields(module):
        part, value = f"{name}.{field.name}", getattr(module, field.name, None)
        is_plain = value is None or isinstance(value, int | float | str) or field.name.endswith("dtype")
        if is_plain and not field.name.endswith("_init") and part in now and texts.get(part, now[part]) != now[part]:
            changed[field.name] = _parse(texts[part], part.removeprefix(f"{MODEL}."), value)
    return module.clone(**changed) if changed else module


def _parse(text: str, name: str, default: Any) -> Any:
    """The plain value that `describe` writes as this text; a ValueError if it is not finite or of another type."""
    if text == "None":
        return None
    if name.endswith("dtype"):
        dtype = re.fullmatch(r"\w+|[^()]*\((\w+)\)", text)
        if dtype is None or (dtype[1] or text) not in DTYPES:
            raise ValueError(f"{name} is {text[:40]!r}, which is not one of {', '.join(DTYPES)}")
        return np.dtype(DTYPES[dtype[1]]) if dtype[1] else DTYPES[text]
    value = text if isinstance(default, str) else _read_number(text)
    kinds: dict[type, Any] = {bool: bool, int: int | np.integer, float: float | int | np.number}
    is_expected = isinstance(value, kinds.get(type(default), object))
    most = 2**31 if isinstance(value, int | np.integer) else math.inf
    if not is_expected or not (isinstance(value, str) or -most < value < most):
        raise ValueError(f"{name} is {text[:40]!r}, which can't be read as its value")
    return value


def _read_number(text: str) -> Any:
    """The truth value or number that a text stands for; the text itself if it is none."""
    if text in ("True", "False"):
        return text == "True"
    typed = NUMPY_NUMBER.fullmatch(text)
    for kind in (int, float):
        try:
            return np.dtype(typed[1]).type(kind(typed[2])) if typed else kind(text)
        except (ValueError, OverflowError):
            continue
    return text


def _differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the parts that differ between two descriptions and that decide what a model computes."""
    ways = {f"{MODEL}.{name}" for name in WAYS_TO_COMPUTE}
    brief = not any(".__" in name for name in saved)  # version 0.1.0 did not describe classes and modules

    def decides(name: str) -> bool:
        initialises = any(part.endswith("_init") and part != "carry_init" for part in name.split("."))
        in_one = name.endswith(".__module__") and not (name in saved and name in now)  # NumPy's float64 is a float
        return not (initialises or in_one or name in ways or (brief and ".__" in name))

    def differ(name: str) -> bool:
        before, after = saved.get(name), now.get(name)
        if before and after and name.endswith(".__module__"):  # a package may move what it has
            return before.partition(".")[0] != after.partition(".")[0]
        return before != after

    return [name for name in {**saved, **now} if decides(name) and differ(name)]
