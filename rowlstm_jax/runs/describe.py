"""What a model or an optimiser is made of, as text that two starts of a program can compare."""

import enum
import hashlib
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from rowlstm_jax.runs.manifest import Leaf
from rowlstm_jax.runs.parts import PLAIN, is_container, parts_of, read_array

MOST, DEEPEST = 10_000, 100  # parts of a value, and parts within parts, that are looked into


class Part(NamedTuple):
    """A part of a value.

    Attributes:
      name: dotted, from the value down to the part.
      value: the part itself.
      text: describes it, without its own parts.
      known: whether its text and its parts tell it apart from any other.
    """

    name: str
    value: Any
    text: str
    known: bool


def describe(value: Any, name: str) -> dict[str, str]:
    """The text of each part of a value, by dotted name; the same in every process.

    Parts are fields, elements and attributes, and what a function computes with: its closure, its defaults and, if it
    is the user's own, its code and the globals that it reads. A number or a text is described by itself, an array by
    its SHA-256, all else by the name of its function or class.

    Example:
      >>> import flax.linen as nn
      >>> description = describe(nn.Dense(3, kernel_init=nn.initializers.normal(0.5)), "model")
      >>> description["model"], description["model.features"], description["model.kernel_init.stddev"]
      ('Dense', '3', '0.5')
    """
    return {part.name: part.text for part in walk(value, name)}


def opaque(value: Any, name: str) -> list[str]:
    """The names of the parts that can't be told apart from others, such as a generator or an object written in C."""
    return [part.name for part in walk(value, name) if not part.known]


def walk(value: Any, name: str) -> Iterator[Part]:
    """The value and its parts, each before its own parts; one that holds itself is not followed for ever."""
    seen: dict[
        int, tuple[str, Any]
    ] = {}  # by id; holds the values, or another one could get the id of one that is gone

    def visit(value: Any, name: str, within: frozenset[int], once: bool) -> Iterator[Part]:
        text = text_of(value)
        if once and id(value) in seen:
            yield Part(name, value, f"{text}, as {seen[id(value)][0]}", known=True)
            return
        looked_into = isinstance(value, PLAIN) or (len(seen) < MOST and len(within) < DEEPEST)
        parts = parts_of(value) if looked_into else None
        if parts:
            seen.setdefault(id(value), (name, value))
        yield Part(name, value, text, known=parts is not None)
        inside = within | {id(value)}
        for part, inner in (parts or {}).items():
            # Elements and closures are written out wherever they are met, as they always were; all else only once.
            once = part.startswith("__") or not is_container(value)
            if once or id(inner) not in inside:
                yield from visit(inner, f"{name}.{part}", inside, once)

    return visit(value, name, frozenset(), once=False)


def text_of(value: Any) -> str:
    """Describes a value without its parts: `0.001`, `adam.<locals>.init_fn`, `float32(0.001)`."""
    kind = type(value).__qualname__
    if isinstance(value, PLAIN):
        return str(value)
    if isinstance(value, np.generic | np.dtype | complex | jax.tree_util.PyTreeDef):
        return f"{kind}({value!s})"
    if isinstance(value, bytes | bytearray):
        return f"{kind}({hashlib.sha256(value).hexdigest()})"
    if isinstance(value, enum.Enum | types.ModuleType):
        return f"{kind}({value.name if isinstance(value, enum.Enum) else value.__name__})"
    array = read_array(value)
    if array is not None:
        leaf, weak = Leaf.of(array), ", weak" * bool(getattr(value, "weak_type", False))
        said = leaf.sha256 if array.ndim else str(array[()])
        return f"{kind}({leaf}{weak})" if array.dtype.hasobject else f"{kind}({said}, {leaf}{weak})"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else kind
