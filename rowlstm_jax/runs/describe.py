"""What a model or an optax chain is made of, as text that two starts of a program can compare."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any


def describe(value: Any, name: str, within: tuple[int, ...] = ()) -> dict[str, str]:
    """All the parts of a value by dotted name: attributes, elements, and what functions hold in their closures.

    Flax initialisers and optax transformations are functions made by functions: their settings lie in closures.

    Example:
      >>> import flax.linen as nn
      >>> description = describe(nn.Dense(3, kernel_init=nn.initializers.normal(0.5)), "model")
      >>> description["model"], description["model.features"], description["model.kernel_init.stddev"]
      ('Dense', '3', '0.5')

    Args:
      value: numbers and texts are described by themselves, all else by the name of its function or class, which unlike
        its representation holds no address.
      name: of the value itself, before the dots.
      within: identities of the values that this one is a part of; one that holds itself is described once.
    """
    plain = isinstance(value, bool | int | float | str | None)
    description = {name: str(value) if plain else getattr(value, "__qualname__", type(value).__qualname__)}
    within = (*within, id(value))
    for part, inner in _parts(value).items():
        if id(inner) not in within:
            description |= describe(inner, f"{name}.{part}", within)
    return description


def _parts(value: Any) -> Mapping[Any, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if name not in ("parent", "name")}  # Flax's own
    if isinstance(value, functools.partial):
        return {"function": value.func, **dict(enumerate(value.args)), **value.keywords}
    if isinstance(value, list | tuple):
        return dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if isinstance(value, Mapping):
        return value
    return inspect.getclosurevars(value).nonlocals if inspect.isfunction(value) else {}
